"""The routes under /v1: every feature beyond the fixed routes."""
