"""chatcore: a one-to-one chat engine to embed.

`Accounts` registers users and authenticates them by their tokens; `Messenger` opens chats, sends
and reads. Both work on ports (`chatcore.ports`) that adapters implement. The core imports
nothing but the standard library.
"""

from chatcore.accounts import Accounts
from chatcore.bearer import BearerTokens
from chatcore.bound import BoundMessenger, Outgoing
from chatcore.changes import Changes
from chatcore.devices import Devices, DeviceTokens
from chatcore.doorbell import LocalDoorbell
from chatcore.errors import (
    AuthenticationUnavailable,
    ChatcoreError,
    ChatExists,
    ChatNotFound,
    InvalidDevice,
    InvalidHandle,
    InvalidKey,
    InvalidName,
    InvalidPage,
    InvalidPassword,
    InvalidSeq,
    InvalidText,
    InvalidToken,
    KeyReused,
    MessageNotFound,
    NameTaken,
    Overloaded,
    PolicyRefused,
    PolicyUnavailable,
    Refused,
    SelfChat,
    SessionNotFound,
    StoreUnavailable,
    TooManyAttempts,
    Unavailable,
    UserErased,
    UserNotFound,
    WrongCredentials,
)
from chatcore.events import ChatOpened, Cursor, Event, MarkerMoved, MessageSent, Reset
from chatcore.following import Following
from chatcore.guessing import Guard
from chatcore.handles import Person
from chatcore.messenger import Messenger
from chatcore.model import (
    Chat,
    ChatState,
    ChatSummary,
    Clock,
    HostKey,
    Message,
    NewMessage,
    Sent,
    User,
    user_of,
)
from chatcore.names import UserName, canonical_name
from chatcore.policy import Actor, Allow, Draft, Refuse, Rewrite
from chatcore.ports import DeviceSession, RequestHead, Session
from chatcore.results import Opened, Page, Snapshot

__all__ = [
    "Accounts",
    "Actor",
    "Allow",
    "AuthenticationUnavailable",
    "BearerTokens",
    "BoundMessenger",
    "Changes",
    "Chat",
    "ChatExists",
    "ChatNotFound",
    "ChatOpened",
    "ChatState",
    "ChatSummary",
    "ChatcoreError",
    "Clock",
    "Cursor",
    "DeviceSession",
    "DeviceTokens",
    "Devices",
    "Draft",
    "Event",
    "Following",
    "Guard",
    "HostKey",
    "InvalidDevice",
    "InvalidHandle",
    "InvalidKey",
    "InvalidName",
    "InvalidPage",
    "InvalidPassword",
    "InvalidSeq",
    "InvalidText",
    "InvalidToken",
    "KeyReused",
    "LocalDoorbell",
    "MarkerMoved",
    "Message",
    "MessageNotFound",
    "MessageSent",
    "Messenger",
    "NameTaken",
    "NewMessage",
    "Opened",
    "Outgoing",
    "Overloaded",
    "Page",
    "Person",
    "PolicyRefused",
    "PolicyUnavailable",
    "Refuse",
    "Refused",
    "RequestHead",
    "Reset",
    "Rewrite",
    "SelfChat",
    "Sent",
    "Session",
    "SessionNotFound",
    "Snapshot",
    "StoreUnavailable",
    "TooManyAttempts",
    "Unavailable",
    "User",
    "UserErased",
    "UserName",
    "UserNotFound",
    "WrongCredentials",
    "canonical_name",
    "user_of",
]
