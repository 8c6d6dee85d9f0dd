"""Opens what the routes need when the application starts, and closes it when it stops."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from chatcore import Accounts, BearerTokens, Messenger
from chatcore.bus import channel_of
from chatcore.ports import Authenticator, ChatStore, Doorbell
from chatcore.trimming import trimming
from chatcore_litestar.context import Context
from chatcore_litestar_plugin.config import ChatConfig, Store
from chatcore_litestar_plugin.signals import on_stop_signals


@asynccontextmanager
async def opened(config: ChatConfig, context: Context) -> AsyncIterator[None]:
    """Within this context, the routes of `context` answer. Raises CannotOpen for a database that
    cannot be opened, with one line that says why."""
    async with AsyncExitStack() as resources:
        store = cast(Store, await _open_store(config, resources))
        messenger, accounts = config.messenger, config.accounts
        if messenger is None:
            doorbell = await _open_doorbell(config, store, resources)
            messenger = Messenger(
                store,
                realm=config.realm,
                doorbell=doorbell,
                policy=config.policy,
                clock=config.clock,
            )
        elif not isinstance(messenger, Messenger):
            messenger = messenger(store)
        if accounts is not None and not isinstance(accounts, Accounts):
            accounts = accounts(store)
        authenticator = _authenticator(config, messenger, accounts)
        if config.trim_logs:
            await resources.enter_async_context(
                trimming(messenger, config.keep_events, config.keep_age)
            )
        streams = config.streams()
        context.open(messenger, accounts, authenticator, streams)
        resources.callback(context.close)
        # For servers that shut down the application before they wait for open streams.
        resources.callback(streams.end_all)
        if config.end_streams_on_signals:
            resources.enter_context(on_stop_signals(streams.end_all))
        yield


def _authenticator(
    config: ChatConfig, messenger: Messenger, accounts: Accounts | None
) -> Authenticator:
    given = config.authenticator
    # A class of authenticators has the attributes of one, too.
    if isinstance(given, Authenticator) and not isinstance(given, type):
        return given
    if given is not None:
        return cast(Callable[[Messenger], Authenticator], given)(messenger)
    assert accounts is not None  # noqa: S101, the configuration has one of the two
    return BearerTokens(accounts)


async def _open_store(config: ChatConfig, resources: AsyncExitStack) -> ChatStore | None:
    """None if the host gave a Messenger and Accounts instead."""
    if config.database_url is None:
        return config.store() if callable(config.store) else config.store
    # Imported on demand: a host with a store of its own need not install SQLAlchemy.
    from chatcore_sqlalchemy import SqlAlchemyStore

    store = await SqlAlchemyStore.open(
        config.database_url, schema=config.schema, pooler=config.pooler
    )
    return await resources.enter_async_context(store)


async def _open_doorbell(
    config: ChatConfig, store: Store, resources: AsyncExitStack
) -> Doorbell | None:
    """None if only this process uses the database, or the host opened it."""
    if config.database_url is None:
        return None
    from chatcore_sqlalchemy import engine_of

    engine = engine_of(config.database_url, config.schema)
    if not engine.notifies or (url := engine.url) is None:
        return None
    from chatcore_notify import NotifyDoorbell

    doorbell = await NotifyDoorbell.open(url, channel=await channel_of(store))
    return await resources.enter_async_context(doorbell)
