"""An export contains everything once, despite concurrent changes, and keeps little in memory."""

from collections.abc import Sequence

from chatcore import ChatState, Messenger, User, UserName
from chatcore.exporting import PAGE, Blocked, History, Piece, Totals, export
from chatcore.ports import MAX_PAGE
from chatcore_memory import MemoryStore


class Scene:
    def __init__(self) -> None:
        self.store = MemoryStore()
        self.messenger = Messenger(self.store)

    async def join(self, name: str) -> User:
        return await self.store.add_user(UserName(name), "", 0)

    async def chats(self, user: User, count: int, word: str = "peer") -> list[User]:
        """Open chats of one message with `count` new peers, and return the peers."""
        peers = [await self.join(f"{word}-{n}") for n in range(count)]
        for peer in peers:
            chat = await self.messenger.open_chat(user, peer)
            await self.messenger.send(peer, chat, "hello")
        return peers

    async def say(self, user: User, peer: User) -> None:
        chat = await self.messenger.chat_with(user, peer.name)
        await self.messenger.send(peer, chat, "again")

    async def export(self, user: User) -> list[Piece]:
        return [piece async for piece in export(self.messenger, user)]


def peers_of(pieces: Sequence[Piece], user: User) -> list[str]:
    return [piece.chat.peer_of(user).name for piece in pieces if isinstance(piece, ChatState)]


async def test_export_contains_everything_in_its_order() -> None:
    scene = Scene()
    ann, bob, cyd = [await scene.join(name) for name in ("ann", "bob", "cyd")]
    chat = await scene.messenger.open_chat(bob, ann)
    one = await scene.messenger.send(bob, chat, "one")
    two = await scene.messenger.send(ann, chat, "two")
    await scene.messenger.mark_read(ann, chat, 1)
    await scene.messenger.block(ann, cyd)
    state = await scene.messenger.state(ann, chat.id)
    assert await scene.export(ann) == [
        ann,
        Blocked([cyd]),
        state,
        History(chat, [one, two]),
        Totals(1, 2),
    ]
    # An export does not reveal who blocks the user.
    assert await scene.export(cyd) == [cyd, Totals(0, 0)]


async def test_long_export_comes_in_pieces() -> None:
    scene = Scene()
    ann = await scene.join("ann")
    peers = await scene.chats(ann, 2 * PAGE + 1)
    for peer in peers:
        await scene.messenger.block(ann, peer)
    chat = await scene.messenger.chat_with(ann, peers[0].name)
    await scene.messenger.unblock(ann, peers[0])
    for _ in range(2 * MAX_PAGE):
        await scene.messenger.send(ann, chat, "more")
    pieces = await scene.export(ann)
    blocked = [piece.users for piece in pieces if isinstance(piece, Blocked)]
    assert [len(users) for users in blocked] == [PAGE, PAGE]
    assert [user for users in blocked for user in users] == peers[1:]
    histories = [piece.messages for piece in pieces if isinstance(piece, History)]
    assert max(map(len, histories)) == MAX_PAGE
    seqs = [message.seq for each in histories for message in each if message.chat_id == chat.id]
    assert seqs == list(range(1, 2 * MAX_PAGE + 2))
    assert sorted(peers_of(pieces, ann)) == sorted(peer.name for peer in peers)
    assert pieces[-1] == Totals(len(peers), len(peers) + 2 * MAX_PAGE)


async def test_chats_that_become_active_during_an_export_appear_once() -> None:
    for moment in (2, PAGE, 3 * PAGE, 5 * PAGE):
        scene = Scene()
        ann = await scene.join("ann")
        peers = await scene.chats(ann, 3 * PAGE)
        pieces: list[Piece] = []
        async for piece in export(scene.messenger, ann):
            pieces.append(piece)
            if len(pieces) == moment:
                # Chats exported long ago, chats just exported, and chats still to come.
                for peer in peers[::7]:
                    await scene.say(ann, peer)
            elif len(pieces) == moment + 50:
                await scene.say(ann, peers[1])
                await scene.chats(ann, 2, "new")
        found = peers_of(pieces, ann)
        assert len(set(found)) == len(found), moment
        assert set(found) >= {peer.name for peer in peers}, moment
        messages = sum(len(piece.messages) for piece in pieces if isinstance(piece, History))
        assert pieces[-1] == Totals(len(found), messages)


async def test_constantly_active_chat_does_not_prevent_the_end() -> None:
    scene = Scene()
    ann = await scene.join("ann")
    peers = await scene.chats(ann, 2 * PAGE)
    count = 0
    async for _ in export(scene.messenger, ann):
        count += 1
        await scene.say(ann, peers[count % 5])
    assert count < 5 * PAGE
