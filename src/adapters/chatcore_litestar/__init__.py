"""chatcore over HTTP, as a Litestar app."""
