"""How often guessed pronunciations are wrong, beside flite's letter-to-sound rules on the same words.

Run as ``python -m tests.bench pronunciations``; prints a table and writes build/bench/pronunciations.json. Our model
is trained on 95 % of the shipped dictionary's words and measured on the others (a word's forms in s and 's stay on
one side). flite's rules (Debian: libflite1) are asked directly, past its own dictionary; they were trained on CMUdict,
the held-out words among it, as the model that is shipped was. Phones are compared without stress, against the nearest
pronunciation of the dictionary.
"""

from __future__ import annotations

import ctypes
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recognizer import model_pack
from recognizer.grapheme_to_phoneme import GraphemeToPhoneme, Measured, measure, parted
from recognizer.lexicon import read_lexicon
from tests.bench import machine

OUT = Path("build/bench/pronunciations.json")


class FliteRules:
    """flite's letter-to-sound rules, through its library: the program would look words up first."""

    def __init__(self) -> None:
        flite, lexicon = ctypes.CDLL("libflite.so.1"), ctypes.CDLL("libflite_cmulex.so.1")
        for name in ("lts_apply", "val_car", "val_cdr", "val_string"):
            getattr(flite, name).restype = ctypes.c_void_p
        flite.val_string.restype = ctypes.c_char_p
        for name in ("val_car", "val_cdr", "val_string", "delete_val"):
            getattr(flite, name).argtypes = [ctypes.c_void_p]
        flite.lts_apply.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
        lexicon.cmu_lex_init()
        self._flite = flite
        self._rules = ctypes.addressof(ctypes.c_byte.in_dll(lexicon, "cmu_lts_rules"))

    def __call__(self, word: str) -> Sequence[Sequence[str]]:
        flite = self._flite
        first = flite.lts_apply(word.replace("'", "").encode(), b"", self._rules)
        phones, at = [], first
        while at:
            phones.append(flite.val_string(flite.val_car(at)).decode().rstrip("012").upper())
            at = flite.val_cdr(at)
        flite.delete_val(first)
        return [["AH" if phone == "AX" else phone for phone in phones]]


def main() -> None:
    sources = model_pack.PackSources.of(model_pack.DEFAULT_PACK)
    seen, unseen = parted(read_lexicon(sources.lexicon, sources.phones), 0.05)
    began = time.monotonic()
    guesser = GraphemeToPhoneme.trained(seen, sources.phones[1:])
    trained_s = time.monotonic() - began
    rows: dict[str, Measured] = {}
    began = time.monotonic()
    rows["callwarden, 95 % of the dictionary"] = measure(
        lambda word: [one.phones for one in guesser.pronounce(word)], unseen
    )
    per_word_ms = 1000 * (time.monotonic() - began) / len(unseen)
    whole = GraphemeToPhoneme.load()
    rows["callwarden, whole dictionary"] = measure(
        lambda word: [one.phones for one in whole.pronounce(word)], unseen
    )
    try:
        rows["flite's rules, all of CMUdict"] = measure(FliteRules(), unseen)
    except (OSError, AttributeError) as error:
        print(f"flite is left out: {error} (Debian: apt-get install libflite1)")
    table = Table("guesser", "words", "phones wrong %", "words wrong %", "none of three right %")
    for name, told in rows.items():
        rates = (told.phone_error_rate, told.word_error_rate, told.word_error_rate_of_three)
        table.add_row(name, str(told.words), *(f"{100 * rate:.2f}" for rate in rates))
    Console().print(table)
    print(f"Trained in {trained_s:.0f} s; {per_word_ms:.1f} ms a word; {platform.machine()}.")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    guessers = {name: vars(told) for name, told in rows.items()}
    figures = {"machine": machine.described(), "trained_s": trained_s, "per_word_ms": per_word_ms}
    OUT.write_text(json.dumps({**figures, "guessers": guessers}, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
