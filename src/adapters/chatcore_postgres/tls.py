"""What asyncpg lacks for the TLS parameters of a URL: errors that name one, and the system's
authorities."""

import ssl
from collections.abc import Mapping

from chatcore_postgres.parameters import InvalidUrl


def expect_files(parameters: Mapping[str, str]) -> None:
    """Raise InvalidUrl, which names the parameter, if a file of certificates or the key cannot be
    used: asyncpg's own errors do not say which."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl"):
        file = parameters.get(name)
        if file and file != "system":
            try:
                probe.load_verify_locations(cafile=file)
            except OSError as error:
                raise _unusable(name, error) from None
    _load_own(probe, parameters)


def system_authorities(parameters: Mapping[str, str]) -> ssl.SSLContext | None:
    """The context for `sslrootcert=system`, which asyncpg lacks; None for any other."""
    if parameters.get("sslrootcert") != "system":
        return None
    context = ssl.create_default_context()
    _load_own(context, parameters)
    return context


def _load_own(context: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    certificate, key = parameters.get("sslcert"), parameters.get("sslkey")
    if not certificate or not key:
        return
    password = parameters.get("sslpassword", "")
    try:
        # With a function, OpenSSL never asks on the terminal.
        context.load_cert_chain(certificate, key, lambda: password)
    except OSError as error:
        raise _unusable("sslcert or sslkey", error) from None


def _unusable(name: str, error: OSError) -> InvalidUrl:
    reason = getattr(error, "reason", None) or error.strerror or "not a PEM file"
    return InvalidUrl(
        f"TLS: {name} in the PostgreSQL URL cannot be used: {str(reason).replace('_', ' ')}"
    )
