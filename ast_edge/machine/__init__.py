"""What this computer is and does: sensors, facts, load."""
