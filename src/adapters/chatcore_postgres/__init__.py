"""The servers of a PostgreSQL URL, as libpq reads it, and sessions on the right one.

url = read_url("postgresql://user:password@one,two/chat")
session = await Servers(url).connect({"application_name": "chatcore"})

`Servers` is in `chatcore_postgres.servers`, which needs asyncpg; reading a URL does not.
"""

from chatcore_postgres.url import InvalidUrl, PostgresUrl, Server, read_url

__all__ = ["InvalidUrl", "PostgresUrl", "Server", "read_url"]
