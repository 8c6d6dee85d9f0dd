"""The rules of message texts, idempotency keys and times."""

import copy
import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatcore import (
    Chat,
    ChatNotFound,
    HostKey,
    InvalidKey,
    InvalidText,
    Message,
    NewMessage,
    User,
)
from chatcore.model import to_microseconds

SECRET = bytes(range(32))
WHITE_SPACE = " \t\n\r\v\f\x1c\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u3000"


def new_message(text: str = "hello", key: str | None = None) -> NewMessage:
    return NewMessage(1, 2, text, 3, key)


@pytest.mark.parametrize(
    "text",
    [
        *("x", "0", " x ", "\nx", "\x01", "\x7f", "\u200b", "\ufeff", "\ufffd", "\uffff", "\u0301"),
        *("x" * 4096, "😀" * 4096, "\ufdfa" * 4096, " " * 4095 + "x"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_valid_text_is_kept_unchanged(text: str) -> None:
    assert new_message(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "x" * 4097, "😀" * 4097, "e\u0301" * 2048 + "x"),
        *(" ", *WHITE_SPACE, WHITE_SPACE, " " * 4096),
        *("\0", "a\0", "\ud800", "a\udfff", "\ud83d\ude00"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_invalid_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidText):
        new_message(text)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_every_text_of_more_than_white_space_is_accepted(text: str) -> None:
    if text.strip():
        assert new_message(text).text == text


@pytest.mark.parametrize("key", ["k", "!", "~", '"', "\\", "x" * 128, None], ids=ascii)
def test_valid_key_is_kept_unchanged(key: str | None) -> None:
    assert new_message(key=key).idempotency_key == key


@pytest.mark.parametrize(
    "key", ["", "x" * 129, " ", "a b", "a ", "\t", "\0", "\x7f", "é", "ключ", "\ud800"], ids=ascii
)
def test_invalid_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidKey):
        new_message(key=key)


def test_submitted_text_keeps_the_rules_of_texts() -> None:
    assert NewMessage(1, 2, "rewritten", 3, "key", "hello").submitted == "hello"
    for text, submitted in (("", "hello"), ("x" * 4097, "hello"), ("hello", ""), ("x", "\ud800")):
        with pytest.raises(InvalidText):
            NewMessage(1, 2, text, 3, "key", submitted)


def digest(key: str, text: str, submitted: str | None = None) -> bytes | None:
    return NewMessage(1, 2, text, 3, key, submitted).digest(SECRET)


def test_digest_never_changes() -> None:
    """Databases hold digests, so these bytes are what every version computes."""
    wanted = "96344eaba6a788c7322448837ac7491acbfd81df80df092702aacdf350acd16c"
    found = digest("key", "hello, Мир")
    assert found
    assert found.hex() == wanted
    assert new_message(key=None).digest(SECRET) is None


def test_digest_is_that_of_the_request() -> None:
    found = digest("key", "hello")
    assert NewMessage(9, 8, "hello", 7, "key").digest(SECRET) == found
    assert digest("key", "rewritten", "hello") == found
    # Another text, key, boundary between the two, secret.
    others = [digest("key", "hello "), digest("k", "hello"), digest("ke", "yhello")]
    others.append(NewMessage(1, 2, "hello", 3, "key").digest(b"another secret"))
    assert len({found, *others}) == 5


def test_host_key_is_outside_the_alphabet_of_clients() -> None:
    key = HostKey("outbox", "a-1")
    assert key == " outbox a-1"
    assert new_message(key=key).idempotency_key == key
    with pytest.raises(InvalidKey):
        new_message(key=str(key))


def test_host_key_survives_copies() -> None:
    key = HostKey("import", "a-1")
    for made in (copy.copy(key), copy.deepcopy(key), pickle.loads(pickle.dumps(key))):  # noqa: S301
        assert made == key
        assert isinstance(made, HostKey)
    assert dataclasses.replace(new_message(key=key), text="other").idempotency_key == key


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", " ", "é", "\0"], ids=ascii)
def test_invalid_name_of_a_host_key_is_refused(name: str) -> None:
    with pytest.raises(InvalidKey):
        HostKey("host", name)


def test_unknown_purpose_of_a_host_key_is_refused() -> None:
    with pytest.raises(ValueError, match="not the purpose"):
        HostKey("client", "k")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=14))),
    ],
    ids=str,
)
def test_a_time_is_kept_to_the_microsecond_and_shown_in_utc(moment: datetime) -> None:
    shown = Message(1, 1, 1, "hello", to_microseconds(moment)).sent_at
    assert shown == moment
    assert shown.tzinfo is UTC


def test_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        to_microseconds(datetime(2026, 1, 1))  # noqa: DTZ001


def test_chat_knows_the_peer_and_the_sender() -> None:
    ann, bob, eve = (User(n, name, name) for n, name in enumerate(("ann", "bob", "eve"), 1))
    chat = Chat(1, (ann, bob))
    assert chat.peer_of(ann) == bob
    assert chat.peer_of(bob) == ann
    for user in (ann, bob):
        assert chat.sender_of(Message(1, 1, user.id, "hello", 0)) == user
    with pytest.raises(ChatNotFound):
        chat.peer_of(eve)
