"""Password hashing for chatcore by argon2id."""
