"""What is measured: one request, asked over and over."""

import os
from dataclasses import dataclass

from bench import load, wrk
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
    writes: bool = False

    def job(self, port: int, clients: int, seconds: float, tokens: dict[str, str]) -> Job:
        return Job(
            port=port,
            method=self.method,
            path=self.path,
            clients=clients,
            seconds=seconds,
            tokens=[tokens[user] for user in self.users],
            body=self.body.replace("{run}", os.urandom(4).hex()),
        )


SEND = Cell(
    "send",
    "POST",
    "/chats/peer{client}/messages",
    tuple(f"sender{n}" for n in range(SENDERS)),
    f'{{"message":"{TEXT}"}}',
    writes=True,
)
HISTORY = Cell("history of 50", "GET", "/chats/messages/writer?limit=50", ("reader",))
OLDER = Cell("older page of 50", "GET", "/chats/messages/writer?limit=50&before=5000", ("reader",))
LIST = Cell("list of 20 chats", "GET", "/chats", ("lister",))
WHOLE = Cell("history of 10,000", "GET", "/chats/messages/writer", ("reader",))
REGISTER = Cell(
    "register",
    "POST",
    "/register",
    body=f'{{"username":"r{{run}}-{{client}}-{{n}}","password":"{PASSWORD}"}}',
)
LOGIN = Cell("login", "POST", "/login", body=f'{{"username":"reader","password":"{PASSWORD}"}}')

ALL = (SEND, HISTORY, OLDER, LIST, WHOLE, REGISTER, LOGIN)


@dataclass
class Ledger:
    """Sends acknowledged, held against rows stored."""

    acknowledged: int = 0
    stored: int = 0


def measure(
    cell: Cell, server: Server, clients: int, seconds: float, data: Data, ledger: Ledger
) -> Outcome:
    job = cell.job(server.port, clients, seconds, data.tokens())
    count_rows = cell.writes and server.name == "chatcore"
    before = server.rows() if count_rows else 0
    outcome = wrk.run(job) if wrk.usable(job) else load.run(job)
    if outcome.ok != outcome.requests and cell not in (REGISTER, LOGIN):
        raise RuntimeError(f"{server.name}, {cell.name}: {outcome.statuses}")
    if count_rows:
        ledger.acknowledged += outcome.ok
        ledger.stored += server.rows() - before
    return outcome
