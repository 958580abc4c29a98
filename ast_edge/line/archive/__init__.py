"""The archive: a row for every part, and pictures of rejects, faults and every n-th pass."""
