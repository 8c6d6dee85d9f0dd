"""Registration, login and authentication by token."""

import asyncio
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from chatcore import (
    Accounts,
    InvalidName,
    InvalidPassword,
    InvalidToken,
    NameTaken,
    Overloaded,
    StoreUnavailable,
    Unavailable,
    User,
    WrongCredentials,
)
from chatcore.ports import Claims
from chatcore_memory import InsecureTestHasher, InsecureTestTokens, MemoryStore

PASSWORD = "correct horse battery"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = b"a secret of thirty-two bytes, ok"


class LoggedHasher(InsecureTestHasher):
    """Records its calls. With `full`, it refuses to hash, like a hasher whose queue is full."""

    def __init__(self, rounds: int = 1) -> None:
        super().__init__(rounds)
        self.calls: list[str] = []
        self.full = False

    async def hash(self, password: str) -> str:
        self.calls.append("hash")
        if self.full:
            raise Overloaded
        return await super().hash(password)

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.calls.append("verify None" if password_hash is None else "verify")
        return await super().verify(password, password_hash)


class DiskFull(MemoryStore):
    async def replace_password_hash(self, user_id: int, old: str, new: str) -> None:
        raise StoreUnavailable


@pytest.fixture
def hasher() -> LoggedHasher:
    return LoggedHasher()


@pytest.fixture
def accounts(store: MemoryStore, hasher: LoggedHasher) -> Accounts:
    return Accounts(store, hasher, InsecureTestTokens(SECRET), clock=lambda: NOW)


async def test_registered_user_can_log_in_and_authenticate(accounts: Accounts) -> None:
    ann = await accounts.register("Ann", PASSWORD)
    assert ann == User(ann.id, "ann", "Ann")
    session = await accounts.authenticate(await accounts.log_in("ann", PASSWORD))
    assert session.user == ann
    assert session.claims == Claims(ann.id, NOW, NOW + timedelta(hours=12))


@pytest.mark.parametrize("name", ["Åsa", "a\u030asa", "\u212bSA", "ＡSA".replace("Ａ", "Å")])
async def test_any_spelling_of_the_name_logs_in(accounts: Accounts, name: str) -> None:
    await accounts.register("åsa", PASSWORD)
    await accounts.log_in(name, PASSWORD)


async def test_a_taken_name_is_refused_before_its_password_is_hashed(
    accounts: Accounts, hasher: LoggedHasher
) -> None:
    await accounts.register("ann", PASSWORD)
    hasher.calls.clear()
    with pytest.raises(NameTaken):
        await accounts.register("ANN", "another password")
    assert hasher.calls == []
    await accounts.log_in("ann", PASSWORD)


async def test_a_name_taken_while_hashing_is_refused(accounts: Accounts) -> None:
    outcomes = await asyncio.gather(
        *(accounts.register("ann", f"password {n}") for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(outcome, User) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, NameTaken) for outcome in outcomes) == 7


async def test_an_invalid_name_is_refused_before_its_password_is_hashed(
    accounts: Accounts, hasher: LoggedHasher
) -> None:
    with pytest.raises(InvalidName):
        await accounts.register("a/b", PASSWORD)
    assert hasher.calls == []


@pytest.mark.parametrize(
    "password",
    [
        *("1234567x", "        ", "пароль12", "😀" * 8, "e\u0301" * 8),
        *("x" * 1024, "😀" * 256, "e\u0301" * 341),
        *("\n\t\x01\x7f\x85\u2028\ufeff\ufffd", "correct horse battery "),
    ],
    ids=lambda password: ascii(password)[:24],
)
async def test_password_within_the_size_limits_is_accepted(
    accounts: Accounts, password: str
) -> None:
    await accounts.register("ann", password)
    await accounts.log_in("ann", password)
    for other in (password + "x", password[:-1], password.swapcase() + " ", password.strip()):
        if other != password:
            with pytest.raises(WrongCredentials):
                await accounts.log_in("ann", other)


@pytest.mark.parametrize(
    "password",
    [
        *("", "1234567", "😀" * 7, "e\u0301" * 7),
        *("x" * 1025, "😀" * 256 + "x", "e\u0301" * 342, "x" * 100_000),
        "\ufb2c" * 341,  # 1,023 bytes, or 2,046 in NFC.
        *("\ud800" * 8, "password\udfff", "\0" * 8, "password\0"),
    ],
    ids=lambda password: ascii(password)[:24],
)
async def test_a_password_outside_the_rules_is_refused(
    accounts: Accounts, hasher: LoggedHasher, password: str
) -> None:
    with pytest.raises(InvalidPassword):
        await accounts.register("ann", password)
    assert hasher.calls == []
    await accounts.register("ann", PASSWORD)
    with pytest.raises(WrongCredentials):
        await accounts.log_in("ann", password)


async def test_a_password_is_the_same_in_any_form_of_nfc(accounts: Accounts) -> None:
    password = "Ångström, Éluard"
    await accounts.register("ann", unicodedata.normalize("NFD", password))
    await accounts.log_in("ann", unicodedata.normalize("NFC", password))
    await accounts.log_in("ann", password.replace("Å", "\u212b"))
    with pytest.raises(WrongCredentials):
        await accounts.log_in("ann", password.replace("Å", "A"))


@pytest.mark.parametrize(
    "name", ["bob", "", "a/b", "\0", "\ud800", "\u3164", "x" * 100_000, "an", "ann "], ids=ascii
)
async def test_unknown_name_costs_a_verification(
    accounts: Accounts, hasher: LoggedHasher, name: str
) -> None:
    await accounts.register("ann", PASSWORD)
    hasher.calls.clear()
    with pytest.raises(WrongCredentials):
        await accounts.log_in(name, PASSWORD)
    assert hasher.calls == ["verify None"]


async def test_login_rehashes_a_hash_with_other_parameters(store: MemoryStore) -> None:
    old, new = LoggedHasher(4), LoggedHasher(8)
    await Accounts(store, old, InsecureTestTokens(SECRET)).register("ann", PASSWORD)
    accounts = Accounts(store, new, InsecureTestTokens(SECRET))
    with pytest.raises(WrongCredentials):
        await accounts.log_in("ann", "wrong password")
    await accounts.log_in("ann", PASSWORD)
    await accounts.log_in("ann", PASSWORD)
    assert new.calls == ["verify", "verify", "hash", "verify"]
    found = await store.credentials("ann")
    assert found
    assert not new.needs_rehash(found.password_hash)


@pytest.mark.parametrize(("store_type", "full"), [(MemoryStore, True), (DiskFull, False)])
async def test_a_rehash_that_fails_does_not_fail_the_login(
    store_type: type[MemoryStore], full: bool
) -> None:
    store, hasher = store_type(), LoggedHasher()
    await Accounts(store, LoggedHasher(4), InsecureTestTokens(SECRET)).register("ann", PASSWORD)
    accounts = Accounts(store, hasher, InsecureTestTokens(SECRET))
    before = await store.credentials("ann")
    hasher.full = full
    await accounts.authenticate(await accounts.log_in("ann", PASSWORD))
    assert hasher.calls == ["verify", "hash"]
    assert await store.credentials("ann") == before


async def test_registration_refused_by_a_full_hasher_leaves_the_name_free(
    accounts: Accounts, hasher: LoggedHasher
) -> None:
    hasher.full = True
    with pytest.raises(Unavailable):
        await accounts.register("ann", PASSWORD)
    hasher.full = False
    await accounts.register("ann", PASSWORD)


async def test_expired_token_is_refused(store: MemoryStore) -> None:
    now = NOW
    accounts = Accounts(store, LoggedHasher(), InsecureTestTokens(SECRET), clock=lambda: now)
    ann = await accounts.register("ann", PASSWORD)
    token = await accounts.log_in("ann", PASSWORD)
    now += timedelta(hours=12) - timedelta(microseconds=1)
    assert (await accounts.authenticate(token)).user == ann
    now += timedelta(microseconds=1)
    with pytest.raises(InvalidToken):
        await accounts.authenticate(token)


async def test_token_of_a_missing_user_is_refused(accounts: Accounts) -> None:
    await accounts.register("ann", PASSWORD)
    token = await accounts.log_in("ann", PASSWORD)
    without_ann = Accounts(
        MemoryStore(), LoggedHasher(), InsecureTestTokens(SECRET), clock=lambda: NOW
    )
    with pytest.raises(InvalidToken):
        await without_ann.authenticate(token)


async def test_invalid_token_is_refused(accounts: Accounts) -> None:
    for token in ("", "token", "\ud800"):
        with pytest.raises(InvalidToken):
            await accounts.authenticate(token)
