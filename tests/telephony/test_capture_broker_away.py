"""The event log is away while people speak: every sample is in it in the end, once and in order."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from events.audio import AudioBlock, CallAudioEnded, GapCause, LegAudioEnded
from events.codec import Record
from events.errors import LogUnavailable
from events.lifecycle import CallEnded, CallStarted, LegAdded
from events.log import Event, EventLog
from events.metrics import AUDIO_BLOCKS, counted
from events.spill_state import SpillMode
from events.spilling_log import SpillingLog, SpillSettings
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, FINDING, Topic
from telephony.caller import Caller, CallFailed, Encoding, PlacedCall
from tests.builders.capture_bench import CaptureBench, blocks_of, until
from tests.builders.capture_here import CaptureHere
from tests.builders.gated_log import AWAY, GatedLog
from tests.builders.spoken import PARTIES, Speaking, check_leg
from tests.contracts.event_log_workers import make_event
from tests.services.needed import own_servers, services
from tests.services.servers import KafkaCluster

LEGS = (Encoding.PCMU, Encoding.PCMA)


def spilling(folder: Path, main: EventLog, settings: SpillSettings | None = None) -> SpillingLog:
    return SpillingLog(main, folder / "spill", SqliteLog, settings)


def speech(seed: int, seconds: int = 120) -> list[bytes]:
    draw = random.Random(seed)
    return [draw.randbytes(8000 * seconds) for _ in LEGS]


def check_events(found: Sequence[tuple[Event, Record]]) -> list[Record]:
    """Check that nothing lies in the log twice and that each leg's blocks lie there in order; return the records."""
    ids = [event.id for event, _ in found]
    assert len(ids) == len(set(ids)), "A record lies in the log twice."
    ends: dict[tuple[str, int], int] = {}
    for _, record in found:
        if isinstance(record, AudioBlock):
            assert record.start_sample == ends.get((record.call, record.leg), 0), "Blocks lie out of order."
            ends[record.call, record.leg] = record.start_sample + record.samples
    return [record for _, record in found]


def check_call(records: Sequence[Record], call: PlacedCall, sent: Sequence[bytes]) -> None:
    """Check that every packet that was sent is in the records, sample by sample, and nothing is missing."""
    for leg, stream in enumerate(call.streams):
        total, gaps = check_leg(blocks_of(list(records), leg), sent[leg])
        assert total == 160 * stream.sent_packets
        assert set(gaps) <= {GapCause.SILENT}


def of_call(records: Sequence[Record], number: int, order: Sequence[str]) -> list[Record]:
    return [record for record in records if getattr(record, "call", "") == order[number]]


def test_what_is_said_while_the_log_is_away_arrives_behind_it_sample_by_sample(tmp_path: Path) -> None:
    sent = [speech(1), speech(2)]
    main = GatedLog(SqliteLog(tmp_path / "log"))
    log = spilling(tmp_path, main)
    with CaptureHere(tmp_path, log=log) as here:
        first = Caller(here.sip).call(LEGS, parties=PARTIES)
        with Speaking(first, sent[0]):
            until(lambda: len(here.audio()) > 10)
            main.shut()
            until(lambda: log.state.mode is SpillMode.SPILLING)
            second = Caller(here.sip).call(LEGS, parties=PARTIES)
            with Speaking(second, sent[1]):
                until(lambda: log.state.records > 60)
                assert here.capture.status().spill == log.state
                assert log.state.why == AWAY
                assert here.capture.status().accepting
            assert second.hang_up().status == 200
            main.open()
            until(lambda: log.state.mode is SpillMode.DIRECT)
        assert first.hang_up().status == 200
        until(lambda: sum(isinstance(one, CallEnded) for one in here.lifecycle()) == 2)
        audio = check_events(here.events(CALL_AUDIO))
        lifecycle = check_events(here.events(CALL_LIFECYCLE))
    order = [one.call for one in lifecycle if isinstance(one, CallStarted)]
    for number, call in enumerate((first, second)):
        check_call(of_call(audio, number, order), call, sent[number])
        told = [type(record) for record in of_call(lifecycle, number, order)]
        assert (told[0], told[-1], told.count(LegAdded)) == (CallStarted, CallEnded, 2)
        ended = [type(record) for record in of_call(audio, number, order) if not isinstance(record, AudioBlock)]
        assert ended == [LegAudioEnded, LegAudioEnded, CallAudioEnded]


def test_with_the_spill_nearly_full_new_calls_get_503_and_others_go_on(tmp_path: Path) -> None:
    sent = speech(3)
    main = GatedLog(SqliteLog(tmp_path / "log"))
    log = spilling(tmp_path, main, SpillSettings(most_mb=8, segment_mb=1, longest_retry_s=0.2))
    others = iter(range(1_000_000))

    def more() -> None:
        """Other calls' records come into the same spill."""
        log.append(FINDING, [make_event(f"{next(others)}", "other", bytes(4000)) for _ in range(20)])

    def more_than_fits() -> None:
        while True:
            more()

    with CaptureHere(tmp_path, log=log) as here:
        call = Caller(here.sip).call(LEGS, parties=PARTIES)
        with Speaking(call, sent):
            until(lambda: len(here.audio()) > 10)
            main.shut()
            while log.has_room:
                more()
            with pytest.raises(CallFailed, match="503"):
                Caller(here.sip).call()
            assert not here.capture.status().accepting
            written = log.state.records
            until(lambda: log.state.records > written + 20)
            with pytest.raises(LogUnavailable, match="is full"):
                more_than_fits()
            until(lambda: here.capture.status().backlog > 20)
            with pytest.raises(CallFailed, match="503"):
                Caller(here.sip).call()
            main.open()
            until(lambda: log.state.mode is SpillMode.DIRECT and here.capture.status().backlog < 20)
            Caller(here.sip).call().hang_up()
        assert call.hang_up().status == 200
        until(lambda: sum(isinstance(one, CallEnded) for one in here.lifecycle()) == 2)
        audio = check_events(here.events(CALL_AUDIO))
        order = [one.call for one in here.lifecycle() if isinstance(one, CallStarted)]
    check_call(of_call(audio, 0, order), call, sent)


class SpillBench(CaptureBench):
    """Capture processes with a spill in front of a log that is away while there is a file `away`."""

    child = Path(__file__).parent / "capture_spilling_child.py"

    def open_log(self) -> EventLog:
        return opened_kafka(*at) if (at := kafka_address()) else super().open_log()

    def spilling(self) -> int:
        """Return how many records wait on the disk, as the process tells."""
        status = self.status()
        return 0 if status is None or status.spill is None or not self.is_ready() else status.spill.records

    def has_told_all(self) -> bool:
        """Tell whether no call is up and everything of those that were is in the log."""
        status = self.status()
        return status is not None and status.calls == 0 and self.written_down() and self.spilling() == 0


def check_killed(bench: SpillBench, call: PlacedCall, sent: Sequence[bytes], kills: int) -> None:
    """Check that what is missing is only what a killed process had not written down, and that it is marked."""
    events = bench.events(CALL_AUDIO)
    values: dict[str, bytes] = {}
    for event, _ in events:
        assert values.setdefault(event.id, event.value) == event.value, "One id, two contents."
    for leg in (0, 1):
        total, gaps = check_leg(blocks_of([record for _, record in events], leg), sent[leg])
        assert set(gaps) <= {GapCause.DOWN, GapCause.SILENT}
        assert total + gaps[GapCause.DOWN] == 160 * call.streams[leg].sent_packets
        assert gaps[GapCause.DOWN] < kills * 4000


@pytest.mark.slow
def test_capture_killed_while_the_log_is_away_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    sent = speech(5)
    away = tmp_path / "away"
    with SpillBench(tmp_path) as bench:
        call = Caller(bench.sip).call(LEGS, parties=PARTIES)
        with Speaking(call, sent):
            until(lambda: len(bench.audio()) > 10)
            away.touch()
            for _ in range(2):
                before = bench.spilling()
                until(lambda before=before: bench.spilling() > before + 30)
                bench.kill()
                bench.start()
            assert bench.spilling() > 0
            away.unlink()
            until(lambda: bench.written_down() and bench.spilling() == 0)
        assert call.hang_up().status == 200
        until(lambda: any(isinstance(one, CallEnded) for one in bench.lifecycle()))
        check_killed(bench, call, sent, kills=2)
        bench.stop()


# The same with a real broker


def kafka_address() -> tuple[str, str] | None:
    """Return what capture processes started from here are told about a Kafka cluster."""
    bootstrap = os.environ.get("TEST_KAFKA")
    return (bootstrap, os.environ["TEST_KAFKA_PREFIX"]) if bootstrap else None


def opened_kafka(bootstrap: str, prefix: str) -> EventLog:
    from tests.builders.kafka_logs import kafka_log

    return kafka_log(bootstrap, prefix, append_within_s=1.0)


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    own_servers()
    with KafkaCluster(1) as cluster:
        yield cluster


def all_of(here: CaptureHere, topic: Topic, last: type[Record], calls: int) -> list[tuple[Event, Record]]:
    """Return a topic's events once the last record of each call is there: a broker that came back settles first."""
    found: list[tuple[Event, Record]] = []

    def whole() -> bool:
        found[:] = here.events(topic)
        return len({record.call for _, record in found if isinstance(record, last)}) == calls

    until(whole, within_s=60)
    return found


@services
def test_a_real_broker_is_killed_and_comes_back_while_people_speak(tmp_path: Path, broker: KafkaCluster) -> None:
    sent = [speech(6), speech(7)]
    log = spilling(tmp_path, opened_kafka(broker.bootstrap, "speaking."))
    with CaptureHere(tmp_path, log=log) as here:
        first = Caller(here.sip).call(LEGS, parties=PARTIES)
        with Speaking(first, sent[0]):
            before = counted(AUDIO_BLOCKS)
            until(lambda: counted(AUDIO_BLOCKS) > before + 10)
            broker.signal_node(1, signal.SIGKILL)
            until(lambda: log.state.mode is SpillMode.SPILLING)
            second = Caller(here.sip).call(LEGS, parties=PARTIES)
            with Speaking(second, sent[1]):
                until(lambda: log.state.records > 100)
            assert second.hang_up().status == 200
            broker.start_node(1)
            until(lambda: log.state.mode is SpillMode.DIRECT, within_s=60)
        assert first.hang_up().status == 200
        until(lambda: (here.capture.status().calls, here.capture.status().backlog) == (0, 0))
        here.quiet_s = 1.0
        audio = check_events(all_of(here, CALL_AUDIO, CallAudioEnded, 2))
        lifecycle = check_events(all_of(here, CALL_LIFECYCLE, CallEnded, 2))
    assert sum(isinstance(one, CallEnded) for one in lifecycle) == 2
    begun = [one for one in lifecycle if isinstance(one, CallStarted)]
    order = [one.call for one in sorted(begun, key=lambda one: one.started_at_ms)]
    for number, call in enumerate((first, second)):
        check_call(of_call(audio, number, order), call, sent[number])


@services
def test_capture_is_killed_while_a_real_broker_is_away(
    tmp_path: Path, broker: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KAFKA", broker.bootstrap)
    monkeypatch.setenv("TEST_KAFKA_PREFIX", "killed.")
    sent = speech(8)
    with SpillBench(tmp_path) as bench:
        call = Caller(bench.sip).call(LEGS, parties=PARTIES)
        with Speaking(call, sent):
            until(bench.written_down)
            broker.signal_node(1, signal.SIGKILL)
            until(lambda: bench.spilling() > 60)
            bench.kill()
            bench.start()
            until(lambda: bench.spilling() > 120)
            broker.start_node(1)
            until(lambda: bench.written_down() and bench.spilling() == 0, within_s=60)
        assert call.hang_up().status == 200
        until(bench.has_told_all)
        bench.quiet_s = 3.0
        assert sum(isinstance(one, CallEnded) for one in bench.lifecycle()) == 1
        check_killed(bench, call, sent, kills=1)
        bench.stop()
