"""Short scripts, one use each; the tests run all of them."""
