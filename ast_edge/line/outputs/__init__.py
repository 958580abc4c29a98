"""Where verdicts go: each library is imported only inside its own module."""
