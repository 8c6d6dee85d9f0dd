"""Checks the contents of a database for faults, and changes nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from chatcore_sqlalchemy.engines import Query, engine_of
from chatcore_sqlalchemy.errors import Damaged
from chatcore_sqlalchemy.tools.check_rules import RULES_OF, Rule

if TYPE_CHECKING:
    from chatcore_sqlalchemy.postgres.pooler import Pooler

MOST_FAULTS = 20
"""The most faults of one rule that are reported."""

COUNTED = ("users", "chats", "messages", "events")

Found = Callable[[str], None]
"""Takes a line for each fault."""

Progress = Callable[[str, int, int], None]
"""Takes the subject of the next rule, the rule's number, and the number of rules."""


async def check_database(
    url: str,
    found: Found,
    progress: Progress,
    *,
    schema: str | None = None,
    pooler: "Pooler | None" = None,
) -> dict[str, int]:
    """Check all rows as they are at one moment, while services may write. Returns the number of
    rows of each table.

    Memory does not grow with the tables: large sorts spill to the disk. Raises CannotOpen, also
    unless the schema is that of this version.
    """
    engine = engine_of(url, schema, pooler)
    rules = RULES_OF[engine.name]
    async with engine.inspect() as query:
        for number, rule in enumerate(rules, 1):
            progress(rule.subject, number, len(rules))
            await _apply(query, rule, found)
        counts = {}
        for table in COUNTED:
            try:
                ((counts[table],),) = await query(f"SELECT count(*) FROM {table}")  # noqa: S608
            except Damaged as error:
                found(f"cannot count {table}: {error}")
        return counts


async def _apply(query: Query, rule: Rule, found: Found) -> None:
    try:
        rows = await query(f"{rule.query} LIMIT {MOST_FAULTS + 1}")
    except Damaged as error:
        found(f"cannot check {rule.subject}: {error}")
        return
    for row in rows[:MOST_FAULTS]:
        found(rule.fault.format(*row))
    if len(rows) > MOST_FAULTS:
        found(f"… and more about {rule.subject}")
