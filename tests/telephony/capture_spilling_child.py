"""A capture process with a spill, for tests: `capture_spilling_child.py FOLDER`, the rest in the environment.

The log behind the spill is a Kafka cluster (TEST_KAFKA, TEST_KAFKA_PREFIX), or without one the embedded log, which
is away for as long as there is a file FOLDER/away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from events.clock import SystemClock
from events.key_store import KeyStore, MasterKey
from events.log import EventLog
from events.sealing import Sealer
from events.spilling_log import SpillingLog
from events.sqlite_log import SqliteLog
from telephony.capture import Capture, CaptureSettings
from telephony.sockets import CaptureSockets
from tests.builders.gated_log import GatedLog


def main_log(folder: Path) -> EventLog:
    bootstrap = os.environ.get("TEST_KAFKA")
    if not bootstrap:
        return GatedLog(SqliteLog(folder / "log"), lambda topic: (folder / "away").exists())
    from tests.builders.kafka_logs import kafka_log

    return kafka_log(bootstrap, os.environ["TEST_KAFKA_PREFIX"], append_within_s=1.0)


def main() -> None:
    folder = Path(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keys = KeyStore(folder / "keys", MasterKey.from_text(os.environ["TEST_MASTER_KEY"]))
    log = SpillingLog(main_log(folder), folder / "spill", SqliteLog)
    sockets = CaptureSockets.from_environment(os.environ["TEST_SOCKETS"])
    Capture(
        log,
        Sealer(keys),
        keys,
        CaptureSettings(),
        sockets,
        folder / "capture",
        SystemClock(),
        lambda: log.has_room,
        lambda: log.state,
    ).run(stop)
    log.close()


main()
