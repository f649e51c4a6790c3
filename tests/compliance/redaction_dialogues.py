"""Generated dialogues in which somebody reads a number aloud, as a recogniser would hand them over.

Everything is made by this file from a random generator; nothing was recorded. A word is marked VALUE when it is part
of the number (also digits that were corrected, and the read-back), FREE when hiding it or not is both right (fillers
and recognition errors inside the number), and OUTSIDE when it has nothing to do with it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from typing import Final

from compliance.redaction import number_words as vocabulary
from compliance.redaction.finders import PiiFinder
from compliance.redaction.redactor import CallRedactor
from compliance.redaction.settings import RedactionSettings
from compliance.redaction.stage import all_finders
from events.identity import CallId, RecordId, Role
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    RawTranscriptRecord,
    RedactedSegment,
    RedactedTranscriptRecord,
    SegmentStatus,
    TranscriptSegment,
    Word,
)

CALL: Final = CallId("c" * 32)
AGENT, CUSTOMER = 0, 1
ROLES: Final = {AGENT: Role.AGENT, CUSTOMER: Role.CUSTOMER}

DIGIT_WORDS: Final = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEEN_WORDS: Final = tuple(vocabulary.TEENS)
TENS_WORDS: Final = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
HOMOPHONES: Final = {"one": ["won"], "two": ["to", "too"], "three": ["tree", "free"], "four": ["for", "fore"],
                     "eight": ["ate"], "nine": ["nein"], "zero": ["o"], "oh": ["o"]}  # fmt: skip
JUNK: Final = sorted(
    vocabulary.word_set(
        "cat the of house say when under my heart great want fire days dollars sticks far shoe wait so"
    )
)
FILLERS: Final = ["uh", "um", "okay", "and", "then", "yeah"]
CORRECTIONS: Final = ["no", "sorry", "i mean", "wait", "no wait", "scratch that", "i'm sorry"]
BACKCHANNELS: Final = ["uh huh", "okay", "mhm", "go ahead", "yes", "got it", "right"]


class Mark(Enum):
    VALUE = auto()
    FREE = auto()
    OUTSIDE = auto()


@dataclass(frozen=True)
class Marked:
    text: str
    mark: Mark


@dataclass
class Utterance:
    leg: int
    words: list[Marked]
    gap_ms: int = 500
    """Silence of all before it."""


@dataclass
class Dialogue:
    utterances: list[Utterance]
    marks: dict[tuple[int, int], Mark] = field(default_factory=dict)
    """(leg, start of word) -> mark, filled in by `records`."""


def said(leg: int, text: str, mark: Mark = Mark.OUTSIDE, gap_ms: int = 500) -> Utterance:
    return Utterance(leg, [Marked(word, mark) for word in text.split()], gap_ms)


def speak(digits: str, rng: random.Random, corrected: float = 0.06) -> list[Marked]:
    """Read digits aloud the way people do: single, double and triple, pairs, "oh", fillers, corrections."""
    words: list[Marked] = []
    index = 0
    while index < len(digits):
        rest = digits[index:]
        same = len(rest) - len(rest.lstrip(rest[0]))
        pick = rng.random()
        if same >= 3 and pick < 0.6:
            words += _value(f"triple {_digit(rest[0], rng)}")
            index += 3
        elif same >= 2 and pick < 0.5:
            words += _value(f"double {_digit(rest[0], rng)}")
            index += 2
        elif len(rest) >= 2 and rest[0] != "0" and pick > 0.75:
            words += _value(_pair(rest[:2]))
            index += 2
        elif len(rest) >= 3 and rest[0] != "0" and rest[1:3] == "00" and pick > 0.6:
            words += _value(f"{DIGIT_WORDS[int(rest[0])]} hundred")
            index += 3
        else:
            words += _value(_digit(rest[0], rng))
            index += 1
        if rng.random() < 0.08:
            words += [Marked(rng.choice(FILLERS), Mark.FREE)]
        if rng.random() < corrected and index < len(digits):
            wrong = str(rng.randrange(1, 10))
            words += _value(DIGIT_WORDS[int(wrong)])
            words += [Marked(word, Mark.FREE) for word in rng.choice(CORRECTIONS).split()]
    return words


def _value(text: str) -> list[Marked]:
    return [Marked(word, Mark.VALUE) for word in text.split()]


def _digit(digit: str, rng: random.Random) -> str:
    return rng.choice(["zero", "oh", "oh", "o"]) if digit == "0" else DIGIT_WORDS[int(digit)]


def _pair(two: str) -> str:
    if two[0] == "1":
        return TEEN_WORDS[int(two[1])]
    tens = TENS_WORDS[int(two[0])]
    return tens if two[1] == "0" else f"{tens} {DIGIT_WORDS[int(two[1])]}"


def misheard(words: Sequence[Marked], rng: random.Random) -> list[Marked]:
    """Return the words with one recognition error in the number: a homophone, another digit, junk or nothing."""
    places = [place for place, word in enumerate(words) if word.mark is Mark.VALUE]
    place = rng.choice(places)
    word = words[place].text
    sort = rng.choice(["homophone", "digit", "junk", "nothing"])
    heard: list[Marked] = []
    if sort == "homophone" and word in HOMOPHONES:
        heard = [Marked(rng.choice(HOMOPHONES[word]), Mark.VALUE)]
    elif sort in ("homophone", "digit"):
        heard = [Marked(rng.choice(DIGIT_WORDS), Mark.VALUE)]
    elif sort == "junk":
        heard = [Marked(rng.choice(JUNK), Mark.FREE)]
    return [*words[:place], *heard, *words[place + 1 :]]


def split(words: Sequence[Marked], rng: random.Random, leg: int, most_gap_ms: int) -> list[Utterance]:
    """Cut a number into segments of three words and more, the other party saying "uh huh" between some."""
    utterances: list[Utterance] = []
    rest = list(words)
    while rest:
        size = rng.choice([3, 4, 5, 6, 8, 30])
        size = size if len(rest) - size >= 3 else len(rest)
        utterances.append(Utterance(leg, rest[:size], rng.randrange(300, most_gap_ms)))
        rest = rest[size:]
        if rest and rng.random() < 0.5:
            utterances.append(said(1 - leg, rng.choice(BACKCHANNELS), Mark.FREE, rng.randrange(100, 400)))
    return utterances


BEFORE: Final = (
    "thank you for calling how can i help you today",
    "i want to pay my bill it was due two weeks ago",
    "sure i can help you with that give me one moment",
    "the fee is five percent and it comes out in ten days",
)
AFTER: Final = (
    "great the payment went through and you are all set",
    "thanks so much have a nice day",
    "is there anything else that you need",
)


def card_dialogue(
    rng: random.Random,
    digits: str,
    *,
    asked: bool,
    errors: int = 0,
    read_back: bool = False,
    most_gap_ms: int = 1500,
) -> Dialogue:
    """A dialogue in which the customer reads a card number, asked for it or not."""
    utterances = [said(rng.randrange(2), text) for text in rng.sample(BEFORE, 2)]
    if asked:
        question = rng.choice(
            ["can i have your card number please", "what's the number on the front of the card",
             "please read me the sixteen digits", "what is the long number on your card"]
        )  # fmt: skip
        utterances.append(said(AGENT, question))
    words = speak(digits, rng)
    for _ in range(errors):
        words = misheard(words, rng)
    if asked and rng.random() < 0.3:
        utterances.append(said(CUSTOMER, "hold on let me find it"))
    utterances += split(words, rng, CUSTOMER, most_gap_ms)
    if read_back:
        utterances.append(said(AGENT, "let me read that back to you", gap_ms=700))
        utterances += split(speak(digits, rng), rng, AGENT, most_gap_ms)
    utterances.append(said(AGENT, AFTER[0], gap_ms=1200))
    utterances += [said(rng.randrange(2), text) for text in AFTER[1:]]
    return Dialogue(utterances)


def records(
    dialogue: Dialogue, rng: random.Random, *, endpoint_ms: int = 600, progress_ms: int = 300
) -> list[RawTranscriptRecord]:
    """Return the dialogue as the recogniser writes it: finals after their endpoint, progress of both legs, ends."""
    timed: list[tuple[int, int, RawTranscriptRecord]] = []
    now = 1_000
    spoken: list[tuple[int, int, int]] = []
    previous_end = {AGENT: 0, CUSTOMER: 0}
    for number, utterance in enumerate(dialogue.utterances):
        if not utterance.words:
            continue
        now += utterance.gap_ms
        start = now
        words: list[Word] = []
        for marked in utterance.words:
            length = rng.randrange(160, 420)
            dialogue.marks[utterance.leg, now] = marked.mark
            words.append(Word(marked.text, now, now + length, round(rng.uniform(0.5, 1.0), 3)))
            now += length + rng.randrange(0, 120)
        end = words[-1].end_ms
        segment = TranscriptSegment(
            RecordId(f"{CALL}:segment:{utterance.leg}:{previous_end[utterance.leg] * 8}"), CALL, utterance.leg,
            ROLES[utterance.leg], SegmentStatus.FINAL, previous_end[utterance.leg] * 8, start, end, tuple(words),
        )  # fmt: skip
        previous_end[utterance.leg] = end
        spoken.append((utterance.leg, start, end + endpoint_ms))
        timed.append((end + endpoint_ms, number, segment))
        now = end
    last = now + endpoint_ms + 1
    for at in range(progress_ms, last, progress_ms):
        for leg in (AGENT, CUSTOMER):
            busy = [start for who, start, done in spoken if who == leg and start <= at < done]
            timed.append((at, 1_000_000, LegProgress(CALL, leg, ROLES[leg], min([at, *busy]))))
    timed.sort(key=lambda item: item[:2])
    made = [record for _, _, record in timed]
    made += [LegTranscriptEnded(CALL, leg, ROLES[leg], last) for leg in (AGENT, CUSTOMER)]
    made.append(CallTranscriptEnded(CALL, (AGENT, CUSTOMER), last))
    return made


def leaked(dialogue: Dialogue, segments: Iterable[RedactedSegment]) -> list[tuple[int, int]]:
    """Return (leg, start) of each word of the number that can be read in any version of any segment.

    A lone "double" before a pause says no digit and is not counted.
    """
    return [
        (segment.leg, word.start_ms)
        for segment in segments
        for word in segment.words
        if not word.text.startswith("[")
        and word.text not in ("double", "triple")
        and dialogue.marks.get((segment.leg, word.start_ms)) is Mark.VALUE
    ]


def wrongly_hidden(dialogue: Dialogue, segments: Sequence[RedactedSegment]) -> list[tuple[int, int]]:
    """Return (leg, start) of each word outside the number that the last version of its segment does not show."""
    newest = {segment.id: segment for segment in segments}
    shown = {
        (segment.leg, word.start_ms)
        for segment in newest.values()
        for word in segment.words
        if not word.text.startswith("[")
    }
    return [where for where, mark in dialogue.marks.items() if mark is Mark.OUTSIDE and where not in shown]


def luhn_number(rng: random.Random, length: int = 16) -> str:
    """Return a random number with a valid check digit; first digit 3 to 6 as on payment cards."""
    body = str(rng.randrange(3, 7)) + "".join(str(rng.randrange(10)) for _ in range(length - 2))
    total = sum(
        (digit * 2 - 9 if digit > 4 else digit * 2) if place % 2 == 0 else digit
        for place, digit in enumerate(map(int, reversed(body)))
    )
    return body + str(-total % 10)


@cache
def finders(settings: RedactionSettings) -> Sequence[PiiFinder]:
    """Return the house's finders; loading Presidio's engine takes a second, so one set serves all tests."""
    return all_finders(settings)


def redacted(
    made: Iterable[RawTranscriptRecord], settings: RedactionSettings | None = None
) -> list[RedactedTranscriptRecord]:
    """Return what a call's redactor makes of these records."""
    settings = settings or RedactionSettings()
    redactor = CallRedactor(settings, finders(settings))
    return [out for record in made for out in redactor.take(record)]


def segments_of(made: Iterable[object]) -> list[RedactedSegment]:
    return [record for record in made if isinstance(record, RedactedSegment)]


def converse(*lines: tuple[int, str], settings: RedactionSettings | None = None, gap_ms: int = 600) -> list[str]:
    """Return the final text of each line of a dialogue of (leg, text), in the lines' order."""
    dialogue = Dialogue([said(leg, text, gap_ms=gap_ms) for leg, text in lines])
    raw = records(dialogue, random.Random(7))
    newest = {segment.id: segment.text for segment in segments_of(redacted(raw, settings))}
    return [newest[record.id] for record in raw if isinstance(record, TranscriptSegment)]
