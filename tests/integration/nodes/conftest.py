"""The long form, and the figures, are those of the durability tests."""

from tests.integration.durability.conftest import figures, pytest_terminal_summary, soak

__all__ = ["figures", "pytest_terminal_summary", "soak"]
