"""A capture process on its own sockets, and what it has put into its log."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from events.audio import AudioBlock
from events.codec import Record
from events.identity import CallId
from events.key_store import KeyStore, MasterKey
from events.lifecycle import CallStarted
from events.log import Event, EventLog, Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, Topic
from telephony.capture import CaptureStatus, read_status
from telephony.sockets import CaptureSockets, SocketSettings, open_rtp_sockets, open_sockets, settled

_CHILD = Path(__file__).parent.parent / "telephony" / "capture_child.py"


def until(true: Callable[[], object], within_s: float = 20.0) -> None:
    """Poll until `true` holds; fail when it does not in time."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "It did not come about in time."
        time.sleep(0.02)


class CaptureBench:
    """Holds the sockets as the supervisor does; starts, kills and restarts capture processes."""

    child = _CHILD
    """The script of the capture process."""
    quiet_s = 0.0
    """A log that gives nothing for so long has given all; one behind a network needs more."""

    def __init__(self, folder: Path, legs: int = 8, endpoint: str = "built-in") -> None:
        self.folder = folder
        self.endpoint = endpoint
        at = SocketSettings("127.0.0.1", 0, rtp_first_port=0, legs=legs)
        if endpoint == "built-in":
            self.sockets: CaptureSockets = open_sockets(at)
            self.sip = self.sockets.sip_address
        else:
            at = settled(at)
            self.sockets = open_rtp_sockets(at)
            self.sip = (at.sip_host, at.sip_port)
        self._master = base64.b64encode(os.urandom(32)).decode()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> None:
        environment = dict(os.environ)
        environment |= {"TEST_MASTER_KEY": self._master, "TEST_SOCKETS": self.sockets.to_environment()}
        environment |= {"TEST_ENDPOINT": self.endpoint, "TEST_SIP_PORT": str(self.sip[1])}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        self.process = subprocess.Popen(
            [sys.executable, str(self.child), str(self.folder)],
            pass_fds=self.sockets.fds(),
            env=environment,
            stderr=(self.folder / "stderr").open("ab"),
        )
        if wait:
            until(self.is_ready, 60)

    def is_ready(self) -> bool:
        status = self.status()
        assert self.process is not None
        return status is not None and status.ready and status.pid == self.process.pid

    def status(self) -> CaptureStatus | None:
        return read_status(self.folder / "capture")

    def written_down(self) -> bool:
        """Tell whether capture has nothing left that only its memory holds but the newest moments."""
        status = self.status()
        return status is not None and self.is_ready() and status.backlog == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def open_log(self) -> EventLog:
        """Open the log that the capture process writes to."""
        return SqliteLog(self.folder / "log")

    def events(self, topic: Topic) -> list[tuple[Event, Record]]:
        """Return all events of a topic, opened."""
        keys = KeyStore(self.folder / "keys", MasterKey.from_text(self._master))
        log = self.open_log()
        sealer = Sealer(keys)
        group = Group(f"test-{os.urandom(6).hex()}")
        found: list[tuple[Event, Record]] = []
        # Waits for the first events only: of a call that goes on, what is there now is enough.
        while deliveries := log.read([topic], group, 2000, self.quiet_s if found else 0.5 + self.quiet_s):
            found += [(one.event, sealer.record(topic, one.event)) for one in deliveries]
        log.close()
        return found

    def calls(self) -> list[CallId]:
        """Return the calls in the log, in the order in which they began."""
        return [record.call for record in self.lifecycle() if isinstance(record, CallStarted)]

    def lifecycle(self, call: CallId | None = None) -> list[Record]:
        return [record for _, record in self.events(CALL_LIFECYCLE) if call in (None, record.call)]

    def audio(self, call: CallId | None = None) -> list[Record]:
        return [record for _, record in self.events(CALL_AUDIO) if call in (None, record.call)]

    def __enter__(self) -> CaptureBench:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.sockets.close()


def blocks_of(records: list[Record], leg: int) -> list[AudioBlock]:
    """Return a leg's blocks by start, each id once; they must follow each other without overlap or hole."""
    by_start: dict[int, AudioBlock] = {}
    for record in records:
        if isinstance(record, AudioBlock) and record.leg == leg:
            assert by_start.setdefault(record.start_sample, record) == record, "One id, two contents."
    blocks = [by_start[start] for start in sorted(by_start)]
    end = 0
    for block in blocks:
        assert block.start_sample == end, "Blocks of a leg overlap or leave a hole."
        end += block.samples
    return blocks
