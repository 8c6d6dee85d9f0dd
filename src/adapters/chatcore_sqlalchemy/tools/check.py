"""Looks for faults in what a database holds, and changes nothing."""

from collections.abc import Callable

from chatcore_sqlalchemy.engines import Query, engine_of
from chatcore_sqlalchemy.errors import Damaged
from chatcore_sqlalchemy.tools.check_rules import RULES_OF, Rule

MOST_FAULTS = 20
"""Of one kind, that are told one by one."""

COUNTED = ("users", "chats", "messages", "events")

Found = Callable[[str], None]
"""Gets a line for each fault."""

Tell = Callable[[str, int, int], None]
"""What is looked at next, its number, and of how many."""


async def check_database(url: str, found: Found, tell: Tell) -> dict[str, int]:
    """Look at everything, as it is at one moment, whoever writes to it meanwhile. Returns how
    many rows the tables have.

    Memory does not grow with them: what has to be sorted goes to the disk. Raises CannotOpen,
    also when the schema is not the one of this version.
    """
    engine = engine_of(url)
    rules = RULES_OF[engine.name]
    async with engine.inspect() as query:
        for number, rule in enumerate(rules, 1):
            tell(rule.what, number, len(rules))
            await _look(query, rule, found)
        counts = {}
        for table in COUNTED:
            try:
                ((counts[table],),) = await query(f"SELECT count(*) FROM {table}")  # noqa: S608
            except Damaged as error:
                found(f"cannot count {table}: {error}")
        return counts


async def _look(query: Query, rule: Rule, found: Found) -> None:
    try:
        rows = await query(f"{rule.query} LIMIT {MOST_FAULTS + 1}")
    except Damaged as error:
        found(f"cannot look at {rule.what}: {error}")
        return
    for row in rows[:MOST_FAULTS]:
        found(rule.fault.format(*row))
    if len(rows) > MOST_FAULTS:
        found(f"… and more about {rule.what}")
