"""From an anomaly map to a verdict: score, threshold, calibration."""
