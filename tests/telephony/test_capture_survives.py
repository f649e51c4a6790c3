"""kill -9 of the capture process at any moment of a call: the call goes on, and every sample is told once."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest

from events.audio import CallAudioEnded, GapCause, LegAudioEnded
from events.identity import Role
from events.lifecycle import CallEnded, CallStarted, CaptureInterrupted, EndReason, LegAdded
from events.topics import CALL_AUDIO
from telephony.caller import Caller, Encoding
from tests.builders.capture_bench import CaptureBench, blocks_of, until
from tests.builders.spoken import PARTIES, Speaking, check_leg


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    kills = 3
    sent = [draw.randbytes(8000 * 120), draw.randbytes(8000 * 120)]
    with CaptureBench(tmp_path) as bench:
        caller = Caller(bench.sip, "tcp" if seed == 2 else "udp")
        call = caller.call([Encoding.PCMU, Encoding.PCMA], parties=PARTIES)
        with Speaking(call, sent):
            for _ in range(kills):
                threading.Event().wait(draw.uniform(0.2, 1.2))
                bench.kill()
                threading.Event().wait(draw.uniform(0.0, 0.5))
                bench.start()
            until(bench.written_down)
        if seed == 2:
            # The connection died with the process; the caller hangs up over a new one.
            call.use(Caller(bench.sip, "tcp"))
        assert call.hang_up().status == 200
        until(lambda: any(isinstance(one, CallEnded) for one in bench.lifecycle()))
        events = bench.events(CALL_AUDIO)
        lifecycle = bench.lifecycle()
        bench.stop()

    audio = [record for _, record in events]
    values: dict[str, bytes] = {}
    for event, _ in events:
        assert values.setdefault(event.id, event.value) == event.value, "One id, two contents."
    for leg in (0, 1):
        blocks = blocks_of(audio, leg)
        total, gaps = check_leg(blocks, sent[leg])
        assert set(gaps) <= {GapCause.DOWN, GapCause.SILENT}
        assert gaps.get(GapCause.SILENT, 0) < 3200, "Only start and end of the leg may be silent."
        assert gaps[GapCause.DOWN] > 0
        sent_samples = 160 * (call.streams[leg].sent_packets)
        assert total + gaps[GapCause.DOWN] == sent_samples, "A sample is neither heard nor marked as missed."
        end = next(record for record in audio if isinstance(record, LegAudioEnded) and record.leg == leg)
        assert end.end_sample == blocks[-1].start_sample + blocks[-1].samples
    assert sum(isinstance(record, CallAudioEnded) for record in audio) == 1
    assert sum(isinstance(record, CallStarted) for record in lifecycle) == 1
    assert [record.role for record in lifecycle if isinstance(record, LegAdded)] == [Role.AGENT, Role.CUSTOMER]
    interruptions = [record for record in lifecycle if isinstance(record, CaptureInterrupted)]
    assert 0 < len(interruptions) <= kills, "A process that was killed at once may have told nothing."
    assert all(one.from_ms < one.to_ms for one in interruptions)
    (ended,) = [record for record in lifecycle if isinstance(record, CallEnded)]
    assert ended.reason is EndReason.HUNG_UP


@pytest.mark.slow
def test_what_callers_send_meanwhile_is_not_lost(tmp_path: Path) -> None:
    draw = random.Random(4)
    sent = [draw.randbytes(8000 * 60)]
    with CaptureBench(tmp_path) as bench:
        call = Caller(bench.sip).call()
        with Speaking(call, sent):
            until(lambda: len(bench.audio()) > 5)
            bench.kill()
            down_at = call.streams[0].sent_packets
            until(lambda: call.streams[0].sent_packets > down_at + 150)
            bench.start()
            until(bench.written_down)
        call.hang_up()
        until(lambda: any(isinstance(one, CallEnded) for one in bench.lifecycle()))
        _, gaps = check_leg(blocks_of(bench.audio(), 0), sent[0])
        bench.stop()
    # Three seconds were sent while no process ran; missing is only what the killed one had not yet written down.
    assert gaps[GapCause.DOWN] < 8000


@pytest.mark.slow
def test_a_call_that_hangs_up_while_capture_is_down(tmp_path: Path) -> None:
    with CaptureBench(tmp_path) as bench:
        call = Caller(bench.sip).call()
        call.send([bytes(8000)])
        bench.kill()
        answers: list[int] = []
        hanging_up = threading.Thread(target=lambda: answers.append(call.hang_up().status))
        hanging_up.start()
        bench.start()
        hanging_up.join()
        assert answers == [200]
        until(lambda: any(isinstance(one, CallEnded) for one in bench.lifecycle()))
        bench.stop()


@pytest.mark.slow
def test_after_a_reboot_calls_are_lost_and_say_so(tmp_path: Path) -> None:
    with CaptureBench(tmp_path) as bench:
        call = Caller(bench.sip).call()
        call.send([bytes(8000)])
        until(bench.written_down)
        bench.kill()
        store = sqlite3.connect(tmp_path / "capture" / "capture.sqlite3")
        store.execute("UPDATE facts SET value = 'before' WHERE name = 'boot'")
        store.commit()
        store.close()
        bench.start()
        until(lambda: any(isinstance(one, CallEnded) for one in bench.lifecycle()))
        (ended,) = [record for record in bench.lifecycle() if isinstance(record, CallEnded)]
        audio = bench.audio()
        assert call.hang_up().status == 481
        bench.stop()
    assert ended.reason is EndReason.LOST
    blocks = blocks_of(audio, 0)
    (end,) = [record for record in audio if isinstance(record, LegAudioEnded)]
    assert end.end_sample == blocks[-1].start_sample + blocks[-1].samples == ended.duration_ms * 8
