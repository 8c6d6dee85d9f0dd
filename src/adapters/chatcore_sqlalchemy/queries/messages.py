"""Messages: pages, the newest number of a chat, and the message with an idempotency key."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import bindparam, select

from chatcore.errors import KeyReused
from chatcore.model import Message, NewMessage, Sent
from chatcore_sqlalchemy.queries.parameters import CHAT_ID, LIMIT, USER_ID
from chatcore_sqlalchemy.schema import chats, messages, store

MESSAGE = (
    messages.c.chat_id,
    messages.c.seq,
    messages.c.sender_id,
    messages.c.text,
    messages.c.sent_us,
)
"""The columns that `message_of` decodes."""

LAST_SEQ = select(chats.c.last_seq).where(chats.c.id == CHAT_ID)
_page = select(*MESSAGE).where(messages.c.chat_id == CHAT_ID)
MESSAGES_AFTER = (
    _page.where(messages.c.seq > bindparam("seq")).order_by(messages.c.seq).limit(LIMIT)
)
MESSAGES_BEFORE = (
    _page.where(messages.c.seq < bindparam("seq")).order_by(messages.c.seq.desc()).limit(LIMIT)
)

MESSAGE_BY_KEY = select(*MESSAGE, messages.c.digest).where(
    messages.c.chat_id == CHAT_ID,
    messages.c.sender_id == USER_ID,
    messages.c.idempotency_key == bindparam("key"),
)
DIGEST_SECRET = select(store.c.digest_secret).where(store.c.id == 1)

# Like Message._make, but without a Python call for each row.
message_of = partial(tuple.__new__, Message)
"""Decodes a row of MESSAGE."""


def is_same_request(
    new: NewMessage, digest: bytes | None, first: Message, kept: bytes | None
) -> bool:
    """Whether `new`, of this digest, repeats the request that stored `first` and kept its digest
    there."""
    # An older version kept no digest, and stored each text as it was submitted.
    return first.text == (new.submitted or new.text) if kept is None else kept == digest


def replay_of(new: NewMessage, digest: bytes | None, rows: Sequence[Sequence[Any]]) -> Sent | None:
    """Decode the replay of MESSAGE_BY_KEY; None without a row. Raises KeyReused."""
    for *columns, kept in rows:
        first = Message(*columns)
        if not is_same_request(new, digest, first, kept):
            raise KeyReused
        return Sent(first, replayed=True)
    return None
