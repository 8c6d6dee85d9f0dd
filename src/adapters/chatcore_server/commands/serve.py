"""`chatcore serve`: run the service."""

import argparse
import gc
import logging
from collections.abc import Sequence
from dataclasses import fields

from chatcore_server.arguments import Commands, Parser, add_flags
from chatcore_server.console import complain, say
from chatcore_server.observe.standard_streams import exit_now
from chatcore_server.serving.stopping import STOP_SECONDS, exit_on_signals, stop_on_signals
from chatcore_server.settings import Settings

UNCLEAN_STOP = 1

_NOTES = """\
CHATCORE_SECRET has no flag, because other users can see a command line. It is
{secret}.

Login attempts are limited per client address. Behind a proxy, list the proxy in
CHATCORE_TRUSTED_PROXIES: otherwise all clients share its address. A proxy on this
machine that adds no forwarding header gets the allowance of the machine's owner.
SIGTERM or Ctrl-C finishes the requests under way and exits within 5 seconds; a
second Ctrl-C exits at once.
"""


def add_parser(commands: Commands) -> Parser:
    [secret] = [setting for setting in fields(Settings) if not setting.repr]
    parser = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. Each setting is an environment variable; its flag takes "
        "precedence.",
        epilog=_NOTES.format(secret=secret.metadata["description"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(parser, *(setting.name for setting in fields(Settings) if setting is not secret))
    return parser


def run(_: argparse.Namespace, settings: Settings) -> int:
    # On a busy machine the imports take longer than the 5 seconds of a stop.
    exit_on_signals()

    from chatcore_server.observe.log_lines import configure_logging

    configure_logging(settings.log)
    # When the log cannot be written, a traceback for every line would not help.
    logging.raiseExceptions = False
    if settings.workers > 1:
        from chatcore_server.serving.supervisor import serve_with_workers

        clean = serve_with_workers(settings, stop_on_signals(_give_up), _say_where)
        return 0 if clean else UNCLEAN_STOP

    # Off until the service is up: a start makes almost no garbage, and collecting slows it.
    gc.disable()

    from chatcore_server.database import database_file
    from chatcore_server.key_file import key_path
    from chatcore_server.serving.server import serve

    def started(urls: Sequence[str]) -> None:
        _say_where(urls)
        if (file := database_file(settings)) is not None:
            key = "CHATCORE_SECRET" if settings.secret else f"the key in {key_path(file)}"
            tokens = f"signs tokens with {key}"
            if settings.jwt_issuer is not None:
                tokens = f"accepts the tokens of {settings.jwt_issuer}"
            say(f"It keeps its data in {file.resolve()} and {tokens}")

    serve(settings, stop_on_signals(_give_up), started)
    return 0


def version() -> str:
    # Imported here: it would slow --help noticeably.
    import importlib.metadata

    return f"chatcore {importlib.metadata.version('chatcore')}"


def _say_where(urls: Sequence[str]) -> None:
    say(f"{version()} listens on {' and '.join(urls)}")


def _give_up() -> None:
    complain(f"stop timed out after {STOP_SECONDS} seconds; all acknowledged writes are stored")
    exit_now(1)
