"""SIPREC: multipart bodies (RFC 7866) and recording metadata (RFC 7865), read leniently.

Who speaks on which stream is told by `participantstreamassoc`. Where that is missing the order of the labels
decides, by default the customer's first, and the legs are marked as not verified.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from events.identity import Role
from telephony.sip_message import SipRefused

_METADATA_TYPES: Final = (
    "application/rs-metadata+xml",
    "application/rs-metadata",
    "application/rs-metadata-request",
)
_MAX_DEPTH: Final = 32
_MAX_ELEMENTS: Final = 5000
_MAX_FACTS: Final = 32


@dataclass(frozen=True, slots=True)
class SiprecSettings:
    """How roles are told.

    A participant whose address, name or any attribute matches one of the patterns (regular expressions, case
    ignored) has that role.
    """

    agent_patterns: tuple[str, ...] = (r"\bagents?\b", r"\badvis[eo]r\b", r"\boperator\b", r"\brepresentative\b")
    customer_patterns: tuple[str, ...] = (r"\bcustomer\b", r"\bcaller\b", r"\bclient\b", r"\bconsumer\b")
    first_label_role: Role = Role.CUSTOMER
    """Role of the first stream where metadata does not tell; the second stream gets the other one."""

    def __post_init__(self) -> None:
        for pattern in (*self.agent_patterns, *self.customer_patterns):
            try:
                re.compile(pattern)
            except re.error:
                raise ValueError("A role pattern is not a regular expression.") from None
        if self.first_label_role not in (Role.CUSTOMER, Role.AGENT):
            raise ValueError("The first label's role is customer or agent.")


@dataclass(frozen=True, slots=True)
class Bodies:
    """The parts of a request's body that matter here."""

    sdp: bytes = b""
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Participant:
    """A speaker as metadata names it. `words` is all that role patterns look at."""

    name: str = ""
    uri: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What was understood of a metadata document."""

    session_id: str = ""
    participants: tuple[Participant, ...] = ()
    senders: dict[str, Participant] = field(default_factory=dict)
    """Who sends the stream of each label, where it is one participant alone."""
    facts: dict[str, str] = field(default_factory=dict)
    """Extension elements with plain text: queue, direction and the like."""


@dataclass(frozen=True, slots=True)
class Speaker:
    role: Role
    verified: bool
    name: str = ""
    uri: str = ""


@dataclass(slots=True)
class _Element:
    name: str
    attributes: dict[str, str]
    children: list[_Element] = field(default_factory=list)
    text: str = ""

    def each(self) -> Iterator[_Element]:
        yield self
        for child in self.children:
            yield from child.each()

    def own(self, name: str) -> list[_Element]:
        return [child for child in self.children if child.name == name]


def split_bodies(content_type: str, body: bytes) -> Bodies:
    """Find SDP and metadata in a request's body.

    Raises
    ------
    SipRefused
        415 for a type that is neither SDP, metadata nor multipart; 400 for a multipart body that falls apart.
    """
    if not body.strip():
        return Bodies()
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/sdp":
        return Bodies(sdp=body)
    if kind in _METADATA_TYPES:
        return Bodies(metadata=_metadata_text(body))
    if not kind.startswith("multipart/"):
        raise SipRefused(
            "content_type",
            "A SIP request has a body of a type that is not supported.",
            415,
            (("accept", "application/sdp, application/rs-metadata+xml, multipart/mixed"),),
        )
    try:
        whole = email.message_from_bytes(
            b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
        )
        parts = [part for part in whole.walk() if not part.is_multipart()]
        found = [(part.get_content_type(), part.get_payload(decode=True)) for part in parts]
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        raise SipRefused("bad_multipart", "A multipart body cannot be parted.") from None
    sdp, metadata = b"", ""
    for part_kind, payload in found:
        if not isinstance(payload, bytes):
            continue
        if part_kind == "application/sdp" and not sdp:
            sdp = payload
        elif part_kind in _METADATA_TYPES and not metadata:
            metadata = _metadata_text(payload)
    if not sdp and not metadata:
        raise SipRefused("bad_multipart", "A multipart body has neither a session description nor metadata.")
    return Bodies(sdp, metadata)


def parse_metadata(xml: str) -> Metadata:
    """Read a metadata document, RFC 7865 or the drafts before it.

    Raises
    ------
    ValueError
        It is not well-formed, or has a document type declaration.
    """
    root = _parse_xml(xml)
    elements = list(root.each())
    streams: dict[str, str] = {}
    for element in elements:
        if element.name == "stream":
            label = next((child.text.strip() for child in element.own("label")), "")
            identity = element.attributes.get("stream_id") or element.attributes.get("id", "")
            if identity and label:
                streams[identity] = label
    people: dict[str, Participant] = {}
    sending: dict[str, list[str]] = {}
    for element in elements:
        if element.name == "participant":
            identity = element.attributes.get("participant_id") or element.attributes.get("id", "")
            people[identity] = _participant(element)
    for element in elements:
        identity = element.attributes.get("participant_id") or element.attributes.get("id", "")
        if element.name in ("participantstreamassoc", "participant") and identity in people:
            for sent in element.own("send"):
                stream = sent.text.strip() or sent.attributes.get("stream_id", "")
                # Some clients name the label where the stream's id belongs.
                label = streams.get(stream) or (stream if stream in streams.values() else "")
                if label and identity not in sending.setdefault(label, []):
                    sending[label].append(identity)
    senders = {label: people[who[0]] for label, who in sending.items() if len(who) == 1}
    session = next((element for element in elements if element.name in ("session", "communicationsession")), None)
    session_id = ""
    if session is not None:
        session_id = session.attributes.get("session_id") or session.attributes.get("id", "")
    return Metadata(session_id, tuple(people.values()), senders, _facts(root))


def speakers(labels: Sequence[str], metadata: Metadata | None, settings: SiprecSettings) -> list[Speaker]:
    """Tell who speaks on each stream of a recording session.

    Parameters
    ----------
    labels
        Labels of the accepted streams in the order of the offer, empty where a stream has none.
    """
    if len(labels) == 1 and (metadata is None or labels[0] not in metadata.senders):
        return [Speaker(Role.MIXED, False)]  # one stream for all: some recording clients mix
    known_by = [metadata.senders.get(label) if metadata and label else None for label in labels]
    told = [_told_role(person, settings) if person else None for person in known_by]
    other = {Role.AGENT: Role.CUSTOMER, Role.CUSTOMER: Role.AGENT}
    found: list[Speaker] = []
    for index, person in enumerate(known_by):
        name, uri = (person.name, person.uri) if person else ("", "")
        role = told[index]
        counterpart = told[1 - index] if len(labels) == 2 else None
        if role is not None and told.count(role) == 1:
            found.append(Speaker(role, True, name, uri))
        elif role is None and counterpart is not None:
            found.append(Speaker(other[counterpart], person is not None, name, uri))
        elif index < 2:
            first = settings.first_label_role
            found.append(Speaker(first if index == 0 else other[first], False, name, uri))
        else:
            found.append(Speaker(Role.UNKNOWN, False, name, uri))
    return found


def _told_role(person: Participant, settings: SiprecSettings) -> Role | None:
    agent = any(re.search(pattern, person.words, re.IGNORECASE) for pattern in settings.agent_patterns)
    customer = any(re.search(pattern, person.words, re.IGNORECASE) for pattern in settings.customer_patterns)
    if agent == customer:
        return None
    return Role.AGENT if agent else Role.CUSTOMER


def _participant(element: _Element) -> Participant:
    name = uri = ""
    words: list[str] = []
    for part in element.each():
        uri = uri or part.attributes.get("aor", "")
        words += [value for key, value in part.attributes.items() if not key.endswith("id")]
        if part.name == "aor":
            uri = uri or part.text.strip()
        if part.name == "name":
            name = name or part.text.strip()
        if part.name not in ("send", "recv"):
            words.append(part.text.strip())
    return Participant(name[:256], uri[:512], " ".join(word for word in words if word)[:4096])


def _facts(root: _Element) -> dict[str, str]:
    facts: dict[str, str] = {}
    for element in root.each():
        if element.name in ("extensiondata", "userdata", "sessionextension"):
            for leaf in element.each():
                if not leaf.children and leaf.text.strip() and len(facts) < _MAX_FACTS:
                    facts.setdefault(leaf.name[:64], leaf.text.strip()[:256])
    return facts


def _metadata_text(body: bytes) -> str:
    return body.decode("utf-8", errors="replace").strip()


def _parse_xml(xml: str) -> _Element:
    """Build a small tree; names without their namespaces. No DTD, no entities, bounded depth and size."""
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    root = _Element("", {})
    stack = [root]
    seen = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal seen
        seen += 1
        if seen > _MAX_ELEMENTS or len(stack) > _MAX_DEPTH:
            raise ValueError("A metadata document is deeper or longer than any real one.")
        bare = {key.rpartition(" ")[2].lower(): value for key, value in attributes.items()}
        element = _Element(name.rpartition(" ")[2].lower(), bare)
        stack[-1].children.append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def refuse(*_: object) -> None:
        raise ValueError("A metadata document has a document type declaration, which is refused.")

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(xml.encode(), True)
    except expat.ExpatError:
        raise ValueError("A metadata document is not well-formed XML.") from None
    return root
