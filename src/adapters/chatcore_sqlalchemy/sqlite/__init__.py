"""The store on a SQLite file: statements run on the event loop, commits on a thread."""
