"""Presidio's recognisers on the normalised text, results mapped back to words. The only importer of its analyzer.

The analyzer runs on a blank spaCy pipeline, so no language model is downloaded; names are `names`' business. What
Presidio adds to our own finders is its patterns, checksums and number plans: a valid card number that nobody asked
for, a phone number of any country, an SSN's forbidden ranges.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any, Final

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, Pattern, PatternRecognizer, RecognizerRegistry
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

from compliance.redaction.memory import Memory
from compliance.redaction.normalised_text import SpokenText, normalise
from compliance.redaction.settings import RedactionSettings
from compliance.redaction.spans import Conversation, Findings, Hit, LegWords
from compliance.redaction.spoken_numbers import luhn_valid
from events.errors import NeverRetry
from events.transcript import PiiKind

# At debug level the library writes what it reads; log lines never hold transcript text.
logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)

_KINDS: Final = {
    "CREDIT_CARD": PiiKind.CARD_NUMBER,
    "US_SSN": PiiKind.SSN,
    "PHONE_NUMBER": PiiKind.PHONE_NUMBER,
    "EMAIL_ADDRESS": PiiKind.EMAIL_ADDRESS,
    "VERIFICATION_CODE": PiiKind.VERIFICATION_CODE,
}
_FEWEST_DIGITS: Final = {
    "CREDIT_CARD": 12,
    "US_SSN": 9,
    "PHONE_NUMBER": 7,
    "VERIFICATION_CODE": 3,
    "EMAIL_ADDRESS": 0,
}
_REMEMBERED: Final = 2_000


class _BlankEngine(SpacyNlpEngine):  # type: ignore[misc]
    """Tokenises, and nothing else."""

    def __init__(self) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])

    def load(self) -> None:
        self.nlp = {"en": spacy.blank("en")}


class _SpokenCardRecognizer(CreditCardRecognizer):  # type: ignore[misc]
    """Luhn raises the score and its failure does not lower it: one recognition error breaks the checksum."""

    def __init__(self) -> None:
        super().__init__(patterns=[Pattern("13 to 19 digits", r"\b\d{13,19}\b", 0.4)])

    def validate_result(self, pattern_text: str) -> bool | None:
        return luhn_valid("".join(filter(str.isdigit, pattern_text))) or None


class _OfflineEmailRecognizer(EmailRecognizer):  # type: ignore[misc]
    """A known top-level domain raises the score; the list is the one in the package, never fetched."""

    _suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    def validate_result(self, pattern_text: str) -> bool | None:
        return bool(self._suffixes(pattern_text).suffix) or None


def _code_recognizer() -> PatternRecognizer:
    return PatternRecognizer(
        supported_entity="VERIFICATION_CODE",
        name="VerificationCodeRecognizer",
        patterns=[Pattern("3 or 4 digits", r"\b\d{3,4}\b", 0.05)],
        context=["cvv", "cvc", "cvn", "verification"],
    )


class PresidioFinder:
    name: Final = "presidio"

    def __init__(self, settings: RedactionSettings) -> None:
        self._settings = settings
        registry = RecognizerRegistry(
            recognizers=[
                _SpokenCardRecognizer(),
                UsSsnRecognizer(),
                PhoneRecognizer(supported_regions=("US", "GB")),
                _OfflineEmailRecognizer(),
                _code_recognizer(),
            ],
            supported_languages=["en"],
        )
        self._engine = AnalyzerEngine(
            registry=registry,
            nlp_engine=_BlankEngine(),
            supported_languages=["en"],
            context_aware_enhancer=LemmaContextAwareEnhancer(
                context_similarity_factor=0.35, context_prefix_count=8, context_matching_mode="whole_word"
            ),
        )
        # A window is read again with each segment; what was analysed once is not analysed again. Texts are kept
        # in this process's memory only, the newest ones.
        self._seen: OrderedDict[str, list[tuple[str, int, int, float]]] = OrderedDict()

    def find(self, conversation: Conversation, memory: Memory) -> Findings:
        findings = Findings()
        for words in conversation.legs.values():
            for first, last in _turns(words):
                spoken = normalise(words, first, last)
                if spoken.digit_count < 3 and "@" not in spoken.text:
                    continue  # none of the recognisers can find anything
                findings.hits.extend(self._hits(words, spoken))
        return findings

    def _hits(self, words: LegWords, spoken: SpokenText) -> list[Hit]:
        hits: list[Hit] = []
        for entity, start, end, score in self._analysed(spoken.text):
            kind = _KINDS[entity]
            digits = sum(character.isdigit() for character in spoken.text[start:end])
            if digits < _FEWEST_DIGITS[entity] or not self._settings.hides(kind):
                continue
            first, last = spoken.words(start, end)
            pieces = [(first, last)] if kind is PiiKind.EMAIL_ADDRESS else words.number_pieces(first, last)
            hits.extend(Hit(kind, words.leg, *piece, score, self.name) for piece in pieces)
        return hits

    def _analysed(self, text: str) -> list[tuple[str, int, int, float]]:
        found = self._seen.get(text)
        if found is None:
            try:
                results: list[Any] = self._engine.analyze(
                    text, language="en", entities=list(_KINDS), score_threshold=self._settings.least_score
                )
            except ValueError:
                # The enhancer's message quotes the word; it must not travel on.
                raise NeverRetry("Presidio could not place one of its results in the text.") from None
            found = [(result.entity_type, result.start, result.end, result.score) for result in results]
            self._seen[text] = found
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(text)
        return found


def _turns(words: LegWords) -> list[tuple[int, int]]:
    """Return first and last word of what the leg said without a long silence, over segments."""
    turns: list[tuple[int, int]] = []
    for index in range(len(words.heard)):
        if turns and not words.heard[index].turn and words.start_ms(index) - words.end_ms(index - 1) <= 3_000:
            turns[-1] = (turns[-1][0], index)
        else:
            turns.append((index, index))
    return turns
