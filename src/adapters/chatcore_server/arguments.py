"""The parts of the command line that the commands share."""

import argparse
import sys
from dataclasses import Field, fields
from typing import Any, NoReturn, TypeAlias

from chatcore_server.console import complain
from chatcore_server.settings import Settings, flag_of, variable_of

WRONG_SETTING = 2
"""The exit status when the command cannot run with these arguments and settings."""

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see {self.prog} --help)")
        sys.exit(WRONG_SETTING)


def add_flags(command: argparse.ArgumentParser, *names: str) -> None:
    """Give the command the flags of the settings with these names."""
    for setting in fields(Settings):
        if setting.name in names:
            _add_flag(command, setting)


def _add_flag(command: argparse.ArgumentParser, setting: "Field[Any]") -> None:
    default = setting.default
    about = f"{setting.metadata['description']} ({variable_of(setting)}; default: "
    if isinstance(default, bool):
        values = setting.metadata["values"]
        command.add_argument(
            flag_of(setting),
            nargs="?",
            const=values[True],
            metavar="|".join(values),
            help=f"{about}{values[default]})",
        )
    else:
        word = setting.name.rpartition("_")[2].upper()
        command.add_argument(
            flag_of(setting),
            metavar=word,
            help=f"{about}{'not set' if default in (None, ()) else default})",
        )
