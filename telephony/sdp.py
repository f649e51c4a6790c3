"""Session descriptions (RFC 8866) of offers, and our answers to them (RFC 3264)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from events.audio import Encoding
from telephony.leg import PayloadKind
from telephony.sip_message import SipRefused

MAX_MEDIA: Final = 16
_DIRECTIONS: Final = ("sendrecv", "sendonly", "recvonly", "inactive")
_ANSWER_DIRECTION: Final = {
    "sendrecv": "recvonly",
    "sendonly": "recvonly",
    "recvonly": "inactive",
    "inactive": "inactive",
}
_PROFILES: Final = ("RTP/AVP", "RTP/AVPF")
_RTPMAP: Final = re.compile(r"([0-9]{1,3})\s+([A-Za-z0-9.\-_]+)/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_STATIC: Final = {0: ("PCMU", 8000), 8: ("PCMA", 8000), 13: ("CN", 8000)}
_KINDS: Final = {
    "PCMU": PayloadKind.PCMU,
    "PCMA": PayloadKind.PCMA,
    "TELEPHONE-EVENT": PayloadKind.TELEPHONE_EVENT,
    "CN": PayloadKind.COMFORT_NOISE,
}


@dataclass(frozen=True, slots=True)
class MediaOffer:
    """One m-line and its attributes."""

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]
    address: str
    direction: str
    label: str = ""
    rtpmap: dict[int, tuple[str, int]] = field(default_factory=dict)

    @property
    def payload_kinds(self) -> tuple[tuple[int, PayloadKind], ...]:
        """What we understand of the offered payload types, in the order of preference."""
        found = []
        for payload_type in self._payload_types():
            name, rate = self.rtpmap.get(payload_type) or _STATIC.get(payload_type, ("", 0))
            kind = _KINDS.get(name.upper())
            if kind is not None and rate == 8000:
                found.append((payload_type, kind))
        return tuple(found)

    @property
    def encoding(self) -> tuple[int, Encoding] | None:
        """Payload type and encoding that we choose, None when there is no G.711."""
        for payload_type, kind in self.payload_kinds:
            if kind in (PayloadKind.PCMU, PayloadKind.PCMA):
                return payload_type, Encoding(kind.name)
        return None

    @property
    def acceptable(self) -> bool:
        return (
            self.kind == "audio"
            and self.port != 0
            and self.profile.upper() in _PROFILES
            and self.encoding is not None
        )

    @property
    def announced(self) -> int:
        """Address << 16 | port, 0 for nowhere; what the peer sends most likely comes from there."""
        try:
            host = int(ipaddress.IPv4Address(self.address))
        except ValueError:
            return 0
        return host << 16 | self.port if host else 0

    def held(self, *, at_first: str) -> bool:
        """Tell a stream on hold; `at_first` is the direction in the stream's first offer.

        A recording client always offers ``sendonly`` (RFC 7866, 7.1.1), so it means hold only where the stream
        began as ``sendrecv``.
        """
        if self.direction in ("inactive", "recvonly") or self.address == "0.0.0.0":
            return True
        return self.direction == "sendonly" and at_first == "sendrecv"

    def _payload_types(self) -> list[int]:
        return [int(text) for text in self.formats if text.isascii() and text.isdigit() and int(text) < 128]


@dataclass(frozen=True, slots=True)
class Offer:
    media: tuple[MediaOffer, ...]


@dataclass(frozen=True, slots=True)
class MediaAnswer:
    """Our side of one m-line; port 0 refuses it."""

    offer: MediaOffer
    port: int


def parse_offer(body: bytes) -> Offer:
    """Parse a session description.

    Raises
    ------
    SipRefused
        400 when it is malformed, 488 when it describes no media.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise SipRefused("bad_sdp", "A session description is not UTF-8 text.") from None
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    if not lines or not lines[0].startswith("v="):
        raise SipRefused("bad_sdp", "A session description does not begin with its version line.")
    sections: list[list[tuple[str, str]]] = [[]]
    for line in lines:
        kind, equals, value = line.partition("=")
        if equals != "=" or len(kind) != 1:
            raise SipRefused(
                "bad_sdp", "A session description has a line that is not one letter, '=' and a value."
            )
        if kind == "m":
            sections.append([])
        sections[-1].append((kind, value.strip()))
    if len(sections) == 1:
        raise SipRefused("no_media", "A session description has no media line.", 488)
    if len(sections) - 1 > MAX_MEDIA:
        raise SipRefused("bad_sdp", "A session description has more than 16 media lines.")
    session = sections[0]
    address = _address(session) or ""
    direction = _direction(session) or "sendrecv"
    return Offer(tuple(_media(section, address, direction) for section in sections[1:]))


def build_answer(
    answers: Sequence[MediaAnswer], address: str, session_id: int, version: int, rtcp_mux: bool = False
) -> bytes:
    """Return the answer: one encoding a stream, labels echoed, receive only, refused lines with port 0."""
    lines = [
        "v=0",
        f"o=callwarden {session_id} {version} IN IP4 {address}",
        "s=-",
        f"c=IN IP4 {address}",
        "t=0 0",
    ]
    for answer in answers:
        lines += _answer_media(answer)
    return ("\r\n".join(lines) + "\r\n").encode()


def _answer_media(answer: MediaAnswer) -> list[str]:
    offer = answer.offer
    chosen = offer.encoding
    if not answer.port or chosen is None:
        return [f"m={offer.kind} 0 {offer.profile} {' '.join(offer.formats)}"]
    events = [payload_type for payload_type, kind in offer.payload_kinds if kind is PayloadKind.TELEPHONE_EVENT]
    payload_type, encoding = chosen
    lines = [f"m=audio {answer.port} {offer.profile} {' '.join(map(str, (payload_type, *events[:1])))}"]
    lines.append(f"a=rtpmap:{payload_type} {encoding.value}/8000")
    if events:
        lines += [f"a=rtpmap:{events[0]} telephone-event/8000", f"a=fmtp:{events[0]} 0-15"]
    if offer.label:
        lines.append(f"a=label:{offer.label}")
    lines.append(f"a={_ANSWER_DIRECTION[offer.direction]}")
    return lines


def _media(section: Sequence[tuple[str, str]], address: str, direction: str) -> MediaOffer:
    parts = section[0][1].split()
    if len(parts) < 4:
        raise SipRefused("bad_sdp", "A media line is not media, port, profile and formats.")
    port = parts[1].partition("/")[0]
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SipRefused("bad_sdp", "A media line has a port that is no number below 65536.")
    rtpmap: dict[int, tuple[str, int]] = {}
    label = ""
    for kind, value in section[1:]:
        name, _, content = value.partition(":")
        if kind != "a":
            continue
        if name == "rtpmap":
            match = _RTPMAP.match(content.strip())
            if match is None:
                raise SipRefused("bad_sdp", "A session description has a malformed rtpmap attribute.")
            if match[4] in (None, "1"):
                rtpmap[int(match[1])] = (match[2], int(match[3]))
        elif name == "label" and not label:
            label = content.strip()[:64]
    return MediaOffer(
        parts[0].lower(),
        int(port),
        parts[2],
        tuple(parts[3:]),
        _address(section) or address,
        _direction(section) or direction,
        label,
        rtpmap,
    )


def _address(section: Sequence[tuple[str, str]]) -> str | None:
    for kind, value in section:
        if kind == "c":
            parts = value.split()
            if len(parts) != 3 or parts[0].upper() != "IN":
                raise SipRefused("bad_sdp", "A session description has a malformed connection line.")
            return parts[2].partition("/")[0]
    return None


def _direction(section: Sequence[tuple[str, str]]) -> str | None:
    return next((value for kind, value in section if kind == "a" and value in _DIRECTIONS), None)
