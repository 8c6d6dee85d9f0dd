"""Finds the schema that holds the tables, and moves those of earlier versions into one.

Earlier versions kept their tables where the `search_path` leads, usually in `public`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, text

from chatcore_sqlalchemy.errors import CannotOpen
from chatcore_sqlalchemy.postgres.statement import quoted
from chatcore_sqlalchemy.schema import DEFAULT_SCHEMA, TABLES
from chatcore_sqlalchemy.upgrade import version_table

PUBLIC = "public"

# Of each revision. A host may have tables of these names, but not with these columns.
_COLUMNS = {
    ("users", "canonical"),
    ("chats", "lo_id"),
    ("messages", "seq"),
    ("alembic_version", "version_num"),
}

_IN_SCHEMA = text(
    """
    SELECT c.relname, a.attname FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
        AND c.relname IN ('users', 'chats', 'messages', 'alembic_version')
    """
)
# By the order of the `search_path`: a host's table may hide chatcore's.
_IN_PATH = text(
    """
    SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relname = 'alembic_version' AND n.nspname = ANY(current_schemas(false))
    ORDER BY array_position(current_schemas(false), n.nspname)
    """
)
_SET_PATH = text("SELECT set_config('search_path', :path, true)")
_EXISTS = text("SELECT 1 FROM pg_namespace WHERE nspname = :schema")
_MAY_CREATE = text("SELECT has_database_privilege(current_database(), 'CREATE')")

# Partitions do not follow their table. Indexes and sequences of columns do.
_TO_MOVE = text(
    """
    WITH RECURSIVE moved AS (
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relname IN :names AND c.relkind IN ('r', 'p')
        UNION SELECT i.inhrelid FROM pg_inherits AS i JOIN moved ON moved.oid = i.inhparent
    )
    SELECT c.relname FROM moved JOIN pg_class AS c ON c.oid = moved.oid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = :schema ORDER BY c.oid
    """
).bindparams(bindparam("names", expanding=True))

# Owners of the tables, and roles with privileges on them; 0 is PUBLIC.
_ROLES = text(
    """
    SELECT DISTINCT CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
        LATERAL (SELECT c.relowner UNION SELECT grantee FROM aclexplode(c.relacl)) AS roles (role)
    WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')
    """
)

# Of a table, as privileges and the roles that have them, the owner included.
_PRIVILEGES = text(
    """
    SELECT privilege,
        CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
        LATERAL (
            SELECT 'ALL', c.relowner UNION SELECT privilege_type, grantee FROM aclexplode(c.relacl)
        ) AS granted (privilege, role)
    WHERE n.nspname = :schema AND c.relname = :name
    """
)


class Place(NamedTuple):
    """The schema for the tables, and the schema that they must be moved from, if any."""

    schema: str
    move_from: str | None = None


def place_of(connection: Connection, named: str | None) -> Place:
    """The schema with this name; without a name, DEFAULT_SCHEMA, or the schema outside `public` in
    which the `search_path` finds a store.

    Tables that it finds in `public` are to be moved. Raises CannotOpen if both `public` and
    DEFAULT_SCHEMA hold a store.
    """
    if named is not None:
        return Place(named)
    in_path = connection.scalars(_IN_PATH).all()
    stores = (schema for schema in in_path if holds_store(connection, schema))
    found = next(stores, DEFAULT_SCHEMA)
    if found != PUBLIC:
        return Place(found)
    if holds_store(connection, DEFAULT_SCHEMA):
        raise CannotOpen(
            f"the schemas {PUBLIC} and {DEFAULT_SCHEMA} both hold tables of chatcore: "
            "set CHATCORE_SCHEMA to one of them"
        )
    return Place(DEFAULT_SCHEMA, PUBLIC)


def holds_store(connection: Connection, schema: str) -> bool:
    """Whether the schema holds the tables of a store, of any version."""
    found = {tuple(row) for row in connection.execute(_IN_SCHEMA, {"schema": schema})}
    return found >= _COLUMNS


def create_schema(connection: Connection, schema: str) -> None:
    """Create the schema unless it exists. Raises CannotOpen without the privilege."""
    if connection.scalar(_EXISTS, {"schema": schema}):
        return
    if not connection.scalar(_MAY_CREATE):
        raise CannotOpen(
            f"permission denied to create the schema {schema}: let an administrator run "
            f"CREATE SCHEMA {quoted(schema)} AUTHORIZATION and the name of the role, or set "
            "CHATCORE_SCHEMA to a schema that exists"
        )
    connection.exec_driver_sql(f"CREATE SCHEMA {quoted(schema)}")


def move(connection: Connection, source: str, target: str) -> None:
    """Move the tables of a store, with their indexes, sequences, rows and privileges.

    The version row stays behind as a mark, which versions from before the move refuse to open.
    """
    create_schema(connection, target)
    names = connection.scalars(_TO_MOVE, {"schema": source, "names": [*TABLES]})
    for name in names.all():
        connection.exec_driver_sql(
            f"ALTER TABLE {quoted(source)}.{quoted(name)} SET SCHEMA {quoted(target)}"
        )
    mark, versions = version_table(source), version_table(target)
    versions.create(connection)
    connection.execute(versions.insert().from_select(["version_num"], mark.select()))
    connection.execute(mark.update().values(version_num=f"moved to {target}"))
    of_mark = connection.execute(_PRIVILEGES, {"schema": source, "name": mark.name})
    for privilege, role in of_mark.all():
        connection.exec_driver_sql(
            f"GRANT {privilege} ON {quoted(target)}.{quoted(versions.name)} TO {role}"
        )
    for role in connection.scalars(_ROLES, {"schema": target}).all():
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {quoted(target)} TO {role}")


@contextmanager
def search_path(connection: Connection, schema: str) -> Iterator[None]:
    """Let unqualified names mean tables of the schema, until the context or the transaction
    ends."""
    before = connection.scalar(text("SELECT current_setting('search_path')"))
    set_search_path(connection, schema)
    yield
    # After an exception the transaction is aborted, which undoes the setting.
    connection.execute(_SET_PATH, {"path": before})


def set_search_path(connection: Connection, schema: str) -> None:
    """Let unqualified names mean tables of the schema until the end of the transaction."""
    connection.execute(_SET_PATH, {"path": quoted(schema)})
