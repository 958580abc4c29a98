"""Accuracy on data sets."""
