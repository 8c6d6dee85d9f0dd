"""Everything that chatcore refuses or fails at.

    ChatcoreError
    ├── Refused                 a rule says no; asking again changes nothing
    │   ├── InvalidName         a user name outside the rules
    │   ├── InvalidPassword     a password outside the rules
    │   ├── InvalidText         a message text outside the rules
    │   ├── InvalidKey          an idempotency key outside the rules
    │   ├── InvalidPage         a cursor or limit outside its range
    │   ├── InvalidSeq          a message's number outside its range
    │   ├── NameTaken           a user of that canonical name exists
    │   ├── ChatExists          the two users have a chat already
    │   ├── SelfChat            a chat needs two different users
    │   ├── KeyReused           the idempotency key came before, with another text
    │   ├── UserNotFound        no such user
    │   ├── ChatNotFound        no such chat, the asker is not in it, or it takes no message
    │   ├── MessageNotFound     the chat has no message of that number
    │   ├── WrongCredentials    no user of that name with that password
    │   └── InvalidToken        expired, void, forged, malformed, or its user is gone
    └── Unavailable             not now; the same request may succeed later
        ├── Overloaded          refused before anything was done
        ├── TooManyAttempts     whoever asks has guessed, or registered, too often
        └── StoreUnavailable    the store failed; a write may or may not have happened

Adapters raise these and nothing else for what their port's docstring names. Each class
has a `code`, a word that never changes, for whoever translates errors to a protocol.
"""

from typing import ClassVar


class ChatcoreError(Exception):
    """Base of everything in this module."""

    code: ClassVar[str] = "error"


class Refused(ChatcoreError):
    """A rule says no. Nothing has changed, and asking again gets the same answer."""

    code = "refused"


class InvalidName(Refused):
    """The user name is outside the rules of `UserName`."""

    code = "invalid_name"


class InvalidPassword(Refused):
    """The password is outside the rules of `Accounts.register`."""

    code = "invalid_password"


class InvalidText(Refused):
    """The message text is outside the rules of `NewMessage`."""

    code = "invalid_text"


class InvalidKey(Refused):
    """The idempotency key is outside the rules of `NewMessage`."""

    code = "invalid_key"


class InvalidPage(Refused):
    """A cursor or a limit is outside the range that the method promises."""

    code = "invalid_page"


class InvalidSeq(Refused):
    """The number is none that a message can have."""

    code = "invalid_seq"


class NameTaken(Refused):
    """A user with the same canonical name exists."""

    code = "name_taken"


class ChatExists(Refused):
    """The two users have a chat already, whoever of them opened it."""

    code = "chat_exists"


class SelfChat(Refused):
    """A chat, and a block, need two different users."""

    code = "self_chat"


class KeyReused(Refused):
    """The sender used this idempotency key in this chat before, with another text."""

    code = "key_reused"


class UserNotFound(Refused):
    """There is no such user, or none to open a chat with: a block is not told apart."""

    code = "user_not_found"


class ChatNotFound(Refused):
    """There is no such chat, the asker is not in it, or it takes no message, because one of the
    two blocks the other or was erased; which of these is not told."""

    code = "chat_not_found"


class MessageNotFound(Refused):
    """The chat has no message of that number."""

    code = "message_not_found"


class WrongCredentials(Refused):
    """No user has that name and that password; which of the two is wrong is not told."""

    code = "wrong_credentials"


class InvalidToken(Refused):
    """The token is expired, void, forged or malformed, or its user no longer exists."""

    code = "invalid_token"


class Unavailable(ChatcoreError):
    """Not now: the same request may succeed after `retry_after` seconds."""

    code = "unavailable"
    retry_after: int = 1


class Overloaded(Unavailable):
    """A queue is full. Refused before anything was done."""

    code = "overloaded"


class TooManyAttempts(Unavailable):
    """Whoever asks has guessed passwords, or registered, too often. Refused before anything was
    looked at: the right password makes no difference."""

    code = "too_many_attempts"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts; the next one in {retry_after} seconds")
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The store failed. Whether a write that was under way happened is not known;
    a send with an idempotency key can be repeated safely."""

    code = "store_unavailable"
