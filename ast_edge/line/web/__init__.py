"""The operator's page and its HTTP interface."""
