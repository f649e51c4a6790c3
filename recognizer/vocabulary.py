"""A site's own words and phrases: what may stand in a vocabulary, and the file that keeps it.

The file is JSON, written anew as a whole and put in place by renaming; its version counts the changes. Words are kept
as their author wrote them, for capitals tell how they are said (``ISA`` may be spelled); transcripts show them in
lower case, as all words.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from events.errors import CallwardenError

MOST_ENTRIES: Final = 20_000
MOST_WORDS: Final = 12
MOST_PRONUNCIATIONS: Final = 8
HIGHEST_BOOST: Final = 12.0
DEFAULT_BOOST: Final = 3.0

_FORMAT: Final = 1
_MOST_BYTES: Final = 16 << 20
_MOST_CHARACTERS: Final = 40
_WORD: Final = re.compile(r"[^\W_]+(?:['.&-][^\W_]+)*[.']?")
_APOSTROPHES: Final = {0x2019: "'", 0x2018: "'", 0x2010: "-", 0x2011: "-"}
_PHONE: Final = re.compile(r"[A-Z]{1,3}")


class VocabularyError(CallwardenError):
    """An entry or the file cannot be used; the text says why, without repeating the words."""


@dataclass(frozen=True, slots=True)
class VocabularyEntry:
    """A word or phrase.

    Attributes
    ----------
    text : str
        As written, single spaces between words.
    boost : float
        By how much it is made cheaper than the language model has it (natural logarithm): 3 makes it about twenty
        times as likely.
    pronunciations : tuple, per way to say it, of tuple, per word, of tuple of phones
        Empty: from the dictionary, else guessed.
    """

    text: str
    boost: float = DEFAULT_BOOST
    pronunciations: tuple[tuple[tuple[str, ...], ...], ...] = ()

    @classmethod
    def checked(
        cls, text: str, boost: float = DEFAULT_BOOST, pronunciations: tuple[str, ...] = ()
    ) -> VocabularyEntry:
        """Return an entry from what somebody wrote.

        Parameters
        ----------
        text : str
        boost : float
            Between 0 and ``HIGHEST_BOOST``.
        pronunciations : tuple of str
            Phones with spaces between, ``|`` between words: ``"N AO R TH W IH N D | EH N ER JH IY"``.

        Raises
        ------
        VocabularyError
        """
        words = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).split()
        if not words:
            raise VocabularyError("An entry of the vocabulary must hold a word.")
        if len(words) > MOST_WORDS:
            raise VocabularyError(f"An entry of the vocabulary has {len(words)} words; {MOST_WORDS} are the most.")
        if not all(_WORD.fullmatch(word) and len(word) <= _MOST_CHARACTERS for word in words):
            raise VocabularyError(
                "An entry of the vocabulary has a word that is not made of letters and digits (with an apostrophe, "
                f"hyphen, & or full stop between them) or is longer than {_MOST_CHARACTERS} characters."
            )
        if not (math.isfinite(boost) and 0 <= boost <= HIGHEST_BOOST):
            raise VocabularyError(f"The boost of an entry must lie between 0 and {HIGHEST_BOOST:g}.")
        if len(pronunciations) > MOST_PRONUNCIATIONS:
            raise VocabularyError(f"An entry may have {MOST_PRONUNCIATIONS} pronunciations at most.")
        ways = tuple(_read_pronunciation(one, len(words)) for one in dict.fromkeys(pronunciations))
        return cls(" ".join(words), float(boost), ways)

    @property
    def words(self) -> tuple[str, ...]:
        """The words as transcripts show them. Two entries with the same words are one."""
        return tuple(self.text.lower().split())


def _read_pronunciation(text: str, words: int) -> tuple[tuple[str, ...], ...]:
    parts = tuple(tuple(part.upper().split()) for part in text.split("|"))
    if len(parts) != words:
        raise VocabularyError(
            f"A pronunciation has {len(parts)} parts (with | between them), its entry {words} words."
        )
    if not all(0 < len(part) <= _MOST_CHARACTERS for part in parts):
        raise VocabularyError("A pronunciation has a word without phones, or with too many.")
    if not all(_PHONE.fullmatch(phone) for part in parts for phone in part):
        raise VocabularyError(
            "A pronunciation holds something that is no phone; phones are written as in CMUdict."
        )
    return parts


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Entries in alphabetical order, and how often the file was changed."""

    entries: tuple[VocabularyEntry, ...] = ()
    version: int = 0

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that stand for the entries, whatever the version."""
        return hashlib.sha256(_dumped(self.entries).encode()).hexdigest()[:12]

    def added(self, *entries: VocabularyEntry) -> Vocabulary:
        """Return the vocabulary with `entries`; each replaces one with the same words. Raises VocabularyError."""
        by_words = {entry.words: entry for entry in (*self.entries, *entries)}
        if len(by_words) > MOST_ENTRIES:
            raise VocabularyError(f"A vocabulary holds {MOST_ENTRIES} entries at most.")
        return Vocabulary(tuple(by_words[words] for words in sorted(by_words)), self.version + 1)

    def removed(self, *texts: str) -> Vocabulary:
        """Return the vocabulary without the entries of these words. Raises VocabularyError if one is not there."""
        gone = {VocabularyEntry.checked(text).words for text in texts}
        missing = gone - {entry.words for entry in self.entries}
        if missing:
            raise VocabularyError(
                f"{len(missing)} of the {len(gone)} words or phrases to remove are not in the vocabulary; "
                "nothing was removed."
            )
        return Vocabulary(tuple(entry for entry in self.entries if entry.words not in gone), self.version + 1)


class VocabularyFile:
    """The vocabulary on disk. Readers see the old or the new one, never a part; writers wait for each other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Vocabulary:
        """Return what is kept; the empty vocabulary where there is no file.

        Raises
        ------
        VocabularyError
            If the file cannot be read or holds something else.
        """
        try:
            if self.path.stat().st_size > _MOST_BYTES:
                raise VocabularyError("The vocabulary's file is larger than 16 MiB.")
            data = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return Vocabulary()
        except (OSError, ValueError, RecursionError) as error:
            raise VocabularyError(f"The vocabulary's file cannot be read: {type(error).__name__}.") from None
        return _parsed(data)

    def change(self, change: Callable[[Vocabulary], Vocabulary]) -> Vocabulary:
        """Apply `change` to what is kept, keep the result and return it.

        Raises
        ------
        VocabularyError
            From `change`, or if the file cannot be read or written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                changed = change(self.read())
                self._write(changed)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise VocabularyError(f"The vocabulary's file cannot be written: {reason}.") from None
        return changed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, vocabulary: Vocabulary) -> None:
        head = json.dumps({"format": _FORMAT, "version": vocabulary.version})[:-1]
        text = f'{head}, "entries": {_dumped(vocabulary.entries)}}}\n'
        for left in self.path.parent.glob(
            f".{self.path.name}-*"
        ):  # of a process that was killed: this one has the lock
            left.unlink(missing_ok=True)
        handle, growing = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(growing).replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        finally:
            Path(growing).unlink(missing_ok=True)


def _dumped(entries: tuple[VocabularyEntry, ...]) -> str:
    rows = [
        {
            "text": entry.text,
            "boost": entry.boost,
            "pronunciations": [" | ".join(" ".join(word) for word in way) for way in entry.pronunciations],
        }
        for entry in entries
    ]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def _parsed(data: Any) -> Vocabulary:
    try:
        if data["format"] != _FORMAT:
            found = data["format"] if isinstance(data["format"], int) else "of another kind"
            raise VocabularyError(f"The vocabulary's file has a format {found}; this version reads {_FORMAT}.")
        version, rows = data["version"], data["entries"]
        if not isinstance(version, int) or version < 0 or not isinstance(rows, list):
            raise VocabularyError("The vocabulary's file holds something else than a vocabulary.")
        entries = [
            VocabularyEntry.checked(str(row["text"]), float(row["boost"]), tuple(map(str, row["pronunciations"])))
            for row in rows
        ]
    except VocabularyError:
        raise
    except (KeyError, TypeError, ValueError, IndexError):
        raise VocabularyError("The vocabulary's file holds something else than a vocabulary.") from None
    return Vocabulary(Vocabulary().added(*entries).entries, version)
