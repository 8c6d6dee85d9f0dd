"""From the listening socket to the application, and from SIGTERM to the exit."""
