"""Words in, phrase hits out: all phrases of all rules at once.

The phrases' word sequences share one trie. Each leg keeps the trie nodes that its last words have led to, so a word
costs one step per phrase that is half said and one at the root, however many phrases there are, and a phrase may
begin in one segment and end in the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from compliance.rules.phrase import ANY_WORD, Phrase, shown, words_of
from compliance.rules.timing import LegHeard, Span
from events.identity import RecordId, Role
from events.transcript import RedactedSegment, Word

FILLERS: Final = frozenset("uh um uhm er erm ah eh hm hmm mm".split())  # noqa: SIM905
"""Words between words: they end no phrase and count in no distance."""
_MOST_REMEMBERED: Final = 4096


@dataclass(slots=True)
class _Node:
    words: dict[str, _Node] = field(default_factory=dict)
    beginnings: dict[str, _Node] = field(default_factory=dict)
    any_word: _Node | None = None
    phrases: tuple[tuple[int, str], ...] = ()
    """Phrases that are complete here: number, and which of its sequences it was."""
    remembered: dict[str, tuple[_Node, ...]] = field(default_factory=dict)

    def step(self, word: str) -> tuple[_Node, ...]:
        """Return where `word` leads."""
        found = self.remembered.get(word)
        if found is None:
            found = tuple(self._step(word))
            if len(self.remembered) >= _MOST_REMEMBERED:
                self.remembered.clear()
            self.remembered[word] = found
        return found

    def _step(self, word: str) -> Iterator[_Node]:
        if word in self.words:
            yield self.words[word]
        for beginning, node in self.beginnings.items():
            if word.startswith(beginning):
                yield node
        if self.any_word is not None:
            yield self.any_word


class PhraseMatcher:
    """The trie. Immutable after construction but for what it remembers; used by one thread."""

    def __init__(self, phrases: Iterable[Phrase]) -> None:
        self.numbers: dict[Phrase, int] = {}
        self._root = _Node()
        for phrase in phrases:
            if phrase not in self.numbers:
                self.numbers[phrase] = len(self.numbers)
                for sequence in phrase.sequences:
                    self._add(sequence, self.numbers[phrase])

    def _add(self, sequence: tuple[str, ...], number: int) -> None:
        node = self._root
        for pattern in sequence:
            if pattern == ANY_WORD:
                if node.any_word is None:
                    node.any_word = _Node()
                node = node.any_word
            elif pattern.endswith(ANY_WORD):
                node = node.beginnings.setdefault(pattern[:-1], _Node())
            else:
                node = node.words.setdefault(pattern, _Node())
        if number not in (known for known, _ in node.phrases):
            node.phrases = (*node.phrases, (number, shown(sequence)))

    def scan(self, leg: LegHeard, longest_pause_ms: int) -> LegScan:
        return LegScan(self._root, leg, longest_pause_ms)


@dataclass(frozen=True, slots=True)
class _Placed:
    word: Word
    segment: RecordId
    role: Role
    place: int


class LegScan:
    """Follows one leg. Keeps words only as long as a phrase that began with them can still end."""

    def __init__(self, root: _Node, leg: LegHeard, longest_pause_ms: int) -> None:
        self._root = root
        self._leg = leg
        self._longest_pause_ms = longest_pause_ms
        self._active: list[tuple[_Node, tuple[_Placed, ...]]] = []

    def segment(self, segment: RedactedSegment) -> Iterator[tuple[int, Span]]:
        """Take the leg's next segment; yield (phrase number, span) for every phrase that ends in it."""
        for word in segment.words:
            parts = words_of(word.text)
            if not parts or (len(parts) == 1 and parts[0] in FILLERS):
                continue
            leg = self._leg
            if leg.places and word.start_ms - leg.last_word_end_ms > self._longest_pause_ms:
                self._active.clear()
                leg.run += 1
            placed = _Placed(word, segment.id, segment.role, leg.places)
            leg.places += 1
            leg.last_word_end_ms = word.end_ms
            for part in parts:
                yield from self._step(part, placed)

    def _step(self, part: str, placed: _Placed) -> Iterator[tuple[int, Span]]:
        follow: list[tuple[_Node, tuple[_Placed, ...]]] = []
        for node in self._root.step(part):
            follow.append((node, (placed,)))
        for before, said in self._active:
            for node in before.step(part):
                follow.append((node, said if said[-1] is placed else (*said, placed)))
        self._active = follow
        for node, said in follow:
            if node.phrases:
                for number, pattern in node.phrases:
                    yield number, self._span(said, pattern)

    def _span(self, said: tuple[_Placed, ...], pattern: str) -> Span:
        segments: dict[RecordId, tuple[int, int]] = {}
        for placed in said:
            begin, _ = segments.get(placed.segment, (placed.word.start_ms, 0))
            segments[placed.segment] = (begin, placed.word.end_ms)
        return Span(
            self._leg.leg,
            said[-1].role,
            said[0].place,
            said[-1].place,
            self._leg.run,
            said[0].word.start_ms,
            said[-1].word.end_ms,
            sum(placed.word.confidence for placed in said) / len(said),
            tuple((segment, begin, end) for segment, (begin, end) in segments.items()),
            pattern,
        )
