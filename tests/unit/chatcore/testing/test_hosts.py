"""What a host's test asserts, and what it reads when the assertion fails."""

import pytest

from chatcore import Accounts, Chat, Messenger
from chatcore.testing import TEST_PASSWORD, TwoUsers, assert_not_sent, assert_sent, two_users
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore


@pytest.fixture
def accounts(store: MemoryStore) -> Accounts:
    return Accounts(store, InsecureTestHasher(), InsecureTestTokens())


@pytest.fixture
async def users(accounts: Accounts) -> TwoUsers:
    return await two_users(accounts)


@pytest.fixture
async def chat(messenger: Messenger, users: TwoUsers) -> Chat:
    return await messenger.open_chat(*users)


async def failure(assertion: object) -> str:
    with pytest.raises(AssertionError) as failed:
        await assertion  # type: ignore[misc]
    return str(failed.value)


async def test_two_users_log_in_with_the_password_of_tests(accounts: Accounts) -> None:
    ann, bob = await two_users(accounts, "Ann Lee", "Боб")
    assert (ann.name, bob.name) == ("Ann Lee", "Боб")
    for user in (ann, bob):
        token = await accounts.log_in(user.name, TEST_PASSWORD)
        assert (await accounts.authenticate(token)).user == user


async def test_what_was_sent_is_returned(messenger: Messenger, users: TwoUsers, chat: Chat) -> None:
    ann, bob = users
    await messenger.send(ann, chat, "first")
    second = await messenger.send(ann, chat, "hello")
    third = await messenger.send(ann, chat, "hello")
    await messenger.send(bob, chat, "hello")
    assert await assert_sent(messenger, ann, bob, "hello", times=2) == third != second
    await assert_sent(messenger, bob, ann, "hello")
    await assert_not_sent(messenger, bob, ann, "first")


async def test_without_a_chat_nothing_was_sent(messenger: Messenger, users: TwoUsers) -> None:
    ann, bob = users
    await assert_not_sent(messenger, ann, bob)
    assert await failure(assert_sent(messenger, ann, bob, "hello")) == (
        "expected that Ann sent 'hello' to Bob once, found it not at all\nthey have no chat"
    )


async def test_an_empty_chat_is_named(messenger: Messenger, users: TwoUsers, chat: Chat) -> None:
    assert (await failure(assert_sent(messenger, *users, "hello"))).endswith(
        "their chat has no message"
    )


async def test_failure_lists_what_was_sent_instead(
    messenger: Messenger, users: TwoUsers, chat: Chat
) -> None:
    ann, bob = users
    await messenger.send(ann, chat, "Your order has ship\u200bped")
    await messenger.send(bob, chat, "Your order has shipped")
    assert await failure(assert_sent(messenger, ann, bob, "Your order has shipped")) == (
        "expected that Ann sent 'Your order has shipped' to Bob once, found it not at all\n"
        "the last 2 of 2 messages of their chat:\n"
        "  1 Ann: 'Your order has ship\\u200bped'\n"
        "  2 Bob: 'Your order has shipped'\n"
        "Bob sent this text, not Ann\n"
        "similar: 'Your order has ship\\u200bped'"
    )


async def test_a_doubled_message_fails(messenger: Messenger, users: TwoUsers, chat: Chat) -> None:
    for _ in range(12):
        await messenger.send(users.ann, chat, "hello")
    lines = (await failure(assert_sent(messenger, *users, "hello"))).splitlines()
    assert lines[0] == "expected that Ann sent 'hello' to Bob once, found it 12 times"
    assert lines[1] == "the last 10 of 12 messages of their chat:"
    assert len(lines) == 12


async def test_what_must_not_be_sent_fails(
    messenger: Messenger, users: TwoUsers, chat: Chat
) -> None:
    ann, bob = users
    await messenger.send(ann, chat, "hello")
    for text, unwanted in ((None, "nothing"), ("hello", "no 'hello'")):
        assert await failure(assert_not_sent(messenger, ann, bob, text)) == (
            f"expected that Ann sent {unwanted} to Bob\n"
            "the last 1 of 1 messages of their chat:\n"
            "  1 Ann: 'hello'"
        )
    await assert_not_sent(messenger, bob, ann)


async def test_zero_times_is_refused(messenger: Messenger, users: TwoUsers) -> None:
    with pytest.raises(ValueError, match="use assert_not_sent"):
        await assert_sent(messenger, *users, "hello", times=0)
