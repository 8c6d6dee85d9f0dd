"""Connects to the servers of a PostgreSQL URL, one after the other, each with a limit of its own.

asyncpg would do that by itself, but with one limit for all of them together: the first server that
accepts and never answers would use it up.
"""

import asyncio
import random
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import asyncpg

from chatcore_postgres.failures import FAILURES, concerns_one_server, in_one_line
from chatcore_postgres.parameters import InvalidUrl, overridden
from chatcore_postgres.tls import expect_files, system_authorities
from chatcore_postgres.url import PostgresUrl, Server

CONNECT_SECONDS = 5.0
"""How long the only server of a URL may take to open a session."""

CONNECT_SECONDS_EACH = 2.0
"""How long each of several servers may take."""

_STATE = """
SELECT pg_catalog.pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'
"""

_TCP = {socket.AF_INET, socket.AF_INET6}


class NoServer(ConnectionError):
    """No server of the URL can be used. The message is one line that says why, server by server."""


class Servers:
    """The servers of a URL, in the order in which they are tried: the one that was good last comes
    first, those that failed come last.

    Raises InvalidUrl for files of certificates that cannot be read.
    """

    def __init__(self, url: PostgresUrl) -> None:
        expect_files(url.of_driver)
        self._url = url
        # Kept, since to load the authorities of the system takes long.
        self._authorities = system_authorities(url.of_driver)
        self._order = [*url.servers]
        self._server_of: WeakKeyDictionary[Any, Server] = WeakKeyDictionary()
        if url.shuffled:
            random.shuffle(self._order)

    async def connect(self, settings: Mapping[str, str], **options: Any) -> Any:
        """Open a session on the first server that answers in time and is in the state that
        `target_session_attrs` asks for.

        Settings of the URL take precedence over `settings`; `options` are those of
        `asyncpg.connect`. Raises one of FAILURES: that of the only server, or NoServer.
        """
        target = self._url.target
        failures: dict[Server, BaseException] = {}
        for wanted in ("standby", "any") if target == "prefer-standby" else (target,):
            for server in tuple(self._order):
                try:
                    return await self._try(server, wanted, settings, options)
                except FAILURES as failure:
                    if not concerns_one_server(failure):
                        raise
                    failures[server] = failure
        reasons = "; ".join(f"{server}: {in_one_line(why)}" for server, why in failures.items())
        *_, last = failures.values()
        if len(self._order) == 1:
            raise last
        # A server without room is worth a wait, even if all others failed in another way.
        full = (it for it in failures.values() if isinstance(it, asyncpg.TooManyConnectionsError))
        raise NoServer(f"no server of the URL can be used: {reasons}") from next(full, last)

    def avoid(self, session: Any) -> None:
        """Try the server of the session after all others from now on: it cannot be used."""
        if (server := self._server_of.get(session)) is not None:
            self._order.remove(server)
            self._order.append(server)

    def misfit(self, session: Any) -> str | None:
        """Why the server of the session is no longer one that `target_session_attrs` asks for; None
        as far as it is known to be. Since PostgreSQL 14, servers report such a change. No I/O."""
        standby, read_only = _reported(session)
        return _misfit(self._url.target, bool(standby), bool(read_only))

    async def _try(
        self, server: Server, wanted: str, settings: Mapping[str, str], options: Mapping[str, Any]
    ) -> Any:
        good = False
        try:
            session = await self._open(server, wanted, settings, options)
            good = True
        finally:
            # Also after a cancellation: a caller with less patience than the limit must not meet
            # the same silent server first at every attempt.
            self._order.remove(server)
            self._order.insert(0 if good else len(self._order), server)
        self._server_of[session] = server
        return session

    async def _open(
        self, server: Server, wanted: str, settings: Mapping[str, str], options: Mapping[str, Any]
    ) -> Any:
        each = CONNECT_SECONDS_EACH if len(self._order) > 1 else CONNECT_SECONDS
        limit = self._url.connect_seconds or each
        try:
            async with asyncio.timeout(limit) as patience:
                session = await self._connect(server, wanted, settings, options)
                try:
                    self._keep_alive(session)
                    misfit = wanted != "any" and _misfit(wanted, *await _state(session))
                    if misfit:
                        raise ConnectionError(misfit)
                except BaseException:
                    session.terminate()
                    raise
                return session
        except TimeoutError:
            if not patience.expired():
                raise
            raise TimeoutError(f"no answer within {limit:g} seconds") from None

    async def _connect(
        self, server: Server, wanted: str, settings: Mapping[str, str], options: Mapping[str, Any]
    ) -> Any:
        url = self._url
        in_url = overridden(url.settings)
        own = {name: value for name, value in settings.items() if name not in in_url}
        # Only a service file may name several servers that asyncpg tries by itself.
        target = "any" if server.host is not None else wanted
        try:
            return await asyncpg.connect(
                f"postgresql://?{urlencode(url.of_driver)}",
                host=server.host,
                port=server.port,
                user=url.user,
                password=url.password,
                passfile=url.passfile,
                database=url.database,
                ssl=self._authorities,
                target_session_attrs=target,
                server_settings={**own, **url.settings},
                timeout=None,
                **options,
            )
        except asyncpg.ClientConfigurationError as error:
            # About a variable of libpq, or a file of TLS in its default place.
            raise ConnectionError(str(error)) from None
        except (FileNotFoundError, PermissionError, ssl.SSLError):
            # A file may have changed since the start, and the error does not name it.
            try:
                expect_files(url.of_driver)
            except InvalidUrl as error:
                raise ConnectionError(str(error)) from None
            raise
        except FAILURES:
            raise
        except ValueError as error:
            # Such as a host name that is too long for DNS.
            raise ConnectionError(f"the server cannot be looked up: {error}") from error

    def _keep_alive(self, session: Any) -> None:
        # asyncpg has no public way to the socket.
        tcp = session._transport.get_extra_info("socket")
        if tcp is not None and tcp.family in _TCP:
            self._url.keepalives.set_on(tcp)


async def _state(session: Any) -> tuple[bool, bool]:
    """Whether the server is a standby, and whether a setting makes it read-only."""
    standby, read_only = _reported(session)
    if standby is None or read_only is None:
        # Before PostgreSQL 14.
        standby, read_only = await session.fetchrow(_STATE)
    return bool(standby), bool(read_only)


def _reported(session: Any) -> tuple[bool | None, bool | None]:
    """The same as far as the server has reported it, without I/O."""
    settings = session.get_settings()
    standby = getattr(settings, "in_hot_standby", None)
    read_only = getattr(settings, "default_transaction_read_only", None)
    return standby and standby == "on", read_only and read_only == "on"


def _misfit(wanted: str, standby: bool, read_only: bool) -> str | None:
    """Why a server in this state is not the wanted one; None if it is."""
    match wanted:
        case "standby":
            return None if standby else "the server is not a standby"
        case "read-only":
            return None if standby or read_only else "the server takes writes"
        case "read-write" if read_only and not standby:
            return "the server is read-only by a setting (default_transaction_read_only)"
        case "read-write" | "primary" if standby:
            return "the server is a standby"
    return None
