"""Latency and faults of a whole station."""
