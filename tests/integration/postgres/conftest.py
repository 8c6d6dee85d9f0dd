"""The long form, and the figures, are those of the durability tests."""

from tests.integration.durability.conftest import figures, soak

__all__ = ["figures", "soak"]
