"""The store on PostgreSQL: a few connections, appends in groups."""
