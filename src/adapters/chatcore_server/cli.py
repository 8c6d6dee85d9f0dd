"""The `chatcore` command."""

import argparse
import os
import signal
from collections.abc import Sequence

from chatcore_server import console
from chatcore_server.arguments import WRONG_SETTING, Parser
from chatcore_server.commands import backup, check, copy, drain, migrate, passwd, serve
from chatcore_server.observe.standard_streams import unblock_standard_streams
from chatcore_server.settings import CannotStart, Settings, unknown_variables

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    console.prepare()
    # While nothing needs finishing, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _run(_parser().parse_args(arguments))
    finally:
        console.flush()


def _run(parsed: argparse.Namespace) -> int:
    if parsed.command == "serve":
        unblock_standard_streams()
    try:
        settings = Settings.read(os.environ, vars(parsed))
        for warning in unknown_variables(os.environ):
            console.complain(f"warning: {warning}")
        status: int = parsed.run(parsed, settings)
    except CannotStart as error:
        console.complain(str(error))
        return WRONG_SETTING
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="chatcore", description="One-to-one chat as a service.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (serve, migrate, copy, backup, check, drain, passwd):
        command.add_parser(commands).set_defaults(run=command.run)
    return parser


class _Version(argparse.Action):
    """Looks up the version only on demand: the import is slow."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        console.say(serve.version())
        parser.exit()
