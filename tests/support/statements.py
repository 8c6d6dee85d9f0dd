"""Every statement of chatcore_sqlalchemy.queries, by its name."""

import importlib
import pkgutil

from sqlalchemy import Executable

from chatcore_sqlalchemy import queries

STATEMENTS: dict[str, Executable] = {
    name: made
    for module in pkgutil.iter_modules(queries.__path__, f"{queries.__name__}.")
    for name, made in vars(importlib.import_module(module.name)).items()
    if isinstance(made, Executable) and name.isupper() and name != "CHAT"
}
"""Without CHAT, which the others extend: no statement runs it alone."""
