"""The failures of a PostgreSQL server, and each in one line for the operator."""

import re
import socket
import ssl

import asyncpg

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""The exceptions of asyncpg for a server that fails, or cannot be reached in time."""

_ELSEWHERE = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

# Codes of OpenSSL (`man verify`).
_NOT_NOW = {9, 10}
_OTHER_HOST = {62, 64}
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}

_NO_TLS = "rejected SSL upgrade"
# The first words of what asyncpg and uvloop raise as a ConnectionError.
_ABOUT_TLS = re.compile(
    "root certificate|direct TLS|connection closed during TLS|SSL handshake|PostgreSQL .* SSL "
)


def concerns_one_server(failure: BaseException) -> bool:
    """Whether another server may well serve where this one failed. A wrong password or a missing
    database ends the search, as in libpq."""
    return not isinstance(failure, asyncpg.PostgresError) or isinstance(failure, _ELSEWHERE)


def in_one_line(failure: BaseException) -> str:
    """Why a connection failed. The messages of the server and of asyncpg hold no password."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return f"TLS: {_of_certificate(failure)}"
    if isinstance(failure, ssl.SSLError):
        reason = (getattr(failure, "reason", None) or str(failure)).replace("_", " ").lower()
        return f"TLS: the handshake with the server failed: {reason}"
    if isinstance(failure, ConnectionRefusedError):
        # Event loops word it differently.
        return "the connection was refused: no server listens there"
    if isinstance(failure, socket.gaierror):
        return f"the name of the host cannot be looked up: {failure.strerror or failure}"
    words = " ".join(str(without_data(failure)).split()) or type(failure).__name__
    if _NO_TLS in words:
        return "TLS: the server offers no TLS (SSL), which sslmode in the URL demands"
    about_tls = isinstance(failure, ConnectionError) and _ABOUT_TLS.match(words)
    return f"TLS: {words}" if about_tls else words


def without_data(failure: BaseException) -> BaseException:
    """The failure without its detail, where the server quotes rows: they belong in no log."""
    if isinstance(failure, asyncpg.PostgresError):
        failure.detail = None
    return failure


def _of_certificate(failure: ssl.SSLCertVerificationError) -> str:
    what = f"the certificate of the server was refused ({failure.verify_message.rstrip('.')})"
    if failure.verify_code in _NOT_NOW:
        return f"{what}: renew it, or set the clock of this machine"
    if failure.verify_code in _OTHER_HOST:
        return f"{what}: write the host in the URL as the certificate does"
    if failure.verify_code in _UNKNOWN_AUTHORITY:
        return f"{what}: name the file of its authority with sslrootcert in the URL"
    return what
