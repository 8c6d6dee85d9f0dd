"""Guessing passwords is slowed down, and nobody is locked out by others.

What is counted, and what a count does:

- Failures by name and address. The first 5 cost nothing; after each one more the next try waits
  twice as long, up to 15 minutes. From one address that makes some 18 guesses at a name in the
  first hour and 4 in each that follows.
- Failures by address, whatever the name: 20, and then waits of up to 30 seconds.
- Registrations by address, whatever becomes of them: 20, and then waits of up to 3 minutes.
- Failures by name, wherever they come from. With 20 of them a name is under attack (one is
  forgotten every 3 minutes; one address alone does not bring it there). From then on, an address
  has one free try at it, and its waits begin at a minute and end at 4 hours.
- Tries under way: 4 from an address at a time. They are counted as failures before the password is
  looked at, and taken back when it was right: many at the same time gain nothing.

A loopback address (127.0.0.0/8, ::1) is the machine's owner and gets an allowance, so that a script
or a test harness is not limited: 2,000 registrations in place of 20, and 64 tries under way in
place of 4. There a try counts as a failure only when it has failed, as long as failures are free;
from the first wait on, it counts before as everywhere. So many tries at the same time make at most
64 guesses more, once. All loopback addresses count as one.

An IPv6 address counts as its network of 64 bits, which is what one customer gets. All within 48
bits, which one customer can get as well, may do ten times what an address may (four times as much
at the same time), or 65,536 addresses would be one guesser's.

Why a name under attack is not simply closed, or opened so many times an hour: whatever strangers
can use up, they can keep from its owner. With many addresses they would, at no cost. So what
strangers do to a name only shortens what each address may do there *after its own first failure*:
an owner who comes from anywhere and types the password right is let in at once, and one who
mistypes it waits for what was mistyped there, a minute at first. What an attacker with n addresses
gets is one guess from each, some 14 more from each within the day, and 6 on each day that follows.

A user who registered or logged in from an address before is *known* there: at that name, that
address is then judged by its own failures at it alone, whatever happens to the name, and whatever
others do who share the address. What remains to those: to fail at that very name from that very
address.

Memory is bounded, to some 20 MiB, and a flood of names or addresses does not wash away what limits
a guesser. A try that is refused leaves no trace, and of each kind the 8,192 counts that make
somebody wait are kept apart from as many that do not: it takes 8,192 others who have used up their
free tries to have one of them forgotten, and one network cannot bring that about before they fade
anyway. An attacker with more addresses than are remembered is held by nothing here but the time
that a hash takes. Who is known is kept for 8,192 names, 4 addresses each, so that washing that away
takes as many accounts.
"""

import hashlib
import math
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from chatcore.errors import TooManyAttempts, Unavailable
from chatcore.model import Seconds


class Limit(NamedTuple):
    """After `free` counted, the next waits `first` seconds, and each one more twice as long as the
    one before, up to `longest`; one is forgotten in each `longest`.

    So in any time there are at most `free` + log2(`longest` / `first`) + 2, and one for each
    `longest` in it.
    """

    free: int
    first: float
    longest: float
    most: float = math.inf
    """No more are counted."""

    def wait(self, count: float) -> float:
        """From the last one that was counted, in seconds."""
        return (
            0.0 if count < self.free else min(self.longest, self.first * 2 ** (count - self.free))
        )


PAIR = Limit(5, 1, 900)
PAIR_UNDER_ATTACK = Limit(1, 60, 4 * 3600)
ADDRESS = Limit(20, 1, 30)
NETWORK = Limit(200, 0.1, 3)
NAME = Limit(20, 0, 180, most=40)
"""It makes no one wait by itself. A name is as it was two hours after an attack."""
REGISTRATIONS = Limit(20, 1, 180)
REGISTRATIONS_OF_NETWORK = Limit(200, 0.1, 18)
REGISTRATIONS_OF_OWNER = Limit(2000, 1, 180)

UNDER_WAY = (4, 16)
"""From an address, and from a network of many."""
UNDER_WAY_OF_OWNER = (64,)

REMEMBERED = 8192
"""Counts of each kind that make somebody wait, and as many that do not."""
KNOWN_ADDRESSES = 4


class Guard:
    """Limits guesses and registrations, as this module says.

    An address is an IP address, or else any text that tells clients apart. A loopback address gets
    the owner's allowance: for a client on this machine that is not its owner, such as a proxy,
    pass another text. None is for clients that cannot be told apart, and is not limited: a limit
    by name alone would let strangers lock its owner out. Each Guard counts for itself: n processes
    allow n times as much.
    """

    def __init__(self, *, seconds: Seconds = time.monotonic) -> None:
        self._seconds = seconds
        self._key = secrets.token_bytes(16)
        self._pairs = _Counts()
        self._names = _Counts()
        self._addresses = _Counts()
        self._registrations = _Counts()
        self._known: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()
        self._under_way: Counter[bytes] = Counter()

    @contextmanager
    def attempt(self, name: str, address: str | None) -> Iterator[None]:
        """Within it, a password is looked at. Leaving it by no error is a success, by
        Unavailable is as if it never was, by any other a failure. `name` is canonical, or
        anything else: whether a user has it makes no difference.

        Raises TooManyAttempts.
        """
        if address is None:
            yield
            return
        client = self._client(address)
        name_key = self._digest(name)
        pair = self._digest(name, client.networks[0])
        known = client.networks[0] in self._known.get(name_key, ())
        under_attack = not known and self._names.count(name_key, NAME, self._seconds()) >= NAME.free
        limits = [
            (self._pairs, pair, PAIR_UNDER_ATTACK if under_attack else PAIR),
            (self._names, name_key, NAME),
        ]
        if not known:
            limits += [
                (self._addresses, network, limit)
                for network, limit in zip(client.networks, (ADDRESS, NETWORK), strict=False)
            ]
        # Strangers who share the address leave room for those who are known there.
        room = 2 if known else 1
        with self._admitted(client, limits, room, defer=client.is_owner) as counted:
            yield
            _take_back(counted)
            self._pairs.forget(pair)
            self._remember(name_key, client.networks[0])

    @contextmanager
    def registration(self, address: str | None, name: str = "") -> Iterator[None]:
        """Within it, an account of this canonical name is made. It counts whether it succeeds or
        not, except when it ends by Unavailable. Raises TooManyAttempts."""
        if address is None:
            yield
            return
        client = self._client(address)
        each_limit = (
            (REGISTRATIONS_OF_OWNER,)
            if client.is_owner
            else (REGISTRATIONS, REGISTRATIONS_OF_NETWORK)
        )
        limits = [
            (self._registrations, network, limit)
            for network, limit in zip(client.networks, each_limit, strict=False)
        ]
        with self._admitted(client, limits):
            yield
            if name:
                self._remember(self._digest(name), client.networks[0])

    @contextmanager
    def _admitted(
        self,
        client: "_Client",
        limits: "Sequence[_Limited]",
        room: int = 1,
        *,
        defer: bool = False,
    ) -> "Iterator[Sequence[_Counted]]":
        """Within it, what is limited counts, if `defer` as soon as it fails where that is free.
        Raises TooManyAttempts."""
        now = self._seconds()
        wait = max(counts.wait(key, limit, now) for counts, key, limit in limits)
        each_most = UNDER_WAY_OF_OWNER if client.is_owner else UNDER_WAY
        places = zip(client.networks, each_most, strict=False)
        if any(self._under_way[network] >= most * room for network, most in places):
            wait = max(wait, 1)
        if wait > 0:
            raise TooManyAttempts(math.ceil(wait))
        deferred = [
            (counts, key, limit)
            for counts, key, limit in limits
            if defer and counts.count(key, limit, now) < limit.free
        ]
        counted = self._count([each for each in limits if each not in deferred])
        self._under_way.update(client.networks)
        try:
            yield counted
        except Unavailable:
            _take_back(counted)
            raise
        except BaseException:
            self._count_burst(deferred)
            raise
        finally:
            self._under_way.subtract(client.networks)
            for network in client.networks:
                if not self._under_way[network]:
                    del self._under_way[network]

    def _count_burst(self, limits: "Sequence[_Limited]") -> None:
        now = self._seconds()
        free = all(counts.count(key, limit, now) < limit.free for counts, key, limit in limits)
        # One address alone brings no name under attack, however many guesses it makes at once.
        self._count([each for each in limits if free or each[0] is not self._names])

    def _count(self, limits: "Sequence[_Limited]") -> "Sequence[_Counted]":
        now = self._seconds()
        return [(counts, key, counts.add(key, limit, now)) for counts, key, limit in limits]

    def _remember(self, name_key: bytes, network: bytes) -> None:
        others = [each for each in self._known.pop(name_key, ()) if each != network]
        self._known[name_key] = (network, *others[: KNOWN_ADDRESSES - 1])
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _client(self, address: str) -> "_Client":
        try:
            parsed = ip_address(address)
        except ValueError:
            return _Client([self._digest(address)])
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if parsed.is_loopback:
            return _Client([self._digest("loopback")], is_owner=True)
        if isinstance(parsed, IPv6Address):
            return _Client([parsed.packed[:8], parsed.packed[:6]])
        return _Client([parsed.packed])

    def _digest(self, text: str, more: bytes = b"") -> bytes:
        # Short, and not to be foreseen: nobody may choose a name that counts as another.
        encoded = b"%d:%s%s" % (len(more), more, text.encode(errors="surrogatepass"))
        return hashlib.blake2b(encoded, digest_size=12, key=self._key).digest()


class _Client(NamedTuple):
    networks: Sequence[bytes]
    """What its address counts as, the smallest first."""
    is_owner: bool = False


class _Added(NamedTuple):
    amount: float
    at: float
    former: tuple[float, float]
    """The count before, and when that was last added to."""


class _Counts:
    """Counts by key, which fade, and when each was last added to.

    Those at which somebody has to wait are not pushed out by those at which nobody does.
    """

    def __init__(self) -> None:
        self._free: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self._waiting: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def count(self, key: bytes, limit: Limit, now: float) -> float:
        count, since = self._find(key)
        return max(0.0, count - (now - since) / limit.longest)

    def wait(self, key: bytes, limit: Limit, now: float) -> float:
        count, since = self._find(key)
        return since + limit.wait(count) - now

    def add(self, key: bytes, limit: Limit, now: float) -> "_Added":
        """Adds 1, or less where that would be over the limit's `most`."""
        former = self._find(key)
        before = self.count(key, limit, now)
        count = min(before + 1, max(before, limit.most))
        self.forget(key)
        counts = self._free if count < limit.free else self._waiting
        counts[key] = count, now
        if len(counts) > REMEMBERED:
            counts.popitem(last=False)
        return _Added(count - before, now, former)

    def take_back(self, key: bytes, added: "_Added") -> None:
        for counts in (self._free, self._waiting):
            if key in counts:
                count, since = counts[key]
                # As it was, if nothing came since: a success restarts nobody's wait.
                undone = count - added.amount, since
                counts[key] = added.former if since == added.at else undone
                if count <= added.amount:
                    del counts[key]

    def forget(self, key: bytes) -> None:
        self._free.pop(key, None)
        self._waiting.pop(key, None)

    def _find(self, key: bytes) -> tuple[float, float]:
        return self._free.get(key) or self._waiting.get(key) or (0.0, -math.inf)


_Limited = tuple[_Counts, bytes, Limit]
_Counted = tuple[_Counts, bytes, _Added]


def _take_back(counted: Sequence[_Counted]) -> None:
    for counts, key, added in counted:
        counts.take_back(key, added)
