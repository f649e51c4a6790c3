"""A full disk: calls in progress go on, new ones get 503, and nothing that was captured is lost."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.audio import AudioBlock
from events.lifecycle import CallEnded
from telephony.caller import Caller, CallFailed, send_paced
from tests.builders.capture_bench import blocks_of, until
from tests.builders.capture_here import CaptureHere


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs of 6 MB needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_a_full_disk(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    sent = random.Random(1).randbytes(8000 * 60)
    stop = threading.Event()
    with CaptureHere(small_disk) as here:
        call = Caller(here.sip).call()
        speaking = threading.Thread(target=send_paced, args=(call.streams, [sent], stop))
        speaking.start()
        until(lambda: len(here.audio()) > 3)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"):
            fill(filler)
        until(lambda: here.capture.status().backlog > 10)
        with pytest.raises(CallFailed, match="503"):
            Caller(here.sip).call()
        filler.unlink()
        until(lambda: here.capture.status().backlog == 0)
        stop.set()
        speaking.join()
        assert call.hang_up().status == 200
        until(lambda: any(isinstance(one, CallEnded) for one in here.lifecycle()))
        blocks = blocks_of(here.audio(), 0)
        heard = b"".join(block.payload for block in blocks if isinstance(block, AudioBlock))
        assert heard == sent[: 160 * call.streams[0].sent_packets]
        assert [block.gaps for block in blocks if block.gaps] == []
    waiting = [one.getMessage() for one in caplog.records if "waits" in one.getMessage()]
    assert waiting
    assert "because the event log is away" in waiting[0]
