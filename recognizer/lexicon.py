"""The pronouncing dictionary: one line per pronunciation, ``word PHONE PHONE ...``, optionally xz-compressed."""

from __future__ import annotations

import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

SILENCE = "SIL"
Lexicon = Mapping[str, Sequence[tuple[str, ...]]]


class LexiconError(ValueError):
    """A line of a dictionary or of a language model could not be understood; the message names it."""


def read_text(path: Path) -> str:
    """Return the text of a file, decompressed if its name ends in ``.xz``."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes()).decode("utf-8")
    return path.read_text("utf-8")


def read_lexicon(path: Path, phones: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    """Read pronunciations in the order of the file.

    Parameters
    ----------
    path : Path
    phones : sequence of str
        The phones that the acoustic model knows.

    Raises
    ------
    LexiconError
        If a word has no phones or a phone is unknown.
    """
    known = {phone: phone for phone in phones}
    lexicon: dict[str, list[tuple[str, ...]]] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        word, *spoken = line.split() or ("",)
        if not word:
            continue
        if not spoken:
            raise LexiconError(f"Line {number} of the dictionary has a word without phones.")
        unknown = [phone for phone in spoken if phone not in known]
        if unknown:
            raise LexiconError(
                f"Line {number} of the dictionary has the phone {unknown[0]!r}, which the model lacks."
            )
        variants = lexicon.setdefault(word, [])
        pronunciation = tuple(known[phone] for phone in spoken)
        if pronunciation not in variants:
            variants.append(pronunciation)
    return lexicon
