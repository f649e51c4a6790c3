"""One utterance of a call in progress as it is shown: as it was spoken, and for reading.

What a partial segment may still change is told apart, and for reading it stays as it was spoken: text that somebody
reads along does not jump. When the final segment comes, all of it is for reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from console.web.transcript_view import shown_text
from events.transcript import RedactedSegment, SegmentStatus
from recognizer.reading_text.profanity import masked
from recognizer.reading_text.reading import reading_tokens
from recognizer.reading_text.reading_token import ReadingToken
from recognizer.reading_text.settled import settled_tokens

_LAST_LINE: Final = 110
"""Signs of an utterance's end that a card shows."""


class LiveWord(NamedTuple):
    """One word as it was spoken, or one token for reading."""

    text: str
    mark: str
    """Comma, full stop or question mark behind it."""
    hidden: bool
    firm: bool
    """It will not change any more."""
    said: str
    """The words it stands for, where they are more than its letters in lower case."""


@dataclass(frozen=True)
class LiveTurn:
    segment: RedactedSegment

    @property
    def final(self) -> bool:
        return self.segment.status is SegmentStatus.FINAL

    def spoken(self, mask_profanity: bool = False) -> list[LiveWord]:
        """Return the words as recognised."""
        firm = len(self.segment.words) if self.final else self.segment.stable_words
        return list(self._as_spoken(0, firm, masked if mask_profanity else str))

    def reading(self, mask_profanity: bool = False) -> list[LiveWord]:
        """Return the words for reading, those of a partial segment that are not settled as spoken."""
        display = masked if mask_profanity else str
        shown = [self._as_read(token, display) for token in self._tokens]
        settled = self._tokens[-1].last if self._tokens else 0
        return [*shown, *self._as_spoken(settled, settled, display)]

    @cached_property
    def _tokens(self) -> tuple[ReadingToken, ...]:
        """Found once, whoever and however many look on."""
        if self.final:
            return reading_tokens(self.segment.words)
        return settled_tokens([word.text for word in self.segment.words], self.segment.stable_words)

    def _as_spoken(self, first: int, firm: int, display: Callable[[str], str]) -> Iterator[LiveWord]:
        for at, word in enumerate(self.segment.words[first:], first):
            text, hidden = shown_text(word.text)
            yield LiveWord(text if hidden else display(text), "", hidden, at < firm, "")

    def _as_read(self, token: ReadingToken, display: Callable[[str], str]) -> LiveWord:
        text, hidden = shown_text(token.text)
        said = " ".join(display(word.text) for word in self.segment.words[token.first : token.last])
        rewritten = not hidden and said != token.text.lower()
        mark = token.shown[len(token.text) :]
        return LiveWord(text if hidden else display(text), mark, hidden, True, said if rewritten else "")


def last_line(words: Iterable[LiveWord]) -> list[LiveWord]:
    """Return the words at the end that a card has room for, behind an ellipsis where others were left out."""
    shown = list(words)
    room, first = _LAST_LINE, len(shown)
    while first and room >= len(shown[first - 1].text):
        first -= 1
        room -= len(shown[first].text) + 1
    first = min(first, max(0, len(shown) - 1))
    return [LiveWord("…", "", False, True, ""), *shown[first:]] if first else shown
