"""Pronunciations of words that no dictionary has, by a joint-sequence model trained from one that has others.

    python -m recognizer.grapheme_to_phoneme train [--lexicon FILE] [--out FILE] [--held-out 0.05]
    python -m recognizer.grapheme_to_phoneme say WORD...

Training aligns letters with phones (:mod:`recognizer.graphone_alignment`), estimates an n-gram model of the pairs
(:mod:`recognizer.graphone_model`), measures it on words held out, and then trains again on all words. The file that
comes with callwarden was made so from the shipped pack's dictionary.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import lzma
import re
import sys
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.word_errors import count_errors
from recognizer.graphone_alignment import LETTERS, SIDE, Spelled, align
from recognizer.graphone_model import GraphoneModel, estimate, search
from recognizer.lexicon import Lexicon, LexiconError, read_lexicon

SHIPPED = Path(__file__).parent / "models" / "graphones.xz"
MOST_LETTERS = 40
"""Longer words get no pronunciation."""

_FORMAT = 1
_ORDER = 7
_LEAST = (1, 1, 1, 1, 2, 2, 2)
_RARE_UNIT = 4
_COST_STEP = 1.0 / 16.0
_BEAM = 24
_WORD = re.compile(f"[{LETTERS}]+")


class GraphemeModelError(ValueError):
    """The file holds no model of letters and phones that this version can read."""


@dataclass(frozen=True)
class Pronunciation:
    """One way to say a word, and the model's probability of it among all ways."""

    phones: tuple[str, ...]
    probability: float


@dataclass(frozen=True)
class GraphemeToPhoneme:
    """The model.

    Attributes
    ----------
    phones : tuple of str
        Phone ``i`` has number ``i + 1`` in the units.
    units : int32[units]
        What unit ``i + 1`` stands for, as :func:`recognizer.graphone_alignment.align` has it.
    model : GraphoneModel
    """

    phones: tuple[str, ...]
    units: NDArray[np.int32]
    model: GraphoneModel

    @classmethod
    def trained(
        cls, lexicon: Lexicon, phones: Sequence[str], progress: Callable[[], None] = lambda: None
    ) -> GraphemeToPhoneme:
        """Train on the words of `lexicon` that are made of letters and apostrophes.

        Raises
        ------
        GraphemeModelError
            If it has too few words to learn from.
        """
        number = {phone: i + 1 for i, phone in enumerate(phones)}
        pairs = [
            (word, [number[phone] for phone in one])
            for word, ways in lexicon.items()
            if _WORD.fullmatch(word) and len(word) <= MOST_LETTERS
            for one in ways
        ]
        if not pairs:
            raise GraphemeModelError("The dictionary has no word of letters to learn from.")
        cut = [word for word in align(Spelled.of(pairs), len(phones), progress=progress) if len(word)]
        kinds, counts = np.unique(np.concatenate(cut), return_counts=True)
        kinds = kinds[counts >= min(_RARE_UNIT, counts.max())]
        words = [np.searchsorted(kinds, word) for word in cut if np.isin(word, kinds).all()]
        model = estimate([(word + 1).astype(np.int32) for word in words], _ORDER, _LEAST)
        progress()
        return cls(tuple(phones), kinds.astype(np.int32), model)

    @classmethod
    def load(cls, path: Path = SHIPPED) -> GraphemeToPhoneme:
        """Read a model.

        Raises
        ------
        GraphemeModelError
            If the file is missing, damaged or of another format.
        """
        try:
            head, body = lzma.decompress(path.read_bytes()).split(b"\n", 1)
            facts = json.loads(head)
            if facts["format"] != _FORMAT:
                raise GraphemeModelError(f"The model of letters and phones has format {facts['format']}.")
            with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
                model = GraphoneModel.linked(
                    arrays["counts"].astype(np.int64),
                    arrays["unit"].astype(np.int32),
                    arrays["cost"] * np.float32(_COST_STEP),
                    arrays["back_off_cost"] * np.float32(_COST_STEP),
                )
                return cls(tuple(facts["phones"]), arrays["units"].astype(np.int32), model)
        except GraphemeModelError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError, lzma.LZMAError) as error:
            raise GraphemeModelError(
                f"The model of letters and phones could not be read: {type(error).__name__}."
            ) from error

    def save(self, path: Path) -> None:
        """Write the model, its costs rounded to a sixteenth."""
        model, body = self.model, io.BytesIO()
        np.savez(
            body,
            counts=np.diff(model.children).astype(np.uint16),
            unit=model.unit.astype(np.uint16),
            cost=np.clip(np.rint(model.cost / _COST_STEP), 0, 255).astype(np.uint8),
            back_off_cost=np.clip(np.rint(model.back_off_cost / _COST_STEP), -128, 127).astype(np.int8),
            units=self.units,
        )
        head = json.dumps({"format": _FORMAT, "phones": self.phones}).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lzma.compress(head + b"\n" + body.getvalue(), preset=9 | lzma.PRESET_EXTREME))

    def pronounce(self, word: str, most: int = 3) -> list[Pronunciation]:
        """Return up to `most` ways to say `word` letter by letter as the dictionary's words are, likeliest first.

        Accents are dropped; a word with other characters, or without letters, has none.
        """
        plain = unaccented(word)
        if not _WORD.fullmatch(plain) or len(plain) > MOST_LETTERS:
            return []
        letters = np.array([LETTERS.index(c) + 1 for c in plain], np.int32)
        by_letters, units, sounds = self._by_letters
        m = self.model
        previous, chosen, ends, costs = search(
            m.children, m.unit, m.cost, m.back_off, m.back_off_cost, letters, by_letters, units, _BEAM
        )
        likelihood: dict[tuple[str, ...], float] = {}
        for end, cost in zip(ends.tolist(), np.exp(-costs).tolist(), strict=True):
            way: list[int] = []
            while previous[end] >= 0:
                way.append(int(chosen[end]))
                end = int(previous[end])
            phones = tuple(itertools.chain.from_iterable(sounds[unit] for unit in reversed(way)))
            if phones:
                likelihood[phones] = likelihood.get(phones, 0.0) + cost
        whole = sum(likelihood.values()) or 1.0
        ranked = sorted(likelihood, key=lambda phones: (-likelihood[phones], phones))[:most]
        return [Pronunciation(phones, likelihood[phones] / whole) for phones in ranked]

    @cached_property
    def _by_letters(self) -> tuple[NDArray[np.int32], NDArray[np.int32], dict[int, tuple[str, ...]]]:
        """Where each letter or pair of letters has its units, the units so ordered, and each unit's phones."""
        side = len(self.phones) + 1
        spelt, spoken = np.divmod(self.units, side * side)
        order = np.argsort(spelt, kind="stable").astype(np.int32)
        first = np.searchsorted(spelt[order], np.arange(SIDE * SIDE + 1)).astype(np.int32)
        sounds = {
            i + 1: tuple(self.phones[p - 1] for p in divmod(int(sound), side) if p)
            for i, sound in enumerate(spoken)
        }
        return first, order + 1, sounds


def unaccented(word: str) -> str:
    """Return `word` in lower case, without accents, with plain apostrophes."""
    parts = unicodedata.normalize("NFKD", word.lower().replace("\u2019", "'").replace("ß", "ss"))
    return "".join(c for c in parts if not unicodedata.combining(c))


@dataclass(frozen=True)
class Measured:
    """Errors on words held out, against the nearest of each word's pronunciations."""

    words: int
    phone_error_rate: float
    word_error_rate: float
    word_error_rate_of_three: float
    """Words of which none of the three likeliest pronunciations is right."""


def measure(guess: Callable[[str], Sequence[Sequence[str]]], lexicon: Lexicon) -> Measured:
    """Measure `guess`, which returns ways to say a word, likeliest first."""
    wrong, phones, words, thirds = 0, 0, 0, 0
    for word, ways in lexicon.items():
        guesses = [tuple(one) for one in guess(word)][:3]
        first = guesses[0] if guesses else ()
        errors, length = min((count_errors(way, first).errors, len(way)) for way in ways)
        wrong, phones = wrong + errors, phones + length
        words += first not in ways
        thirds += not any(one in ways for one in guesses)
    count = max(1, len(lexicon))
    return Measured(len(lexicon), wrong / max(1, phones), words / count, thirds / count)


def parted(lexicon: Lexicon, held_out: float) -> tuple[Lexicon, Lexicon]:
    """Return words to train on and words to measure on, apart by a checksum of the spelling.

    A word and its forms in 's stay together.
    """
    limit = round(held_out * 10_000)
    parts: tuple[dict[str, Sequence[tuple[str, ...]]], dict[str, Sequence[tuple[str, ...]]]] = ({}, {})
    for word, ways in lexicon.items():
        if _WORD.fullmatch(word):
            stem = word.removesuffix("'s").removesuffix("'").removesuffix("s")
            parts[zlib.crc32(stem.encode()) % 10_000 < limit][word] = ways
    return parts


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    from recognizer import model_pack

    parser = argparse.ArgumentParser(
        prog="python -m recognizer.grapheme_to_phoneme", description="Guess pronunciations from spellings."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="learn from a dictionary")
    train.add_argument("--lexicon", type=Path, help="dictionary (default: the shipped pack's)")
    train.add_argument("--out", type=Path, default=SHIPPED, help="file to write")
    train.add_argument("--held-out", type=float, default=0.05, help="share of words to measure on first (0: none)")
    say = commands.add_parser("say", help="print pronunciations")
    say.add_argument("words", nargs="+")
    say.add_argument("--model", type=Path, default=SHIPPED)
    given = parser.parse_args(arguments)
    try:
        if given.command == "say":
            guesser = GraphemeToPhoneme.load(given.model)
            for word in given.words:
                for one in guesser.pronounce(word):
                    print(f"{word}\t{one.probability:.3f}\t{' '.join(one.phones)}")  # noqa: T201
            return 0
        path = given.lexicon or model_pack.PackSources.of(model_pack.DEFAULT_PACK).lexicon
        _train(read_lexicon(path, model_pack.PHONES), model_pack.PHONES[1:], given.held_out, given.out)
    except (OSError, ValueError, LexiconError) as error:
        print(f"Pronunciations cannot be guessed: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _train(lexicon: Lexicon, phones: Sequence[str], held_out: float, out: Path) -> None:
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        steps = 13 * (2 if held_out else 1)
        task = bar.add_task("aligning and counting", total=steps)
        if held_out:
            rest, unseen = parted(lexicon, held_out)
            guesser = GraphemeToPhoneme.trained(rest, phones, lambda: bar.advance(task))
            told = measure(lambda word: [one.phones for one in guesser.pronounce(word)], unseen)
            bar.console.print(
                f"{told.words} words held out: {100 * told.phone_error_rate:.2f} % of the phones wrong, "
                f"{100 * told.word_error_rate:.1f} % of the words, "
                f"{100 * told.word_error_rate_of_three:.1f} % with three guesses."
            )
        GraphemeToPhoneme.trained(lexicon, phones, lambda: bar.advance(task)).save(out)
        bar.console.print(f"{out.name}: {out.stat().st_size / 1e3:.0f} kB.")


if __name__ == "__main__":
    sys.exit(main())
