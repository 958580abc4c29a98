"""Measurements of accuracy and speed; a command runs as `python -m benchmarks.<room>.<module>`."""
