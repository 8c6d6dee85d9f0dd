"""chatcore stores that live in memory."""
