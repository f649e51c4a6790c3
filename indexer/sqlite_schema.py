"""Tables of the embedded index, and what one document puts into them."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Final

import msgspec

from events.call_document import CallDocument
from events.identity import Role
from indexer.index import CallSummary
from indexer.summary import facts_of, speakers_of

VERSION: Final = 1

ROLE_COLUMNS: Final = tuple(Role)
"""Columns of `spoken`, in order; `about` follows them."""
ABOUT: Final = "about"

BREAK: Final = "\ue000"
"""Stands alone between segments. unicode61 takes private-use characters for letters, so it counts as a word that
nobody can type, and no phrase reaches over it."""
MARK: Final = "\ue001"
UNMARK: Final = "\ue002"
_NOT_IN_TEXT: Final = {ord(BREAK): " ", ord(MARK): " ", ord(UNMARK): " "}

# One row of `spoken` per call and one column per role: the engine's own column filter then answers "said by the
# agent", its rank counts the call as one text, and a call is replaced by replacing one row.
# `_` belongs to words, so that "card number" does not find every [CARD_NUMBER].
_TABLES: Final = f"""
CREATE TABLE calls (
    id INTEGER PRIMARY KEY,
    call TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    state TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    source TEXT,
    findings INTEGER NOT NULL,
    {", ".join(f"said_{role} INTEGER NOT NULL" for role in ROLE_COLUMNS)}
);
CREATE INDEX calls_newest ON calls (started_at_ms DESC, call);
CREATE TABLE documents (id INTEGER PRIMARY KEY, summary BLOB NOT NULL, document BLOB NOT NULL);
CREATE TABLE call_rules (
    id INTEGER NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,
    PRIMARY KEY (id, rule, severity)
) WITHOUT ROWID;
CREATE INDEX call_rules_rule ON call_rules (rule, id);
CREATE TABLE call_entities (id INTEGER NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (id, kind)) WITHOUT ROWID;
CREATE TABLE tombstones (call TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE spoken USING fts5(
    {", ".join(ROLE_COLUMNS)}, {ABOUT}, tokenize = "porter unicode61 remove_diacritics 2 tokenchars '_'"
);
PRAGMA user_version = {VERSION};
"""

_DOCUMENT: Final = msgspec.msgpack.Decoder(CallDocument)
_SUMMARY: Final = msgspec.msgpack.Decoder(CallSummary)


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables where there are none.

    Raises
    ------
    ValueError
        The file was written by another version of the index.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _TABLES.split(";\n"):
                connection.execute(statement)
        elif version != VERSION:
            raise ValueError(f"The index has version {version}, this program reads version {VERSION}.")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def pack(value: CallDocument | CallSummary) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(value), 1)


def unpack_document(blob: bytes) -> CallDocument:
    return _DOCUMENT.decode(zlib.decompress(blob))


def unpack_summary(blob: bytes) -> CallSummary:
    return _SUMMARY.decode(zlib.decompress(blob))


def plain(text: str) -> str:
    """Return `text` without the characters that mean something here; its length stays."""
    return text.translate(_NOT_IN_TEXT)


def spoken_row(document: CallDocument) -> list[str]:
    """Return the texts of the `spoken` columns."""
    texts: dict[Role, list[str]] = {role: [] for role in ROLE_COLUMNS}
    for segment in document.segments:
        texts[segment.role].append(plain(segment.text))
    between = f" {BREAK} "
    return [*(between.join(texts[role]) for role in ROLE_COLUMNS), between.join(map(plain, facts_of(document)))]


def write_call(connection: sqlite3.Connection, document: CallDocument, summary: CallSummary) -> None:
    """Insert or replace everything of one call. The caller holds the transaction."""
    said = speakers_of(document)
    values = [
        document.call,
        document.revision,
        document.state,
        document.started_at_ms,
        document.duration_ms,
        document.source,
        len(document.findings),
        *(int(role in said) for role in ROLE_COLUMNS),
    ]
    names = ["call", "revision", "state", "started_at_ms", "duration_ms", "source", "findings"]
    names += [f"said_{role}" for role in ROLE_COLUMNS]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names)
    (row,) = connection.execute(
        f"INSERT INTO calls ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT (call) DO UPDATE SET {changes} RETURNING id",
        values,
    ).fetchone()
    connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (row, pack(summary), pack(document)))
    connection.execute(
        f"INSERT OR REPLACE INTO spoken (rowid, {', '.join(ROLE_COLUMNS)}, {ABOUT}) "
        f"VALUES (?, {', '.join('?' * (len(ROLE_COLUMNS) + 1))})",
        [row, *spoken_row(document)],
    )
    connection.execute("DELETE FROM call_rules WHERE id = ?", (row,))
    connection.executemany(
        "INSERT INTO call_rules VALUES (?, ?, ?)",
        sorted({(row, item.rule, item.severity.value) for item in document.findings}),
    )
    connection.execute("DELETE FROM call_entities WHERE id = ?", (row,))
    connection.executemany("INSERT INTO call_entities VALUES (?, ?)", [(row, kind) for kind in summary.entities])


def erase_call(connection: sqlite3.Connection, call: str) -> None:
    """Delete everything of one call but its tombstone. The caller holds the transaction."""
    found = connection.execute("SELECT id FROM calls WHERE call = ?", (call,)).fetchone()
    if found is None:
        return
    connection.execute("DELETE FROM spoken WHERE rowid = ?", found)
    for table in ("calls", "documents", "call_rules", "call_entities"):
        connection.execute(f"DELETE FROM {table} WHERE id = ?", found)
