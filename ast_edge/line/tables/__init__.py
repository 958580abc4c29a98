"""Archived parts as rows of a table elsewhere: a CSV file, a folder of Parquet files, or a database."""
