"""What operators do with a database: back it up, check it, copy it."""
