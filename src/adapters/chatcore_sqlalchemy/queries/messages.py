"""Messages: their pages, and the number of the newest."""

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
"""What `message_of` decodes."""

LAST_SEQ = select(chats.c.last_seq).where(chats.c.id == CHAT_ID)
_page = select(*MESSAGE).where(messages.c.chat_id == CHAT_ID)
MESSAGES_AFTER = (
    _page.where(messages.c.seq > bindparam("seq")).order_by(messages.c.seq).limit(LIMIT)
)
MESSAGES_BEFORE = (
    _page.where(messages.c.seq < bindparam("seq")).order_by(messages.c.seq.desc()).limit(LIMIT)
)

# What Message._make does, without a call into Python for each row.
message_of = partial(tuple.__new__, Message)
"""The message of a row of MESSAGE."""
