"""The ports: interfaces that chatcore needs, and their promises.

Adapters implement these Protocols; they need not inherit from them. Errors are nominal:
an adapter raises the classes of `chatcore.errors`. `chatcore.testing` checks the promises.

Promises of every store method:

- It is one atomic step: concurrent callers, in this process or in another that shares the
  store, see all of it or nothing.
- When it returns, its write is durable (as far as the store is durable at all) and visible to
  every later call.
- A refusal changes nothing.
- It raises StoreUnavailable if the store fails, and Overloaded if the store takes no more work.
  After StoreUnavailable from a writing method, the write happened or did not.
- A cancelled caller leaves a whole step: it happens completely or not at all.

A store that may lose what it had acknowledged, as when a standby without the newest writes takes
over, may have a method `on_failover(forget)`. It calls `forget`, on its event loop, whenever that
may have happened; then the caches of `Messenger` and of the routes are emptied. Other stores need
no such method.

Ids are positive integers below 2**63 and are never reused. An unknown id or key is no error
unless the method says so. Times are microseconds since 1970-01-01 UTC.

A key is the text that identifies a user among all realms: the canonical name of a user with an
account, and for a host's user the realm, U+001F and the handle (`User.key`). Stores keep keys as
they are, compare them byte for byte, and make users of them with `chatcore.user_of`.

An adapter implements as many of the ports as it serves. `Messenger` works on a ChatStore, with a
realm on one that is a People, too; `Accounts` works on an AccountStore. Both are combinations.
HostTransactions and its BoundStore let sends share a transaction of the host.
"""

from chatcore.ports.authenticators import Authenticator, RequestHead, Session
from chatcore.ports.chats import MAX_PAGE, BlockList, ChatStore, Conversations, EventLog
from chatcore.ports.services import Claims, Doorbell, PasswordHasher, Policy, TokenIssuer
from chatcore.ports.sessions import DeviceSession, NewSession, Renewal, Renewed, SessionStore
from chatcore.ports.transactions import BoundStore, HostTransactions
from chatcore.ports.users import (
    AccountStore,
    Credentials,
    CredentialStore,
    Directory,
    Erasure,
    People,
    Put,
)

__all__ = [
    "MAX_PAGE",
    "AccountStore",
    "Authenticator",
    "BlockList",
    "BoundStore",
    "ChatStore",
    "Claims",
    "Conversations",
    "CredentialStore",
    "Credentials",
    "DeviceSession",
    "Directory",
    "Doorbell",
    "Erasure",
    "EventLog",
    "HostTransactions",
    "NewSession",
    "PasswordHasher",
    "People",
    "Policy",
    "Put",
    "Renewal",
    "Renewed",
    "RequestHead",
    "Session",
    "SessionStore",
    "TokenIssuer",
]
