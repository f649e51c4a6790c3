"""What keeps the embedded index in shape: old calls out, documents written anew, the full-text index merged.

Each function takes one short step within the caller's transaction, so that writers of other processes get their
turn in between.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from indexer.sqlite_schema import erase_call, unpack_document, write_call
from indexer.summary import summarize

_EXPIRED_AT_ONCE: Final = 200
_REWRITTEN_AT_ONCE: Final = 50
_MERGED_PAGES: Final = 200
"""About 0.1 s of work under the write lock."""


def expire_some(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete calls that started before `before_ms`, oldest first; return how many went.

    A call whose start is not known yet (0) is not old.
    """
    found = connection.execute(
        "SELECT call FROM calls WHERE started_at_ms > 0 AND started_at_ms < ? ORDER BY started_at_ms LIMIT ?",
        (before_ms, _EXPIRED_AT_ONCE),
    ).fetchall()
    for (call,) in found:
        erase_call(connection, call)
    return len(found)


def rewrite_some(connection: sqlite3.Connection, last: int) -> tuple[int, int]:
    """Write calls behind row `last` anew from their documents; return how many, and the last row."""
    found = connection.execute(
        "SELECT id, document FROM documents WHERE id > ? ORDER BY id LIMIT ?", (last, _REWRITTEN_AT_ONCE)
    ).fetchall()
    for _, packed in found:
        document = unpack_document(packed)
        write_call(connection, document, summarize(document))
    return len(found), found[-1][0] if found else last


def merge_some(connection: sqlite3.Connection, first: bool) -> bool:
    """Merge some of the full-text index; return whether anything was left to do.

    A negative count of pages makes FTS5 take all of the index into the merge; positive ones go on with it. Fewer
    than two changed rows mean that it has come to its end (SQLite FTS5, section "The 'merge' command").
    """
    before = connection.total_changes
    pages = -_MERGED_PAGES if first else _MERGED_PAGES
    connection.execute("INSERT INTO spoken (spoken, rank) VALUES ('merge', ?)", (pages,))
    return connection.total_changes - before >= 2
