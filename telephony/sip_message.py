"""SIP messages (RFC 3261, 7 and 25): parsed strictly where it matters, tolerant where the field is not.

Tolerated: compact header names, folded lines, bare line feeds, any order of headers, several values in a line or
in several lines, blanks around colons. Refused, with one sentence: what cannot be answered safely.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_MESSAGE_BYTES: Final = 65_536
MAX_HEADERS: Final = 256
_COMPACT: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
_METHOD: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,32}")
_NAME: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,64}")
_STATUS: Final = re.compile(r"SIP/2\.0 ([1-6][0-9]{2})(?: (.*))?", re.IGNORECASE)
_CSEQ: Final = re.compile(r"([0-9]{1,10})\s+([A-Za-z0-9\-.!%*_+`'~]{1,32})")
_LISTS: Final = frozenset(
    ("via", "contact", "route", "record-route", "require", "supported", "proxy-require", "allow")
)
REASONS: Final = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    491: "Request Pending",
    500: "Server Internal Error",
    503: "Service Unavailable",
    505: "Version Not Supported",
    513: "Message Too Large",
}


class SipRefused(ValueError):
    """A message that cannot be served.

    Parameters
    ----------
    cause
        Short name for the metric.
    sentence
        What was wrong, for the log.
    status
        The response's status; 0 when nothing can be answered.
    headers
        Further headers of the response.
    """

    def __init__(
        self, cause: str, sentence: str, status: int = 400, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(sentence)
        self.cause = cause
        self.status = status
        self.headers = tuple(headers)
        self.message: SipMessage | None = None
        """The message, as far as it could be read."""


@dataclass(frozen=True, slots=True)
class NameAddress:
    """A From, To or Contact value: ``"Name" <uri>;tag=...``."""

    uri: str
    name: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> NameAddress:
        """Raises ValueError when there is no URI."""
        text = text.strip()
        name = ""
        if text.startswith('"'):
            end = _closing_quote(text)
            name, text = text[1:end].replace('\\"', '"').replace("\\\\", "\\"), text[end + 1 :].strip()
        if "<" in text:
            before, _, rest = text.partition("<")
            uri, closed, tail = rest.partition(">")
            if not closed:
                raise ValueError("An address has no closing angle bracket.")
            name = name or before.strip()
        else:
            # Without brackets, parameters belong to the header (RFC 3261, 20.10).
            uri, _, tail = text.partition(";")
            tail = ";" + tail
        uri = uri.strip()
        if ":" not in uri or len(uri) > 2048:
            raise ValueError("An address has no URI.")
        return cls(uri, name, parse_parameters(tail))

    @property
    def tag(self) -> str:
        return self.parameters.get("tag", "")


@dataclass(frozen=True, slots=True)
class Via:
    transport: str
    host: str
    port: int | None
    parameters: dict[str, str]
    text: str

    @classmethod
    def parse(cls, text: str) -> Via:
        """Raises ValueError when it is no Via value."""
        match = re.fullmatch(r"SIP\s*/\s*2\.0\s*/\s*([A-Za-z]+)\s+([^;]+)(;.*)?", text.strip(), re.IGNORECASE)
        if match is None:
            raise ValueError("A Via value has no transport and host.")
        host, _, port = match[2].strip().partition(":")
        if port and not (port.strip().isascii() and port.strip().isdigit() and int(port) <= 65535):
            raise ValueError("A Via value has a port that is no number.")
        return cls(
            match[1].upper(), host.strip(), int(port) if port else None, parse_parameters(match[3] or ""), text
        )

    @property
    def branch(self) -> str:
        return self.parameters.get("branch", "")


@dataclass(slots=True)
class SipMessage:
    """A request (`method`, `uri`) or a response (`status`, `reason`). Header names are lower case and long."""

    headers: list[tuple[str, str]]
    body: bytes = b""
    method: str = ""
    uri: str = ""
    status: int = 0
    reason: str = ""
    version: str = "SIP/2.0"

    @property
    def is_request(self) -> bool:
        return not self.status

    def get(self, name: str) -> str:
        """Return the first value of a header, empty when there is none."""
        return next((value for other, value in self.headers if other == name), "")

    def all(self, name: str) -> list[str]:
        """Return all values of a header; those of one line apart where the header is a list."""
        found: list[str] = []
        for other, value in self.headers:
            if other == name:
                found.extend(split_list(value) if name in _LISTS else [value])
        return found

    def tokens(self, name: str) -> list[str]:
        return [token.lower() for token in self.all(name) if token]

    @property
    def call_id(self) -> str:
        return self.get("call-id")

    @property
    def from_(self) -> NameAddress:
        return NameAddress.parse(self.get("from"))

    @property
    def to(self) -> NameAddress:
        return NameAddress.parse(self.get("to"))

    @property
    def via(self) -> Via:
        return Via.parse(next(iter(self.all("via")), ""))

    @property
    def cseq(self) -> tuple[int, str]:
        match = _CSEQ.fullmatch(self.get("cseq").strip())
        if match is None or int(match[1]) > 0x7FFFFFFF:
            raise ValueError("The CSeq header has no number below 2^31 and method.")
        return int(match[1]), match[2].upper()

    def serialize(self) -> bytes:
        """Return the message as it goes over the wire; Content-Length is set here."""
        first = f"{self.method} {self.uri} SIP/2.0" if self.is_request else f"SIP/2.0 {self.status} {self.reason}"
        lines = [first]
        lines += [f"{wire_name(name)}: {value}" for name, value in self.headers if name != "content-length"]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body

    @classmethod
    def parse(cls, data: bytes) -> SipMessage:
        """Parse one whole message, as a datagram or as `sip_stream` cut it out.

        Raises
        ------
        SipRefused
            The text says in one sentence why; `status` is 400 when From, To, Via, Call-ID and CSeq allow an
            answer, else 0.
        """
        if len(data) > MAX_MESSAGE_BYTES:
            raise SipRefused("too_large", "A SIP message is longer than 65536 bytes.", 0)
        head, body = split_head(data)
        message = _parse_head(head)
        try:
            message.body = _body(message, body)
        except SipRefused as error:
            error.message = message
            raise
        return message

    def check_request(self) -> None:
        """Check what every request must have (RFC 3261, 8.1.1).

        Raises
        ------
        SipRefused
        """
        try:
            via = self.via
        except ValueError as error:
            raise SipRefused("bad_via", f"A SIP request cannot be answered: {error}", 0) from None
        if not via.host:
            raise SipRefused("bad_via", "A SIP request cannot be answered: its Via value has no host.", 0)
        if self.version != "SIP/2.0":
            raise SipRefused("bad_version", "A SIP request has a version other than 2.0.", 505)
        for name in ("call-id", "cseq", "from", "to"):
            if not self.get(name):
                raise SipRefused(f"no_{name.replace('-', '_')}", f"A SIP request has no {wire_name(name)} header.")
        try:
            _, method = self.cseq
            sender, _ = self.from_, self.to
        except ValueError as error:
            raise SipRefused("bad_header", f"A SIP request has a malformed header: {error}") from None
        if method != self.method:
            raise SipRefused("bad_cseq", "A SIP request has a CSeq header of another method.")
        if not sender.tag:
            raise SipRefused("no_from_tag", "A SIP request has a From header without a tag.")
        if self.get("max-forwards") and not self.get("max-forwards").strip().isdecimal():
            raise SipRefused("bad_header", "A SIP request has a Max-Forwards header that is no number.")


def split_head(data: bytes) -> tuple[bytes, bytes]:
    """Part header lines from body, at the first empty line."""
    match = re.search(rb"\r?\n\r?\n", data)
    if match is None:
        return data, b""
    return data[: match.start()], data[match.end() :]


def parse_parameters(text: str) -> dict[str, str]:
    """Parse ``;name=value;flag``; names become lower case, quotes are taken off."""
    found: dict[str, str] = {}
    for part in _split_outside_quotes(text, ";"):
        name, _, value = part.partition("=")
        if name.strip():
            found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def split_list(text: str) -> list[str]:
    """Split at commas outside quotes and angle brackets."""
    return [part.strip() for part in _split_outside_quotes(text, ",", brackets=True) if part.strip()]


def wire_name(name: str) -> str:
    """Return a header's usual spelling."""
    special = {"call-id": "Call-ID", "cseq": "CSeq", "mime-version": "MIME-Version", "min-se": "Min-SE"}
    return special.get(name) or "-".join(part.capitalize() for part in name.split("-"))


def response(
    request: SipMessage,
    status: int,
    *,
    to_tag: str = "",
    source: tuple[str, int] | None = None,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
) -> SipMessage:
    """Build a response (RFC 3261, 8.2.6), with `received` and `rport` (RFC 3581) in the topmost Via."""
    kept: list[tuple[str, str]] = []
    vias = request.all("via")
    for index, via in enumerate(vias):
        kept.append(("via", _stamped(via, source) if index == 0 and source is not None else via))
    for name in ("from", "call-id", "cseq"):
        if request.get(name):
            kept.append((name, request.get(name)))
    to = request.get("to")
    if to:
        tagged = f"{to};tag={to_tag}" if to_tag and not _has_tag(to) else to
        kept.append(("to", tagged))
    if 100 < status < 300:
        kept += [("record-route", value) for value in request.all("record-route")]
    kept += headers
    return SipMessage(kept, body, status=status, reason=REASONS.get(status, "Unknown"))


def _has_tag(to: str) -> bool:
    try:
        return bool(NameAddress.parse(to).tag)
    except ValueError:
        return True


def _stamped(via: str, source: tuple[str, int]) -> str:
    try:
        parsed = Via.parse(via)
    except ValueError:
        return via
    text = via
    if "rport" in parsed.parameters:
        text = re.sub(r";\s*rport(\s*=\s*[0-9]*)?(?=\s*(;|$))", f";rport={source[1]}", text, flags=re.IGNORECASE)
    if parsed.host != source[0] or "rport" in parsed.parameters:
        text = re.sub(r";\s*received\s*=\s*[^;]*", "", text, flags=re.IGNORECASE)
        text += f";received={source[0]}"
    return text


def _parse_head(head: bytes) -> SipMessage:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        raise SipRefused("not_text", "A SIP message has header lines that are not UTF-8 text.", 0) from None
    lines = list(_unfold(text))
    if not lines:
        raise SipRefused("empty", "A SIP message is empty.", 0)
    message = _parse_first_line(lines[0])
    if len(lines) > MAX_HEADERS:
        raise SipRefused("too_many_headers", "A SIP message has more than 256 header lines.", 0)
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or not _NAME.fullmatch(name):
            raise SipRefused("bad_header_line", "A SIP message has a header line without a name and a colon.", 0)
        if "\x00" in value or "\r" in value:
            raise SipRefused("bad_header_line", "A SIP message has a control character in a header line.", 0)
        name = name.lower()
        message.headers.append((_COMPACT.get(name, name), value.strip()))
    return message


def _parse_first_line(line: str) -> SipMessage:
    if line[:8].upper() == "SIP/2.0 ":
        match = _STATUS.fullmatch(line)
        if match is None:
            raise SipRefused("bad_status_line", "A SIP response has a malformed status line.", 0)
        return SipMessage([], status=int(match[1]), reason=match[2] or "")
    parts = line.split(" ")
    if len(parts) != 3 or not _METHOD.fullmatch(parts[0]) or not parts[1]:
        raise SipRefused("bad_request_line", "A SIP request line is not method, address and version.", 0)
    if not parts[2].upper().startswith("SIP/"):
        raise SipRefused("bad_request_line", "A message on the SIP port is not SIP.", 0)
    return SipMessage([], method=parts[0].upper(), uri=parts[1], version=parts[2].upper())


def _unfold(text: str) -> Iterator[str]:
    current = ""
    for line in text.split("\n"):
        bare = line[:-1] if line.endswith("\r") else line
        if bare[:1] in (" ", "\t") and current:
            current += " " + bare.strip()
            continue
        if current:
            yield current
        current = bare
    if current:
        yield current


def _body(message: SipMessage, body: bytes) -> bytes:
    length = message.get("content-length").strip()
    if not length:
        return body  # allowed over UDP
    if not (length.isascii() and length.isdigit()) or len(length) > 9:
        raise SipRefused("bad_content_length", "A SIP message has a Content-Length that is no number.")
    if int(length) > len(body):
        raise SipRefused("truncated", "A SIP message is shorter than its Content-Length says.")
    return body[: int(length)]


def _split_outside_quotes(text: str, separator: str, brackets: bool = False) -> Iterator[str]:
    quoted = escaped = False
    depth = 0
    start = 0
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and quoted:
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif brackets and character in "<>":
            depth = 1 if character == "<" else 0
        elif character == separator and not depth:
            yield text[start:index]
            start = index + 1
    yield text[start:]


def _closing_quote(text: str) -> int:
    index = 1
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == '"':
            return index
        index += 1
    raise ValueError("An address has no closing quotation mark.")
