"""The checks at the end of a run."""

from collections import Counter
from collections.abc import Mapping, Sequence

from chatcore import ChatState, Message, User
from tests.unit.simulation.copies import Send
from tests.unit.simulation.device import Device
from tests.unit.simulation.virtual import run_now
from tests.unit.simulation.world import World


def check_histories(world: World, devices: Sequence[Device], sends: Mapping[str, Send]) -> None:
    """Check that every device matches the store, and the store matches the messages sent."""
    stored = {chat_id: _stored(world, chat_id) for chat_id in world.chats}
    world.check(len({it.users for it in world.chats.values()}) == len(stored), "two chats of two")
    for chat_id, messages in stored.items():
        numbers = [message.seq for message in messages]
        world.check(numbers == list(range(1, len(numbers) + 1)), "chat", chat_id, "has gaps")
    _check_sends(world, [it for messages in stored.values() for it in messages], sends)
    for user in world.users:
        _check_markers(world, user)
    for device in devices:
        _check_device(world, device, stored)


def _stored(world: World, chat_id: int) -> list[Message]:
    return list(run_now(world.store.messages_after(chat_id, 0, limit=500)))


def _states(world: World, user: User) -> Sequence[ChatState]:
    return run_now(world.store.chat_states(user.id, before=None, limit=500))


def _check_sends(world: World, messages: Sequence[Message], sends: Mapping[str, Send]) -> None:
    times = Counter(message.text for message in messages)
    texts = {send.stored for send in sends.values()}
    world.check(times.keys() <= texts, "the history has messages that no client sent")
    stored = set(messages)
    for text, send in sends.items():
        found = times[send.stored]
        if send.message:
            kept = found == 1 and send.message in stored
            world.check(kept, repr(text), "was acknowledged, and is stored", found, "times")
        elif send.refused:
            world.check(found == 0, repr(text), "was refused, and is stored")
        else:
            world.count("sends of unknown outcome")
            world.check(found <= 1, repr(text), "is stored", found, "times")


def _check_markers(world: World, user: User) -> None:
    for state in _states(world, user):
        acknowledged = world.marked.get((user.id, state.chat.id), 0)
        kept = acknowledged <= state.read_seq
        world.check(kept, "a marker of", user.name, "was", acknowledged, "and is", state.read_seq)


def _check_device(world: World, device: Device, stored: Mapping[int, Sequence[Message]]) -> None:
    states = {state.chat.id: state for state in _states(world, device.user)}
    world.check(device.chats.keys() == states.keys(), device.name, "has other chats")
    for chat_id, state in states.items():
        copy = device.chats[chat_id]
        of_chat = f"{device.name}'s copy of chat {chat_id}"
        held, there = len(copy.messages), len(stored[chat_id])
        world.check(copy.messages == stored[chat_id], of_chat, "has", held, "messages of", there)
        found = copy.read, copy.peer_read, copy.unread(device.user)
        wanted = state.read_seq, state.peer_read_seq, state.unread
        world.check(found == wanted, of_chat, "is read up to", found, "not", wanted)
    world.check(not device.outbox, device.name, "never got an answer to all that it sent")
    end = len(world.logs[device.user.id])
    cursor = device.cursor.n if device.cursor else None
    world.check(cursor == end, device.name, "is at", cursor, "of", end)
