"""chatcore: a one-to-one chat engine to embed.

`Accounts` registers users and knows them by their tokens; `Messenger` opens chats, sends
and reads. Both work on ports (`chatcore.ports`) that adapters implement. Nothing here
imports anything but the standard library.
"""

from chatcore.accounts import Accounts, Session
from chatcore.errors import (
    ChatcoreError,
    ChatExists,
    ChatNotFound,
    InvalidKey,
    InvalidName,
    InvalidPage,
    InvalidPassword,
    InvalidText,
    InvalidToken,
    KeyReused,
    NameTaken,
    Overloaded,
    Refused,
    SelfChat,
    StoreUnavailable,
    Unavailable,
    UserNotFound,
    WrongCredentials,
)
from chatcore.messenger import Messenger, Page
from chatcore.model import Chat, ChatSummary, Clock, Message, NewMessage, Sent, User
from chatcore.names import UserName, canonical_name

__all__ = [
    "Accounts",
    "Chat",
    "ChatExists",
    "ChatNotFound",
    "ChatSummary",
    "ChatcoreError",
    "Clock",
    "InvalidKey",
    "InvalidName",
    "InvalidPage",
    "InvalidPassword",
    "InvalidText",
    "InvalidToken",
    "KeyReused",
    "Message",
    "Messenger",
    "NameTaken",
    "NewMessage",
    "Overloaded",
    "Page",
    "Refused",
    "SelfChat",
    "Sent",
    "Session",
    "StoreUnavailable",
    "Unavailable",
    "User",
    "UserName",
    "UserNotFound",
    "WrongCredentials",
    "canonical_name",
]
