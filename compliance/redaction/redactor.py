"""One call's redactor: raw transcript records in, redacted ones out, in order, with a short hold-back.

A card number read aloud crosses segments and legs, so a segment waits while a finder says that words of it may be
part of something that is still being said. Time is call time as the legs' progress tells it; the output is a
function of the sequence of records alone, so a replay gives the same records again.

When a later segment shows that a segment that was let go held a part of a value, it is sent again with a higher
`revision`. What was hidden once stays hidden in all later revisions.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from compliance.redaction.digit_runs import RUN_GAP_MS
from compliance.redaction.finders import PiiFinder
from compliance.redaction.memory import Memory
from compliance.redaction.partials import PartialRedactor
from compliance.redaction.placeholders import hidden_runs, redacted_words
from compliance.redaction.settings import RedactionSettings
from compliance.redaction.spans import Conversation, Hit, is_better, kinds_by_word
from events import metrics
from events.identity import RecordId
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    PiiSpan,
    RawTranscriptRecord,
    RedactedSegment,
    RedactedTranscriptRecord,
    SegmentStatus,
    TranscriptSegment,
)

_MOST_BETWEEN: Final = 3


@dataclass(slots=True)
class _Kept:
    """A final segment and what is known about it."""

    segment: TranscriptSegment
    hidden: dict[int, Hit] = field(default_factory=dict)
    wait_until_ms: float = 0
    sent: int = 0
    """How many times it has been sent."""
    changed: bool = False


class CallRedactor:
    """State of one call."""

    def __init__(self, settings: RedactionSettings, finders: Sequence[PiiFinder]) -> None:
        self._settings = settings
        self._finders = finders
        self._partials = PartialRedactor()
        self._seen: set[RecordId] = set()
        self._recent: list[_Kept] = []
        self._queues: dict[int, deque[_Kept | LegProgress | LegTranscriptEnded]] = {}
        self._heard_to_ms: dict[int, float] = {}
        self._memory = Memory()

    def take(self, record: RawTranscriptRecord) -> list[RedactedTranscriptRecord]:
        """Take the next record but partial segments; return what may be passed on now, in order per leg."""
        if isinstance(record, TranscriptSegment):
            return self._take_segment(record)
        if isinstance(record, CallTranscriptEnded):
            return [*self.flush(), record]
        up_to_ms = math.inf if isinstance(record, LegTranscriptEnded) else record.up_to_ms
        self._heard_to_ms[record.leg] = max(self._heard_to_ms.get(record.leg, 0), up_to_ms)
        self._queues.setdefault(record.leg, deque()).append(record)
        return list(self._released())

    def flush(self) -> list[RedactedTranscriptRecord]:
        """Let go everything that waits: nothing more of this call will come."""
        self._heard_to_ms = dict.fromkeys(self._heard_to_ms, math.inf)
        return list(self._released())

    def take_partial(self, segment: TranscriptSegment) -> RedactedSegment | None:
        """Redact a partial segment, hiding rather too much; None when its final segment has come already."""
        if segment.id in self._seen:
            return None
        before = [kept.segment for kept in self._recent if kept.segment.end_ms > segment.start_ms - 60_000]
        hidden = self._partials.hidden(segment, before, self._memory)
        return _redacted(segment, hidden, segment.revision, None)

    def _take_segment(self, segment: TranscriptSegment) -> list[RedactedTranscriptRecord]:
        if segment.id in self._seen:
            return []
        self._seen.add(segment.id)
        kept = _Kept(segment)
        self._recent.append(kept)
        self._recent.sort(key=lambda kept: (kept.segment.start_ms, kept.segment.leg))
        self._queues.setdefault(segment.leg, deque()).append(kept)
        self._heard_to_ms[segment.leg] = max(self._heard_to_ms.get(segment.leg, 0), segment.end_ms)
        self._look()
        again = [self._sent(kept) for kept in self._recent if kept.sent and kept.changed]
        out = [*again, *self._released()]
        self._forget(segment.end_ms)
        return out

    def _look(self) -> None:
        """Let the finders read the recent conversation, and note what they say about each segment."""
        conversation = Conversation([kept.segment for kept in self._recent])
        hits: list[Hit] = []
        waits = [0] * len(self._recent)
        for finder in self._finders:
            findings = finder.find(conversation, self._memory)
            hits += findings.hits
            for leg, open_words in findings.open_words.items():
                for index, until_ms in open_words.items():
                    number = conversation.legs[leg].heard[index].segment
                    waits[number] = max(waits[number], until_ms)
            self._memory.learn(findings.values, findings.names, findings.agent_names)
        for kept, wait in zip(self._recent, waits, strict=True):
            kept.wait_until_ms = wait
        for leg, words in conversation.legs.items():
            for index, hit in kinds_by_word(hits, leg).items():
                heard = words.heard[index]
                kept = self._recent[heard.segment]
                old = kept.hidden.get(heard.index)
                if old is None or is_better(hit, old):
                    kept.changed = kept.changed or old is None or old.kind is not hit.kind
                    kept.hidden[heard.index] = hit

    def _released(self) -> Iterator[RedactedTranscriptRecord]:
        heard_to_ms = min(self._heard_to_ms.values(), default=math.inf)
        for queue in self._queues.values():
            while queue:
                item = queue[0]
                if isinstance(item, _Kept):
                    if item.wait_until_ms > heard_to_ms:
                        break
                    yield self._sent(item)
                else:
                    yield item
                queue.popleft()

    def _sent(self, kept: _Kept) -> RedactedSegment:
        if not kept.sent:
            for kind, _, _ in hidden_runs(kept.hidden):
                metrics.count(metrics.PII_SPANS, kind=kind.value)
        redacted = _redacted(
            kept.segment, kept.hidden, kept.segment.revision + kept.sent, self._continued_from_ms(kept)
        )
        kept.sent += 1
        kept.changed = False
        return redacted

    def _continued_from_ms(self, kept: _Kept) -> int | None:
        """Return where the leg's hidden run before ends when it goes on in this segment's first one.

        What the recogniser missed or misheard between the two is in the sound all the same.
        """
        if not kept.hidden:
            return None
        first = min(kept.hidden)
        before = [
            other
            for other in self._recent
            if other.hidden
            and other.segment.leg == kept.segment.leg
            and other.segment.start_ms < kept.segment.start_ms
        ]
        if not before:
            return None
        last = max(before[-1].hidden)
        last_words = before[-1].segment.words
        between = first + len(last_words) - 1 - last
        end_ms = last_words[last].end_ms
        gap_ms = kept.segment.words[first].start_ms - end_ms
        same = before[-1].hidden[last].kind is kept.hidden[first].kind
        return end_ms if same and between <= _MOST_BETWEEN and 0 <= gap_ms <= RUN_GAP_MS else None

    def _forget(self, now_ms: int) -> None:
        """Drop segments that were sent and lie before the window."""
        oldest_ms = now_ms - self._settings.window_ms
        self._recent = [kept for kept in self._recent if not kept.sent or kept.segment.end_ms >= oldest_ms]


def _redacted(
    segment: TranscriptSegment, hidden: dict[int, Hit], revision: int, continued_from_ms: int | None
) -> RedactedSegment:
    spans: list[PiiSpan] = []
    for kind, first, last in hidden_runs(hidden):
        words = segment.words[first : last + 1]
        best = max((hidden[index] for index in range(first, last + 1)), key=lambda hit: hit.score)
        start_ms = words[0].start_ms
        if not spans and continued_from_ms is not None:
            start_ms = continued_from_ms
        end_ms = max(word.end_ms for word in words)
        spans.append(PiiSpan(kind, segment.leg, start_ms, end_ms, best.score, best.finder))
    return RedactedSegment(
        segment.id, segment.call, segment.leg, segment.role, segment.status, segment.first_sample,
        segment.start_ms, segment.end_ms, redacted_words(segment.words, hidden), tuple(spans), revision,
        _stable_words(segment, hidden),
    )  # fmt: skip


def _stable_words(segment: TranscriptSegment, hidden: dict[int, Hit]) -> int:
    """Return how many words as shown stand for stable ones; a placeholder does when all of its words are."""
    stable = segment.stable_words
    while 0 < stable < len(segment.words) and stable in hidden and stable - 1 in hidden:
        stable -= 1
    return len(redacted_words(segment.words[:stable], {i: hit for i, hit in hidden.items() if i < stable}))


def is_partial(record: object) -> bool:
    return isinstance(record, TranscriptSegment) and record.status is SegmentStatus.PARTIAL
