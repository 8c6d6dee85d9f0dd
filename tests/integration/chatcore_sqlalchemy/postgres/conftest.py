"""The long form is that of the durability tests."""

from tests.integration.durability.conftest import soak

__all__ = ["soak"]
