"""Measures chatcore against its own ceiling and against a textbook service: `make bench`."""
