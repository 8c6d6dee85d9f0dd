"""Access tokens for chatcore as JSON Web Tokens (RFC 7519)."""

from chatcore_jwt.tokens import JwtTokens

__all__ = ["JwtTokens"]
