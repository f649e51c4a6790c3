"""How many words are judged in a second.

Run as ``python -m tests.bench rules``; prints a table and writes build/bench/rules.json. Speech is made up of common
words with one word in twelve taken from the rules' own phrases, in segments of ten words with progress between them;
more rules are the shipped ones again with other words. A person speaks about 2.5 words a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compliance.rules.judge import Judge, RuleSet
from compliance.rules.phrase import Phrase
from compliance.rules.rule import (
    AllOf,
    AnyOf,
    Condition,
    Near,
    Rulebook,
    Said,
    phrases_of,
)
from compliance.rules.rulebook import load_rulebooks
from events.identity import CallId, Role, record_id
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    RedactedSegment,
    RedactedTranscriptRecord,
    SegmentStatus,
    Word,
)

COMMON = (
    "the and you to i it of a that in is for we have on can your are will my account number please thank okay yes "
    "just going get do be this with so what know if me not was order call back let see right want would time"
)


def speech(
    call: CallId, words: int, spices: list[str], seed: int, spiced: float
) -> list[RedactedTranscriptRecord]:
    dice = random.Random(seed)
    common = COMMON.split()
    records: list[RedactedTranscriptRecord] = []
    now_ms = 0
    for number in range(words // 10):
        leg = number % 2
        role = (Role.AGENT, Role.CUSTOMER)[leg]
        start_ms = now_ms
        said = []
        for _ in range(10):
            text = dice.choice(spices) if dice.random() < spiced else dice.choice(common)
            said.append(Word(text, now_ms, now_ms + 350, 0.9))
            now_ms += 400
        identity = record_id(call, "segment", leg, start_ms * 8)
        records.append(
            RedactedSegment(
                identity, call, leg, role, SegmentStatus.FINAL, start_ms * 8, start_ms, now_ms, tuple(said)
            )
        )
        records += [LegProgress(call, 0, Role.AGENT, now_ms), LegProgress(call, 1, Role.CUSTOMER, now_ms)]
    return [*records, CallTranscriptEnded(call, (0, 1), now_ms)]


def renamed(condition: Condition, suffix: str) -> Condition:
    """The same tree with other words, so that it is another rule for the matcher."""
    match condition:
        case Said(phrase):
            sequences = tuple(
                tuple(
                    f"{suffix}{word}" if number == 0 and word != "*" else word
                    for number, word in enumerate(sequence)
                )
                for sequence in phrase.sequences
            )
            return Said(Phrase(f"{phrase.text} {suffix}", sequences))
        case AnyOf(parts):
            return AnyOf(tuple(renamed(part, suffix) for part in parts))
        case AllOf(parts):
            return AllOf(tuple(renamed(part, suffix) for part in parts))
        case Near(parts):
            return replace(condition, parts=tuple(renamed(part, suffix) for part in parts))
        case _:
            return replace(condition, part=renamed(condition.part, suffix))


def books(copies: int) -> list[Rulebook]:
    shipped = load_rulebooks()
    made = list(shipped)
    for copy in range(1, copies):
        for book in shipped:
            rules = tuple(
                replace(rule, id=f"{rule.id}-{copy}", when=renamed(rule.when, f"x{copy}")) for rule in book.rules
            )
            made.append(replace(book, name=f"{book.name}-{copy}", rules=rules))
    return made


def measure(copies: int, words: int, spiced: float, calls: int) -> dict[str, float | int | str]:
    rulebooks = books(copies)
    rules = RuleSet(rulebooks)
    spices = sorted(
        {
            word.rstrip("*") or "it"
            for book in load_rulebooks()
            for rule in book.rules
            for phrase in phrases_of(rule.when)
            for sequence in phrase.sequences
            for word in sequence
        }
    )
    made = [speech(CallId(f"{number:032x}"), words, spices, number, spiced) for number in range(calls)]
    began = time.perf_counter()
    findings = 0
    for number, records in enumerate(made):
        judge = Judge(CallId(f"{number:032x}"), rules)
        for record in records:
            findings += len(judge.take(record))
    taken = time.perf_counter() - began
    total = calls * (words // 10) * 10
    return {
        "rules": len(rules.rules),
        "phrases": len(rules.phrases),
        "sequences": sum(len(phrase.sequences) for phrase in rules.phrases),
        "words_per_call": words,
        "share_of_rule_words": spiced,
        "words_per_s": round(total / taken),
        "live_legs_per_core": round(total / taken / 2.5),
        "findings": findings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("build/bench/rules.json"))
    given = parser.parse_args()
    rows = [
        measure(1, 1_000, 1 / 12, given.calls),
        measure(10, 1_000, 1 / 12, given.calls),
        measure(50, 1_000, 1 / 12, given.calls),
        measure(1, 10_000, 1 / 12, max(given.calls // 10, 1)),
        measure(1, 10_000, 1.0, 1),
    ]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    table = Table(title=f"Words judged, one core ({machine})")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else f"{value:,}" for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
