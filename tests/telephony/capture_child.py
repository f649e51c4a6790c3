"""A capture process for tests: `capture_child.py FOLDER`, sockets, master key and endpoint in the environment."""

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
from telephony import pjsua_endpoint
from telephony.capture import Capture, CaptureSettings
from telephony.sockets import CaptureSockets, SocketSettings


def main() -> None:
    folder = Path(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keys = KeyStore(folder / "keys", MasterKey.from_text(os.environ["TEST_MASTER_KEY"]))
    log = SqliteLog(folder / "log")
    sockets = CaptureSockets.from_environment(os.environ["TEST_SOCKETS"])
    settings, endpoint = CaptureSettings(), None
    if os.environ.get("TEST_ENDPOINT") == "pjsua2":
        at = SocketSettings("127.0.0.1", int(os.environ["TEST_SIP_PORT"]), legs=len(sockets.rtp))
        endpoint = pjsua_endpoint.factory(settings.pjsua, settings.sip, at)
    clock = SystemClock()
    Capture(log, Sealer(keys), keys, settings, sockets, folder / "capture", clock, endpoint=endpoint).run(stop)
    log.close()


main()
