"""Capture in a thread of the test's own process, for what needs no killing; and a SIP client of raw sockets."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from events.clock import SystemClock
from events.codec import Record
from events.key_store import KeyStore, MasterKey
from events.log import Event, EventLog, Group
from events.sealing import Sealer
from events.spilling_log import SpillingLog
from events.sqlite_log import SqliteLog
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, Topic
from telephony import pjsua_endpoint
from telephony.capture import Capture, CaptureSettings
from telephony.sip_message import SipMessage
from telephony.sip_transaction import SipTimers
from telephony.sockets import SocketSettings, open_rtp_sockets, open_sockets
from tests.builders.capture_bench import until


class CaptureHere:
    """Use as a context manager."""

    quiet_s = 0.0
    """A log that gives nothing for so long has given all; one behind a network needs more."""

    def __init__(
        self,
        folder: Path,
        settings: CaptureSettings | None = None,
        legs: int = 6,
        log: EventLog | None = None,
        endpoint: str = "built-in",
    ) -> None:
        at = SocketSettings("127.0.0.1", 0, rtp_first_port=0, legs=legs)
        settings = settings or CaptureSettings()
        make = None
        if endpoint == "pjsua2":
            make = pjsua_endpoint.factory(settings.pjsua, settings.sip, at)
            _hurry(settings.sip.timers)
        self.sockets = open_sockets(at) if make is None else open_rtp_sockets(at)
        keys = KeyStore(folder / "keys", MasterKey(os.urandom(32)))
        self._sealer = Sealer(keys)
        self.log = log or SqliteLog(folder / "log")
        spilling = log if isinstance(log, SpillingLog) else None
        self.capture = Capture(
            self.log,
            self._sealer,
            keys,
            settings,
            self.sockets,
            folder / "capture",
            SystemClock(),
            room=lambda: spilling is None or spilling.has_room,
            spill=lambda: spilling and spilling.state,
            endpoint=make,
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: BaseException | None = None

    @property
    def sip(self) -> tuple[str, int]:
        address = self.capture.status().sip_address
        assert address is not None
        return address

    def __enter__(self) -> CaptureHere:
        self._thread.start()
        until(lambda: self.capture.status().ready or self._error)
        if self._error is not None:
            self.log.close()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.log.close()

    def _run(self) -> None:
        try:
            self.capture.run(self._stop)
        except BaseException as error:
            self._error = error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def slow_disk(self) -> Iterator[None]:
        """Let nothing be stored meanwhile."""
        with self.capture._store._lock:
            yield

    def events(self, topic: Topic) -> list[tuple[Event, Record]]:
        group = Group(f"test-{secrets.token_hex(6)}")
        found: list[tuple[Event, Record]] = []
        while deliveries := self.log.read([topic], group, 2000, self.quiet_s if found else 0.3 + self.quiet_s):
            found += [(one.event, self._sealer.record(topic, one.event)) for one in deliveries]
        return found

    def lifecycle(self) -> list[Record]:
        return [record for _, record in self.events(CALL_LIFECYCLE)]

    def audio(self) -> list[Record]:
        return [record for _, record in self.events(CALL_AUDIO)]


def _hurry(timers: SipTimers) -> None:
    """Give PJSIP the timers of a test; the module has no setting for them, its library has."""
    library = ctypes.CDLL(importlib.import_module("_pjsua2").__file__)
    t1, t2 = int(timers.t1_s * 1000), int(timers.t2_s * 1000)
    library.pjsip_tsx_set_timers(t1, t2, t2, 64 * t1)


class SipVisitor:
    """Sends whatever it is told, over UDP, and reads what comes back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.port = int(self.socket.getsockname()[1])
        self.call_id = secrets.token_hex(8)
        self.tag = secrets.token_hex(4)
        self.to_tag = ""
        self.number = 0

    def request(
        self,
        method: str,
        *,
        branch: str = "",
        number: int | None = None,
        body: bytes = b"",
        content_type: str = "application/sdp",
        **headers: str,
    ) -> SipMessage:
        if number is None:
            self.number += 1
            number = self.number
        fields = {
            "via": f"SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch or 'z9hG4bK' + secrets.token_hex(8)};rport",
            "from": f"<sip:visitor@example.invalid>;tag={self.tag}",
            "to": "<sip:recorder@example.invalid>" + (f";tag={self.to_tag}" if self.to_tag else ""),
            "call-id": self.call_id,
            "cseq": f"{number} {method}",
            "contact": f"<sip:visitor@127.0.0.1:{self.port}>",
            "max-forwards": "70",
        }
        if body:
            fields["content-type"] = content_type
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = [(name, value) for name, value in fields.items() if value]
        return SipMessage(kept, body, method=method, uri="sip:recorder@127.0.0.1")

    def send(self, message: SipMessage | bytes) -> None:
        self.socket.sendto(message if isinstance(message, bytes) else message.serialize(), self._target)

    def receive(self) -> SipMessage:
        return SipMessage.parse(self.socket.recv(65536))

    def final(self) -> SipMessage:
        """Return the next message that is no provisional response."""
        while (message := self.receive()).status in range(100, 200):
            pass
        return message

    def ask(self, method: str, **fields: object) -> SipMessage:
        """Send a request and return its final answer."""
        request = self.request(method, **fields)  # type: ignore[arg-type]
        self.send(request)
        while True:
            answer = self.final()
            if not answer.is_request and answer.cseq == request.cseq:
                return answer

    def invite(self, body: bytes, **fields: object) -> SipMessage:
        """Call and acknowledge; the dialog's tag is kept."""
        answer = self.ask("INVITE", body=body, **fields)
        if answer.status < 300:
            self.to_tag = answer.to.tag
        self.send(self.request("ACK", number=answer.cseq[0], branch="" if answer.status < 300 else "z9hG4bKno"))
        return answer

    def quiet(self, seconds: float) -> bool:
        """Tell whether nothing comes for a while."""
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10)
        return False


def offer(*ports: int, direction: str = "sendrecv", formats: str = "0 8", host: str = "127.0.0.1") -> bytes:
    lines = ["v=0", f"o=visitor 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0"]
    for number, port in enumerate(ports, 1):
        lines += [f"m=audio {port} RTP/AVP {formats}", f"a=label:{number}", f"a={direction}"]
    return ("\r\n".join(lines) + "\r\n").encode()
