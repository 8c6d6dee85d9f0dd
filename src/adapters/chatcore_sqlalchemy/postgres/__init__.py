"""The store on PostgreSQL: a few connections, messages through group commit."""
