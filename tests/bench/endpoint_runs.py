"""Legs captured by a whole capture process - SIP endpoint, media, journal, event log - for each SIP endpoint.

Calls of two legs are placed over SIP (UDP), then every leg gets 50 packets a second, then all hang up. The sender and
the caller are processes of their own. Signalling and media of the process are counted apart.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from events.audio import Encoding
from events.clock import SystemClock
from events.key_store import KeyStore, MasterKey
from events.lifecycle import CallEnded
from events.log import Group
from events.sealing import Sealer
from events.sqlite_log import SqliteLog
from events.topics import CALL_LIFECYCLE
from telephony import pjsua_endpoint
from telephony.caller import Caller, Party
from telephony.capture import Capture, CaptureSettings
from telephony.media import MediaSettings
from telephony.sockets import SocketSettings, open_rtp_sockets, open_sockets

_SPAWN = multiprocessing.get_context("spawn")
_PARTIES = (Party("Ann", "sip:agent@example.invalid"), Party("Bob", "sip:customer@example.invalid"))


@dataclass(frozen=True)
class EndpointRun:
    endpoint: str
    legs: int
    seconds: float
    sent: int
    captured: int
    lost: int
    share_of_a_core: float
    """CPU time of the capture process while media was sent, over that time."""
    calls_per_second: float
    """How fast one caller, one call after the other, could set calls up."""
    cpu_ms_per_call: float
    """CPU time of the capture process for setting one call up."""


def _capture(pipe: Connection, endpoint: str, legs: int, folder: str) -> None:
    """The capture process of one run."""
    at = SocketSettings("127.0.0.1", 0, rtp_first_port=0, legs=legs)
    settings, make = CaptureSettings(media=MediaSettings(media_timeout_s=300.0)), None
    if endpoint == "pjsua2":
        make = pjsua_endpoint.factory(settings.pjsua, settings.sip, at)
    sockets = open_sockets(at) if make is None else open_rtp_sockets(at)
    keys = KeyStore(Path(folder) / "keys", MasterKey(os.urandom(32)))
    log, sealer, stop = SqliteLog(Path(folder) / "log"), Sealer(keys), threading.Event()
    capture = Capture(log, sealer, keys, settings, sockets, Path(folder) / "capture", SystemClock(), endpoint=make)
    running = threading.Thread(target=capture.run, args=(stop,))
    running.start()
    _until(lambda: capture.status().ready)
    pipe.send(capture.status().sip_address)
    ended: list[CallEnded] = []
    group = Group("bench")
    while (asked := pipe.recv()) != "end":
        pipe.send(sum(psutil.Process().cpu_times()[:2]))
        if asked == "over":
            break

    def all_ended() -> bool:
        for delivery in log.read([CALL_LIFECYCLE], group, 2000, 0.2):
            record = sealer.record(CALL_LIFECYCLE, delivery.event)
            if isinstance(record, CallEnded):
                ended.append(record)
        return len(ended) >= legs // 2

    _until(all_ended)
    pipe.send(sum(leg.packets - leg.late for call in ended for leg in call.legs))
    stop.set()
    running.join()
    log.close()


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, "It did not come about in time."
        time.sleep(0.02)


def measure_endpoint(
    endpoint: str, legs: int, seconds: float, send: Callable[[Connection, Sequence[int], float], None]
) -> EndpointRun:
    """Run one capture process; `send` is the body of the sending process."""
    with tempfile.TemporaryDirectory(prefix="callwarden-bench-") as folder:
        ours, theirs = _SPAWN.Pipe()
        capture = _SPAWN.Process(target=_capture, args=(theirs, endpoint, legs, folder), daemon=True)
        capture.start()
        address = ours.recv()

        def cpu(when: str = "now") -> float:
            ours.send(when)
            return float(ours.recv())

        callers = [Caller(address) for _ in range(legs // 2)]
        before, began = cpu(), time.monotonic()
        calls = [one.call([Encoding.PCMU, Encoding.PCMU], parties=_PARTIES) for one in callers]
        took, spent = time.monotonic() - began, cpu() - before
        ports = [stream.to[1] for call in calls for stream in call.streams]
        sending, other = _SPAWN.Pipe()
        sender = _SPAWN.Process(target=send, args=(other, ports, seconds), daemon=True)
        sender.start()
        other.close()
        before = cpu()
        assert sending.poll(seconds + 60), "The sender did not finish."
        sent = sending.recv()
        share = (cpu() - before) / seconds
        time.sleep(0.3)
        for call in calls:
            call.hang_up()
        for one in callers:
            one.close()
        cpu("over")
        captured = ours.recv()
        sender.join()
        capture.join()
    return EndpointRun(
        endpoint,
        legs,
        seconds,
        sent,
        captured,
        sent - captured,
        round(share, 3),
        round(len(calls) / took, 1),
        round(1000 * spent / len(calls), 2),
    )
