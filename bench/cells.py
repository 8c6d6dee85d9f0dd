"""The measured requests. A cell is one request, repeated by a number of clients."""

import os
import subprocess
from dataclasses import dataclass, field

from bench import load
from bench.data import PASSWORD, SENDERS, TEXT, Data
from bench.load import Job, Outcome
from bench.servers import Server


@dataclass(frozen=True)
class Cell:
    name: str
    method: str
    path: str
    users: tuple[str, ...] = ()
    body: str = ""
    key: str = ""
    writes: bool = False
    clients: tuple[int, ...] = (1, 16, 64)

    def job(self, port: int, clients: int, seconds: float, tokens: dict[str, str]) -> Job:
        run = os.urandom(4).hex()
        return Job(
            port=port,
            method=self.method,
            path=self.path,
            clients=clients,
            seconds=seconds,
            tokens=[tokens[user] for user in self.users],
            body=self.body.replace("{run}", run),
            key=self.key.replace("{run}", run),
        )


SEND = Cell(
    "send",
    "POST",
    "/chats/peer{client}/messages",
    tuple(f"sender{n}" for n in range(SENDERS)),
    f'{{"message":"{TEXT}"}}',
    writes=True,
)
KEYED = Cell(
    "send with a key",
    SEND.method,
    SEND.path,
    SEND.users,
    SEND.body,
    # As long as a UUID, the usual key.
    "{run}-4a3b-9c2d-0000-{client}-{n}",
    writes=True,
    clients=(64,),
)
HISTORY = Cell("history of 50", "GET", "/chats/messages/writer?limit=50", ("reader",))
OLDER = Cell("older page of 50", "GET", "/chats/messages/writer?limit=50&before=5000", ("reader",))
LIST = Cell("list of 20 chats", "GET", "/chats", ("lister",))
WHOLE = Cell(
    "history of 10,000",
    "GET",
    "/chats/messages/writer",
    ("reader",),
    # The textbook answers about three a second: 64 clients would take half a minute.
    clients=(1, 16),
)
REGISTER = Cell(
    "register",
    "POST",
    "/register",
    body=f'{{"username":"r{{run}}-{{client}}-{{n}}","password":"{PASSWORD}"}}',
    # Hashing sets the rate at any number of clients.
    clients=(16,),
)
LOGIN = Cell(
    "login",
    "POST",
    "/login",
    body=f'{{"username":"reader","password":"{PASSWORD}"}}',
    clients=(16,),
)

ALL = (SEND, KEYED, HISTORY, OLDER, LIST, WHOLE, REGISTER, LOGIN)

# Without password hashes and whole histories, whose cost hides that of the server.
LIGHT = (SEND, KEYED, HISTORY, OLDER, LIST)

MEASURED = {
    "bare": LIGHT,
    "ceiling": (*LIGHT, WHOLE),
    "PostgreSQL": LIGHT,
    "textbook on PostgreSQL": (SEND, KEYED),
    "one by one": (SEND, KEYED),
}


def is_measured(cell: Cell, server: Server) -> bool:
    return cell in MEASURED.get(server.name, ALL)


@dataclass
class Ledger:
    """Counts acknowledged sends and stored rows, which must agree, and unexpected answers."""

    acknowledged: int = 0
    stored: int = 0
    refused: list[str] = field(default_factory=list)


def measure(
    cell: Cell, server: Server, clients: int, seconds: float, data: Data, ledger: Ledger
) -> Outcome:
    job = cell.job(server.port, clients, seconds, data.tokens())
    rows = server.rows if cell.writes else None
    before = rows() if rows else 0
    cpu_before = server.cpu_seconds()
    try:
        outcome = load.run(job)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        # A failure must not discard the other cells.
        outcome = Outcome(1, 0, {type(error).__name__: 1}, seconds, 0, 0)
    outcome.cpu_seconds = server.cpu_seconds() - cpu_before
    if outcome.ok != outcome.requests and cell not in (REGISTER, LOGIN):
        ledger.refused.append(f"{server.name}, {cell.name}, {clients} clients: {outcome.statuses}")
    if rows:
        ledger.acknowledged += outcome.ok
        ledger.stored += rows() - before
    return outcome
