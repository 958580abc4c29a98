"""Short scripts that show one use each; the tests run them."""
