"""What opening a database fails with, whichever it is."""

from chatcore.errors import Refused


class CannotOpen(Exception):
    """The database cannot be used. The message is one line for the operator."""


class RetryTransaction(Refused):
    """A chat was opened before all that this locks was locked. To be done again."""


class Damaged(Exception):
    """The database itself cannot answer a query."""
