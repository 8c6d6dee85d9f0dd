"""Access tokens for chatcore as JWTs."""
