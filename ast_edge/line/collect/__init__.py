"""Collecting pictures of parts for training, with the cameras and triggers of a line."""
