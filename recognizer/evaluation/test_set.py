"""A test set: a table of recordings and what is said in them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = ("audio", "text")


class TestSetError(ValueError):
    """The table cannot be used; the message is one sentence."""

    __test__ = False  # its name would make pytest collect it


@dataclass(frozen=True)
class Recording:
    """One line of the table."""

    audio: Path
    text: str
    speaker: str = field(default="", compare=False)
    """Who speaks, where the table has a column ``speaker``: uncertainty is then taken over speakers."""


def read_test_set(table: Path) -> list[Recording]:
    """Read a tab-separated table whose header names at least the columns ``audio`` and ``text``.

    Audio paths are absolute or relative to the table. Fields are not quoted. A column ``speaker`` is used if there.

    Raises
    ------
    TestSetError
        If the table cannot be read, lacks a column, or has no lines; the message names the line.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not tab-separated UTF-8 text"
        raise TestSetError(f"The test set {table} cannot be read: {reason}.") from error
    header = [name.strip().lstrip("\ufeff").lower() for name in lines[0]] if lines else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise TestSetError(f"The test set {table} has no column named {missing[0]!r} in its first line.")
    audio, text = (header.index(name) for name in COLUMNS)
    speaker = header.index("speaker") if "speaker" in header else len(header)
    recordings = []
    for number, fields in enumerate(lines[1:], 2):
        if not fields:
            continue
        if len(fields) <= max(audio, text) or not fields[audio].strip():
            raise TestSetError(f"Line {number} of the test set {table} does not have {len(header)} fields.")
        who = fields[speaker].strip() if speaker < len(fields) else ""
        recordings.append(Recording(table.parent / fields[audio].strip(), fields[text], who))
    if not recordings:
        raise TestSetError(f"The test set {table} names no recordings.")
    return recordings
