"""The computer this runs on: sensors, facts for result files, load."""
