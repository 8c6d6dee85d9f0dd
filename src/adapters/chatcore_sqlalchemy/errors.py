"""Errors of opening, changing and checking a database."""

from chatcore.errors import Refused


class CannotOpen(Exception):
    """The database cannot be used. The message is one line for the operator."""


class RetryTransaction(Refused):
    """A chat was opened before the transaction held all its locks. Undo it and run it again."""


class Damaged(Exception):
    """The database itself cannot answer a query."""
