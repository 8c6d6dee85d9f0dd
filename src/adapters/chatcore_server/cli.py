"""The `chatcore` command."""

import argparse
import contextlib
import gc
import io
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn, TextIO

from chatcore_server.observe.output import end_at_once, never_wait
from chatcore_server.serving.stopping import STOP_SECONDS, exit_on_signals, stop_on_signals
from chatcore_server.settings import (
    CannotStart,
    Settings,
    flag_of,
    unknown_variables,
    variable_of,
)

# What brings up the service is imported where it is used: it takes half a second, which
# neither --help nor a wrong setting has to wait for.

STOPPED_BADLY = 1
WRONG_SETTING = 2
FAULTS_FOUND = 1
INTERRUPTED = 130

_NOTES = """\
CHATCORE_SECRET, which has no flag because others can see a command line, is
{secret}.

Login attempts are limited per client address. Behind a proxy, list the proxy in
CHATCORE_TRUSTED_PROXIES: otherwise all clients share its address. A proxy on this
machine that adds no forwarding header is taken for the machine's owner.
SIGTERM or Ctrl-C finishes what is under way and exits within 5 seconds; a second
Ctrl-C does not wait.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A path that the terminal cannot show is no reason to fail, nor is a closed stream,
        # which is None.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # As long as there is nothing to finish, Ctrl-C ends the process, without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _run(_parser().parse_args(arguments))
    finally:
        _flush()


def _run(parsed: argparse.Namespace) -> int:
    if parsed.command == "serve":
        never_wait()
    try:
        settings = Settings.read(os.environ, vars(parsed))
        for warning in unknown_variables(os.environ):
            _complain(f"warning: {warning}")
        if parsed.command == "migrate":
            _migrate(settings)
        elif parsed.command == "copy":
            _copy(parsed.source, settings)
        elif parsed.command == "backup":
            _back_up(parsed.target, settings)
        elif parsed.command == "passwd":
            _set_password(parsed.name, settings)
        elif parsed.command == "check":
            return _check(settings)
        else:
            return 0 if _serve(settings) else STOPPED_BADLY
    except CannotStart as error:
        _complain(str(error))
        return WRONG_SETTING
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _serve(settings: Settings) -> bool:
    """Whether it ended in order."""
    # On a busy machine the imports take longer than a stop may.
    exit_on_signals()

    from chatcore_server.observe.log_lines import configure_logging

    configure_logging(settings.log)
    # A log that nobody can write to is not worth a traceback for every line.
    logging.raiseExceptions = False
    if settings.workers > 1:
        from chatcore_server.serving.workers import serve_with_workers

        return serve_with_workers(settings, stop_on_signals(_give_up), _say_where)

    # Until it serves: a start leaves next to no garbage, and looking for it takes a tenth of one.
    gc.disable()

    from chatcore_server.database import database_file
    from chatcore_server.key_file import key_path
    from chatcore_server.serving.serve import serve

    def started(urls: Sequence[str]) -> None:
        _say_where(urls)
        if (file := database_file(settings)) is not None:
            key = "CHATCORE_SECRET" if settings.secret else f"the key in {key_path(file)}"
            _say(f"It keeps its data in {file.resolve()} and signs tokens with {key}")

    serve(settings, stop_on_signals(_give_up), started)
    return True


def _say_where(urls: Sequence[str]) -> None:
    _say(f"chatcore {_version()} listens on {' and '.join(urls)}")


def _give_up() -> None:
    _complain(f"not stopped after {STOP_SECONDS} seconds; what was acknowledged is stored")
    end_at_once(1)


def _migrate(settings: Settings) -> None:
    import asyncio

    from chatcore_server.database import migrate

    before, after = asyncio.run(migrate(settings))
    if before == after:
        _say(f"Nothing to do: the database is at revision {after}")
    else:
        _say(f"The database is at revision {after} now; it was {before or 'empty'}")


def _copy(source: str, settings: Settings) -> None:
    from chatcore_server.commands.copy import copy_database

    copy_database(source, settings.database_url, _say)


def _back_up(target: str, settings: Settings) -> None:
    from chatcore_server.commands.backup import back_up

    back_up(settings.database_url, Path(target), _say)


def _check(settings: Settings) -> int:
    from chatcore_server.commands.check import check

    sound = check(settings.database_url, _say, lambda line: _tell(sys.stderr, line))
    return 0 if sound else FAULTS_FOUND


def _set_password(name: str, settings: Settings) -> None:
    from chatcore_server.commands.passwd import set_password

    set_password(name, settings, _say)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see {self.prog} --help)")
        sys.exit(WRONG_SETTING)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        _say(f"chatcore {_version()}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="chatcore", description="One-to-one chat as a service.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    [secret] = [setting for setting in fields(Settings) if not setting.repr]
    serve = commands.add_parser(
        "serve",
        help="run the service",
        description="Run the service. Each setting is an environment variable; its flag comes "
        "first.",
        epilog=_NOTES.format(secret=secret.metadata["description"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    migrate = commands.add_parser(
        "migrate",
        help="bring the database to the schema of this version",
        description="Bring the database to the schema of this version. `serve` does so itself "
        "where the database is a SQLite file.",
        allow_abbrev=False,
    )
    copy = commands.add_parser(
        "copy",
        help="copy a SQLite file into a PostgreSQL database",
        description="Copy all that a SQLite file holds into an empty PostgreSQL database, and "
        "compare every row. Stop the service first. When it is interrupted, nothing is copied: "
        "run it again.",
        allow_abbrev=False,
    )
    copy.add_argument(
        "--from", dest="source", metavar="URL", required=True, help="sqlite:///relative/path"
    )
    copy.add_argument(
        "--to",
        dest="database_url",
        metavar="URL",
        help="postgresql://… (CHATCORE_DATABASE_URL, which nobody else sees on a command line)",
    )
    backup = commands.add_parser(
        "backup",
        help="copy the SQLite file while the service goes on",
        description="Copy the SQLite file to a new one, as it is at the start; a service may "
        "write to it meanwhile. Interrupted, it leaves nothing. Of PostgreSQL, its own tools make "
        "backups.",
        allow_abbrev=False,
    )
    backup.add_argument("target", metavar="FILE", help="what to copy to; it must not be there")
    check = commands.add_parser(
        "check",
        help="look for faults in what the database holds",
        description="Look for faults in what the database, or a backup, holds: a line for each. "
        "Nothing is changed, and a service may go on meanwhile. The exit status is 0 without "
        "faults, 1 with some, and 2 when it cannot be told.",
        allow_abbrev=False,
    )
    passwd = commands.add_parser(
        "passwd",
        help="give a user another password",
        description="Give a user another password, and end all their logins. It is asked for on "
        "the terminal, or read from standard input. Where the database is a SQLite file, stop the "
        "service first.",
        allow_abbrev=False,
    )
    passwd.add_argument("name", metavar="NAME", help="the user's")
    for setting in fields(Settings):
        if setting is not secret:
            _add_flag(serve, setting)
        if setting.name == "refuse_common_passwords":
            _add_flag(passwd, setting)
        if setting.name == "database_url":
            for command in (migrate, backup, check, passwd):
                _add_flag(command, setting)
    return parser


def _add_flag(command: argparse.ArgumentParser, setting: "Field[Any]") -> None:
    default = setting.default
    about = f"{setting.metadata['description']} ({variable_of(setting)}; default: "
    if isinstance(default, bool):
        command.add_argument(
            flag_of(setting), nargs="?", const="1", metavar="0|1", help=f"{about}{default:d})"
        )
    else:
        word = setting.name.rpartition("_")[2].upper()
        command.add_argument(
            flag_of(setting),
            metavar=word,
            help=f"{about}{'none' if default in (None, ()) else default})",
        )


def _version() -> str:
    # Imported here: it takes as long as all else that --help needs.
    import importlib.metadata

    return importlib.metadata.version("chatcore")


def _say(line: str) -> None:
    _tell(sys.stdout, line)


def _complain(line: str) -> None:
    _tell(sys.stderr, f"chatcore: {line}")


def _tell(stream: TextIO, line: str) -> None:
    # Nobody may be listening any more.
    with contextlib.suppress(OSError):
        print(_one_line(line), file=stream, flush=True)


def _one_line(line: str) -> str:
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in line
    )


def _flush() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        # Python would flush again at exit, fail again, and say so with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
