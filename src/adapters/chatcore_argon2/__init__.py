"""Password hashing for chatcore with argon2id (RFC 9106)."""

from chatcore_argon2.hasher import Argon2Hasher

__all__ = ["Argon2Hasher"]
