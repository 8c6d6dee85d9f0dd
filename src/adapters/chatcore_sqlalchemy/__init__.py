"""chatcore stores on SQLAlchemy Core."""
