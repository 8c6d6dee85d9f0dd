"""The SQL of the store: each statement beside the function that decodes its rows.

Written once for both databases. Only the append of messages is elsewhere, in `sqlite/batch.py` and
`postgres/batch.py`, because each database needs its own SQL for that. INSERT comes from
SQLAlchemy's PostgreSQL dialect: SQLite has the same ON CONFLICT clause, and both compile it.
"""
