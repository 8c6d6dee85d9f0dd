"""The stored numbers and wire names of events: databases and clients rely on them for ever."""

from typing import get_args

from chatcore import ChatOpened, Event, MarkerMoved, MessageSent, Reset
from chatcore.events import KINDS, TAGS, Entry
from chatcore_litestar.v1.items import EventItem
from chatcore_sqlalchemy.schema import HI_READ, LO_READ, OPENED, SENT


def test_kinds_and_tags_never_change() -> None:
    assert dict(KINDS) == {ChatOpened: 0, MessageSent: 1, MarkerMoved: 2}
    assert (OPENED, SENT, LO_READ, HI_READ) == (0, 1, 2, 3)
    assert dict(TAGS) == {
        ChatOpened: "chat",
        MessageSent: "message",
        MarkerMoved: "read",
        Reset: "reset",
    }


def test_every_event_has_a_tag_and_every_entry_a_kind() -> None:
    assert set(TAGS) == set(get_args(Event))
    assert set(KINDS) == set(get_args(Entry))
    tags = {item.__struct_config__.tag for item in get_args(EventItem)}
    assert tags == set(TAGS.values())
