"""The recogniser stage on the real event log: what it tells, and that dying at any point changes none of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from events import metrics
from events.audio import AudioBlock, AudioRecord, CallAudioEnded, Encoding, LegAudioEnded
from events.clock import ManualClock
from events.consumer import ConsumerSettings, StageLoop
from events.dead_letter import read_dead_letter
from events.identity import CallId, Role
from events.key_store import KeyStore
from events.log import Delivery, Event, Group, Position
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, TRANSCRIPT_RAW, Key, Topic
from events.transcript import (
    CallTranscriptEnded,
    LegProgress,
    LegTranscriptEnded,
    RawTranscriptRecord,
    SegmentStatus,
    TranscriptSegment,
)
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.second_pass import SecondPassSettings
from recognizer.snapshot import SnapshotStore
from recognizer.worker import RecogniserWorker
from tests.builders.small_recogniser import contrary_recogniser, demo_codes, small_recogniser

GROUP = Group("recogniser")
ONE, TWO = CallId("1" * 32), CallId("2" * 32)
ROLES = (Role.AGENT, Role.CUSTOMER)
BLOCK = 800
SECONDS = 25


class Died(BaseException):
    """Stands for kill -9: nothing catches it."""


class MortalLog:
    """The real log, until the n-th append or commit; it dies before or after doing it."""

    def __init__(self, log: SqliteLog, verb: str = "", at: int = 0, done: bool = False) -> None:
        self._log, self._verb, self._left, self._done = log, verb, at, done
        self.quiet = 0
        """Reads in a row that found nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        deliveries = self._log.read(topics, group, most, wait_s)
        self.quiet = 0 if deliveries else self.quiet + 1
        return deliveries

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        self._mortal("append", lambda: self._log.append(topic, events))

    def commit(self, group: Group, position: Position) -> None:
        self._mortal("commit", lambda: self._log.commit(group, position))

    def _mortal(self, verb: str, action: Callable[[], None]) -> None:
        last = verb == self._verb and self._left == 0
        self._left -= verb == self._verb
        if not last or self._done:
            action()
        if last:
            raise Died


class Site:
    """Log, keys and snapshots of one data folder."""

    def __init__(self, folder: Path, recogniser: Recogniser) -> None:
        self.folder, self.recogniser = folder, recogniser
        self.clock = ManualClock()
        self.keys = KeyStore(folder / "keys", bytes(range(32)))
        self.sealer = Sealer(self.keys, self.clock)

    def write(self, records: Sequence[AudioRecord], age_ms: int = 0) -> None:
        self.keys.create_many(sorted({record.call for record in records}))
        log = SqliteLog(self.folder / "log")
        self.clock.advance(-age_ms)
        log.append(CALL_AUDIO, [self.sealer.event(CALL_AUDIO, record) for record in records])
        self.clock.advance(age_ms)
        log.close()

    def run(self, verb: str = "", at: int = 0, done: bool = False, batch: int = 16) -> bool:
        """Run a new worker until it has read everything, or dies; True when it died."""
        log = SqliteLog(self.folder / "log")
        snapshots = SnapshotStore(self.folder / "state" / "recogniser.db", self.keys, self.clock)
        worker = RecogniserWorker(self.recogniser, snapshots, clock=self.clock)
        mortal = MortalLog(log, verb, at, done)
        loop = StageLoop(
            mortal,
            self.sealer,
            worker,
            GROUP,
            ConsumerSettings(most_records=batch, wait_s=0.01),
            clock=self.clock,
        )
        try:
            while mortal.quiet < 3:
                loop.step()
        except Died:
            return True
        finally:
            log.close()
            snapshots.close()
        return False

    def told(self) -> list[RawTranscriptRecord]:
        """Everything in transcript.raw, copies too."""
        return [self.sealer.record(TRANSCRIPT_RAW, event) for event in self.read(TRANSCRIPT_RAW)]  # type: ignore[misc]

    def read(self, topic: Topic) -> Iterator[Event]:
        log = SqliteLog(self.folder / "log")
        reader = Group("reader")
        quiet = 0
        while quiet < 3:
            deliveries = log.read([topic], reader, 500, 0.01)
            quiet = 0 if deliveries else quiet + 1
            yield from (delivery.event for delivery in deliveries)
        log.close()


def leg_blocks(call: CallId, leg: int, codes: bytes, start: int = 0) -> list[AudioBlock]:
    return [
        AudioBlock(
            call, leg, ROLES[leg], Encoding.PCMU, 8000, start + first, len(codes[first : first + BLOCK]),
            codes[first : first + BLOCK],
        )
        for first in range(0, len(codes), BLOCK)
    ]  # fmt: skip


def call_records(call: CallId, seconds: int = SECONDS) -> list[AudioRecord]:
    """A two-leg call: the demo call's beginning, its legs' blocks by turns, and its ends."""
    size = seconds * 8000
    legs = [leg_blocks(call, leg, demo_codes(name)[:size]) for leg, name in enumerate(("agent", "customer"))]
    records: list[AudioRecord] = [block for pair in zip(*legs, strict=True) for block in pair]
    records += [LegAudioEnded(call, leg, role, 8000, size) for leg, role in enumerate(ROLES)]
    return [*records, CallAudioEnded(call, (0, 1), size // 8)]


def both_calls() -> list[AudioRecord]:
    """Two calls, the second a few seconds behind the first."""
    first, second = call_records(ONE), call_records(TWO)
    lead = 120
    mixed = [record for pair in zip(first[lead:], second, strict=False) for record in pair]
    return [*first[:lead], *mixed, *second[len(first) - lead :]]


def finals(records: Sequence[RawTranscriptRecord]) -> list[TranscriptSegment]:
    return [r for r in records if isinstance(r, TranscriptSegment) and r.status is SegmentStatus.FINAL]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return small_recogniser()


@pytest.fixture
def site(tmp_path: Path, recogniser: Recogniser) -> Site:
    return Site(tmp_path, recogniser)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, recogniser: Recogniser) -> list[RawTranscriptRecord]:
    site = Site(tmp_path_factory.mktemp("undisturbed"), recogniser)
    site.write(both_calls())
    assert not site.run(batch=64)
    return site.told()


def test_a_call_is_told_in_order(undisturbed: list[RawTranscriptRecord]) -> None:
    for call in (ONE, TWO):
        told = [record for record in undisturbed if record.call == call]
        assert told[-1] == CallTranscriptEnded(call, (0, 1), SECONDS * 1000)
        for leg in (0, 1):
            mine = [record for record in told[:-1] if record.leg == leg]
            assert mine[-1] == LegTranscriptEnded(call, leg, ROLES[leg], SECONDS * 1000)
            assert mine[-2] == LegProgress(call, leg, ROLES[leg], SECONDS * 1000)
            progress = [record.up_to_ms for record in mine if isinstance(record, LegProgress)]
            assert progress == sorted(set(progress))
            segments = finals(mine)
            assert len(segments) >= 2
            assert all(segment.words and segment.role is ROLES[leg] for segment in segments)
            settled = 0
            for record in mine:
                if isinstance(record, LegProgress):
                    settled = record.up_to_ms
                elif isinstance(record, TranscriptSegment):
                    assert record.start_ms >= settled


def test_progress_comes_about_twice_a_second_in_silence(undisturbed: list[RawTranscriptRecord]) -> None:
    progress = [r.up_to_ms for r in undisturbed if isinstance(r, LegProgress) and (r.call, r.leg) == (ONE, 1)]
    early = [ms for ms in progress if ms <= 4500]
    assert early == list(range(500, 4501, 500))


def test_equal_calls_have_equal_words(undisturbed: list[RawTranscriptRecord]) -> None:
    said = {
        call: [(s.leg, s.first_sample, s.words) for s in finals(undisturbed) if s.call == call]
        for call in (ONE, TWO)
    }
    assert sorted(said[ONE]) == sorted(said[TWO])


@pytest.mark.parametrize(("verb", "latest"), [("append", 14), ("commit", 4)])
@pytest.mark.parametrize("done", [False, True])
def test_a_worker_that_dies_over_and_over_changes_nothing(
    site: Site, undisturbed: list[RawTranscriptRecord], verb: str, latest: int, done: bool
) -> None:
    rng = np.random.default_rng(len(verb) + done)
    site.write(both_calls())
    deaths = 0
    while site.run(verb, int(rng.integers(1, latest)), done, batch=int(rng.integers(8, 40))):
        deaths += 1
        assert deaths < 200
    assert deaths >= 2
    expected = {segment.id: segment for segment in finals(undisturbed)}
    told = site.told()
    by_id = defaultdict(set)
    for segment in finals(told):
        by_id[segment.id].add(segment)
    assert by_id == {identity: {segment} for identity, segment in expected.items()}
    ends = [r for r in undisturbed if isinstance(r, LegTranscriptEnded | CallTranscriptEnded)]
    assert Counter(ends).keys() == {r for r in told if isinstance(r, LegTranscriptEnded | CallTranscriptEnded)}
    # Nothing of a call comes behind its end but copies, and a final always before progress first covers it.
    for leg in {(s.call, s.leg) for s in finals(undisturbed)}:
        settled, seen = 0, set()
        for record in told:
            if isinstance(record, LegProgress) and (record.call, record.leg) == leg:
                settled = max(settled, record.up_to_ms)
            elif isinstance(record, TranscriptSegment) and (record.call, record.leg) == leg:
                assert record.start_ms >= settled or record.id in seen or record.status is SegmentStatus.PARTIAL
                if record.status is SegmentStatus.FINAL:
                    seen.add(record.id)


def test_a_worker_that_dies_changes_nothing_where_every_utterance_is_rescored(tmp_path: Path) -> None:
    always = contrary_recogniser(RecogniserSettings(second_pass=SecondPassSettings(1.0)))
    told = []
    for at in (0, 2, 5):
        site = Site(tmp_path / str(at), always)
        site.write(call_records(ONE))
        if at:
            assert site.run("commit", at, batch=16)
        assert not site.run(batch=16)
        told.append({segment.id: segment for segment in finals(site.told())})
    assert told[0]
    assert told[1] == told[2] == told[0]


def test_a_successor_hears_only_what_is_unfinished(site: Site) -> None:
    records = call_records(ONE)[:-3]
    site.write(records)
    assert not site.run()
    log = SqliteLog(site.folder / "log")
    behind = sum(log.lag(GROUP, [CALL_AUDIO]).values())
    log.close()
    # Two legs, each at most 6.3 s of context and the current utterance (5 s of silence at most here).
    assert 0 < behind < 2 * 10 * 12


def test_nothing_is_left_to_do_when_calls_have_ended(site: Site) -> None:
    site.write(both_calls())
    assert not site.run()
    log = SqliteLog(site.folder / "log")
    assert not any(log.lag(GROUP, [CALL_AUDIO]).values())
    log.close()
    told = len(site.told())
    site.write(call_records(ONE)[40:90])
    assert not site.run()
    assert len(site.told()) == told


def test_old_audio_gets_no_partials(site: Site, undisturbed: list[RawTranscriptRecord]) -> None:
    assert any(isinstance(r, TranscriptSegment) and r.status is SegmentStatus.PARTIAL for r in undisturbed)
    site.write(both_calls(), age_ms=60_000)
    assert not site.run()
    told = site.told()
    assert all(r.status is SegmentStatus.FINAL for r in told if isinstance(r, TranscriptSegment))
    assert {s.id: s for s in finals(told)} == {s.id: s for s in finals(undisturbed)}


def test_lost_blocks_are_heard_as_silence_in_their_place(site: Site) -> None:
    records = [
        r for r in call_records(ONE) if not (isinstance(r, AudioBlock) and 64_000 <= r.start_sample < 72_000)
    ]
    site.write(records)
    assert not site.run()
    assert site.told()[-1] == CallTranscriptEnded(ONE, (0, 1), SECONDS * 1000)
    assert all(not 8200 < word.start_ms < 8800 for segment in finals(site.told()) for word in segment.words)


def test_a_block_that_cannot_be_heard_is_set_aside_and_disturbs_no_call(
    site: Site, undisturbed: list[RawTranscriptRecord]
) -> None:
    records = both_calls()
    far = 8000 * 3600 * 24
    records[100:100] = [
        AudioBlock(ONE, 0, Role.AGENT, Encoding.PCMU, 8000, far, 160, bytes(160)),
        AudioBlock(TWO, 5, Role.AGENT, Encoding.L16, 11, 0, 1, bytes(2)),
    ]
    site.write(records)
    assert not site.run()
    letters = [read_dead_letter(event) for event in site.read(CALL_AUDIO.dead_letter)]
    assert len(letters) == 2
    assert all(letter.reason.endswith(".") for letter in letters)
    assert {s.id: s for s in finals(site.told())} == {s.id: s for s in finals(undisturbed)}


def test_a_call_whose_key_is_gone_is_left_alone(site: Site) -> None:
    site.write(both_calls())
    site.keys.destroy(ONE, Key.CAPTURE)
    assert not site.run()
    assert {event.key for event in site.read(TRANSCRIPT_RAW)} == {TWO}


def test_a_call_without_audio_ends(site: Site) -> None:
    site.write([LegAudioEnded(ONE, 0, Role.AGENT, 8000, 0), CallAudioEnded(ONE, (0, 1), 20)])
    assert not site.run()
    assert site.told() == [
        LegTranscriptEnded(ONE, 0, Role.AGENT, 0),
        LegProgress(ONE, 1, Role.UNKNOWN, 20),
        LegTranscriptEnded(ONE, 1, Role.UNKNOWN, 20),
        CallTranscriptEnded(ONE, (0, 1), 20),
    ]


def test_delays_are_those_of_live_audio_only(site: Site) -> None:
    before = metrics.counted(metrics.SEGMENTS)
    site.write(both_calls())
    assert not site.run()
    assert metrics.counted(metrics.SEGMENTS) - before == len(finals(site.told()))


def test_an_internal_error_costs_one_utterance_of_one_leg(
    site: Site, undisturbed: list[RawTranscriptRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    finalise, failed = Recogniser.finalise, []

    def failing(self: Recogniser, *arguments: Any) -> Any:
        if len(failed) < 1:
            failed.append(True)
            raise ZeroDivisionError
        return finalise(self, *arguments)

    monkeypatch.setattr(Recogniser, "finalise", failing)
    restarts = metrics.counted(metrics.RECOGNITION_RESTARTS)
    site.write(both_calls())
    assert not site.run()
    assert metrics.counted(metrics.RECOGNITION_RESTARTS) == restarts + 1
    told, expected = {s.id for s in finals(site.told())}, {s.id for s in finals(undisturbed)}
    assert len(expected & told) >= len(expected) - 2
    assert site.told()[-1].call in (ONE, TWO)
    assert sum(isinstance(record, CallTranscriptEnded) for record in site.told()) == 2
