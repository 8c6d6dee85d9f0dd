"""The configuration of the plugin."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Literal, Protocol

from litestar.exceptions import ImproperlyConfiguredException
from litestar.openapi.spec import SecurityScheme

from chatcore import Accounts, Clock, Messenger
from chatcore.messenger import KEPT_DAYS, KEPT_EVENTS
from chatcore.model import utc_now
from chatcore.ports import AccountStore, Authenticator, ChatStore, Policy
from chatcore_litestar import Streams
from chatcore_litestar.client import Network


def _takes_arguments(of: type) -> bool:
    """Whether the class has an `__init__` of its own."""
    return any("__init__" in vars(each) for each in of.__mro__[:-1])


class Store(AccountStore, ChatStore, Protocol):
    """The store that both Accounts and Messenger need."""


@dataclass(kw_only=True)
class ChatConfig:
    """What a ChatPlugin serves, and where.

    Give `database_url` or `store`, or a `messenger` of yours; and either `accounts` or an
    `authenticator`. A function in place of an object is called each time the application starts, on
    its event loop, after the host's own lifespan managers have been entered. The plugin closes only
    what it opened.
    """

    database_url: str | None = None
    """The database that the plugin opens and closes: `sqlite:///relative/path`,
    `sqlite:////absolute/path` or `postgresql://user:password@host/database`. One process at a time
    uses a SQLite file. A PostgreSQL database must be at the schema of this version
    (`litestar chat migrate`); processes ring for each other by NOTIFY."""
    schema: str | None = None
    """The schema that holds the tables in a PostgreSQL database; by default `chatcore`."""
    pooler: Literal["transaction"] | None = None
    """For a `database_url` of a pooler in transaction mode, such as PgBouncer. It carries no
    NOTIFY, so give a `messenger` with another doorbell."""
    store: ChatStore | Callable[[], ChatStore] | None = None
    """A store that the host opened."""
    messenger: Messenger | Callable[[Store], Messenger] | None = None
    """A Messenger, or a function that makes it on the store. By default the plugin makes one."""
    accounts: Accounts | Callable[[Store], Accounts] | None = None
    """Accounts of chatcore's own, or a function that makes them on the store."""
    authenticator: Authenticator | Callable[[Messenger], Authenticator] | None = None
    """The authenticator of the host's own users, who need no accounts, or a function or class that
    makes it."""
    origins: Iterable[str] = ()
    """For an ambient authenticator: the origins, besides the service's own, whose pages may send
    requests (`chat_router`)."""

    realm: str = ""
    """The realm of the Messenger that the plugin makes (`chatcore.Messenger`)."""
    policy: Policy | None = None
    """The policy of the Messenger that the plugin makes."""

    path: str = "/chat"
    """The path of all routes, in the host's application."""
    fixed_routes: bool = True
    """Whether the fixed routes are served beside `/v1`: registration and login, if there are
    accounts, and four to list, open, send and read."""
    page: bool = False
    """Whether the page is served at `path`. It logs in with accounts, over the fixed routes."""
    trusted_proxies: Iterable[str | Network] = ()
    """Addresses and networks of the proxies whose X-Forwarded-For names the client."""
    body_seconds: float = 20
    """Time a client has to send a body."""
    send_seconds: float = 30
    """A client that accepts no data for so long is disconnected."""
    clock: Clock = utc_now
    """The clock of the Messenger that the plugin makes, and of the expiry of sessions. Accounts of
    yours must have the same."""

    streams: Callable[[], Streams] = Streams
    """Makes the Streams of one run of the application."""
    end_streams_on_signals: bool = True
    """Whether SIGTERM and SIGINT end the streams, before the server's own handler. Servers such as
    uvicorn wait for open streams, and only then shut the application down."""
    trim_logs: bool = True
    """Whether the plugin trims the event logs, half a minute after the start and then hourly."""
    keep_events: int = KEPT_EVENTS
    """How many events of each user are kept."""
    keep_age: timedelta = timedelta(days=KEPT_DAYS)
    """How long events are kept."""

    messenger_dependency_key: str = "messenger"
    """The name under which handlers of the host get the Messenger."""
    user_dependency_key: str = "chat_user"
    """The name under which handlers of the host get the User that sends the request."""

    tag: str = "chat"
    """The tag of the operations in the host's OpenAPI document."""
    security_scheme: SecurityScheme | str | None = None
    """How the operations are authenticated, in the host's OpenAPI document: a scheme to add under
    `security_scheme_name`, or the name of a scheme of the host's. By default the bearer tokens of
    the accounts; with an authenticator, nothing."""
    security_scheme_name: str = "chat"
    """The name under which the scheme is added."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises ImproperlyConfiguredException for a value that cannot serve and for fields that
        exclude each other.
        """
        self._check_values()
        sources = [self.database_url, self.store].count(None)
        if sources == 0:
            raise ImproperlyConfiguredException("ChatConfig: give database_url or store, not both")
        if self.schema is not None and self.database_url is None:
            raise ImproperlyConfiguredException("ChatConfig: a schema needs database_url")
        if self.pooler is not None and (self.database_url is None or self.messenger is None):
            raise ImproperlyConfiguredException(
                "ChatConfig: a pooler needs database_url, and a messenger with a doorbell"
            )
        if sources == 2:
            for part, kind in ((self.messenger, Messenger), (self.accounts, Accounts)):
                if part is not None and not isinstance(part, kind):
                    raise ImproperlyConfiguredException(
                        "ChatConfig: a function of the store needs database_url or store"
                    )
            if self.messenger is None:
                raise ImproperlyConfiguredException(
                    "ChatConfig: give database_url, store or messenger"
                )
        if (self.accounts is None) == (self.authenticator is None):
            raise ImproperlyConfiguredException(
                "ChatConfig: give either accounts or an authenticator"
            )
        if self.messenger is not None and (self.realm or self.policy):
            raise ImproperlyConfiguredException(
                "ChatConfig: give realm and policy to your messenger"
            )
        if self.page and not (self.fixed_routes and self.accounts):
            raise ImproperlyConfiguredException("ChatConfig: the page needs accounts, fixed_routes")

    def _check_values(self) -> None:
        given: object = self.authenticator
        for sound, rule in (
            (self.path.startswith("/"), "the path begins with /"),
            (not isinstance(self.origins, str), "origins are a list, not one text"),
            (
                not isinstance(self.trusted_proxies, str),
                "trusted_proxies are a list, not one text",
            ),
            (callable(self.streams), "streams is a function or class that makes Streams"),
            (
                given is None or callable(given) or isinstance(given, Authenticator),
                "an authenticator has ambient, credential and session, or a function makes one",
            ),
            (
                not isinstance(given, type) or _takes_arguments(given),
                "the authenticator is a class; make an object of it, Login() in place of Login",
            ),
            (
                not iscoroutinefunction(getattr(given, "credential", None)),
                "the method `credential` of an authenticator is not async: only `session` waits",
            ),
            (
                isinstance(self.keep_age, timedelta) and self.keep_age > timedelta(0),
                "keep_age is a positive timedelta",
            ),
            (self.keep_events >= 1, "keep_events is 1 or more"),
        ):
            if not sound:
                raise ImproperlyConfiguredException(f"ChatConfig: {rule}")
