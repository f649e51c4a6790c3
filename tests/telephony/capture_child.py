"""A capture process for tests: `capture_child.py FOLDER`, sockets and master key in the environment."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from events.clock import SystemClock
from events.key_store import KeyStore, MasterKey
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from telephony.capture import Capture, CaptureSettings
from telephony.sockets import CaptureSockets


def main() -> None:
    folder = Path(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keys = KeyStore(folder / "keys", MasterKey.from_text(os.environ["TEST_MASTER_KEY"]))
    log = SqliteLog(folder / "log")
    sockets = CaptureSockets.from_environment(os.environ["TEST_SOCKETS"])
    Capture(log, Sealer(keys), keys, CaptureSettings(), sockets, folder / "capture", SystemClock()).run(stop)
    log.close()


main()
