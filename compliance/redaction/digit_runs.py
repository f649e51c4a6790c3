"""Runs of digits in what one leg said.

A run is made of number words with fillers and corrections between them. Homophones ("for", "to", "oh") count as
digits only between digits; at a run's edge they are remembered, because a run that turns out to be a card number
takes them in. Up to two words that mean nothing do not end a run: recognisers make them out of digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from compliance.redaction import number_words as vocabulary
from compliance.redaction.spans import LegWords
from compliance.redaction.spoken_numbers import NUMBER_SORTS, Group, Sort, Token, luhn_valid, number_groups

RUN_GAP_MS: Final = 2_500
"""A longer silence ends a run; runs are joined to sessions afterwards."""
_MOST_JUNK: Final = 2
_LONG_RUN: Final = 6
"""Before so many numbers in a row, "fifty one dollars" is a misheard part of them."""
_MOST_BETWEEN: Final = 8
_NEAR_ZERO: Final = 3
_BEFORE_UNIT: Final = ("a", "per", "whole", "full", "more", "to", "or")
_SHORT_SEGMENT: Final = 3
_SKIPPED: Final = frozenset({Sort.FILLER, Sort.CORRECTION})


@dataclass(slots=True)
class Run:
    """A run of one leg; `first` and `last` are word indices, inclusive."""

    leg: int
    first: int
    last: int
    start_ms: int
    end_ms: int
    groups: list[Group]
    plain: bool = True
    """Digits read out, not a cardinal, an amount, a year or a time of day."""
    quantity: bool = False
    """A cardinal that its neighbours make an amount or a pronoun ("two weeks", "this one")."""
    weak: bool = False
    """Homophones only: counts where a number is expected, nowhere else."""
    alone: bool = False
    """Nothing else was said in the segments it lies in."""
    tail: bool = False
    """Nothing but fillers follows in its segment."""
    segments: tuple[int, int] = (0, 0)
    """The segments in which it begins and ends."""
    short: bool = False
    """Its segment has three words or fewer."""
    edges: tuple[int, ...] = ()
    """Homophones beside it."""
    outer: tuple[int, ...] = ()
    """Those edges with which its segment begins or ends: nothing else can be meant by them."""
    zeros: tuple[int, ...] = ()
    """Every "oh" near it, whatever stands between."""
    corrections: tuple[int, ...] = ()
    tokens: list[Token] = field(default_factory=list)

    @property
    def digits(self) -> str:
        """Every digit said, also those corrected later."""
        return "".join(group.digits for group in self.groups)


def find_runs(words: LegWords) -> list[Run]:
    """Return the runs of a leg, oldest first; found once and kept with the words."""
    if words.runs is None:
        words.runs = _found(words)
    return words.runs


def _found(words: LegWords) -> list[Run]:
    tokens = words.tokens
    runs: list[Run] = []
    index = 0
    while index < len(tokens):
        if _starts(tokens, index) and not _is_pronoun(words, tokens, index):
            run, index = _read(words, tokens, index)
            runs.append(run)
        else:
            index += 1
    for run in runs:
        _judge(words, run)
    runs = _joined(words, runs)
    runs.extend(_weak_runs(words, runs))
    runs.sort(key=lambda run: run.first)
    for run in runs:
        _place(words, run)
    return runs


def _is_pronoun(words: LegWords, tokens: Sequence[Token], index: int) -> bool:
    """Tell "the other one is four hundred": that "one" begins no number."""
    first = tokens[index].first
    return (
        first > 0
        and words.texts[first] == "one"
        and words.texts[first - 1] in ("other", "another", "which", "each", "every")
        and not (index + 1 < len(tokens) and tokens[index + 1].digits)
    )


def _starts(tokens: Sequence[Token], index: int) -> bool:
    token = tokens[index]
    if token.sort is Sort.TIMES:
        return index + 1 < len(tokens) and bool(tokens[index + 1].digits)
    return token.sort in NUMBER_SORTS


def _read(words: LegWords, tokens: Sequence[Token], start: int) -> tuple[Run, int]:
    taken = [tokens[start]]
    corrections: list[int] = []
    index = start + 1
    resume = index
    skipped = 0
    while index < len(tokens):
        token = tokens[index]
        if _is_apart(words, taken[-1].last, token.first):
            break
        if (
            _starts(tokens, index)
            or (token.sort is Sort.SCALE and not skipped)
            or (
                token.sort is Sort.HOMOPHONE
                and (taken[-1].sort is Sort.TIMES or _digits_follow(words, tokens, index))
            )
        ):
            corrections.extend(t.first for t in tokens[resume:index] if t.sort is Sort.CORRECTION)
            taken.append(token)
            resume = index + 1
            skipped = 0
        elif token.sort in _SKIPPED and skipped < _MOST_BETWEEN:
            skipped += 1
        else:
            break
        index += 1
    groups = list(number_groups(taken))
    run = Run(
        words.leg, taken[0].first, taken[-1].last, words.start_ms(taken[0].first), words.end_ms(taken[-1].last),
        groups, corrections=tuple(corrections), tokens=taken,
    )  # fmt: skip
    return run, resume


def _is_apart(words: LegWords, one: int, other: int) -> bool:
    """Does a silence or the end of a segment lie between two words?"""
    return (
        words.heard[one].segment != words.heard[other].segment
        or words.start_ms(other) - words.end_ms(one) > RUN_GAP_MS
    )


def _digits_follow(words: LegWords, tokens: Sequence[Token], index: int) -> bool:
    """Does a number follow behind this homophone, with nothing but homophones and fillers between?"""
    for following in range(index + 1, min(index + 6, len(tokens))):
        if _is_apart(words, tokens[index].last, tokens[following].first):
            return False
        if _starts(tokens, following):
            return True
        if tokens[following].sort is not Sort.HOMOPHONE and tokens[following].sort not in _SKIPPED:
            return False
    return False


def _judge(words: LegWords, run: Run) -> None:
    """Tell digits read out from cardinals, amounts, years and times of day."""
    before = words.texts[max(0, run.first - 2) : run.first]
    after = words.texts[run.last + 1 : run.last + 3]
    groups = run.groups
    digits = run.digits
    unit = bool(after) and (
        after[0] in vocabulary.UNITS
        or (
            after[0] in _BEFORE_UNIT
            and len(after) > 1
            and (after[1] in vocabulary.UNITS | vocabulary.DIGITS.keys())
        )
    )
    multiplied = any(token.sort is Sort.TIMES for token in run.tokens)
    written = any(token.sort is Sort.WRITTEN for token in run.tokens)
    if multiplied or (written and len(digits) >= 4):
        run.plain = not unit or len(groups) > 2
    elif len(groups) == 1:
        run.plain = False
        corrected = before[:1] in (["scratch"], ["not"], ["make"])
        pronoun = digits == "1" and bool(before) and before[-1] in vocabulary.BEFORE_QUANTITY and not corrected
        counted = unit and (len(digits) == 1 or after[0] != "of")
        run.quantity = counted or pronoun or bool(vocabulary.MONTHS & set(before[-1:]))
    elif len(groups) == 2 or (len(groups) == 3 and groups[1].digits in ("2", "0") and len(digits) <= 5):
        amount = unit and (_is_range(run) or (len(groups) == 2 and len(groups[1].digits) == 2))
        run.plain = not (
            amount or _is_range(run) or _is_year(digits, before, after) or _is_clock(groups, before, after)
        )
        run.quantity = not run.plain


def _is_range(run: Run) -> bool:
    """Tell "ten to fifteen"."""
    return len(run.groups) == 3 and run.groups[1].weak and run.groups[1].digits == "2"


def _is_year(digits: str, before: Sequence[str], after: Sequence[str]) -> bool:
    """Tell "in nineteen eighty two"."""
    return (
        len(digits) == 4
        and digits[:2] in ("18", "19", "20")
        and (bool(vocabulary.YEAR_CUES & set(before)) or (bool(after[:1]) and after[0] in ("model", "edition")))
    )


def _is_clock(groups: Sequence[Group], before: Sequence[str], after: Sequence[str]) -> bool:
    """Tell "at five thirty", "ten oh five in the morning"."""
    minutes = "".join(group.digits for group in groups[1:])
    return (
        groups[0].digits.isdigit()
        and 1 <= int(groups[0].digits) <= 12
        and len(minutes) == 2
        and int(minutes) < 60
        and (
            (bool(before) and before[-1] in vocabulary.CLOCK_CUES)
            or (bool(after) and after[0] in ("a", "p", "am", "pm", "tomorrow", "today", "tonight", "in", "on", "sharp"))
        )
    )  # fmt: skip


def _joined(words: LegWords, runs: Sequence[Run]) -> list[Run]:
    """Join runs with at most two junk words between, where digits are being read out."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last is not None and _belong(words, last, run):
            last.groups += run.groups
            last.tokens += run.tokens
            last.corrections += run.corrections
            last.last, last.end_ms = run.last, run.end_ms
            last.plain = True
            last.quantity = False
        else:
            joined.append(run)
    return joined


def _belong(words: LegWords, one: Run, other: Run) -> bool:
    if not (one.plain or other.plain) or other.start_ms - one.end_ms > RUN_GAP_MS:
        return False
    apart = words.heard[one.last].segment != words.heard[other.first].segment
    if other.quantity and apart:
        return False
    if one.quantity and (
        apart or other.first - one.last > 2 or len(other.groups) < (_LONG_RUN if len(one.groups) == 1 else 3)
    ):
        return False
    if any(heard.turn for heard in words.heard[one.last + 1 : other.first + 1]):
        return False
    between = words.texts[one.last + 1 : other.first]
    junk = sum(text not in vocabulary.FILLERS for text in between)
    enough = max(len(one.groups), len(other.groups)) >= 3 or (one.plain and other.plain)
    return junk <= _MOST_JUNK and len(between) <= _MOST_BETWEEN and enough and len(one.digits + other.digits) >= 4


def _weak_runs(words: LegWords, runs: Sequence[Run]) -> list[Run]:
    """Return runs of homophones alone; others, and a cut-off "double" or "hundred", become edges of the run beside."""
    inside = {index for run in runs for index in range(run.first, run.last + 1)}
    by_end = {run.last: run for run in runs}
    by_start = {run.first: run for run in runs}
    found: list[Run] = []
    pending: list[Token] = []

    def finish() -> None:
        if not pending:
            return
        first, last = pending[0].first, pending[-1].last
        several = len(pending) >= 2
        beside = [by_end.get(_beside(words, first, -1, several)), by_start.get(_beside(words, last, +1, several))]
        for run in beside:
            if run is not None:
                run.edges += tuple(token.first for token in pending)
        if beside == [None, None] and any(token.sort is Sort.HOMOPHONE for token in pending):
            groups = [Group(token.digits, token.first, token.last, weak=True) for token in pending]
            found.append(
                Run(
                    words.leg, first, last, words.start_ms(first), words.end_ms(last), groups,
                    plain=False, weak=True, tokens=list(pending),
                )
            )  # fmt: skip
        pending.clear()

    for token in words.tokens:
        if token.first in inside:
            finish()
        elif token.sort in (Sort.HOMOPHONE, Sort.TIMES, Sort.SCALE):
            pending.append(token)
        elif token.sort not in _SKIPPED:
            finish()
    finish()
    return found


def _beside(words: LegWords, index: int, step: int, several: bool) -> int:
    """Return the nearest word of the segment in that direction that is no filler, or -1.

    One word that means nothing is skipped by several homophones, and by those that end (or begin) their segment:
    "nine heart oh".
    """
    heard = words.heard
    segment = heard[index].segment
    junk = several or _is_last(words, index, -step)
    index += step
    while 0 <= index < len(heard) and heard[index].segment == segment:
        if heard[index].text not in vocabulary.FILLERS:
            if index in words.number_words or (not junk and index not in words.digit_like):
                return index
            junk = junk and index in words.digit_like
        index += step
    return -1


def _is_last(words: LegWords, index: int, step: int) -> bool:
    """Does nothing but fillers follow in the segment in that direction?"""
    heard = words.heard
    segment = heard[index].segment
    index += step
    while 0 <= index < len(heard) and heard[index].segment == segment:
        if heard[index].text not in vocabulary.FILLERS:
            return False
        index += step
    return True


def _place(words: LegWords, run: Run) -> None:
    """Note how the run lies in its segments."""
    heard, digit_like = words.heard, words.digit_like
    start, end = run.first, run.last
    while start > 0 and heard[start - 1].segment == heard[run.first].segment:
        start -= 1
    while end + 1 < len(heard) and heard[end + 1].segment == heard[run.last].segment:
        end += 1
    run.tail = all(index in digit_like for index in range(run.last + 1, end + 1))
    run.alone = run.tail and all(index in digit_like for index in range(start, run.last))
    run.segments = heard[start].segment, heard[end].segment
    run.short = end - start < _SHORT_SEGMENT
    run.zeros = tuple(
        index
        for index in range(max(start, run.first - _NEAR_ZERO), min(end, run.last + _NEAR_ZERO) + 1)
        if heard[index].text in ("o", "oh")
    )
    run.outer = tuple(edge for edge in run.edges if _is_last(words, edge, +1 if edge > run.last else -1))


def intended_digits(run: Run) -> str:
    """Return the digits as the speaker means them: what was corrected is left out.

    "four two no five two" is "52". How many digits a correction takes back is not said; as many as were said
    since the correction, unless taking back another count makes a valid card number.
    """
    parts: list[str] = [""]
    corrections = sorted(run.corrections)
    for group in run.groups:
        while corrections and corrections[0] < group.first:
            corrections.pop(0)
            parts.append("")
        parts[-1] += group.digits
    if len(parts) == 1:
        return parts[0]
    best = parts[0]
    for part in parts[1:]:
        usual = min(len(part), len(best)) if len(part) <= 4 else 1
        candidates = [best[: len(best) - taken] + part for taken in dict.fromkeys((usual, 1, 2, 3, 4, len(best)))]
        best = next((c for c in candidates if 13 <= len(c) <= 19 and luhn_valid(c)), candidates[0])
    return best
