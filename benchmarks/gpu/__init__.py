"""The whole round on a GPU machine."""
