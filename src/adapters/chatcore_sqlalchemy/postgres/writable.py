"""Whether a service could write: by the server, by the settings, and by the rights of its role."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection as SqlAlchemyConnection
from sqlalchemy import text

from chatcore.errors import StoreUnavailable
from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.connection import Connection
from chatcore_sqlalchemy.schema import TABLES
from chatcore_sqlalchemy.upgrade import version_table

_VERSIONS = version_table().name

_READ_ONLY = text(
    """
    SELECT pg_is_in_recovery(), quote_ident(current_user), quote_ident(current_database()),
        (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only')
    WHERE current_setting('transaction_read_only') = 'on'
    """
)

# What the role lacks, and on what: the schema, the tables, the sequences of their columns. Row
# security, which would hide rows from the role, comes as the statement that ends it.
_MISSING = f"""
WITH tables AS (
    SELECT c.oid, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p') AND c.relname = ANY($2::text[])
), missing (privileges, kind, name) AS (
    SELECT 'USAGE', 'SCHEMA ', quote_ident(nspname) FROM pg_namespace
    WHERE nspname = $1::text AND NOT has_schema_privilege(oid, 'USAGE')
    UNION ALL
    SELECT string_agg(privilege, ', ' ORDER BY n), '', format('%I.%I', $1::text, relname)
    FROM tables, unnest('{{SELECT,INSERT,UPDATE,DELETE}}'::text[])
        WITH ORDINALITY AS needed (privilege, n)
    WHERE NOT has_table_privilege(oid, privilege) AND (n = 1 OR relname <> '{_VERSIONS}')
    GROUP BY relname
    UNION ALL
    SELECT 'USAGE', 'SEQUENCE ', format('%I.%I', $1::text, s.relname)
    FROM tables JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass
        AND d.refobjid = tables.oid AND d.classid = 'pg_class'::regclass
    JOIN pg_class AS s ON s.oid = d.objid
    WHERE CASE s.relkind WHEN 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE, UPDATE') END
    UNION ALL
    SELECT format('ALTER TABLE %I.%I DISABLE ROW LEVEL SECURITY', $1::text, relname), NULL, ''
    FROM tables WHERE row_security_active(oid)
)
SELECT quote_ident(current_user), privileges, kind, string_agg(name, ', ' ORDER BY name)
FROM missing GROUP BY privileges, kind ORDER BY kind = '', kind, privileges
"""  # noqa: S608 (the name of a table of ours)

_OWNER = text(
    """
    SELECT quote_ident(current_user), quote_ident(pg_get_userbyid(c.relowner))
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = :schema AND c.relname = 'messages' AND NOT pg_has_role(c.relowner, 'USAGE')
    """
)

_SETTING = "default_transaction_read_only"


def expect_no_read_only(connection: SqlAlchemyConnection) -> None:
    """Raise CannotOpen on a standby, and where a setting makes transactions read-only."""
    row = connection.execute(_READ_ONLY).one_or_none()
    if row is None:
        return
    standby, role, database, source = row
    if standby:
        raise CannotOpen(
            "the server is a standby, which is read-only: name the primary in the database URL"
        )
    remedy = {
        "user": f"run ALTER ROLE {role} RESET {_SETTING}",
        "database": f"run ALTER DATABASE {database} RESET {_SETTING}",
        "database user": f"run ALTER ROLE {role} IN DATABASE {database} RESET {_SETTING}",
        "client": f"connect without {_SETTING}",
    }.get(source, f"set {_SETTING} = off in the configuration of the server")
    raise CannotOpen(f"the database is read-only: {remedy}")


def expect_rights(connection: SqlAlchemyConnection, schema: str) -> None:
    """Raise CannotOpen unless the role may do all that a service does with the tables."""
    rows = connection.exec_driver_sql(_MISSING, (schema, [*TABLES, _VERSIONS])).all()
    if rows:
        raise CannotOpen(_grants(rows))


async def check_rights(connection: Connection, schema: str) -> None:
    """As `expect_rights`, for a store that is open. Raises StoreUnavailable."""
    if rows := await connection.fetch(_MISSING, schema, [*TABLES, _VERSIONS]):
        raise StoreUnavailable(_grants(rows))


def expect_owner(connection: SqlAlchemyConnection, schema: str) -> None:
    """Raise CannotOpen unless the role may change the tables themselves."""
    if row := connection.execute(_OWNER, {"schema": schema}).one_or_none():
        role, owner = row
        raise CannotOpen(
            f"the role {role} does not own the tables in the schema {schema}: "
            f"run `chatcore migrate` as {owner}"
        )


def _grants(rows: Iterable[Sequence[Any]]) -> str:
    """Say in one line what the owner must run."""
    statements = [
        privileges if kind is None else f"GRANT {privileges} ON {kind}{names} TO {role}"
        for role, privileges, kind, names in rows
    ]
    return (
        "the role lacks rights on the tables of chatcore; let their owner run: "
        f"{'; '.join(statements)}"
    )
