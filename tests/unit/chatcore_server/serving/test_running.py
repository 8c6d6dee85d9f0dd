"""The settings, commands, metrics and files named in docs/running.md exist."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

from chatcore_server.cli import _parser
from chatcore_server.key_file import key_path
from chatcore_server.observe import metrics
from chatcore_server.settings import Settings, variable_of
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "running.md").read_text("utf-8")
METRICS = Path(metrics.__file__).read_text("utf-8")


def test_documented_settings_exist() -> None:
    named = set(re.findall(r"CHATCORE_[A-Z_]+[A-Z]", PAGE))
    assert len(named) >= 8
    assert named <= {variable_of(setting) for setting in fields(Settings)}


def test_documented_unit_has_valid_values() -> None:
    given = dict(re.findall(r"^Environment=(CHATCORE_\w+)=(.*)$", PAGE, re.MULTILINE))
    settings = Settings.read(given, {})
    assert settings.log == "json"
    assert settings.metrics == ("127.0.0.1", 9464)
    assert settings.database_url == "sqlite:////var/lib/chatcore/chatcore.db"


def test_documented_commands_exist() -> None:
    fenced = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    lines = re.findall(r"^chatcore (.*)$", fenced, re.MULTILINE)
    lines += re.findall(r"`chatcore ([a-z]+ [^`]*)`", PAGE)
    assert len(lines) > 3
    for line in lines:
        words = re.sub(r"\$\(.*?\)", "today", line).split()
        if "--help" not in words:
            assert isinstance(_parser().parse_args(words), argparse.Namespace)


def test_documented_metrics_are_served() -> None:
    named = set(re.findall(r"`(chatcore_[a-z_]+)`", PAGE))
    assert len(named) == 9
    for name in named:
        assert f'"{name.removesuffix("_total")}"' in METRICS, name


def test_documented_key_file_is_the_real_one() -> None:
    assert key_path(Path("/chatcore.db")).name in PAGE
