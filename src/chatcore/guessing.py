"""Limits on guessing passwords that let no client lock out another.

What is counted, and the effect of a count:

- Failures by name and address. The first 5 are free; each further one doubles the wait before the
  next try, up to 15 minutes. One address gets some 18 guesses at a name in the first hour and 4 in
  each hour after that.
- Failures by address, at any name: 20 are free, then waits of up to 30 seconds.
- Registrations by address, successful or not: 20 are free, then waits of up to 3 minutes.
- Failures by name, from any address. With 20 failures a name is under attack (one is forgotten
  every 3 minutes; one address alone cannot reach 20). From then on, an address has one free try at
  the name, and its waits begin at a minute and end at 4 hours.
- Concurrent tries: 4 from an address. A try counts as a failure before the password is checked,
  and is taken back when the password was right: many tries at once gain nothing.

A loopback address (127.0.0.0/8, ::1) is the machine's owner and gets an allowance, so that a script
or a test harness is not limited: 2,000 registrations instead of 20, and 64 concurrent tries instead
of 4. While failures are free there, a try counts only once it has failed; from the first wait on,
it counts beforehand as everywhere. Concurrent tries therefore gain at most 64 guesses, once. All
loopback addresses count as one.

An IPv6 address counts as its network of 64 bits, the usual share of one customer. A network of 48
bits, which one customer can get as well, has ten times the limits of an address (four times for
concurrent tries); otherwise one guesser would have 65,536 addresses.

A name under attack is not simply closed, and has no quota per hour: a per-name quota is a lock-out
weapon, since anyone can exhaust it, with many addresses at no cost. So failures of others at a name
only shorten what each address may do there *after its own first failure*. The owner, from any
address, gets in at once with the right password; an owner who mistypes it waits for the failures of
that address, a minute at first. An attacker with n addresses gets one guess from each, some 14 more
from each within the day, and 6 on each later day.

A user who registered or logged in from an address before is *known* there: tries at that name from
that address are then limited only by its own failures at that name, not by attacks on the name or
by other users of the address. Those others can only fail at that very name from that very address.

Memory is bounded, to some 20 MiB, and a flood of names or addresses does not push out the counts
that limit a guesser. A refused try leaves no trace. Of each kind, the 8,192 counts that make a
client wait are kept apart from as many that do not. To push one of the former out takes 8,192 other
clients with no free tries left, and one network cannot achieve that before the counts fade anyway.
An attacker with more addresses than that is slowed only by the time a hash takes. The known
addresses are kept for 8,192 names, 4 each, so pushing one out takes as many accounts.
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
    """After `free` tries, the next waits `first` seconds, and each further one twice as long as the
    one before, up to `longest`; one try is forgotten every `longest` seconds.

    So any period has at most `free` + log2(`longest` / `first`) + 2 tries, plus one for each
    `longest` in it.
    """

    free: int
    first: float
    longest: float
    most: float = math.inf
    """The count never exceeds this."""

    def wait(self, count: float) -> float:
        """Return the wait after the last counted try, in seconds."""
        return (
            0.0 if count < self.free else min(self.longest, self.first * 2 ** (count - self.free))
        )


PAIR = Limit(5, 1, 900)
PAIR_UNDER_ATTACK = Limit(1, 60, 4 * 3600)
ADDRESS = Limit(20, 1, 30)
NETWORK = Limit(200, 0.1, 3)
NAME = Limit(20, 0, 180, most=40)
"""Causes no wait by itself. The count is 0 again two hours after an attack."""
REGISTRATIONS = Limit(20, 1, 180)
REGISTRATIONS_OF_NETWORK = Limit(200, 0.1, 18)
REGISTRATIONS_OF_OWNER = Limit(2000, 1, 180)

CONCURRENT_TRIES = (4, 16)
"""Concurrent tries from an address, and from a network of many addresses."""
CONCURRENT_TRIES_OF_OWNER = (64,)

MAX_COUNTS = 8192
"""The most counts of each kind that make a client wait, as many again that do not, and the most
names with known addresses."""
KNOWN_ADDRESSES = 4


class Guard:
    """Limits guesses and registrations, by the rules of this module.

    An address is an IP address, or any other text that distinguishes clients. A loopback address
    gets the owner's allowance: for a client on this machine that is not its owner, such as a proxy,
    pass another text. None is for clients that cannot be distinguished, and has no limits: a limit
    by name alone would let strangers lock out the owner. Each Guard counts for itself: n processes
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
        self._concurrent: Counter[bytes] = Counter()

    @contextmanager
    def attempt(self, name: str, address: str | None) -> Iterator[None]:
        """Check a password within this context. An exit without an error is a success, an exit by
        Unavailable is not counted, and any other error is a failure. `name` is a canonical name or
        any other text; it does not matter whether a user has it.

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
        # Other users of the address leave room for the users known there.
        room = 2 if known else 1
        with self._admitted(client, limits, room, defer=client.is_owner) as counted:
            yield
            _take_back(counted)
            self._pairs.forget(pair)
            self._remember(name_key, client.networks[0])

    @contextmanager
    def registration(self, address: str | None, name: str = "") -> Iterator[None]:
        """Create the account with this canonical name within this context. It counts whether it
        succeeds or not, unless it exits by Unavailable. Raises TooManyAttempts."""
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
        """Count a try towards the limits within this context; with `defer`, a free try counts only
        once it fails. Raises TooManyAttempts."""
        now = self._seconds()
        wait = max(counts.wait(key, limit, now) for counts, key, limit in limits)
        each_most = CONCURRENT_TRIES_OF_OWNER if client.is_owner else CONCURRENT_TRIES
        places = zip(client.networks, each_most, strict=False)
        if any(self._concurrent[network] >= most * room for network, most in places):
            wait = max(wait, 1)
        if wait > 0:
            raise TooManyAttempts(math.ceil(wait))
        deferred = [
            (counts, key, limit)
            for counts, key, limit in limits
            if defer and counts.count(key, limit, now) < limit.free
        ]
        counted = self._count([each for each in limits if each not in deferred])
        self._concurrent.update(client.networks)
        try:
            yield counted
        except Unavailable:
            _take_back(counted)
            raise
        except BaseException:
            self._count_burst(deferred)
            raise
        finally:
            self._concurrent.subtract(client.networks)
            for network in client.networks:
                if not self._concurrent[network]:
                    del self._concurrent[network]

    def _count_burst(self, limits: "Sequence[_Limited]") -> None:
        now = self._seconds()
        free = all(counts.count(key, limit, now) < limit.free for counts, key, limit in limits)
        # One address alone puts no name under attack, even with many guesses at once.
        self._count([each for each in limits if free or each[0] is not self._names])

    def _count(self, limits: "Sequence[_Limited]") -> "Sequence[_Counted]":
        now = self._seconds()
        return [(counts, key, counts.add(key, limit, now)) for counts, key, limit in limits]

    def _remember(self, name_key: bytes, network: bytes) -> None:
        others = [each for each in self._known.pop(name_key, ()) if each != network]
        self._known[name_key] = (network, *others[: KNOWN_ADDRESSES - 1])
        if len(self._known) > MAX_COUNTS:
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
        # Short and keyed, so that a client cannot choose a name that collides with another.
        encoded = b"%d:%s%s" % (len(more), more, text.encode(errors="surrogatepass"))
        return hashlib.blake2b(encoded, digest_size=12, key=self._key).digest()


class _Client(NamedTuple):
    networks: Sequence[bytes]
    """The networks that its address counts as, the smallest first."""
    is_owner: bool = False


class _Added(NamedTuple):
    amount: float
    at: float
    former: tuple[float, float]
    """The count before, and the time of its last addition."""


class _Counts:
    """Fading counts by key, each with the time of its last addition.

    Counts that make a client wait are never pushed out by counts that do not.
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
        """Add 1, or less if that would exceed the limit's `most`."""
        former = self._find(key)
        before = self.count(key, limit, now)
        count = min(before + 1, max(before, limit.most))
        self.forget(key)
        counts = self._free if count < limit.free else self._waiting
        counts[key] = count, now
        if len(counts) > MAX_COUNTS:
            counts.popitem(last=False)
        return _Added(count - before, now, former)

    def take_back(self, key: bytes, added: "_Added") -> None:
        for counts in (self._free, self._waiting):
            if key in counts:
                count, since = counts[key]
                # Restore the former state if nothing was added since: a success restarts no wait.
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
