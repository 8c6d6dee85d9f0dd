"""One run: a service, its clients and their faults, all drawn from one seed."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from typing import NamedTuple

from chatcore import Messenger, Unavailable
from chatcore_memory import MemoryStore
from tests.unit.simulation.copies import Send
from tests.unit.simulation.device import Device
from tests.unit.simulation.history import check_histories
from tests.unit.simulation.naming import REALM
from tests.unit.simulation.parts import FaultyDoorbell, FaultyStore, Node
from tests.unit.simulation.policing import BANNED, REFUSAL, RUDE, FaultyPolicy, allowed
from tests.unit.simulation.virtual import VirtualLoop
from tests.unit.simulation.world import POLL_SECONDS, SLOWEST_STEP, Violation, World

STEPS = 40
MOST_SECONDS_TO_SETTLE = 60
_WORDS = ("", "", "", f" {RUDE}", f" {BANNED}")
NEVER = 1e6  # seconds, far beyond the end of any run


@dataclass(frozen=True)
class Plan:
    """The parts of a run: the real parts, unless a bug is planted."""

    store: Callable[[], MemoryStore] = MemoryStore
    messenger: type[Messenger] = Messenger
    device: type[Device] = Device
    doorbell: type[FaultyDoorbell] = FaultyDoorbell
    reliable_rings: bool = False
    """No ring is lost or late, and clients do not poll."""
    poll_seconds: float = POLL_SECONDS


class Outcome(NamedTuple):
    trace: list[str]
    counts: Counter[str]
    violation: BaseException | None

    @property
    def digest(self) -> str:
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=16).hexdigest()


def simulate(seed: int, plan: Plan | None = None) -> Outcome:
    """Run a seed. A broken promise ends the run and is returned, not raised."""
    loop = VirtualLoop()
    try:
        run = _Run(seed, plan or Plan(), loop)
        violation = None
        for part in (run.all, run.stop):
            try:
                loop.run_until_complete(part())
            except Exception as broken:
                violation = violation or broken
        return Outcome(run.world.trace, run.world.counts, violation)
    finally:
        loop.close()


class _Run:
    def __init__(self, seed: int, plan: Plan, loop: VirtualLoop) -> None:
        self.world = world = World(seed, loop, plan.store())
        self._plan = plan
        rng = world.rng
        self._doorbell = plan.doorbell(world, reliable=plan.reliable_rings)
        self._store = FaultyStore(world, rings=self._doorbell if plan.reliable_rings else None)
        polls = NEVER if plan.reliable_rings else POLL_SECONDS
        within = (0 if plan.reliable_rings else POLL_SECONDS) + 3 * SLOWEST_STEP
        self._poll_seconds = max(polls, plan.poll_seconds)
        self._policy = FaultyPolicy(world) if rng.random() < 0.5 else None
        self._nodes = [Node(world, self._messenger) for _ in range(rng.randint(1, 2))]
        self._devices = [
            plan.device(world, self._nodes, user, f"{user.name}{number}", within)
            for user in world.users
            for number in range(rng.choice((1, 1, 2, 3)))
        ]
        self._sends: dict[str, Send] = {}
        self._returns: list[asyncio.TimerHandle] = []

    def _messenger(self, node: Node) -> Messenger:
        return self._plan.messenger(
            self._store.as_store(),
            realm=REALM,
            doorbell=self._doorbell,
            clock=lambda: self.world.clock(node.skew),
            poll_seconds=self._poll_seconds,
            policy=self._policy,
        )

    async def all(self) -> None:
        world = self.world
        for device in self._devices:
            device.start()
        await self._open_some()
        for _ in range(STEPS):
            [act] = world.rng.choices(list(_ACTS), list(_ACTS.values()))
            await act(self)
            await asyncio.sleep(world.rng.choice((0, 0, 0.01, world.rng.uniform(0, 1))))
            self._raise()
        world.note("faults stop")
        world.faulty = False
        for node in self._nodes:
            node.start()
        for device in self._devices:
            device.start()
        for _ in range(MOST_SECONDS_TO_SETTLE):
            await asyncio.sleep(1)
            self._raise()
            if all(map(self._has_settled, self._devices)):
                break
        check_histories(world, self._devices, self._sends)
        world.check(world.names.twins_are_unchanged(), "a rename reached another realm")

    def _has_settled(self, device: Device) -> bool:
        if device.stale or device.cursor is None:
            return False
        return not device.outbox and device.cursor.n == len(self.world.logs[device.user.id])

    async def stop(self) -> None:
        """End every task, and check that none leaves anything behind."""
        for timer in self._returns:
            timer.cancel()
        for device in self._devices:
            device.stop()
        await asyncio.sleep(0)
        for node in self._nodes:
            node.stop()
        await asyncio.sleep(SLOWEST_STEP)
        left = self._doorbell.listening
        assert left == 0, f"{left} listeners are left"

    def _raise(self) -> None:
        if self.world.violations:
            raise self.world.violations[0]
        if self.world.loop.unhandled:
            raise Violation(f"unhandled: {self.world.loop.unhandled[0]}")

    async def _open_some(self) -> None:
        pairs = list(combinations(self.world.users, 2))
        for user, peer in self.world.rng.sample(pairs, min(len(pairs), 2)):
            self._some_device(user.id).work(self._some_device(user.id).open(peer))
        await asyncio.sleep(0.5)

    def _some_device(self, user_id: int | None = None) -> Device:
        devices = [it for it in self._devices if user_id is None or it.user.id == user_id]
        return self.world.rng.choice(devices)

    # Events of the run.

    async def send(self) -> None:
        """Send one or several messages at once."""
        device, rng = self._some_device(), self.world.rng
        if not device.chats:
            return
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            chat = rng.choice(list(device.chats.values())).chat
            text = f"{device.name} {len(self._sends)}{rng.choice(_WORDS)}"
            key = None if rng.random() < 0.1 else f"key-{len(self._sends)}"
            passed = allowed(text) if self._policy else text
            send = Send(chat, text, key, passed or "", "" if passed else REFUSAL)
            self._add(device, send)

    async def send_wrongly(self) -> None:
        device, rng = self._some_device(), self.world.rng
        if not device.chats:
            return
        chat = rng.choice(list(device.chats.values())).chat
        text = f"{device.name} {len(self._sends)}"
        strange = [
            it
            for it in self.world.chats.values()
            if device.user.id not in {user.id for user in it.users}
        ]
        known = [
            it
            for it in self._sends.values()
            if it.key and it.message and it.message.sender_id == device.user.id
        ]
        which = rng.randint(0, 3)
        key = f"key-{len(self._sends)}"
        if which == 0 and strange:
            send = Send(rng.choice(strange), text, key, refusal="chat_not_found")
        elif which == 1 and known:
            first = rng.choice(known)
            # The text that the policy wrote is not what the client submitted.
            if first.stored not in self._sends:
                text = first.stored
            send = Send(first.chat, text, first.key, refusal="key_reused")
        elif which == 2:
            send = Send(chat, text, "no key", refusal="invalid_key")
        else:
            send = Send(chat, text + "\0", key, refusal="invalid_text")
        self._add(device, send)

    def _add(self, device: Device, send: Send) -> None:
        self._sends[send.text] = send
        device.send(send)

    async def mark(self) -> None:
        device, rng = self._some_device(), self.world.rng
        if device.chats:
            copy = rng.choice(list(device.chats.values()))
            device.work(device.mark(copy, rng.randint(0, len(copy.messages) + 2)))

    async def rename(self) -> None:
        """Rename one user or two, on behalf of the host."""
        rng = self.world.rng
        users = rng.sample(self.world.users, rng.choice((1, 1, 2)))
        device = self._some_device()
        device.work(device.rename({it.handle: self.world.names.new(it) for it in users}))

    async def look_up(self) -> None:
        device = self._some_device()
        if device.chats:
            copy = self.world.rng.choice(list(device.chats.values()))
            device.work(device.look_up(copy))

    async def open(self) -> None:
        user, peer = self.world.rng.sample(self.world.users, 2)
        for device in {self._some_device(user.id): 0, self._some_device(user.id): 0}:
            device.work(device.open(peer))

    async def disconnect(self) -> None:
        self._some_device().disconnect()

    async def crash(self) -> None:
        """Crash a device for a while; sometimes it also loses its data."""
        device, rng = self._some_device(), self.world.rng
        device.stop()
        if rng.random() < 0.3:
            self.world.count("devices that lost everything")
            device.forget()
        away = rng.choice((0, rng.uniform(0, 10)))
        self._returns.append(self.world.loop.call_later(away, device.start))

    async def slow_down(self) -> None:
        self._some_device().slow = self.world.rng.choice((0, 0.5, 3))

    async def restart(self) -> None:
        self.world.note("restart")
        self.world.count("restarts")
        rng = self.world.rng
        node = rng.choice(self._nodes)
        node.stop()
        self.world.loop.call_later(rng.choice((0, rng.uniform(0, 4))), node.start)

    async def trim(self) -> None:
        rng = self.world.rng
        keep, age = rng.choice((1, 3, 10, 100)), timedelta(seconds=rng.choice((1, 30)))
        messenger = rng.choice(self._nodes).messenger
        if messenger:
            try:
                await messenger.trim_logs(keep=keep, age=age)
            except Unavailable:
                return

    async def make_up_rings(self) -> None:
        if not self._plan.reliable_rings:
            self._doorbell.ring(user.id for user in self.world.users)


_ACTS = {
    _Run.send: 40,
    _Run.send_wrongly: 4,
    _Run.mark: 20,
    _Run.open: 5,
    _Run.rename: 6,
    _Run.look_up: 8,
    _Run.disconnect: 8,
    _Run.crash: 8,
    _Run.slow_down: 5,
    _Run.restart: 4,
    _Run.trim: 6,
    _Run.make_up_rings: 4,
}
