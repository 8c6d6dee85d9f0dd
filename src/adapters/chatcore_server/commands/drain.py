"""`chatcore drain`: send the messages that wait in a host's outbox."""

import argparse
import contextlib
import signal
from typing import TYPE_CHECKING

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import complain, say
from chatcore_server.serving.stopping import exit_on_signals
from chatcore_server.settings import Settings

if TYPE_CHECKING:
    from chatcore_sqlalchemy.outbox import Outbox

ROWS_WAIT = 1
"""The exit status when an outage left rows in the outbox."""

LEAST_SECONDS, MOST_SECONDS = 0.01, 3600.0
PAGE = 500


def add_parser(commands: Commands) -> Parser:
    parser = commands.add_parser(
        "drain",
        help="send the messages that wait in a host's outbox",
        description="Send the messages that wait in the outbox of a host's database: once, or with "
        "--follow until SIGTERM. If chatcore's database is a SQLite file, stop the service first. "
        "The exit status is 0 when all rows were sent or refused, 1 when an outage left rows in "
        "the outbox, and 2 if the command could not run.",
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--follow",
        nargs="?",
        type=_seconds,
        const=1.0,
        metavar="SECONDS",
        help="keep draining; look for new rows every SECONDS (default: 1)",
    )
    what.add_argument("--list", action="store_true", help="list the refused rows, and send none")
    what.add_argument(
        "--retry",
        nargs="*",
        type=int,
        metavar="ROW",
        help="let the next drain send these refused rows again, or all; send none now",
    )
    add_flags(
        parser, "database_url", "schema", "pooler", "bus_url", "outbox_url", "outbox_table", "log"
    )
    return parser


def run(parsed: argparse.Namespace, settings: Settings) -> int:
    import asyncio

    from chatcore import Unavailable

    try:
        if parsed.list:
            asyncio.run(_list(settings))
        elif parsed.retry is not None:
            asyncio.run(_retry(settings, parsed.retry or None))
        else:
            # On a busy machine the imports take long.
            exit_on_signals()
            return asyncio.run(_drain(settings, parsed.follow))
    except Unavailable as error:
        complain(str(error) or error.code)
        return ROWS_WAIT
    return 0


def _seconds(raw: str) -> float:
    with contextlib.suppress(ValueError):
        if LEAST_SECONDS <= (seconds := float(raw)) <= MOST_SECONDS:
            return seconds
    raise argparse.ArgumentTypeError(
        f"expected a number of seconds from {LEAST_SECONDS} to {MOST_SECONDS:g}"
    )


async def _list(settings: Settings) -> None:
    from chatcore_server.outboxes import open_host
    from chatcore_sqlalchemy.outbox import expect_table, refused_rows

    async with open_host(settings) as (engine, table):
        await expect_table(engine, table)
        count, last = 0, 0
        while page := await refused_rows(engine, table, after=last, limit=PAGE):
            for row in page:
                moment = row.refused_at.isoformat(timespec="seconds").replace("+00:00", "Z")
                say(
                    f"row {row.id}, {row.sender} to {row.peer}: {row.code} "
                    f"({row.refusals} refusals, the last at {moment})"
                )
            count, last = count + len(page), page[-1].id
        say(f"Refused rows: {count:,}")


async def _retry(settings: Settings, rows: list[int] | None) -> None:
    from chatcore_server.outboxes import open_host
    from chatcore_sqlalchemy.outbox import expect_table, retry_rows

    async with open_host(settings) as (engine, table):
        await expect_table(engine, table)
        say(f"Refused rows that the next drain sends: {await retry_rows(engine, table, rows):,}")


async def _drain(settings: Settings, follow: float | None) -> int:
    import asyncio

    # SIGTERM between two rows loses nothing: what was sent is recognised by its key.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)

    from chatcore import Messenger
    from chatcore_server.clock import clock_by
    from chatcore_server.database import database_file, open_store
    from chatcore_server.doorbells import open_doorbell
    from chatcore_server.observe.log_lines import configure_logging
    from chatcore_server.outboxes import open_host
    from chatcore_sqlalchemy import CannotOpen
    from chatcore_sqlalchemy.outbox import Outbox, expect_table

    configure_logging(settings.log)
    outbox: Outbox | None = None
    try:
        async with open_host(settings) as (engine, table):
            file = database_file(settings)
            if file is not None and not file.exists():
                raise CannotOpen(f"there is no database {file}")
            await expect_table(engine, table)
            store = await open_store(settings)
            async with store, open_doorbell(settings, store) as doorbell:
                clock = await clock_by(store.time_us)
                messenger = Messenger(store, doorbell=doorbell, realm=settings.realm, clock=clock)
                outbox = Outbox(engine, table, messenger)
                if follow is not None:
                    say(f"Drains {table.fullname} every {follow:g} seconds")
                    await outbox.run(poll_seconds=follow)
                drained = await outbox.drain()
    except asyncio.CancelledError:
        # Ended by a signal; without `--follow`, rows may be left.
        _say_counts(outbox)
        return ROWS_WAIT if follow is None else 0
    _say_counts(outbox)
    if drained.outage is None:
        return 0
    why = str(drained.outage) or drained.outage.code
    complain(f"an outage left {drained.waiting:,} rows in the outbox: {why}")
    return ROWS_WAIT


def _say_counts(outbox: "Outbox | None") -> None:
    sent, refused = (outbox.sent, outbox.refused) if outbox else (0, 0)
    say(f"Sent {sent:,}, refused {refused:,}")
