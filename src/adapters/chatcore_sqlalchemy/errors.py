"""What opening a database fails with, whichever it is."""


class CannotOpen(Exception):
    """The database cannot be used. The message is one line for the operator."""
