"""Every error that chatcore raises.

    ChatcoreError
    ├── Refused                 a rule says no; a retry gets the same answer
    │   ├── InvalidName         a user name outside the rules
    │   ├── InvalidHandle       a handle outside the rules
    │   ├── InvalidPassword     a password outside the rules
    │   ├── InvalidText         a message text outside the rules
    │   ├── InvalidKey          an idempotency key outside the rules
    │   ├── InvalidPage         a cursor or limit outside its range
    │   ├── InvalidSeq          a message's number outside its range
    │   ├── NameTaken           a user of that canonical name exists
    │   ├── ChatExists          the two users have a chat already
    │   ├── SelfChat            a chat needs two different users
    │   ├── KeyReused           the idempotency key was used with another text
    │   ├── UserNotFound        no such user
    │   ├── UserErased          the user with that handle was erased
    │   ├── ChatNotFound        no such chat, the user is not in it, or it is closed
    │   ├── MessageNotFound     the chat has no message of that number
    │   ├── InvalidDevice       a device's name outside the rules
    │   ├── SessionNotFound     the user has no such device session
    │   ├── PolicyRefused       the host's policy refuses the chat or the message
    │   ├── WrongCredentials    no user of that name with that password
    │   └── InvalidToken        expired, void, forged, malformed, or its user is erased
    └── Unavailable             not now; a retry may succeed
        ├── Overloaded          refused before any work was done
        ├── TooManyAttempts     too many guesses or registrations from this client
        ├── AuthenticationUnavailable   the host's login cannot be asked; nothing happened
        ├── PolicyUnavailable   the host's policy failed or was late; nothing happened
        └── StoreUnavailable    the store failed; a write may or may not have happened

Adapters raise exactly these classes where their port's docstring names them. Each class has a
`code`, a word that never changes, for adapters that translate errors to a protocol; a PolicyRefused
has the code that the policy gave.
"""


class ChatcoreError(Exception):
    """The base class of all errors of chatcore."""

    code: str = "error"


class Refused(ChatcoreError):
    """A rule says no. Nothing changed, and a retry gets the same answer, except for PolicyRefused,
    whose policy may change its mind."""

    code = "refused"


class InvalidName(Refused):
    """The user name is outside the rules of `UserName`, or of `Person`."""

    code = "invalid_name"


class InvalidHandle(Refused):
    """The handle is outside the rules of `Person`."""

    code = "invalid_handle"


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
    """The number is outside the range of message numbers."""

    code = "invalid_seq"


class NameTaken(Refused):
    """A user with the same canonical name exists."""

    code = "name_taken"


class ChatExists(Refused):
    """The two users have a chat already; either of them may have opened it."""

    code = "chat_exists"


class SelfChat(Refused):
    """A chat or a block needs two different users."""

    code = "self_chat"


class KeyReused(Refused):
    """The sender used this idempotency key in this chat before, for another message."""

    code = "key_reused"


class UserNotFound(Refused):
    """There is no such user, or a block or an erasure forbids the chat; the error does not say
    which."""

    code = "user_not_found"


class UserErased(Refused):
    """The user with this handle was erased; the handle is never given again."""

    code = "user_erased"


class ChatNotFound(Refused):
    """There is no such chat, the user is not in it, or it is closed, because one of the
    two blocks the other or was erased; the error does not say which."""

    code = "chat_not_found"


class MessageNotFound(Refused):
    """The chat has no message of that number."""

    code = "message_not_found"


class InvalidDevice(Refused):
    """The name of the device is outside the rules of `Devices.sign_in`."""

    code = "invalid_device"


class SessionNotFound(Refused):
    """The user has no device session with that id."""

    code = "session_not_found"


class PolicyRefused(Refused):
    """The host's policy refuses to open the chat or to send the message, for the reason `code`. A
    later attempt may get another answer."""

    code = "policy_refused"

    def __init__(self, code: str) -> None:
        super().__init__(f"refused by the policy: {code}")
        self.code = code

    def __reduce__(self) -> tuple[type["PolicyRefused"], tuple[str]]:
        # Copies are made of the code, not of the text.
        return PolicyRefused, (self.code,)


class WrongCredentials(Refused):
    """No user has this name and this password; the error does not say which is wrong."""

    code = "wrong_credentials"


class InvalidToken(Refused):
    """The token is expired, void, forged or malformed, or its user no longer exists."""

    code = "invalid_token"


class Unavailable(ChatcoreError):
    """Not now: a retry may succeed after `retry_after` seconds."""

    code = "unavailable"
    retry_after: int = 1


class Overloaded(Unavailable):
    """A queue is full. Refused before any work was done."""

    code = "overloaded"


class TooManyAttempts(Unavailable):
    """Too many guesses of passwords, or registrations, from this client. Refused before the
    password is checked: even the right one is refused."""

    code = "too_many_attempts"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many attempts; retry in {retry_after} seconds")
        self.retry_after = retry_after


class AuthenticationUnavailable(Unavailable):
    """The host's login, or the issuer of its tokens, cannot be asked. Nothing was done. The
    authenticator logs the cause."""

    code = "authentication_unavailable"
    retry_after = 5


class PolicyUnavailable(Unavailable):
    """The host's policy failed, was late, or gave an answer that it may not give. Nothing was
    stored."""

    code = "policy_unavailable"


class StoreUnavailable(Unavailable):
    """The store failed. The outcome of a write in progress is unknown: it happened or did not. A
    send with an idempotency key is safe to retry."""

    code = "store_unavailable"
