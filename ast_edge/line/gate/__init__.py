"""The reject gate and the belt it stands at."""
