"""The running nodes, and digests of the keys that each accepts."""

from collections.abc import Callable, Collection

from sqlalchemy import BigInteger, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from chatcore_sqlalchemy.group_commit import Run
from chatcore_sqlalchemy.schema import node_keys, store

REMEMBERED_US = 180_000_000
"""How long a node counts as running after it was seen last, in microseconds."""

_since = bindparam("since_us", type_=BigInteger)
LOCK_STORE = select(store.c.log).where(store.c.id == 1).with_for_update()
DROP_UNSEEN = delete(node_keys).where(node_keys.c.seen_us < _since)
SEEN_NODES = select(node_keys.c.node_id, node_keys.c.digests, node_keys.c.seen_us).where(
    # A time far ahead is of a server whose clock was wrong.
    node_keys.c.seen_us.between(_since, bindparam("until_us", type_=BigInteger))
)
_node = insert(node_keys).values(
    node_id=bindparam("node_id"), digests=bindparam("digests"), seen_us=bindparam("seen_us")
)
SEE_NODE = _node.on_conflict_do_update(
    index_elements=[node_keys.c.node_id],
    set_={"digests": _node.excluded.digests, "seen_us": _node.excluded.seen_us},
)
DROP_NODE = delete(node_keys).where(node_keys.c.node_id == bindparam("node_id"))

DigestsOf = Callable[[str], Collection[str]]
"""Takes the name of the store and returns a digest for each key of the node, without spaces."""


def see_node(run: Run, node_id: str, digests_of: DigestsOf, now_us: int) -> int | None:
    """One step of `SqlNodes.see_node`."""
    # The lock lets nodes that start at the same time see each other.
    ((name,),) = run(LOCK_STORE)
    digests = {*digests_of(name)}
    since_us, until_us = now_us - REMEMBERED_US, now_us + REMEMBERED_US
    run(DROP_UNSEEN, since_us=since_us)
    for other_id, others, seen_us in run(SEEN_NODES, since_us=since_us, until_us=until_us):
        if other_id != node_id and digests.isdisjoint(others.split()):
            return int(seen_us)
    run(SEE_NODE, node_id=node_id, digests=" ".join(sorted(digests)), seen_us=now_us)
    return None
