"""The store on a SQLite file: statements on the event loop, the commit on a thread."""
