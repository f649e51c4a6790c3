"""How many legs of real RTP one capture process takes without loss, and at what share of a core.

Run as ``python -m tests.bench.bench_capture``; prints a table and writes build/bench/capture.json.

A process of its own sends 50 packets a second and leg over loopback UDP, every leg to its own port, spread over
the 20 ms as real legs are. The capture process (receive path and media thread as in production) either writes sealed
blocks through its journal into the SQLite event log or into Kafka (``--sink kafka``, needs CALLWARDEN_TEST_KAFKA), or
hands them to a sink that only counts. Two legs are one call.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import os
import platform
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
from kafka import KafkaAdminClient
from rich.console import Console
from rich.table import Table

from events.audio import AudioBlock, Encoding
from events.clock import SystemClock
from events.identity import Role, new_call_id
from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaSettings
from events.kafka_topics import prepare_topics
from events.key_store import KeyStore, MasterKey
from events.lifecycle import CallEnded, CallSourceKind, EndReason
from events.log import EventLog
from events.metrics import SPILLED
from events.metrics import counted as counted_so_far
from events.sealing import Sealer
from events.spilling_log import SpillingLog
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE
from telephony.call_store import CallStore
from telephony.journal import Batch, Journal, JournalSettings
from telephony.leg import PayloadKind
from telephony.media import Media, MediaSettings
from telephony.plan import CallPlan, LegPlan
from telephony.receiver import Receiver, ReceiverSettings
from telephony.sink import CountingSink
from telephony.sockets import SocketSettings, open_sockets
from tests.bench.endpoint_runs import measure_endpoint
from tests.services.needed import KAFKA_VARIABLE, fresh_prefix

_SPAWN = multiprocessing.get_context("spawn")
_PAYLOAD = 160
_PACKET = 12 + _PAYLOAD
_STEPS = 10
_KINDS = ((0, PayloadKind.PCMU), (8, PayloadKind.PCMA))


@dataclass(frozen=True)
class Run:
    legs: int
    sink: str
    seconds: float
    sent: int
    captured: int
    lost: int
    blocks: int
    share_of_a_core: float
    """CPU time of the whole capture process, until the sink had everything, over the time of sending."""
    waited_s: float
    """How long after the last packet the sink had everything."""
    spilled: int
    """Events that Kafka did not take in time and that went by the local disk."""


class _Counting:
    """A journal that counts and forgets."""

    def __init__(self) -> None:
        self.sink = CountingSink()
        self.ended: list[CallEnded] = []

    def put(self, batch: Batch) -> None:
        self.sink.write(batch.records)
        self.ended += [record for record in batch.records if isinstance(record, CallEnded)]


class _Watched(Journal):
    """The journal of production; notes in passing what calls counted."""

    def __init__(self, store: CallStore, log: EventLog, keys: KeyStore) -> None:
        super().__init__(store, log, Sealer(keys), keys, JournalSettings())
        self.sink = CountingSink()
        self.ended: list[CallEnded] = []

    def put(self, batch: Batch) -> None:
        super().put(batch)
        self.sink.blocks += sum(isinstance(record, AudioBlock) for record in batch.records)
        self.ended += [record for record in batch.records if isinstance(record, CallEnded)]


def _capture(pipe: Connection, legs: int, sink: str, folder: str, prefix: str) -> None:
    """The capture process of one run."""
    sockets = open_sockets(SocketSettings("127.0.0.1", 0, rtp_first_port=0, legs=legs))
    receiver = Receiver([one.fileno() for one in sockets.rtp], ReceiverSettings(), SystemClock())
    stop_media, stop_journal = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    journal: _Counting | _Watched
    if sink != "counting":
        keys = KeyStore(Path(folder) / "keys", MasterKey(os.urandom(32)))
        log = _kafka(Path(folder), prefix) if sink == "kafka" else SqliteLog(Path(folder) / "log")
        journal = _Watched(CallStore(Path(folder) / "capture.sqlite3"), log, keys)
        threads.append(threading.Thread(target=journal.run, args=(stop_journal, 60.0)))
    else:
        journal = _Counting()
    nothing = lambda _: None
    media = Media(receiver, sockets.rtp_ports, journal, MediaSettings(), SystemClock(), nothing, nothing)
    threads.append(threading.Thread(target=media.run, args=(stop_media,)))
    for thread in threads:
        thread.start()
    plans = []
    for first in range(0, legs, 2):
        ports = sockets.rtp_ports[first : first + 2]
        plan = CallPlan(
            new_call_id(),
            CallSourceKind.SIPREC,
            tuple(LegPlan(n, port, Encoding.PCMU, _KINDS, role=Role.AGENT) for n, port in enumerate(ports)),
        )
        plans.append(plan)
    for done in [media.apply(plan) for plan in plans]:
        done.result()
    pipe.send(sockets.rtp_ports)
    pipe.recv()
    cpu = sum(psutil.Process().cpu_times()[:2])
    seconds = pipe.recv()
    ended = time.monotonic()
    for plan in plans:
        media.end(plan.call, EndReason.HUNG_UP)
    while len(journal.ended) < len(plans):
        time.sleep(0.05)
    stop_media.set()
    stop_journal.set()
    for thread in threads:
        thread.join()
    counted = [leg for end in journal.ended for leg in end.legs]
    captured = sum(leg.packets - leg.late for leg in counted)
    share = (sum(psutil.Process().cpu_times()[:2]) - cpu) / seconds
    pipe.send((captured, journal.sink.blocks, share, time.monotonic() - ended, int(counted_so_far(SPILLED))))
    sockets.close()


def _kafka(folder: Path, prefix: str) -> EventLog:
    """Capture's log as an engine on Kafka has it: the cluster, and behind it the spill."""
    # One broker here; a cluster would copy every event to others before it acknowledges.
    settings = KafkaSettings(os.environ[KAFKA_VARIABLE], prefix, replication=1, min_in_sync=1)
    prepare_topics(settings, (CALL_AUDIO, CALL_LIFECYCLE), None)
    return SpillingLog(KafkaLog(settings), folder / "spill", SqliteLog)


def _remove_topics(prefix: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=os.environ[KAFKA_VARIABLE])
    admin.delete_topics([name for name in admin.list_topics() if name.startswith(prefix)])
    admin.close()


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _MsgHdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("_padding", ctypes.c_int),
        ("length", ctypes.c_uint32),
    )


def _send(ports: Sequence[int], seconds: float) -> int:
    """Send to all ports in real time with sendmmsg; return how many packets went out."""
    libc = ctypes.CDLL(None, use_errno=True)
    legs = len(ports)
    packets = np.random.default_rng(1).integers(0, 256, (legs, _PACKET), dtype=np.uint8)
    packets[:, 0], packets[:, 1] = 0x80, 0
    packets[:, 8:12] = np.frombuffer(np.arange(legs, dtype=">u4").tobytes(), np.uint8).reshape(legs, 4)
    names = np.zeros((legs, 16), np.uint8)
    names[:, 0] = socket.AF_INET
    names[:, 2:4] = np.frombuffer(np.array(ports, ">u2").tobytes(), np.uint8).reshape(legs, 2)
    names[:, 4:8] = (127, 0, 0, 1)
    vectors, headers = (_IoVec * legs)(), (_MsgHdr * legs)()
    for leg in range(legs):
        vectors[leg].base, vectors[leg].length = packets.ctypes.data + leg * _PACKET, _PACKET
        headers[leg].name, headers[leg].name_length = names.ctypes.data + leg * 16, 16
        headers[leg].iov, headers[leg].iov_length = ctypes.addressof(vectors[leg]), 1
    edges = np.linspace(0, legs, _STEPS + 1).astype(int)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        sent, began = 0, time.monotonic()
        for number in range(int(seconds * 50)):
            packets[:, 2:4] = (number >> 8 & 0xFF, number & 0xFF)
            packets[:, 4:8] = np.frombuffer((number * _PAYLOAD).to_bytes(4, "big"), np.uint8)
            for step in range(_STEPS):
                pause = began + (number + step / _STEPS) * 0.02 - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
                first, last = int(edges[step]), int(edges[step + 1])
                while first < last:
                    done = libc.sendmmsg(out.fileno(), ctypes.byref(headers[first]), last - first, 0)
                    if done <= 0:
                        raise OSError(ctypes.get_errno(), "sendmmsg failed")
                    first += done
                    sent += done
    return sent


def _sender(pipe: Connection, ports: Sequence[int], seconds: float) -> None:
    pipe.send(_send(ports, seconds))


def measure(legs: int, sink: str, seconds: float) -> Run:
    with tempfile.TemporaryDirectory(prefix="callwarden-bench-") as folder:
        ours, theirs = _SPAWN.Pipe()
        prefix = fresh_prefix()
        capture = _SPAWN.Process(target=_capture, args=(theirs, legs, sink, folder, prefix), daemon=True)
        capture.start()
        ports = ours.recv()
        sending, other = _SPAWN.Pipe()
        sender = _SPAWN.Process(target=_sender, args=(other, ports, seconds), daemon=True)
        ours.send("begin")
        sender.start()
        other.close()
        assert sending.poll(seconds + 60), "The sender did not finish."
        sent = sending.recv()
        time.sleep(0.3)
        ours.send(seconds)
        captured, blocks, share, waited, spilled = ours.recv()
        sender.join()
        capture.join()
        if sink == "kafka":
            _remove_topics(prefix)
    return Run(
        legs, sink, seconds, sent, captured, sent - captured, blocks, round(share, 3), round(waited, 2), spilled
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=8.0)
    arguments.add_argument("--legs", type=int, nargs="*", default=[100, 400, 1000])
    arguments.add_argument("--sink", nargs="*", choices=("event log", "kafka", "counting"), default=[])
    arguments.add_argument(
        "--endpoint",
        nargs="*",
        choices=("built-in", "pjsua2"),
        default=[],
        help="measure whole capture processes with these SIP endpoints, calls placed over SIP",
    )
    chosen = arguments.parse_args()
    if chosen.endpoint:
        _endpoints(chosen.endpoint, chosen.legs, chosen.seconds)
        return
    runs: list[Run] = []
    for legs in chosen.legs:
        for sink in chosen.sink or ("event log", "counting"):
            runs.append(measure(legs, sink, chosen.seconds))
    table = Table(title=f"Legs captured by one process, {chosen.seconds:.0f} s of 50 packets/s a leg")
    for name in (
        "legs",
        "sink",
        "packets sent",
        "captured",
        "lost",
        "blocks",
        "of a core",
        "sink done after",
        "spilled",
    ):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(
            str(run.legs),
            run.sink,
            f"{run.sent:,}",
            f"{run.captured:,}",
            f"{run.lost:,}",
            f"{run.blocks:,}",
            f"{run.share_of_a_core:.1%}",
            f"{run.waited_s:.2f} s",
            f"{run.spilled:,}",
        )
    Console().print(table)
    _write("-".join(("capture", *chosen.sink)), [asdict(run) for run in runs])


def _endpoints(endpoints: Sequence[str], legs: Sequence[int], seconds: float) -> None:
    runs = [measure_endpoint(one, count, seconds, _sender) for count in legs for one in endpoints]
    table = Table(title=f"Legs captured by one process and SIP endpoint, {seconds:.0f} s of 50 packets/s a leg")
    for name in ("endpoint", "legs", "packets sent", "captured", "lost", "of a core", "calls/s", "CPU ms a call"):
        table.add_column(name, justify="right")
    for run in runs:
        table.add_row(
            run.endpoint,
            str(run.legs),
            f"{run.sent:,}",
            f"{run.captured:,}",
            f"{run.lost:,}",
            f"{run.share_of_a_core:.1%}",
            f"{run.calls_per_second:.0f}",
            f"{run.cpu_ms_per_call:.1f}",
        )
    Console().print(table)
    _write("capture-endpoints", [asdict(run) for run in runs])


def _write(name: str, runs: list[dict[str, object]]) -> None:
    target = Path(f"build/bench/{name}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
        "load_average": os.getloadavg(),
        "runs": runs,
    }
    target.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
