"""`chatcore passwd`: reset the password of a user who has forgotten it."""

import argparse
import contextlib
import getpass
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import say
from chatcore_server.settings import CannotStart, Settings

if TYPE_CHECKING:
    from chatcore import Clock, User


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "passwd",
        help="reset a user's password",
        description="Set a user's password, revoke all their tokens and end all their sessions. "
        "The terminal prompts for the password; otherwise it is read from standard input. If the "
        "database is a SQLite file, stop the service first.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="the user's name")
    add_flags(parser, "database_url", "schema", "pooler", "refuse_common_passwords")
    return parser


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    set_password(parsed.name, settings, say)
    return 0


def set_password(
    name: str, settings: Settings, say: Callable[[str], None], clock: "Clock | None" = None
) -> None:
    """Read a password, set it for the user, and revoke every token issued before.

    A terminal prompts twice, without echo; otherwise the first line of standard input is the
    password. `clock` is that of this machine, by default the system's. Raises CannotStart.
    """
    import asyncio

    from chatcore import InvalidPassword, Unavailable, UserNotFound
    from chatcore_sqlalchemy import CannotOpen, sqlite_path

    try:
        file = sqlite_path(settings.database_url)
        if file is not None and not file.exists():
            raise CannotOpen(f"there is no database {file}")
        user = asyncio.run(_reset(name, _read_password(name), settings, clock))
    except CannotOpen as error:
        raise CannotStart(str(error)) from error
    except UserNotFound:
        raise CannotStart(f"there is no user {name!r}") from None
    except InvalidPassword as error:
        raise CannotStart(str(error)) from None
    except Unavailable as error:
        raise CannotStart(f"the database failed: {error}") from None
    say(
        f"Changed the password of {user.name}; earlier tokens and sessions stop working within a "
        "minute"
    )


def _read_password(name: str) -> str:
    if sys.stdin is None:  # Closed.
        raise CannotStart("no password given")
    if not sys.stdin.isatty():
        # Bytes, since decoding by the locale would fail in its own way on invalid UTF-8.
        line = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
        with contextlib.suppress(UnicodeDecodeError):
            return line.decode()
        raise CannotStart("the password is not UTF-8")
    # Let getpass restore the echo after Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        first = getpass.getpass(f"New password for {name}: ")
        second = getpass.getpass("Repeat the password: ")
    except EOFError:
        raise CannotStart("no password given") from None
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if first != second:
        raise CannotStart("the passwords do not match")
    return first


async def _reset(name: str, password: str, settings: Settings, clock: "Clock | None") -> "User":
    import secrets

    from chatcore import Accounts
    from chatcore.model import utc_now
    from chatcore_argon2 import Argon2Hasher
    from chatcore_jwt import JwtTokens
    from chatcore_server.clock import clock_by
    from chatcore_server.database import open_store

    async with (
        await open_store(settings) as store,
        Argon2Hasher() as hasher,
    ):
        # Required, but never used: no token is issued here.
        tokens = JwtTokens(secrets.token_bytes(32))
        accounts = Accounts(
            store,
            hasher,
            tokens,
            # The tokens that become void are dated by the clock of the nodes.
            clock=await clock_by(store.time_us, clock or utc_now),
            refuse_common_passwords=settings.refuse_common_passwords,
        )
        return await accounts.reset_password(name, password)
