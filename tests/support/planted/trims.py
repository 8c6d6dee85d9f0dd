"""Stores that trim their logs wrongly, in one way each, with the check that catches it."""

from collections.abc import Sequence

from chatcore import Cursor
from chatcore.events import Entry
from chatcore.testing import ChatStoreCheck, trimming
from chatcore_memory import MemoryStore

FOR_EVER = 10**9


class KeepsOneMore(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await super().trim_logs(keep=keep + 1, since_us=since_us, after_user=after_user)


class TrimsTheNewest(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        if keep == 0:
            for log in self.contents.logs.values():
                log.entries.clear()
        return await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)


class AnswersWithWhatIsLeft(MemoryStore):
    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        found = await super().events_after(after, limit=limit)
        log = self._log_of(after.user_id)
        if found is None and 0 <= after.n < log.end.n:
            return [entry for _, entry in log.entries][:limit]
        return found


class TrimsByCountAlone(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await super().trim_logs(keep=keep, since_us=0, after_user=after_user)


class TrimsByTimeAlone(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await super().trim_logs(keep=FOR_EVER, since_us=since_us, after_user=after_user)


class TrimsTheMomentItself(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await super().trim_logs(keep=keep, since_us=since_us + 1, after_user=after_user)


class ForgetsWhatIsTooOldAltogether(MemoryStore):
    """Clear a log whose entries are all old, the newest included."""

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        for log in self.contents.logs.values():
            if all(at_us < since_us for at_us, _ in log.entries):
                log.entries.clear()
        return await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)


class CountsWhatIsLeft(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        next_user = await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)
        for log in self.contents.logs.values():
            log.end = log.end._replace(n=len(log.entries))
        return next_user


class TrimsEveryone(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        before: int | None = 0
        while before is not None and before < after_user:
            before = await super().trim_logs(keep=keep, since_us=since_us, after_user=before)
        return await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)


class TrimsTheFirstLogs(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)
        return None


class StaysAtOneUser(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user)
        return after_user


class SkipsOneUser(MemoryStore):
    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        return await super().trim_logs(keep=keep, since_us=since_us, after_user=after_user + 1)


class PunchesHoles(MemoryStore):
    """Remove old entries anywhere in the log, and check only the first that remains."""

    async def trim_logs(self, *, keep: int, since_us: int, after_user: int) -> int | None:
        for log in self.contents.logs.values():
            kept = [it for it in log.entries if it[0] >= since_us or it[1].cursor == log.end]
            log.entries.clear()
            log.entries.extend(kept)
        return await super().trim_logs(keep=keep, since_us=0, after_user=after_user)

    async def events_after(self, after: Cursor, *, limit: int) -> Sequence[Entry] | None:
        log = self._log_of(after.user_id)
        if log.entries and not log.entries[0][1].cursor.n - 1 <= after.n <= log.end.n:
            return None
        return [it for _, it in log.entries if it.cursor.n > after.n][:limit]


FAULTS: dict[type[MemoryStore], ChatStoreCheck] = {
    KeepsOneMore: trimming.all_but_the_newest_entries_are_trimmed,
    TrimsTheNewest: trimming.all_but_the_newest_entries_are_trimmed,
    AnswersWithWhatIsLeft: trimming.all_but_the_newest_entries_are_trimmed,
    TrimsByTimeAlone: trimming.all_but_the_newest_entries_are_trimmed,
    TrimsByCountAlone: trimming.entries_of_old_times_are_trimmed,
    TrimsTheMomentItself: trimming.entries_of_old_times_are_trimmed,
    ForgetsWhatIsTooOldAltogether: trimming.entries_of_old_times_are_trimmed,
    CountsWhatIsLeft: trimming.a_trimmed_log_continues_its_numbers,
    TrimsEveryone: trimming.trimming_continues_from_user_to_user,
    TrimsTheFirstLogs: trimming.trimming_continues_from_user_to_user,
    StaysAtOneUser: trimming.trimming_continues_from_user_to_user,
    SkipsOneUser: trimming.trimming_continues_from_user_to_user,
    PunchesHoles: trimming.a_trimmed_log_is_never_read_with_gaps,
}
