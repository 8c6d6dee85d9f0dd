"""The invariants between the rows of a database: for each, a query that finds violations.

Every query runs on both SQLite and PostgreSQL, unless a tuple names one, and holds no more in
memory than a sort that spills to the disk.

Numbers in the queries: events are of kind 0 (opened), 1 (sent), 2 and 3 (a read marker of the user
with the lower, or the higher, id); bits of `closed` are 1 and 2 (the user with the lower, or the
higher, id blocks the peer) and 4 (a user is erased).
"""

from typing import NamedTuple


class Rule(NamedTuple):
    subject: str
    """The subject, for the report of progress."""
    query: str
    fault: str
    """The fault that a row of the query shows, as a format string for its columns."""


_SIDES = """
WITH sides AS (
    SELECT id, lo_id AS user_id, hi_id AS peer_id, last_seq,
        lo_read AS marker, lo_seen AS seen, lo_told AS told, 1 AS is_lo FROM chats
    UNION ALL
    SELECT id, hi_id, lo_id, last_seq, hi_read, hi_seen, hi_told, 0 FROM chats
)"""

RULES = (
    Rule(
        "the store's name",
        """SELECT count(*) FROM store
        HAVING count(*) <> 1 OR min(length(log)) < 1 OR max(length(log)) > 32""",
        "the store has {0} names, or a name that is too long",
    ),
    Rule(
        "the secret of the digests",
        """SELECT coalesce(length(digest_secret), 0) FROM store
        WHERE digest_secret IS NULL OR length(digest_secret) <> 32""",
        "the secret of the digests has {0} bytes, not 32",
    ),
    Rule(
        "names of users",
        "SELECT min(id), count(*) FROM users GROUP BY canonical HAVING count(*) > 1",
        "{1} users, the first of them {0}, have one name",
    ),
    Rule(
        "erased users",
        """SELECT erased, retired FROM (
            SELECT (SELECT count(*) FROM users WHERE erased_us IS NOT NULL) AS erased,
                (SELECT count(*) FROM retired_names) AS retired) AS counted
        WHERE erased <> retired""",
        "{0} users are erased, but {1} names are retired",
    ),
    Rule(
        "accounts of users",
        # The key of a host's user has U+001F after the realm.
        """SELECT u.id FROM users AS u LEFT JOIN accounts AS a ON a.user_id = u.id
        WHERE u.erased_us IS NULL AND a.user_id IS NULL AND u.canonical NOT LIKE '%\x1f%'""",
        "user {0} is in the empty realm, but has no account",
    ),
    Rule(
        "accounts without a user",
        """SELECT a.user_id FROM accounts AS a LEFT JOIN users AS u ON u.id = a.user_id
        WHERE u.id IS NULL OR u.erased_us IS NOT NULL OR u.canonical LIKE '%\x1f%'""",
        "user {0} has an account, but is erased, unknown or of a host",
    ),
    Rule(
        "former credentials",
        "SELECT id FROM users WHERE password_hash <> '' OR tokens_from_us <> 0",
        "user {0} has a password hash or token time outside of the accounts",
    ),
    Rule(
        "sessions without an account",
        """SELECT s.user_id, count(*) FROM sessions AS s
        LEFT JOIN accounts AS a ON a.user_id = s.user_id
        WHERE a.user_id IS NULL GROUP BY s.user_id""",
        "user {0}, who has no account, has {1} sessions",
    ),
    Rule(
        "tokens of sessions",
        """SELECT user_id, id FROM sessions WHERE length(digest) <> 32
            OR (former IS NULL) <> (salt IS NULL) OR length(former) <> 32 OR length(salt) <> 32""",
        "session {1} of user {0} has a digest or a salt of a wrong length, or one alone",
    ),
    Rule(
        "times of sessions",
        """SELECT user_id, id FROM sessions
        WHERE expires_us > ends_us OR (salt IS NULL AND used_us <> created_us)""",
        "session {1} of user {0} lasts too long, or was used without a renewal",
    ),
    Rule(
        "blocks of erased users",
        """SELECT b.user_id, b.peer_id FROM blocks AS b
        JOIN users AS u ON u.id IN (b.user_id, b.peer_id) WHERE u.erased_us IS NOT NULL""",
        "user {0} blocks user {1}, though one of them is erased",
    ),
    Rule(
        "pairs of users",
        """SELECT min(id), count(*), lo_id, hi_id FROM chats GROUP BY lo_id, hi_id
        HAVING count(*) > 1 OR lo_id >= hi_id""",
        "users {2} and {3} have {1} chats, the first of them {0}",
    ),
    Rule(
        "closed chats",
        """SELECT id, closed, reasons FROM (
            SELECT c.id, c.closed, CASE
                WHEN lo.erased_us IS NOT NULL OR hi.erased_us IS NOT NULL THEN 4
                ELSE CASE WHEN EXISTS (SELECT 1 FROM blocks
                        WHERE user_id = c.lo_id AND peer_id = c.hi_id) THEN 1 ELSE 0 END
                    + CASE WHEN EXISTS (SELECT 1 FROM blocks
                        WHERE user_id = c.hi_id AND peer_id = c.lo_id) THEN 2 ELSE 0 END
                END AS reasons
            FROM chats AS c JOIN users AS lo ON lo.id = c.lo_id JOIN users AS hi ON hi.id = c.hi_id
        ) AS found WHERE closed <> reasons""",
        "chat {0} is closed by {1}; blocks and erased users make it {2}",
    ),
    Rule(
        "the order of chats",
        """SELECT user_id, activity, count(*) FROM (
            SELECT lo_id AS user_id, activity FROM chats
            UNION ALL SELECT hi_id, activity FROM chats) AS listed
        GROUP BY user_id, activity HAVING count(*) > 1 OR activity < 1""",
        "user {0} has {2} chats of the activity {1}",
    ),
    Rule(
        "numbers of messages",
        """SELECT id, n, newest, last_seq FROM (
            SELECT c.id, c.last_seq,
                (SELECT count(*) FROM messages AS m WHERE m.chat_id = c.id) AS n,
                (SELECT coalesce(max(m.seq), 0) FROM messages AS m WHERE m.chat_id = c.id) AS newest
            FROM chats AS c) AS counted
        WHERE n <> newest OR newest <> last_seq""",
        "chat {0} has {1} messages, numbered up to {2}; it says {3}",
    ),
    Rule(
        "senders",
        """SELECT m.chat_id, m.seq, m.sender_id FROM messages AS m
        JOIN chats AS c ON c.id = m.chat_id WHERE m.sender_id NOT IN (c.lo_id, c.hi_id)""",
        "message {1} of chat {0} is from user {2}, who is not in the chat",
    ),
    Rule(
        "counts of messages",
        """SELECT chat_id, seq, lo_sent, counted FROM (
            SELECT m.chat_id, m.seq, m.lo_sent,
                sum(CASE WHEN m.sender_id = c.lo_id THEN 1 ELSE 0 END) OVER (
                    PARTITION BY m.chat_id ORDER BY m.seq ROWS UNBOUNDED PRECEDING) AS counted
            FROM messages AS m JOIN chats AS c ON c.id = m.chat_id) AS running
        WHERE lo_sent <> counted""",
        "message {1} of chat {0} counts {2} of its sender with the lower id; there are {3}",
    ),
    Rule(
        "counts of chats",
        """SELECT id, lo_sent, counted FROM (
            SELECT c.id, c.lo_sent, coalesce((SELECT m.lo_sent FROM messages AS m
                WHERE m.chat_id = c.id AND m.seq = c.last_seq), 0) AS counted
            FROM chats AS c) AS counts
        WHERE lo_sent <> counted""",
        "chat {0} counts {1} messages of its user with the lower id; there are {2}",
    ),
    Rule(
        "read markers",
        f"""{_SIDES} SELECT user_id, id, marker, told, last_seq FROM sides
        WHERE told < 0 OR told > marker OR marker > last_seq""",  # noqa: S608
        "user {0} has read chat {1} up to {2}, shown to the peer up to {3}, of {4} messages",
    ),
    Rule(
        "unread counts",
        f"""{_SIDES} SELECT user_id, id, seen, counted FROM (
            SELECT s.user_id, s.id, s.seen,
                CASE s.is_lo WHEN 1 THEN s.marker - coalesce(m.lo_sent, 0)
                ELSE coalesce(m.lo_sent, 0) END AS counted
            FROM sides AS s LEFT JOIN messages AS m ON m.chat_id = s.id AND m.seq = s.marker
        ) AS counts WHERE seen <> counted""",  # noqa: S608
        "user {0} has seen {2} messages of the peer in chat {1}; up to the marker there are {3}",
    ),
    Rule(
        "idempotency keys",
        """SELECT chat_id, sender_id, count(*), min(seq) FROM messages
        WHERE idempotency_key IS NOT NULL
        GROUP BY chat_id, sender_id, idempotency_key HAVING count(*) > 1""",
        "{2} messages of user {1} in chat {0}, the first of them {3}, have one key",
    ),
    Rule(
        "digests",
        """SELECT chat_id, seq FROM messages
        WHERE digest IS NOT NULL AND (idempotency_key IS NULL OR length(digest) <> 32)""",
        "message {1} of chat {0} has a digest of a wrong length, or has one without a key",
    ),
    Rule(
        "numbers of events",
        """SELECT user_id, count(*), min(n), max(n) FROM events GROUP BY user_id
        HAVING max(n) - min(n) + 1 <> count(*)""",
        "the log of user {0} has {1} entries, numbered from {2} to {3}",
    ),
    Rule(
        "logs without a user",
        """SELECT e.user_id, count(*) FROM events AS e LEFT JOIN users AS u ON u.id = e.user_id
        WHERE u.id IS NULL OR u.erased_us IS NOT NULL GROUP BY e.user_id""",
        "user {0}, who is erased or unknown, has a log of {1} entries",
    ),
    Rule(
        "chats of events",
        """SELECT e.user_id, e.n, e.chat_id FROM events AS e
        LEFT JOIN chats AS c ON c.id = e.chat_id
        WHERE c.id IS NULL OR e.user_id NOT IN (c.lo_id, c.hi_id)""",
        "entry {1} of the log of user {0} is of chat {2}, which the user is not in",
    ),
    Rule(
        "kinds of events",
        """SELECT user_id, n, kind, seq FROM events
        WHERE kind NOT BETWEEN 0 AND 3 OR (kind = 0) <> (seq = 0)""",
        "entry {1} of the log of user {0} is of kind {2} with the number {3}",
    ),
    Rule(
        "the order of events",
        """SELECT user_id, n, kind, chat_id, seq, earlier FROM (
            SELECT user_id, n, kind, chat_id, seq,
                lag(seq) OVER (PARTITION BY user_id, chat_id, kind ORDER BY n) AS earlier
            FROM events) AS told
        WHERE (kind = 1 AND seq <> earlier + 1) OR (kind <> 1 AND seq <= earlier)""",
        "entry {1} of the log of user {0}, of kind {2}, has number {4} of chat {3} after {5}",
    ),
    Rule(
        "messages against events",
        # A log that was trimmed, or begun by a later version, has no entries from before its
        # oldest. Clocks may differ and step back, by an hour at most.
        f"""{_SIDES}, told AS (
            SELECT user_id, chat_id, min(seq) AS oldest, max(seq) AS newest
            FROM events WHERE kind = 1 GROUP BY user_id, chat_id
        ), logs AS (
            SELECT e.user_id, e.at_us FROM events AS e
            JOIN (SELECT user_id, min(n) AS n FROM events GROUP BY user_id) AS oldest
                ON oldest.user_id = e.user_id AND oldest.n = e.n
        )
        SELECT s.user_id, s.id, coalesce(mine.oldest, 0), coalesce(mine.newest, 0), s.last_seq
        FROM sides AS s JOIN users AS u ON u.id = s.user_id
        LEFT JOIN told AS mine ON mine.chat_id = s.id AND mine.user_id = s.user_id
        LEFT JOIN told AS theirs ON theirs.chat_id = s.id AND theirs.user_id = s.peer_id
        LEFT JOIN logs ON logs.user_id = s.user_id
        LEFT JOIN messages AS untold ON untold.chat_id = s.id
            AND untold.seq = coalesce(mine.oldest, s.last_seq + 1) - 1
        WHERE u.erased_us IS NULL AND (
            mine.newest <> s.last_seq
            OR untold.sent_us > logs.at_us + 3600000000
            OR (logs.user_id IS NULL AND theirs.user_id IS NOT NULL))""",  # noqa: S608
        "the log of user {0} has messages {2} to {3} of chat {1}, which has {4}, "
        "and is older than the others",
    ),
    Rule(
        "read markers against events",
        """SELECT t.user_id, t.chat_id, t.kind, t.newest, t.wanted FROM (
            SELECT e.user_id, e.chat_id, e.kind, e.newest, CASE
                WHEN e.kind = 2 AND e.user_id = c.lo_id THEN c.lo_read
                WHEN e.kind = 2 THEN c.lo_told
                WHEN e.user_id = c.hi_id THEN c.hi_read
                ELSE c.hi_told END AS wanted
            FROM (SELECT user_id, chat_id, kind, max(seq) AS newest FROM events
                WHERE kind IN (2, 3) GROUP BY user_id, chat_id, kind) AS e
            JOIN chats AS c ON c.id = e.chat_id) AS t
        WHERE t.newest <> t.wanted""",
        "the log of user {0} has a read marker, of kind {2}, at {3} of chat {1}; it is at {4}",
    ),
)

OF_SQLITE = (
    Rule(
        "the file",
        "SELECT integrity_check FROM pragma_integrity_check(20) WHERE integrity_check <> 'ok'",
        "the file is damaged: {0}",
    ),
    Rule(
        "references",
        """SELECT "table", parent, count(*) FROM pragma_foreign_key_check
        GROUP BY "table", parent""",
        "{2} rows of {0} refer to missing {1}",
    ),
    Rule(
        "the next ids",
        """SELECT 'users', max(id), (SELECT seq FROM sqlite_sequence WHERE name = 'users')
        FROM users HAVING max(id) > coalesce(
            (SELECT seq FROM sqlite_sequence WHERE name = 'users'), 0)
        UNION ALL
        SELECT 'chats', max(id), (SELECT seq FROM sqlite_sequence WHERE name = 'chats')
        FROM chats HAVING max(id) > coalesce(
            (SELECT seq FROM sqlite_sequence WHERE name = 'chats'), 0)""",
        "the last id of {0} is {1}, but the next one is given after {2}",
    ),
)

OF_POSTGRES = (
    Rule(
        "the next ids",
        """SELECT 'users', max(id), (SELECT last_value FROM users_id_seq)
        FROM users HAVING max(id) > (SELECT last_value FROM users_id_seq)
        UNION ALL
        SELECT 'chats', max(id), (SELECT last_value FROM chats_id_seq)
        FROM chats HAVING max(id) > (SELECT last_value FROM chats_id_seq)""",
        "the last id of {0} is {1}, but the next one is given after {2}",
    ),
)

RULES_OF = {"sqlite": (*OF_SQLITE, *RULES), "postgresql": (*RULES, *OF_POSTGRES)}
"""All rules of an engine, by its name."""
