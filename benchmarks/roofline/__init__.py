"""Predicted and measured times of the networks."""
