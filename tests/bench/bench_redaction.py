"""How much of what is personal is hidden, how much else is hidden with it, and what a word costs.

Run as ``python -m tests.bench redaction``; prints tables and writes build/bench/redaction.json. All dialogues are
generated (tests/compliance/redaction_dialogues.py) or written for this file, none was recorded: the figures compare
versions of the finders with each other and say nothing about recall on real calls. Seeds differ from the tests'.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from compliance.redaction.redactor import CallRedactor
from compliance.redaction.settings import RedactionSettings, Strength
from events.transcript import PiiKind
from tests.compliance.redaction_dialogues import (
    AGENT,
    BEFORE,
    CUSTOMER,
    Dialogue,
    Mark,
    Marked,
    Utterance,
    card_dialogue,
    finders,
    leaked,
    luhn_number,
    misheard,
    records,
    redacted,
    said,
    segments_of,
    speak,
    split,
    wrongly_hidden,
)

DIALOGUES = 150
FIRST_SEED = 1_000_000

ORDINARY = (
    "thank you for calling this call may be recorded for quality and training how can i help you today",
    "i would like to change the delivery date of my order it should come on march third but i am away for two weeks",
    "let me look that up for you it takes one moment i see two orders here one is from june and one is from may",
    "the first one costs nineteen dollars and ninety nine cents and the other one is four hundred dollars",
    "you can pay in three installments of one hundred and thirty three dollars or all of it at once",
    "we are open from nine to five on weekdays and from ten to two on saturdays",
    "i have been a customer since nineteen ninety eight and i never had a problem before",
    "that is five percent off for the first year and then it goes up to eight percent",
    "i am sorry to hear that i will send a technician tomorrow between ten and twelve in the morning",
    "is there anything else that i can do for you no that is all thanks so much have a good day",
    "the interest rate is four point nine percent and the term is sixty months with no fees",
    "your claim was approved on the twenty first and the check will be mailed within seven to ten business days",
    "my internet has been down for three days i restarted the box twice and the light is still red",
    "okay one more thing i want to cancel the second line we only need one from now on",
    "the flight leaves at six forty five in the evening and there is one stop of two hours",
    "i think i was charged twice for the same thing it shows two payments of fifty dollars",
    "if you hold the button for ten seconds the light will blink three times",
    "i may need a new card because mine does not work at the store any more",
)

NAMES = ("laura hernandez", "john smith", "venkataraman iyer", "mary o'brien", "zbigniew kowalczyk", "grace hill",
         "mohammed rahman", "susan miller", "li wei", "tyler johnson")  # fmt: skip
DOMAINS = ("gmail dot com", "yahoo dot com", "example dot org", "hotmail dot com", "acme dot co dot uk")


def number_dialogue(
    question: tuple[str, ...], lengths: tuple[int, ...]
) -> Callable[[random.Random, int], Dialogue]:
    def make(rng: random.Random, errors: int) -> Dialogue:
        words = speak("".join(str(rng.randrange(10)) for _ in range(rng.choice(lengths))), rng)
        for _ in range(errors):
            words = misheard(words, rng)
        return Dialogue(
            [
                said(CUSTOMER, rng.choice(BEFORE)),
                said(AGENT, rng.choice(question)),
                *split(words, rng, CUSTOMER, 1500),
            ]
        )

    return make


def name_dialogue(rng: random.Random, errors: int) -> Dialogue:
    name = [Marked(word, Mark.VALUE) for word in rng.choice(NAMES).split()]
    before, after = rng.choice(
        [("hi my name is", "and i need help with my bill"), ("yes this is", "speaking"), ("", ""),
         ("it's under", ""), ("the name on the account is", "")]
    )  # fmt: skip
    words = [*_free(before), *name, *_free(after)]
    return Dialogue([said(AGENT, "may i have your name please"), Utterance(CUSTOMER, words)])


def email_dialogue(rng: random.Random, errors: int) -> Dialogue:
    name = rng.choice(NAMES).replace("'", "").split()
    local = rng.choice(
        [" ".join(name[0]), f"{name[0]} dot {name[1]}", f"{' '.join(name[0][:2])} underscore {name[1]}"]
    )
    words = [Marked(word, Mark.VALUE) for word in f"{local} at {rng.choice(DOMAINS)}".split()]
    asked = [said(AGENT, "what is your email address")] if rng.random() < 0.5 else []
    return Dialogue([*asked, Utterance(CUSTOMER, [*_free("sure it's"), *words, *_free("thanks")])])


def _free(text: str) -> list[Marked]:
    return [Marked(word, Mark.FREE) for word in text.split()]


MAKERS: dict[str, Callable[[random.Random, int], Dialogue]] = {
    "card number, asked": lambda rng, errors: card_dialogue(rng, luhn_number(rng), asked=True, errors=errors),
    "card number, unasked": lambda rng, errors: card_dialogue(rng, luhn_number(rng), asked=False, errors=errors),
    "card number, read back": lambda rng, errors: card_dialogue(
        rng, luhn_number(rng), asked=True, errors=errors, read_back=True
    ),
    "verification code": number_dialogue(("and the three digits on the back", "what is the c v v"), (3, 4)),
    "ssn": number_dialogue(("what is your social security number", "can i get your social"), (9,)),
    "phone number": number_dialogue(("what is the best phone number for you", "your cell number please"), (10,)),
    "e-mail address": email_dialogue,
    "person name": name_dialogue,
}
WITHOUT_ERRORS = ("e-mail address", "person name")


def recall(make: Callable[[random.Random, int], Dialogue], errors: int, strength: Strength) -> dict[str, float]:
    """Count dialogues and words; a word counts as leaked when any version of its segment shows it."""
    words = shown = clean = 0
    for seed in range(FIRST_SEED, FIRST_SEED + DIALOGUES):
        rng = random.Random(seed)
        dialogue = make(rng, errors)
        raw = records(dialogue, rng)
        leaks = set(leaked(dialogue, segments_of(redacted(raw, RedactionSettings(strength=strength)))))
        words += sum(mark is Mark.VALUE for mark in dialogue.marks.values())
        shown += len(leaks)
        clean += not leaks
    return {"words": words, "words_hidden": 1 - shown / words, "dialogues_without_leak": clean / DIALOGUES}


def false_hides(strength: Strength) -> dict[str, float]:
    """Count ordinary words that are hidden."""
    rng = random.Random(FIRST_SEED)
    words = hidden = 0
    for _ in range(40):
        dialogue = Dialogue([said(rng.randrange(2), line) for line in rng.sample(ORDINARY, len(ORDINARY))])
        raw = records(dialogue, rng)
        lost = wrongly_hidden(dialogue, segments_of(redacted(raw, RedactionSettings(strength=strength))))
        words += len(dialogue.marks)
        hidden += len(lost)
    return {"words": words, "hidden": hidden / words}


def cost() -> dict[str, float]:
    """Time ordinary talk and payments through one call's redactor of some minutes."""
    settings = RedactionSettings()
    rng = random.Random(FIRST_SEED)
    lines = [said(place % 2, rng.choice(ORDINARY)) for place in range(60)]
    payment = card_dialogue(rng, luhn_number(rng), asked=True, read_back=True)
    dialogue = Dialogue([*lines, *payment.utterances, *lines])
    raw = records(dialogue, rng)
    redactor = CallRedactor(settings, finders(settings))
    longest = 0.0
    began = time.process_time()
    for record in raw:
        start = time.process_time()
        redactor.take(record)
        longest = max(longest, time.process_time() - start)
    spent = time.process_time() - began
    segments = sum(1 for utterance in dialogue.utterances if utterance.words)
    return {
        "words": len(dialogue.marks),
        "us_per_word": spent / len(dialogue.marks) * 1e6,
        "ms_per_segment": spent / segments * 1e3,
        "longest_ms": longest * 1e3,
    }


def main() -> None:
    console = Console(width=110)
    result: dict[str, object] = {
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()},
        "data": "generated dialogues, no recordings",
        "kinds": [kind.value for kind in PiiKind],
    }
    table = Table(title=f"Hidden, of {DIALOGUES} generated dialogues a row", title_justify="left")
    for column in ("what is said", "errors", "strength", "value words hidden", "dialogues without leak"):
        table.add_column(column, justify="left" if column == "what is said" else "right")
    rows = []
    for name, make in MAKERS.items():
        for errors in (0,) if name in WITHOUT_ERRORS else (0, 1):
            for strength in (Strength.VALUES, Strength.PROBABLE_NUMBERS):
                row = recall(make, errors, strength)
                rows.append({"what": name, "errors": errors, "strength": strength.value, **row})
                table.add_row(
                    name, str(errors), strength.value, f"{row['words_hidden']:.2%}",
                    f"{row['dialogues_without_leak']:.1%}",
                )  # fmt: skip
    console.print(table)
    result["recall"] = rows
    result["false_hides"] = {strength.value: false_hides(strength) for strength in Strength}
    for name, figures in result["false_hides"].items():  # type: ignore[attr-defined]
        console.print(f"Ordinary words hidden at strength {name}: {figures['hidden']:.2%} of {figures['words']}")
    result["cost"] = spent = cost()
    console.print(
        f"Cost on {spent['words']:.0f} words of one call: {spent['us_per_word']:.0f} us a word, "
        f"{spent['ms_per_segment']:.2f} ms a segment, longest record {spent['longest_ms']:.1f} ms (CPU time)"
    )
    folder = Path("build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "redaction.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
