"""Tools for operators: back up, check and copy a database."""
