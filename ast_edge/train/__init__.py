"""Training on pictures of good parts; the one place in ast_edge that may import torch."""
