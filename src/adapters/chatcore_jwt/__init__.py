"""JSON Web Tokens (RFC 7519) for chatcore: its own access tokens, and those of a host."""

from chatcore_jwt.authenticator import JwtAuthenticator
from chatcore_jwt.keys import JwksKeys, SecretKeys
from chatcore_jwt.tokens import JwtTokens

__all__ = ["JwksKeys", "JwtAuthenticator", "JwtTokens", "SecretKeys"]
