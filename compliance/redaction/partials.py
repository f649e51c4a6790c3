"""Partial segments: shown live for a moment, so hidden by cheap rules that rather hide too much.

Every digit is hidden that may be one of several: runs of two and more, the last word (more may follow), anything
near a request or near other digits. Behind "my name is", after "at ... dot", and where letters are spelled,
everything is hidden that is no ordinary small word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from compliance.redaction import number_words as vocabulary
from compliance.redaction.memory import Memory
from compliance.redaction.name_cues import places_near_names
from compliance.redaction.names import name_lists
from compliance.redaction.number_words import word_set
from compliance.redaction.requests import find_requests
from compliance.redaction.spans import Conversation, Hit, LegWords
from compliance.redaction.spoken_numbers import Sort, Token
from events.transcript import PiiKind, TranscriptSegment

_NEAR_MS: Final = 45_000
_DIGITS_NEAR_MS: Final = 15_000
_SMALL: Final = word_set(
    "i you he she it we they me my your his her our their a an the is are was were be been am do does did have "
    "has had can could will would shall should may might must not no yes and or but so if then than that this "
    "these those of to in on at by for from with about as what which who when where why how there here okay um "
    "uh yeah please thank thanks sorry name email address number card phone sure well right just"
)


class PartialRedactor:
    """Stateless but for the name lists."""

    def hidden(
        self, segment: TranscriptSegment, before: Sequence[TranscriptSegment], memory: Memory
    ) -> dict[int, Hit]:
        """Return index of word -> why it is hidden.

        Parameters
        ----------
        before
            Final segments of the last minute, of all legs.
        """
        conversation = Conversation([*before, segment])
        words = conversation.legs[segment.leg]
        offset = len(words.heard) - len(segment.words)
        asked = {
            request.kind
            for request in find_requests(conversation)
            if request.kind is not None and segment.start_ms - request.end_ms <= _NEAR_MS
        }
        hidden: dict[int, Hit] = {}

        def hide(index: int, kind: PiiKind) -> None:
            if index >= offset:
                hidden[index - offset] = Hit(kind, segment.leg, index, index, 0.5, "partial")

        for index in _digits(
            words, offset, bool(asked - {PiiKind.EMAIL_ADDRESS}), _digits_near(conversation, segment)
        ):
            hide(index, PiiKind.NUMBER)
        for index in _letters(words, offset):
            hide(index, PiiKind.REGION)
        lists = name_lists()
        near_names = places_near_names(conversation, segment.leg)
        for index in range(offset, len(words.heard)):
            text = words.texts[index]
            named = text not in memory.agent_names and (text in memory.names or lists.is_certain(text))
            if named or (text not in _SMALL and index in near_names):
                hide(index, PiiKind.PERSON_NAME)
            elif text not in _SMALL and PiiKind.EMAIL_ADDRESS in asked:
                hide(index, PiiKind.REGION)
        return hidden


def _digits_near(conversation: Conversation, segment: TranscriptSegment) -> bool:
    """Have digits been read out lately, on any leg?"""
    return any(
        token.sort in (Sort.DIGIT, Sort.TEEN, Sort.TENS, Sort.WRITTEN)
        and 0 <= segment.start_ms - words.end_ms(token.last) <= _DIGITS_NEAR_MS
        for words in conversation.legs.values()
        for token in words.tokens
    )


def _digits(words: LegWords, offset: int, asked: bool, near: bool) -> list[int]:
    found: list[int] = []
    tokens = [token for token in words.tokens if token.last >= offset]
    for place, token in enumerate(tokens):
        numeric = bool(token.digits)
        if not numeric or (token.sort is Sort.HOMOPHONE and not _beside_digits(tokens, place)):
            continue
        last = all(other.sort in (Sort.FILLER, Sort.CORRECTION) for other in tokens[place + 1 :])
        if asked or near or last or token.sort is Sort.WRITTEN or _beside_digits(tokens, place):
            found.extend(range(token.first, token.last + 1))
    return found


def _beside_digits(tokens: Sequence[Token], place: int) -> bool:
    around = [*tokens[max(0, place - 3) : place], *tokens[place + 1 : place + 4]]
    return any(other.digits and other.sort is not Sort.HOMOPHONE for other in around)


def _letters(words: LegWords, offset: int) -> list[int]:
    """Return spelled letters beside others, and words around a spoken "at"/"dot"."""
    tokens = words.tokens
    found: list[int] = []
    for place, token in enumerate(tokens):
        around = tokens[max(0, place - 1) : place] + tokens[place + 1 : place + 2]
        if token.sort is Sort.LETTER and any(other.letter for other in around):
            found.extend(range(token.first, token.last + 1))
        texts = words.texts[token.first : token.last + 1]
        if texts[0] in ("dot", "underscore") or (texts[0] == "at" and _domain_follows(words, token.last)):
            found.extend(range(max(0, token.first - 3), min(len(words.heard), token.last + 4)))
    return [index for index in found if index >= offset and words.texts[index] not in _SMALL]


def _domain_follows(words: LegWords, index: int) -> bool:
    following = words.texts[index + 1 : index + 4]
    return "dot" in following or any(text in vocabulary.DOMAIN_WORDS for text in following)
