"""Messages: pages, and the newest number of a chat."""

from functools import partial

from sqlalchemy import bindparam, select

from chatcore.model import Message
from chatcore_sqlalchemy.queries.parameters import CHAT_ID, LIMIT
from chatcore_sqlalchemy.schema import chats, messages

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

# Like Message._make, but without a Python call for each row.
message_of = partial(tuple.__new__, Message)
"""Decodes a row of MESSAGE."""
