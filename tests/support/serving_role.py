"""A role that serves, with exactly the rights that docs/own-database.md gives it."""

import contextlib
import re
import secrets
from collections.abc import Iterator

from tests.support.postgres_server import PostgresServer
from tests.support.repository import ROOT


def statements(block: str, database: str, role: str) -> str:
    """The SQL of a block of the document, for this database and role."""
    doc = (ROOT / "docs" / "own-database.md").read_text("utf-8")
    [found] = re.findall(rf"^```sql {block}\n(.*?)^```", doc, re.DOTALL | re.MULTILINE)
    named = str(found).replace("chatcore_service", role)
    return named.replace("DATABASE shop ", f"DATABASE {database} ")


@contextlib.contextmanager
def serving_role(server: PostgresServer, database: str) -> Iterator[str]:
    """Yield the name of a role that serves the database, where no other role may do anything."""
    role = f"serving_{secrets.token_hex(4)}"
    server.sql(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    server.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC", database)
    server.sql(statements("role", database, role), database)
    try:
        yield role
    finally:
        server.kill_backends(database)
        server.sql(f"DROP OWNED BY {role}; DROP ROLE {role}", database)
