"""The role of the service, made by somebody else: with exactly its rights, and with fewer."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from chatcore import StoreUnavailable
from chatcore_sqlalchemy import CannotOpen, SqlAlchemyStore, migrate
from tests.integration.chatcore_server import test_service
from tests.support.api import api_at
from tests.support.apps import SECRET
from tests.support.clients import client_at
from tests.support.postgres_server import PostgresServer, name_of, postgres_server
from tests.support.service import QuickService, run
from tests.support.serving_role import serving_role, statements


@pytest.fixture
def role(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    with serving_role(postgres, name_of(postgres_url)) as role:
        yield role


@pytest.fixture
def served_url(postgres_url: str, role: str) -> str:
    return postgres_url.replace("postgres@", f"{role}@")


def serve(folder: Path, url: str) -> "CompletedProcess[str]":
    return run("serve", "--port", "0", cwd=folder, database_url=url, secret=SECRET)


async def test_service_needs_no_more_than_the_rights_of_the_document(
    tmp_path: Path, served_url: str
) -> None:
    with QuickService(tmp_path, database_url=served_url, secret=SECRET) as service:
        async with api_at(service.url) as api:
            ann, bob, chat = await api.chat_by_id()
            assert (await api.send(ann, bob.name, "one")).status_code == 201
            read = {"seq": 1}
            assert (await api.call("PUT", f"{chat}/read", bob, json=read)).status_code == 200
            blocked = await api.call("PUT", f"/v1/blocks/{ann.name}", bob)
            assert blocked.status_code < 300
            shown = await api.read(bob, ann.name)
            assert [item["message"] for item in shown.json()] == ["one"]
            events = await api.call("GET", "/v1/events", ann)
            assert events.status_code == 200
            password = {"password": "correct horse battery"}
            erased = await api.call("DELETE", "/v1/me", ann, json=password)
            assert erased.status_code < 300
        with client_at(service.url) as http:
            await asyncio.to_thread(test_service.until_ready, http, 200)
        assert " ERROR " not in service.log()


async def test_grants_that_the_service_names_let_it_start(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str, served_url: str, role: str
) -> None:
    name = name_of(postgres_url)
    postgres.sql(
        f"REVOKE ALL ON SCHEMA chatcore FROM {role};"
        f"REVOKE ALL ON ALL TABLES IN SCHEMA chatcore FROM {role};"
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA chatcore FROM {role}",
        name,
    )
    ended = serve(tmp_path, served_url)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    grants = re.search(r"^chatcore: the role lacks rights .* run: (GRANT .*)$", line)
    assert grants, line
    postgres.sql(grants[1], name)
    with QuickService(tmp_path, database_url=served_url, secret=SECRET) as service:
        async with api_at(service.url) as api:
            ann, bob = await api.chat()
            assert (await api.send(ann, bob.name, "one")).status_code == 201


@pytest.mark.parametrize(
    ("revoked", "named"),
    [
        (
            "INSERT, UPDATE ON messages",
            r"GRANT INSERT, UPDATE ON chatcore\.messages TO serving_\w+",
        ),
        ("USAGE ON SEQUENCE chats_id_seq", r"GRANT USAGE ON SEQUENCE chatcore\.chats_id_seq TO .*"),
        ("SELECT ON alembic_version", r"GRANT SELECT ON chatcore\.alembic_version TO .*"),
        ("USAGE ON SCHEMA chatcore", "GRANT USAGE ON SCHEMA chatcore TO .*"),
    ],
)
async def test_each_missing_right_is_named(
    revoked: str,
    named: str,
    postgres: PostgresServer,
    postgres_url: str,
    served_url: str,
    role: str,
) -> None:
    postgres.sql(f"REVOKE {revoked} FROM {role}", name_of(postgres_url))
    with pytest.raises(CannotOpen, match=f"run: {named}$"):
        await SqlAlchemyStore.open(served_url, writable=True)


async def test_right_revoked_while_serving_stops_readiness(
    postgres: PostgresServer, postgres_url: str, served_url: str, role: str
) -> None:
    async with await SqlAlchemyStore.open(served_url, writable=True) as store:
        await store.check_writes()
        postgres.sql(f"REVOKE INSERT ON events FROM {role}", name_of(postgres_url))
        with pytest.raises(StoreUnavailable, match=r"GRANT INSERT ON chatcore\.events"):
            await store.check_writes()
        postgres.sql(f"GRANT INSERT ON events TO {role}", name_of(postgres_url))
        await store.check_writes()


async def test_row_security_is_refused_and_stops_readiness(
    postgres: PostgresServer, postgres_url: str, served_url: str
) -> None:
    name = name_of(postgres_url)
    postgres.sql("ALTER TABLE users ENABLE ROW LEVEL SECURITY", name)
    with pytest.raises(CannotOpen) as refused:
        await SqlAlchemyStore.open(served_url, writable=True)
    _, remedy = str(refused.value).split(" run: ")
    assert remedy == "ALTER TABLE chatcore.users DISABLE ROW LEVEL SECURITY"
    # The owner sees all rows.
    async with await SqlAlchemyStore.open(postgres_url, writable=True):
        pass
    postgres.sql(remedy, name)
    async with await SqlAlchemyStore.open(served_url, writable=True) as store:
        await store.check_writes()
        postgres.sql("ALTER TABLE store ENABLE ROW LEVEL SECURITY", name)
        with pytest.raises(StoreUnavailable, match=r"chatcore\.store DISABLE ROW LEVEL SECURITY"):
            await store.check_writes()


def test_default_privileges_of_the_document_cover_later_tables(
    postgres: PostgresServer, postgres_url: str, role: str
) -> None:
    name = name_of(postgres_url)
    postgres.sql(statements("later", name, role), name)
    postgres.sql("CREATE TABLE chatcore.later (id bigserial)", name)
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        has = f"SELECT has_table_privilege('{role}', 'chatcore.later', '{right}')"
        assert postgres.sql(has, name) == "t"
    has = f"SELECT has_sequence_privilege('{role}', 'chatcore.later_id_seq', 'USAGE')"
    assert postgres.sql(has, name) == "t"


READ_ONLY = "default_transaction_read_only"


@pytest.mark.parametrize(
    "alter", ["ROLE {role}", "DATABASE {database}", "ROLE {role} IN DATABASE {database}"]
)
def test_read_only_setting_is_named_with_what_resets_it(
    alter: str,
    tmp_path: Path,
    postgres: PostgresServer,
    postgres_url: str,
    served_url: str,
    role: str,
) -> None:
    altered = f"ALTER {alter.format(role=role, database=name_of(postgres_url))}"
    postgres.sql(f"{altered} SET {READ_ONLY} = on")
    ended = serve(tmp_path, served_url)
    assert (ended.returncode, ended.stdout) == (2, "")
    reset = f"{altered} RESET {READ_ONLY}"
    assert ended.stderr == f"chatcore: the database is read-only: run {reset}\n"
    postgres.sql(reset)
    with QuickService(tmp_path, database_url=served_url, secret=SECRET):
        pass


async def test_read_only_setting_of_the_url_is_named(served_url: str) -> None:
    with pytest.raises(CannotOpen, match=f"connect without {READ_ONLY}"):
        await SqlAlchemyStore.open(f"{served_url}&{READ_ONLY}=on", writable=True)
    # A program that only reads may open it.
    async with await SqlAlchemyStore.open(f"{served_url}&{READ_ONLY}=on") as store:
        assert await store.user_by_id(1) is None


async def test_standby_is_refused(tmp_path: Path) -> None:
    with postgres_server() as server:
        await migrate(server.url())
        server.become_standby()
        ended = serve(tmp_path, server.url())
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("chatcore: the server is a standby, which is read-only: ")
        assert len(ended.stderr.splitlines()) == 1


async def test_migration_by_another_role_than_the_owner_names_the_owner(
    postgres: PostgresServer, postgres_url: str, served_url: str, role: str
) -> None:
    postgres.sql("UPDATE alembic_version SET version_num = '0005'", name_of(postgres_url))
    with pytest.raises(CannotOpen, match=f"the role {role} does not own .* as postgres$"):
        await migrate(served_url)
