"""The reject gate and the belt."""
