"""Stores of accounts that break one promise of void tokens each, with the check that catches it."""

import asyncio

from chatcore import UserNotFound
from chatcore.ports import Credentials
from chatcore.testing import AccountStoreCheck, voiding
from chatcore_memory import MemoryStore


class ForgetsTheTimeById(MemoryStore):
    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        found = await super().credentials_by_id(user_id)
        return found and found._replace(tokens_from_us=0)


class FindsTheNewestForUnknownIds(MemoryStore):
    async def credentials_by_id(self, user_id: int) -> Credentials | None:
        return self.contents.accounts.get(user_id) or self.contents.accounts.get(
            len(self.contents.accounts)
        )


class StoresWhatWasAsked(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        await super().void_tokens(user_id, from_us, password_hash=password_hash)
        self.contents.accounts[user_id] = self.contents.accounts[user_id]._replace(
            tokens_from_us=from_us
        )
        return from_us


class VoidsForEverybody(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        for other in self.contents.accounts:
            await super().void_tokens(other, from_us)
        return self.contents.accounts[user_id].tokens_from_us


class KeepsThePassword(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        return await super().void_tokens(user_id, from_us)


class EmptiesThePassword(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        raised = await super().void_tokens(user_id, from_us)
        account = self.contents.accounts[user_id]
        self.contents.accounts[user_id] = account._replace(password_hash=password_hash or "")
        return raised


class VoidsInTwoSteps(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        before = self.contents.accounts.get(user_id)
        if before is None:
            raise UserNotFound
        await asyncio.sleep(0)
        self.contents.accounts[user_id] = before
        return await super().void_tokens(user_id, from_us, password_hash=password_hash)


class StoresThePasswordLater(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        raised = await super().void_tokens(user_id, from_us)
        for _ in range(3 if raised == from_us else 0):
            await asyncio.sleep(0)
        if password_hash:
            account = self.contents.accounts[user_id]
            self.contents.accounts[user_id] = account._replace(password_hash=password_hash)
        return raised


class VoidsForNobody(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        try:
            return await super().void_tokens(user_id, from_us, password_hash=password_hash)
        except UserNotFound:
            return from_us


FAULTS: dict[type[MemoryStore], AccountStoreCheck] = {
    FindsTheNewestForUnknownIds: voiding.credentials_are_found_by_id,
    ForgetsTheTimeById: voiding.the_time_of_void_tokens_grows,
    StoresWhatWasAsked: voiding.the_time_of_void_tokens_grows,
    VoidsForEverybody: voiding.the_time_of_void_tokens_grows,
    KeepsThePassword: voiding.a_password_changes_in_the_step_that_voids,
    EmptiesThePassword: voiding.a_password_changes_in_the_step_that_voids,
    VoidsInTwoSteps: voiding.simultaneous_voidings_each_grow,
    StoresThePasswordLater: voiding.simultaneous_voidings_each_grow,
    VoidsForNobody: voiding.void_tokens_refuses_unknown_users,
}
