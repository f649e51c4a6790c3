"""A small caller: places plain and SIPREC calls over real SIP and sends G.711 over real RTP.

For the demo, the benches and whoever wants to see whether an installation takes calls; not a phone.
"""

from __future__ import annotations

import random
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from events.audio import Encoding
from events.errors import CallwardenError
from telephony.rtp import RtpPacket
from telephony.sip_message import SipMessage
from telephony.sip_stream import SipStream

PACKET_SAMPLES: Final = 160
_RATE: Final = 8000
_T1_S: Final = 0.5
_PAYLOAD_TYPE: Final = {Encoding.PCMU: 0, Encoding.PCMA: 8}
_BOUNDARY: Final = "callwarden-boundary"


class CallFailed(CallwardenError):
    """The called side refused or did not answer; the text names the status."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who speaks on a stream. `role` goes into the metadata, where it is one word among others."""

    name: str
    uri: str
    role: str = ""


@dataclass(slots=True)
class RtpStream:
    """One stream of a call: numbering, and the socket it is sent from."""

    socket: socket.socket
    encoding: Encoding
    label: str = ""
    to: tuple[str, int] = ("", 0)
    ssrc: int = 0
    sequence: int = 0
    timestamp: int = 0
    sent_packets: int = 0

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def send(self, payload: bytes, marker: bool = False) -> None:
        """Send one packet and count on."""
        packet = RtpPacket(_PAYLOAD_TYPE[self.encoding], self.sequence, self.timestamp, self.ssrc, payload, marker)
        self.socket.sendto(packet.serialize(), self.to)
        self.sent_packets += 1
        self.skip(len(payload))

    def skip(self, samples: int, packets: int = 1) -> None:
        """Count on without sending: a lost packet, or with `packets` 0 a pause."""
        self.sequence = (self.sequence + packets) & 0xFFFF
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF


def send_paced(
    streams: Sequence[RtpStream], payloads: Sequence[bytes], stop: threading.Event | None = None
) -> None:
    """Send G.711 payload on all streams in step, 20 ms packets in real time, until the longest ends."""
    started = time.monotonic()
    longest = max((len(payload) for payload in payloads), default=0)
    for number, at in enumerate(range(0, longest, PACKET_SAMPLES)):
        if stop is not None and stop.is_set():
            return
        pause = started + number * PACKET_SAMPLES / _RATE - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        for stream, payload in zip(streams, payloads, strict=True):
            part = payload[at : at + PACKET_SAMPLES]
            if part:
                stream.send(part, marker=number == 0)


def siprec_metadata(session_id: str, parties: Sequence[tuple[str, Party]]) -> str:
    """Return RFC 7865 metadata for streams of the given labels, each sent by one party."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<recording xmlns="urn:ietf:params:xml:ns:recording:1">',
        "<datamode>complete</datamode>",
        f"<session session_id={quoteattr(session_id)}/>",
    ]
    for number, (label, party) in enumerate(parties):
        role = f" role={quoteattr(party.role)}" if party.role else ""
        lines.append(
            f'<participant participant_id="p{number}"{role}><nameID aor={quoteattr(party.uri)}>'
            f"<name>{escape(party.name)}</name></nameID></participant>"
        )
        lines.append(
            f'<stream stream_id="s{number}" session_id={quoteattr(session_id)}>'
            f"<label>{escape(label)}</label></stream>"
        )
    for number in range(len(parties)):
        receives = "".join(f"<recv>s{other}</recv>" for other in range(len(parties)) if other != number)
        lines.append(
            f'<participantstreamassoc participant_id="p{number}"><send>s{number}</send>{receives}'
            "</participantstreamassoc>"
        )
    return "\n".join([*lines, "</recording>", ""])


class PlacedCall:
    """A call that was answered. Use as a context manager, or call `hang_up`."""

    def __init__(self, caller: Caller, streams: list[RtpStream], dialog: _Dialog, answer: SipMessage) -> None:
        self._caller = caller
        self._dialog = dialog
        self.streams = streams
        self.answer = answer

    def send(self, payloads: Sequence[bytes], stop: threading.Event | None = None) -> None:
        """Speak: one payload a stream, in real time."""
        send_paced(self.streams, payloads, stop)

    def hold(self) -> SipMessage:
        """Put all streams on hold; return the answer."""
        return self._reinvite("inactive")

    def resume(self) -> SipMessage:
        return self._reinvite("sendonly" if self._dialog.siprec else "sendrecv")

    def use(self, caller: Caller) -> None:
        """Go on over another caller's socket: the connection broke."""
        self._caller = caller

    def hang_up(self) -> SipMessage:
        """Send BYE; return its answer."""
        answer = self._caller.transact(self._dialog.request("BYE"))
        for stream in self.streams:
            stream.socket.close()
        return answer

    def __enter__(self) -> PlacedCall:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def _reinvite(self, direction: str) -> SipMessage:
        self._dialog.version += 1
        body = self._caller.sdp(self.streams, direction, self._dialog.version)
        request = self._dialog.request("INVITE", (("content-type", "application/sdp"),), body)
        answer = self._caller.transact(request)
        self._caller.send(self._dialog.acknowledge(request, answer))
        return answer


@dataclass(slots=True)
class _Dialog:
    call_id: str
    local: str
    remote: str
    target: str
    contact: str
    via: str
    siprec: bool
    number: int = 0
    version: int = 1

    def request(
        self, method: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", number: int | None = None
    ) -> SipMessage:
        if number is None:
            self.number += 1
            number = self.number
        return SipMessage(
            [
                ("via", f"{self.via};branch=z9hG4bK{secrets.token_hex(10)};rport"),
                ("max-forwards", "70"),
                ("from", self.local),
                ("to", self.remote),
                ("call-id", self.call_id),
                ("cseq", f"{number} {method}"),
                ("contact", self.contact),
                ("user-agent", "callwarden-caller"),
                *headers,
            ],
            body,
            method=method,
            uri=self.target,
        )

    def acknowledge(self, invite: SipMessage, answer: SipMessage) -> SipMessage:
        request = self.request("ACK", number=invite.cseq[0])
        if answer.status >= 300:
            request.headers[0] = ("via", invite.get("via"))
            request.headers[3] = ("to", answer.get("to"))
        return request


class Caller:
    """One SIP address of ours, calling one target.

    Parameters
    ----------
    target
        Host and port of the recorder.
    transport
        ``udp`` or ``tcp``. SIPREC INVITEs outgrow a packet: use tcp for them.
    """

    def __init__(self, target: tuple[str, int], transport: str = "udp", host: str = "127.0.0.1") -> None:
        self._target = target
        self._host = host
        self._reliable = transport == "tcp"
        kind = socket.SOCK_STREAM if self._reliable else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind((host, 0))
        if self._reliable:
            self._socket.settimeout(5)
            self._socket.connect(target)
        self._stream = SipStream()
        self._inbox: list[SipMessage] = []
        port = self._socket.getsockname()[1]
        self._via = f"SIP/2.0/{transport.upper()} {host}:{port}"
        self._contact = f"<sip:caller@{host}:{port};transport={transport}>"

    def call(
        self,
        encodings: Sequence[Encoding] = (Encoding.PCMU,),
        *,
        parties: Sequence[Party] = (),
        metadata_xml: str = "",
        from_uri: str = "sip:caller@example.invalid",
        to_uri: str = "sip:recorder@example.invalid",
    ) -> PlacedCall:
        """Place a call and wait until it is answered.

        With `parties` (one a stream) or `metadata_xml` it is a SIPREC call with streams labelled 1, 2, ...;
        otherwise a plain one.

        Raises
        ------
        CallFailed
        """
        siprec = bool(parties or metadata_xml)
        streams = [
            self._open_stream(encoding, str(n) if siprec else "") for n, encoding in enumerate(encodings, 1)
        ]
        dialog = _Dialog(
            secrets.token_hex(16),
            f"<{from_uri}>;tag={secrets.token_hex(6)}",
            f"<{to_uri}>",
            f"sip:{self._target[0]}:{self._target[1]}",
            self._contact + (";+sip.src" if siprec else ""),
            self._via,
            siprec,
        )
        headers, body = self._offer(streams, dialog, parties, metadata_xml)
        invite = dialog.request("INVITE", headers, body)
        answer = self.transact(invite)
        if answer.status >= 300:
            self.send(dialog.acknowledge(invite, answer))
            for stream in streams:
                stream.socket.close()
            raise CallFailed(f"The call was refused with {answer.status} {answer.reason}.")
        dialog.remote = answer.get("to")
        dialog.target = answer.get("contact").partition("<")[2].partition(">")[0] or dialog.target
        self.send(dialog.acknowledge(invite, answer))
        for stream, to in zip(streams, _media_addresses(answer.body), strict=True):
            stream.to = to
        return PlacedCall(self, streams, dialog, answer)

    def options(self) -> SipMessage:
        """Ask for capabilities; return the answer."""
        dialog = _Dialog(
            secrets.token_hex(16),
            f"<sip:caller@example.invalid>;tag={secrets.token_hex(6)}",
            "<sip:recorder@example.invalid>",
            f"sip:{self._target[0]}:{self._target[1]}",
            self._contact,
            self._via,
            False,
        )
        return self.transact(dialog.request("OPTIONS"))

    def transact(self, request: SipMessage) -> SipMessage:
        """Send a request, repeat it as UDP needs, and return its final answer. Raises CallFailed after 32 s."""
        branch = request.via.branch
        interval, deadline = _T1_S, time.monotonic() + 64 * _T1_S
        self.send(request)
        repeat_at = time.monotonic() + interval
        provisional = False
        while time.monotonic() < deadline:
            wait = deadline if self._reliable or provisional else min(repeat_at, deadline)
            answer = self._receive(branch, max(0.001, wait - time.monotonic()))
            if answer is None:
                if not self._reliable and not provisional and time.monotonic() >= repeat_at:
                    self.send(request)
                    interval = min(2 * interval, 4.0)
                    repeat_at = time.monotonic() + interval
                continue
            if answer.status >= 200:
                return answer
            provisional = True
        raise CallFailed("The called side did not answer within 32 seconds.")

    def send(self, message: SipMessage) -> None:
        """Send a message as it is."""
        data = message.serialize()
        if self._reliable:
            self._socket.sendall(data)
        else:
            self._socket.sendto(data, self._target)

    def close(self) -> None:
        self._socket.close()

    def sdp(self, streams: Sequence[RtpStream], direction: str, version: int) -> bytes:
        """Return an offer of one m-line a stream."""
        lines = ["v=0", f"o=caller 1 {version} IN IP4 {self._host}", "s=-", f"c=IN IP4 {self._host}", "t=0 0"]
        for stream in streams:
            payload_type = _PAYLOAD_TYPE[stream.encoding]
            lines.append(f"m=audio {stream.port} RTP/AVP {payload_type}")
            lines.append(f"a=rtpmap:{payload_type} {stream.encoding.value}/8000")
            if stream.label:
                lines.append(f"a=label:{stream.label}")
            lines.append(f"a={direction}")
        return ("\r\n".join(lines) + "\r\n").encode()

    def _open_stream(self, encoding: Encoding, label: str) -> RtpStream:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((self._host, 0))
        draw = random.SystemRandom()
        return RtpStream(
            one, encoding, label, ("", 0), draw.getrandbits(32), draw.getrandbits(16), draw.getrandbits(32)
        )

    def _offer(
        self, streams: Sequence[RtpStream], dialog: _Dialog, parties: Sequence[Party], metadata_xml: str
    ) -> tuple[list[tuple[str, str]], bytes]:
        sdp = self.sdp(streams, "sendonly" if dialog.siprec else "sendrecv", 1)
        if not dialog.siprec:
            return [("content-type", "application/sdp")], sdp
        labelled = [(stream.label, party) for stream, party in zip(streams, parties, strict=False)]
        xml = metadata_xml or siprec_metadata(dialog.call_id, labelled)
        body = b"".join(
            (
                f"--{_BOUNDARY}\r\nContent-Type: application/sdp\r\n\r\n".encode(),
                sdp,
                f"\r\n--{_BOUNDARY}\r\nContent-Type: application/rs-metadata+xml\r\n"
                "Content-Disposition: recording-session\r\n\r\n".encode(),
                xml.encode(),
                f"\r\n--{_BOUNDARY}--\r\n".encode(),
            )
        )
        return [("require", "siprec"), ("content-type", f"multipart/mixed;boundary={_BOUNDARY}")], body

    def _receive(self, branch: str, wait_s: float) -> SipMessage | None:
        known = self._take(branch)
        if known is not None:
            return known  # it came together with the one before
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return None
        if self._reliable and not data:
            raise CallFailed("The called side closed the connection.")
        self._inbox += [SipMessage.parse(one) for one in (self._stream.feed(data) if self._reliable else [data])]
        return self._take(branch)

    def _take(self, branch: str) -> SipMessage | None:
        for message in self._inbox:
            if not message.is_request and message.via.branch == branch:
                self._inbox.remove(message)
                return message
        return None


def _media_addresses(sdp: bytes) -> list[tuple[str, int]]:
    """Return where each stream of an answer is to be sent."""
    session_host = ""
    found: list[tuple[str, int]] = []
    for line in sdp.decode().splitlines():
        if line.startswith("c=IN IP4 ") and not found:
            session_host = line.split()[2]
        elif line.startswith("m="):
            found.append((session_host, int(line.split()[1])))
    return found
