"""Finder of e-mail addresses and spelled names: "j o h n underscore smith at gmail dot com", "s m i t h".

Works on tokens, and like the numbers goes on over segments: spelled letters at the end of one wait for the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from compliance.redaction import number_words as vocabulary
from compliance.redaction.memory import Memory
from compliance.redaction.name_cues import STOP, Cue, answers, find_cues
from compliance.redaction.requests import find_requests
from compliance.redaction.settings import RedactionSettings, Strength
from compliance.redaction.spans import Conversation, Findings, Hit, LegWords
from compliance.redaction.spoken_numbers import Sort, Token
from events.transcript import PiiKind

_GAP_MS: Final = 4_000
_ADDRESS_WORDS: Final = 3
"""Ordinary words that the local part of an address may have ("john smith at gmail dot com")."""
_NEAR_MS: Final = 30_000
_FEWEST_LETTERS: Final = 3


class SpelledFinder:
    name: Final = "spelled"

    def __init__(self, settings: RedactionSettings) -> None:
        self._settings = settings

    def find(self, conversation: Conversation, memory: Memory) -> Findings:
        findings = Findings()
        email_ms = [
            request.end_ms for request in find_requests(conversation) if request.kind is PiiKind.EMAIL_ADDRESS
        ]
        name_ms = [
            *(words.end_ms(cue.last) for words in conversation.legs.values() for cue in find_cues(words)
              if cue.cue in (Cue.QUESTION, Cue.OWN, Cue.OTHER)),
            *(conversation.legs[leg].start_ms(first) for leg, first, _ in answers(conversation)),
        ]  # fmt: skip
        for leg, words in conversation.legs.items():
            addresses = list(_addresses(words))
            if self._settings.hides(PiiKind.EMAIL_ADDRESS):
                findings.hits.extend(
                    Hit(PiiKind.EMAIL_ADDRESS, leg, first, last, 0.9, self.name) for first, last in addresses
                )
            inside = {index for first, last in addresses for index in range(first, last + 1)}
            for run in _letter_runs(words):
                if run[0].first in inside and run[-1].last in inside:
                    continue
                kind = self._kind(words, run, email_ms, name_ms)
                if kind is not None and self._settings.hides(kind):
                    findings.hits.append(Hit(kind, leg, run[0].first, run[-1].last, 0.7, self.name))
                if _at_end(words, run[-1].last) and not _is_acronym(run):
                    until_ms = words.end_ms(run[-1].last) + self._settings.hold_back_ms
                    findings.hold(leg, range(run[0].first, run[-1].last + 1), until_ms)
        return findings

    def _kind(self, words: LegWords, run: list[Token], email_ms: list[int], name_ms: list[int]) -> PiiKind | None:
        """Say what spelled letters are, from what was asked for last; None for acronyms and doubtful ones."""
        at_ms = words.start_ms(run[0].first)
        email = max((ms for ms in email_ms if 0 <= at_ms - ms <= _NEAR_MS), default=-1)
        name = max((ms for ms in name_ms if 0 <= at_ms - ms <= _NEAR_MS), default=-1)
        letters = sum(token.sort is Sort.LETTER for token in run)
        if len(run) < 2 or letters == 0:
            return None
        if email > name and email >= 0:
            return PiiKind.EMAIL_ADDRESS
        if _is_acronym(run):
            return None
        if name >= 0:
            return PiiKind.PERSON_NAME
        if len(run) < _FEWEST_LETTERS or self._settings.strength == Strength.VALUES:
            return None
        if any(token.digits and token.sort is not Sort.HOMOPHONE for token in run):
            return PiiKind.NUMBER
        return PiiKind.PERSON_NAME if len(run) > _FEWEST_LETTERS else None


def _addresses(words: LegWords) -> Iterator[tuple[int, int]]:
    """Return first and last word of each spoken e-mail address."""
    tokens = words.tokens
    for place, token in enumerate(tokens):
        if token.letter != "@" or token.sort is not Sort.SIGN:
            continue
        end = _domain_end(words, tokens, place + 1)
        if end is None:
            continue
        start = _local_start(words, tokens, place - 1)
        if start is not None:
            yield tokens[start].first, tokens[end].last


def _domain_end(words: LegWords, tokens: list[Token], start: int) -> int | None:
    """Return the last token of a domain: "gmail dot com", "g mail dot com", "my company dot co dot uk"."""
    end: int | None = None
    index = start
    while index < len(tokens) and index - start < 10:
        texts = words.texts[tokens[index].first : tokens[index].last + 1]
        text = "".join(texts)
        joined = text + "".join(words.texts[tokens[index].last + 1 : tokens[index].last + 2])
        if index - start <= 1 and text in vocabulary.DOMAIN_WORDS:
            end = index
        elif index == start and joined in vocabulary.DOMAIN_WORDS and index + 1 < len(tokens):
            end = index + 1
        if text in ("dot", "period", "point") and index + 1 < len(tokens) and index > start:
            following = words.texts[tokens[index + 1].first]
            if following in vocabulary.TOP_LEVEL:
                end = index + 1
        elif text in STOP and text not in vocabulary.TOP_LEVEL and end is not None:
            break
        if end is not None and index > end:
            break
        index += 1
    return end


def _local_start(words: LegWords, tokens: list[Token], index: int) -> int | None:
    """Return the first token of what stands before "at", going back over letters, digits, signs and a few words."""
    start: int | None = None
    plain_words = 0
    while index >= 0:
        token = tokens[index]
        text = words.texts[token.first]
        following = tokens[index + 1].first
        if words.start_ms(following) - words.end_ms(token.last) > _GAP_MS:
            break
        spelled = token.sort is Sort.LETTER or (
            token.letter and start is not None and _letters_around(tokens, index)
        )
        numeric = token.sort in (Sort.DIGIT, Sort.TEEN, Sort.TENS, Sort.WRITTEN, Sort.TIMES) or (
            token.sort is Sort.HOMOPHONE and _digits_around(tokens, index)
        )
        if spelled or numeric or (token.sort is Sort.SIGN and token.letter != "@"):
            start = index
        elif token.sort is Sort.FILLER and start is not None and text in ("uh", "um", "er", "and", "then"):
            pass
        elif text not in STOP and plain_words < _ADDRESS_WORDS and token.sort is Sort.WORD:
            plain_words += 1
            start = index
        else:
            break
        index -= 1
    return start


def _letters_around(tokens: list[Token], index: int) -> bool:
    return any(token.sort is Sort.LETTER for token in tokens[max(0, index - 1) : index + 2])


def _digits_around(tokens: list[Token], index: int) -> bool:
    around = tokens[max(0, index - 1) : index] + tokens[index + 1 : index + 2]
    return any(token.sort in (Sort.DIGIT, Sort.TEEN, Sort.TENS) for token in around)


def _letter_runs(words: LegWords) -> Iterator[list[Token]]:
    """Return runs of spelled letters, with homophones, digits and signs between; they begin and end with a letter."""
    run: list[Token] = []
    for token in words.tokens:
        sure = token.sort is Sort.LETTER
        maybe = bool(token.letter) or token.sort in (Sort.DIGIT, Sort.TIMES)
        gap_ms = words.start_ms(token.first) - words.end_ms(run[-1].last) if run else 0
        if run and gap_ms > _GAP_MS:
            yield from _trimmed(run)
            run = []
        if sure or (maybe and run) or (maybe and token.last - token.first == 0 and not run):
            run.append(token)
        elif run and words.texts[token.first] in ("uh", "um", "er", "then"):
            continue
        elif run:
            yield from _trimmed(run)
            run = []
    yield from _trimmed(run)


def _trimmed(run: list[Token]) -> Iterator[list[Token]]:
    """Cut words that are only perhaps letters off the ends, but for those next to two sure letters."""
    sure = [place for place, token in enumerate(run) if token.sort is Sort.LETTER]
    if not sure:
        return
    first, last = sure[0], sure[-1]
    if len(sure) >= 2:
        first, last = _reach(run, first, -1), _reach(run, last, +1)
    yield run[first : last + 1]


def _reach(run: list[Token], place: int, step: int) -> int:
    """Take in single-letter words ("a", "o", "i") and digits beside the sure letters."""
    while 0 <= place + step < len(run):
        token = run[place + step]
        if not (token.letter in "aio" and token.letter) and token.sort is not Sort.DIGIT:
            break
        place += step
    return place


def _is_acronym(run: list[Token]) -> bool:
    return "".join(token.letter for token in run) in vocabulary.ACRONYMS


def _at_end(words: LegWords, index: int) -> bool:
    """Does the word end its segment, but for fillers?"""
    return all(
        heard.text in vocabulary.FILLERS
        for heard in words.heard[index + 1 : index + 6]
        if heard.segment == words.heard[index].segment
    )
