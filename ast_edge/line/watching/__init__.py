"""Metrics, logs and drift."""
