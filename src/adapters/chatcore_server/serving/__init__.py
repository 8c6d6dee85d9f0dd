"""Serving: sockets, the HTTP protocol, workers, and the stop on SIGTERM."""
