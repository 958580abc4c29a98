"""Sources of triggers; each library is imported only inside its own module."""
