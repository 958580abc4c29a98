"""Other methods in the same race."""
