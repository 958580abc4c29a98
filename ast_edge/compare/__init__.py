"""Two models on the same parts: which verdicts change, what that means, and how fast both are."""
