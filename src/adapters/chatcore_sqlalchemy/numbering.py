"""Numbers the messages of a batch, given the state of their chats in the database."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from chatcore.errors import ChatNotFound, KeyReused, Refused
from chatcore.model import Message, Sent
from chatcore_sqlalchemy.group_commit import Append
from chatcore_sqlalchemy.queries.messages import is_same_request
from chatcore_sqlalchemy.schema import SENT


class Numbered(NamedTuple):
    """The outcomes of a batch, and the rows to write for it."""

    outcomes: list[Sent | Refused]
    """An outcome for each message, in order."""
    messages: list[tuple[Any, ...]]
    """chat_id, seq, sender_id, text, sent_us, idempotency_key, lo_sent, digest"""
    events: list[tuple[int, ...]]
    """user_id, n, kind, chat_id, seq, at_us"""
    chats: Iterable[tuple[int, ...]]
    """last_seq, lo_sent, activity, id: the new values of the chat with that id"""


def number(
    batch: Sequence[Append],
    chats: Iterable[Sequence[Any]],
    replays: Iterable[Sequence[Any]],
) -> Numbered:
    """Give each message of the batch, except replays and refused ones, its number.

    Rows of `chats`: id, lo_id, hi_id, last_seq, lo_sent, the number of the newest event of each of
    the two users, the newest activity of any chat of either, and why the chat is closed (0 if it
    is open). Rows of `replays`, the messages stored before with a key of the batch: chat_id, seq,
    sender_id, text, sent_us, idempotency_key, digest.
    """
    pairs: dict[int, tuple[int, int]] = {}
    counts: dict[int, tuple[int, int]] = {}
    newest: dict[int, int] = {}
    ends: dict[int, int] = {}
    closed: set[int] = set()
    for chat_id, lo_id, hi_id, last_seq, lo_sent, lo_end, hi_end, activity, reasons in chats:
        pairs[chat_id] = lo_id, hi_id
        counts[chat_id] = last_seq, lo_sent
        ends[lo_id], ends[hi_id] = lo_end, hi_end
        for user_id in (lo_id, hi_id):
            newest[user_id] = max(newest.get(user_id, 0), activity)
        if reasons:
            closed.add(chat_id)
    known = {(row[0], row[2], row[5]): (Message(*row[:5]), row[6]) for row in replays}

    outcomes: list[Sent | Refused] = []
    messages: list[tuple[Any, ...]] = []
    events: list[tuple[int, ...]] = []
    raised: dict[int, tuple[int, ...]] = {}
    for new, digest in batch:
        chat_id, sender_id, key = new.chat_id, new.sender_id, new.idempotency_key
        pair = pairs.get(chat_id)
        if pair is None or sender_id not in pair:
            outcomes.append(ChatNotFound())
            continue
        if key is not None and (found := known.get((chat_id, sender_id, key))):
            same = is_same_request(new, digest, *found)
            outcomes.append(Sent(found[0], replayed=True) if same else KeyReused())
            continue
        if chat_id in closed:
            outcomes.append(ChatNotFound())
            continue
        last_seq, lo_sent = counts[chat_id]
        seq, lo_sent = counts[chat_id] = last_seq + 1, lo_sent + (sender_id == pair[0])
        message = Message(chat_id, seq, sender_id, new.text, new.sent_us)
        if key is not None:
            known[chat_id, sender_id, key] = message, digest
        outcomes.append(Sent(message, replayed=False))
        messages.append((*message, key, lo_sent, digest))
        for user_id in pair:
            n = ends[user_id] = ends[user_id] + 1
            events.append((user_id, n, SENT, chat_id, seq, new.sent_us))
        activity = 1 + max(newest[user_id] for user_id in pair)
        newest.update(dict.fromkeys(pair, activity))
        raised[chat_id] = seq, lo_sent, activity, chat_id
    return Numbered(outcomes, messages, events, raised.values())


def keys_of(batch: Iterable[Append]) -> set[tuple[int, int, str]]:
    """The chat, sender and key of each message with a key."""
    return {
        (new.chat_id, new.sender_id, new.idempotency_key)
        for new, _ in batch
        if new.idempotency_key is not None
    }
