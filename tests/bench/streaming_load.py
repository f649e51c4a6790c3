"""Many live legs on one core: a simulation of the clock in which everything that is computed is really computed.

Blocks of 100 ms come when their audio is over, each leg's at its own phase. The recogniser's stage takes what has
come, as the stage loop does (at most 64 records a time), and does its work; the simulated clock then moves on by the
CPU time that took. So no test sleeps, other work on the machine disturbs little, and queueing shows as it would live.
What is left out: sealing, the log's write (a few milliseconds a batch) and capture's own time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any
from unittest import mock

import numpy as np

import recognizer.leg_recognition
from events.audio import AudioBlock, Encoding
from events.clock import ManualClock
from events.consumer import Opened
from events.identity import CallId, Role
from events.log import Delivery, Event, TopicPartition
from events.topics import CALL_AUDIO
from events.transcript import SegmentStatus, TranscriptSegment
from recognizer.endpoint import EndpointRule
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession, Utterance
from recognizer.snapshot import LegState, SnapshotStore
from recognizer.worker import RecogniserWorker, RecogniserWorkerSettings
from tests.bench.streaming_speech import SpokenLeg

BLOCK = 800
MOST_RECORDS = 64
SAME_WORD_MS = 500


class NoSnapshots(SnapshotStore):
    """The stage's disk work is measured by the event log's benchmark."""

    def __init__(self) -> None:
        """Nothing to open."""

    def of_call(self, call: CallId) -> dict[int, LegState]:
        return {}

    def put(self, states: Any) -> None:
        """Nothing to keep."""


@dataclass
class Told:
    """A segment, when it came out, and, for a final one, when its endpoint was and how much silence that took."""

    at_ms: float
    segment: TranscriptSegment
    decided_ms: float = 0.0
    silence_ms: float = 0.0
    rule: str = ""


@dataclass
class Load:
    """What one simulated stretch of time brought.

    Attributes
    ----------
    use : float
        Share of the core.
    legs_together : float
        Records a batch, on average.
    word : list of float
        Milliseconds from a word's end to its first appearance, per word that was recognised.
    final : list of float
        Milliseconds from the endpoint to the final segment.
    silence : list of float
        Silence in milliseconds that made the endpoint.
    stable, unstable : int
        Words called stable in partial segments, and those of them that the final segment has not.
    """

    use: float
    legs_together: float
    speech: float
    word: list[float] = field(default_factory=list)
    final: list[float] = field(default_factory=list)
    silence: list[float] = field(default_factory=list)
    stable: int = 0
    unstable: int = 0
    partials: float = 0.0
    rules: dict[str, int] = field(default_factory=dict)


def watched(found: dict[tuple[int, int], tuple[float, float, str]]) -> type[RecognitionSession]:
    """Return sessions that note each endpoint under (session, utterance's first sample)."""

    class Watched(RecognitionSession):
        def _end(self, rule: EndpointRule) -> list[Utterance]:
            search = self._search
            silence = search.trailing_silence_frames() * self._listening.frame_ms
            found[id(self), self.place.first_sample] = (self._ms(search.frames), silence, rule.value)
            return super()._end(rule)

    return Watched


def simulate(
    recogniser: Recogniser, spoken: Sequence[SpokenLeg], settings: RecogniserWorkerSettings | None = None,
    seed: int = 0, most_records: int = MOST_RECORDS,
) -> tuple[Load, list[list[Told]]]:  # fmt: skip
    """Recognise the legs live, two of them a call; return the load, and what was told of each leg."""
    clock = ManualClock()
    began_ms = clock.now_ms()
    endpoints: dict[tuple[int, int], tuple[float, float, str]] = {}
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 100, len(spoken))
    arrivals = sorted(
        ((first + BLOCK) / 8 + phases[leg], leg, first)
        for leg, line in enumerate(spoken)
        for first in range(0, len(line.codes), BLOCK)
    )
    told: list[list[Told]] = [[] for _ in spoken]
    now_ms = busy_ms = 0.0
    batches = place = 0
    with mock.patch.object(recognizer.leg_recognition, "RecognitionSession", watched(endpoints)):
        worker = RecogniserWorker(recogniser, NoSnapshots(), settings, clock)
        while place < len(arrivals):
            now_ms = max(now_ms, arrivals[place][0])
            batch = [arrival for arrival in arrivals[place : place + most_records] if arrival[0] <= now_ms]
            place += len(batch)
            clock.advance(int(began_ms + now_ms) - clock.now_ms())
            opened = [_opened(spoken, arrival, place + i, began_ms) for i, arrival in enumerate(batch)]
            started = time.process_time()
            outputs = [output for record in opened for output in worker.handle(record)]
            outputs += worker.after_batch()
            worker.made_durable()
            spent_ms = 1000 * (time.process_time() - started)
            now_ms, busy_ms, batches = now_ms + spent_ms, busy_ms + spent_ms, batches + 1
            for _, record in outputs:
                if isinstance(record, TranscriptSegment):
                    leg = 2 * int(record.call) + record.leg
                    at_ms = now_ms - phases[leg]
                    end = Told(at_ms, record)
                    if record.status is SegmentStatus.FINAL:
                        session = worker._calls[record.call].legs[record.leg]._session
                        known = endpoints.get((id(session), record.first_sample), (np.nan, np.nan, "end"))
                        end = Told(at_ms, record, *known)
                    told[leg].append(end)
    length_ms = max(len(line.codes) for line in spoken) / 8
    load = Load(busy_ms / length_ms, len(arrivals) / batches, float(np.mean([line.speech for line in spoken])))
    for line, heard in zip(spoken, told, strict=True):
        _judge(load, line, heard)
    load.partials = sum(t.segment.status is SegmentStatus.PARTIAL for heard in told for t in heard) / (
        length_ms / 1000 * len(spoken)
    )
    return load, told


def _opened(spoken: Sequence[SpokenLeg], arrival: tuple[float, int, int], offset: int, began_ms: int) -> Opened:
    at_ms, leg, first = arrival
    payload = spoken[leg].codes[first : first + BLOCK]
    call = CallId(f"{leg // 2:032d}")
    role = (Role.AGENT, Role.CUSTOMER)[leg % 2]
    block = AudioBlock(call, leg % 2, role, Encoding.PCMU, 8000, first, len(payload), payload)
    event = Event(f"{leg}:{first}", call, "audio_block", began_ms + int(at_ms), b"")  # type: ignore[arg-type]
    return Opened(Delivery(CALL_AUDIO, TopicPartition(CALL_AUDIO.name, 0), offset, event), block)


def _judge(load: Load, line: SpokenLeg, heard: Sequence[Told]) -> None:
    """Add one leg's delays: of words against the known text, of finals against their endpoints."""
    finals = [t for t in heard if t.segment.status is SegmentStatus.FINAL]
    versions: dict[int, list[Told]] = {}
    for t in heard:
        versions.setdefault(t.segment.first_sample, []).append(t)
    said = [(word.text, word.end_ms, t, i) for t in finals for i, word in enumerate(t.segment.words)]
    matcher = SequenceMatcher(None, [w for w, _ in line.words], [w for w, *_ in said], autojunk=False)
    for block in matcher.get_matching_blocks():
        for k in range(block.size):
            (word, true_end), (_, end, final, index) = line.words[block.a + k], said[block.b + k]
            if abs(end - true_end) <= SAME_WORD_MS:
                shown = (t for t in versions[final.segment.first_sample] if _shows(t.segment, word, index))
                load.word.append(next(shown, final).at_ms - true_end)
    for final in finals:
        if np.isnan(final.decided_ms):
            continue
        load.rules[final.rule] = load.rules.get(final.rule, 0) + 1
        load.final.append(final.at_ms - final.decided_ms)
        if final.rule != EndpointRule.TOO_LONG:
            load.silence.append(final.silence_ms)
        words = [word.text for word in final.segment.words]
        claims = {
            tuple(word.text for word in t.segment.words[: n + 1])
            for t in versions[final.segment.first_sample]
            for n in range(t.segment.stable_words)
        }
        load.stable += len(claims)
        # What lies behind the cut of a long utterance is in the next segment.
        load.unstable += sum(list(claim[: len(words)]) != words[: len(claim)] for claim in claims)


def _shows(segment: TranscriptSegment, word: str, index: int) -> bool:
    return any(
        0 <= place < len(segment.words) and segment.words[place].text == word
        for place in (index, index - 1, index + 1)
    )
