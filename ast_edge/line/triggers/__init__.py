"""What says that a part is there: each library is imported only inside its own module."""
