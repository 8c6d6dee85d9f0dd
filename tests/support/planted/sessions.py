"""Stores of device sessions that break one promise each, with the check that catches it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from chatcore import DeviceSession, UserNotFound
from chatcore.names import UserName
from chatcore.ports import NewSession, Renewal, Renewed
from chatcore.testing import AccountStoreCheck, sessions
from chatcore_memory import MemoryStore


class CutsDeviceNames(MemoryStore):
    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        new = new._replace(device=new.device[:63])
        return await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)


class ListsSessionsByTheirStart(MemoryStore):
    async def sessions_of(self, user_id: int, now_us: int) -> Sequence[DeviceSession]:
        found = await super().sessions_of(user_id, now_us)
        return sorted(found, key=lambda session: session.created_us, reverse=True)


class StartsSessionsWithFormerPasswords(MemoryStore):
    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        if account := self.contents.accounts.get(new.user_id):
            tokens_from_us = account.tokens_from_us
        return await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)


class ProlongsForEver(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        record = self.contents.sessions.get(renewal.session_id)
        if record is not None:
            new = record.new._replace(ends_us=2**63 - 1)
            self.contents.sessions[renewal.session_id] = replace(record, new=new)
        return await super().renew_session(renewal)


class RepeatsWithANewSalt(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        outcome = await super().renew_session(renewal)
        return outcome and (outcome._replace(salt=renewal.salt) if outcome.salt else outcome)


class RepeatsOnlyOnce(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        before = self.contents.sessions.get(renewal.session_id)
        outcome = await super().renew_session(renewal)
        record = self.contents.sessions.get(renewal.session_id)
        if record is not None and record is before:
            self.contents.sessions[renewal.session_id] = replace(record, former=None)
        return outcome


class RepeatsForEver(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        return await super().renew_session(renewal._replace(repeat_since_us=0))


class RepeatsAMicrosecondTooLong(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        since = renewal.repeat_since_us - 1
        return await super().renew_session(renewal._replace(repeat_since_us=since))


class IgnoresOldTokens(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        before = self.contents.sessions.get(renewal.session_id)
        outcome = await super().renew_session(renewal)
        if outcome is not None and outcome.salt is None and before is not None:
            self.contents.sessions[renewal.session_id] = before
            return None
        return outcome


class RenewsExpiredSessions(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        if record := self.contents.sessions.get(renewal.session_id):
            lasting = replace(record, expires_us=renewal.at_us + 1)
            self.contents.sessions[renewal.session_id] = lasting
        return await super().renew_session(renewal)


class FindsExpiredSessions(MemoryStore):
    async def session_by_id(self, session_id: str, now_us: int) -> DeviceSession | None:
        return await super().session_by_id(session_id, 0)


class RacesToRenew(MemoryStore):
    async def renew_session(self, renewal: Renewal) -> Renewed | None:
        record = self.contents.sessions.get(renewal.session_id)
        await asyncio.sleep(0)
        if record is not None and record.digest == renewal.digest:
            self.contents.sessions[renewal.session_id] = record
        return await super().renew_session(renewal)


class EndsTheOldestSessions(MemoryStore):
    """By their start, not by their last use."""

    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        records = self.contents.sessions
        used = {session_id: record.used_us for session_id, record in records.items()}
        for session_id, record in records.items():
            records[session_id] = replace(record, used_us=record.new.created_us)
        ended = await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)
        for session_id, used_us in used.items():
            if session_id in records:
                records[session_id] = replace(records[session_id], used_us=used_us)
        return ended


class CountsExpiredSessions(MemoryStore):
    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        for session_id, record in self.contents.sessions.items():
            lasting = replace(record, expires_us=2**63 - 1, used_us=2**62)
            if not record.lasts(new.created_us):
                self.contents.sessions[session_id] = lasting
        return await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)


class RacesForTheLimit(MemoryStore):
    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        count = len(await self.sessions_of(new.user_id, new.created_us))
        await asyncio.sleep(0)
        limit = limit if count >= limit else 1000
        return await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)


class EndsTheSessionsOfAnybody(MemoryStore):
    async def end_session(self, user_id: int, session_id: str, now_us: int) -> bool:
        if record := self.contents.sessions.get(session_id):
            user_id = record.new.user_id
        return await super().end_session(user_id, session_id, now_us)


class KeepsSessionsAfterAPasswordChange(MemoryStore):
    async def void_tokens(
        self, user_id: int, from_us: int, *, password_hash: str | None = None
    ) -> int:
        kept = dict(self.contents.sessions)
        raised = await super().void_tokens(user_id, from_us, password_hash=password_hash)
        if password_hash is not None:
            self.contents.sessions.update(kept)
        return raised


class EndsTheSessionsOfEverybody(MemoryStore):
    async def erase_user(self, user_id: int, tombstone: UserName, erased_us: int) -> None:
        await super().erase_user(user_id, tombstone, erased_us)
        self.contents.sessions.clear()


class ChecksThePasswordTooEarly(MemoryStore):
    async def add_session(
        self, new: NewSession, *, tokens_from_us: int, limit: int
    ) -> Sequence[str]:
        account = self.contents.accounts.get(new.user_id)
        if account is None or account.tokens_from_us != tokens_from_us:
            raise UserNotFound
        await asyncio.sleep(0)
        if account := self.contents.accounts.get(new.user_id):
            tokens_from_us = account.tokens_from_us
        return await super().add_session(new, tokens_from_us=tokens_from_us, limit=limit)


FAULTS: dict[type[MemoryStore], AccountStoreCheck] = {
    CutsDeviceNames: sessions.a_session_is_found_by_its_id_and_user,
    ListsSessionsByTheirStart: sessions.a_session_is_found_by_its_id_and_user,
    StartsSessionsWithFormerPasswords: sessions.a_session_needs_the_credentials_of_now,
    ProlongsForEver: sessions.a_renewal_replaces_the_token,
    RepeatsWithANewSalt: sessions.a_renewal_can_be_repeated,
    RepeatsOnlyOnce: sessions.a_renewal_can_be_repeated,
    RepeatsForEver: sessions.a_token_of_the_past_ends_the_session,
    RepeatsAMicrosecondTooLong: sessions.a_token_of_the_past_ends_the_session,
    IgnoresOldTokens: sessions.a_token_of_the_past_ends_the_session,
    RenewsExpiredSessions: sessions.an_expired_session_is_gone,
    FindsExpiredSessions: sessions.an_expired_session_is_gone,
    RacesToRenew: sessions.of_simultaneous_renewals_one_replaces,
    EndsTheOldestSessions: sessions.a_user_has_a_limited_number_of_sessions,
    CountsExpiredSessions: sessions.a_user_has_a_limited_number_of_sessions,
    RacesForTheLimit: sessions.simultaneous_sessions_keep_to_the_limit,
    EndsTheSessionsOfAnybody: sessions.a_user_ends_only_own_sessions,
    KeepsSessionsAfterAPasswordChange: sessions.voiding_and_erasing_end_all_sessions,
    EndsTheSessionsOfEverybody: sessions.voiding_and_erasing_end_all_sessions,
    ChecksThePasswordTooEarly: sessions.no_session_outlives_a_simultaneous_change,
}
