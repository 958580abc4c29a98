"""Outputs for verdicts; each library is imported only inside its own module."""
