"""Offers, answers and SIPREC metadata, as standards have them and as the field does."""

from __future__ import annotations

import pytest

from events.audio import Encoding
from events.identity import Role
from telephony.leg import PayloadKind
from telephony.sdp import MediaAnswer, build_answer, parse_offer
from telephony.sip_message import SipRefused
from telephony.siprec import SiprecSettings, parse_metadata, speakers, split_bodies

OFFER = b"""v=0\r
o=sbc 1 1 IN IP4 10.0.0.1\r
s=-\r
c=IN IP4 10.0.0.1\r
t=0 0\r
m=audio 40000 RTP/AVP 18 8 0 101\r
a=rtpmap:8 PCMA/8000\r
a=rtpmap:101 telephone-event/8000\r
a=label:one\r
a=sendonly\r
m=audio 40002 RTP/AVP 96\r
c=IN IP4 10.0.0.2\r
a=rtpmap:96 pcmu/8000/1\r
a=inactive\r
m=video 40004 RTP/AVP 34\r
m=audio 40006 RTP/SAVP 0\r
"""
METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<recording xmlns="urn:ietf:params:xml:ns:recording:1" xmlns:ac="http://example.invalid/ac">
  <session session_id="S1"/>
  <participant participant_id="P1"><nameID aor="sip:12@pbx.example"><name>Ann</name></nameID>{one}</participant>
  <participant participant_id="P2"><nameID aor="sip:+155@example"><name>Bob</name></nameID>{two}</participant>
  <stream stream_id="A" session_id="S1"><label>1</label></stream>
  <stream stream_id="B" session_id="S1"><label>2</label></stream>
  <participantstreamassoc participant_id="P1"><send>B</send><recv>A</recv></participantstreamassoc>
  <participantstreamassoc participant_id="P2"><send>A</send><recv>B</recv></participantstreamassoc>
  <extensiondata><ac:Queue>billing</ac:Queue></extensiondata>
</recording>"""
LEGACY = """<recording xmlns='urn:ietf:params:xml:ns:recording'>
  <participant id="x1" session="s"><aor>sip:agent4@pbx</aor><name>Desk</name><send>l2</send></participant>
  <participant id="x2" session="s"><aor>sip:customer@pstn</aor><send>l1</send></participant>
  <stream id="l1" session="s"><label>1</label></stream><stream id="l2" session="s"><label>2</label></stream>
</recording>"""


def test_an_offer_is_answered_line_by_line() -> None:
    offer = parse_offer(OFFER)
    assert [media.acceptable for media in offer.media] == [True, True, False, False]
    assert offer.media[0].encoding == (8, Encoding.PCMA)
    assert offer.media[1].encoding == (96, Encoding.PCMU)
    assert offer.media[1].payload_kinds == ((96, PayloadKind.PCMU),)
    assert offer.media[0].announced == (10 << 24 | 1) << 16 | 40000
    assert offer.media[1].announced == (10 << 24 | 2) << 16 | 40002
    ports = (20000, 20002, 0, 0)
    answers = [MediaAnswer(media, port) for media, port in zip(offer.media, ports, strict=True)]
    assert build_answer(answers, "10.9.9.9", 5, 2).decode().split("\r\n") == [
        "v=0",
        "o=callwarden 5 2 IN IP4 10.9.9.9",
        "s=-",
        "c=IN IP4 10.9.9.9",
        "t=0 0",
        "m=audio 20000 RTP/AVP 8 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=label:one",
        "a=recvonly",
        "m=audio 20002 RTP/AVP 96",
        "a=rtpmap:96 PCMU/8000",
        "a=inactive",
        "m=video 0 RTP/AVP 34",
        "m=audio 0 RTP/SAVP 0",
        "",
    ]


@pytest.mark.parametrize(
    ("direction", "address", "at_first", "held"),
    [
        ("sendrecv", "10.0.0.1", "sendrecv", False),
        ("sendonly", "10.0.0.1", "sendonly", False),
        ("sendonly", "10.0.0.1", "sendrecv", True),
        ("inactive", "10.0.0.1", "sendonly", True),
        ("recvonly", "10.0.0.1", "sendrecv", True),
        ("sendrecv", "0.0.0.0", "sendrecv", True),
    ],
)
def test_hold(direction: str, address: str, at_first: str, held: bool) -> None:
    text = f"v=0\r\nc=IN IP4 {address}\r\nm=audio 4000 RTP/AVP 0\r\na={direction}\r\n"
    (media,) = parse_offer(text.encode()).media
    assert media.held(at_first=at_first) is held


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "does not begin with its version line"),
        (b"hello\r\n", 400, "does not begin with its version line"),
        (b"v=0\r\ns=-\r\n", 488, "has no media line"),
        (b"v=0\r\nnonsense\r\n", 400, "not one letter"),
        (b"v=0\r\nm=audio\r\n", 400, "not media, port, profile and formats"),
        (b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n", 400, "no number below 65536"),
        (b"v=0\r\nm=audio 4 RTP/AVP 0\r\na=rtpmap:0\r\n", 400, "malformed rtpmap"),
        (b"v=0\r\nc=IN IP4\r\nm=audio 4 RTP/AVP 0\r\n", 400, "malformed connection line"),
        (b"v=0\xff\r\n", 400, "not UTF-8"),
        (b"v=0\r\n" + b"m=audio 4 RTP/AVP 0\r\n" * 17, 400, "more than 16"),
    ],
)
def test_broken_offers(body: bytes, status: int, sentence: str) -> None:
    with pytest.raises(SipRefused, match=sentence) as error:
        parse_offer(body)
    assert error.value.status == status


def test_metadata_crosses_the_order_of_labels_over() -> None:
    metadata = parse_metadata(METADATA.format(one='<ac:r role="Agent"/>', two=""))
    assert metadata.session_id == "S1"
    assert metadata.facts == {"queue": "billing"}
    first, second = speakers(["1", "2"], metadata, SiprecSettings())
    assert (first.role, first.verified, first.name, first.uri) == (Role.CUSTOMER, True, "Bob", "sip:+155@example")
    assert (second.role, second.verified, second.name) == (Role.AGENT, True, "Ann")


def test_roles_are_guessed_and_said_to_be() -> None:
    metadata = parse_metadata(METADATA.format(one="", two=""))
    guessed = speakers(["1", "2"], metadata, SiprecSettings())
    assert [(one.role, one.verified, one.name) for one in guessed] == [
        (Role.CUSTOMER, False, "Bob"),
        (Role.AGENT, False, "Ann"),
    ]
    other = SiprecSettings(first_label_role=Role.AGENT)
    assert [one.role for one in speakers(["1", "2"], None, other)] == [Role.AGENT, Role.CUSTOMER]
    both = parse_metadata(METADATA.format(one="<r>agent</r>", two="<r>agent</r>"))
    assert [one.verified for one in speakers(["1", "2"], both, SiprecSettings())] == [False, False]


def test_legacy_metadata_and_one_mixed_stream() -> None:
    told = speakers(["1", "2"], parse_metadata(LEGACY), SiprecSettings())
    assert [(one.role, one.verified) for one in told] == [(Role.CUSTOMER, True), (Role.AGENT, True)]
    mixed = METADATA.format(one="", two="").replace("<send>B</send>", "<send>A</send>")
    assert [one.role for one in speakers(["1"], parse_metadata(mixed), SiprecSettings())] == [Role.MIXED]
    assert [one.role for one in speakers([""], None, SiprecSettings())] == [Role.MIXED]


@pytest.mark.parametrize(
    "xml",
    [
        "<recording>",
        "not xml",
        '<!DOCTYPE r [<!ENTITY a "x">]><r>&a;</r>',
        '<!DOCTYPE r SYSTEM "file:///etc/passwd"><r/>',
        "<a>" * 40 + "</a>" * 40,
        "<r>" + "<a/>" * 6000 + "</r>",
    ],
)
def test_hostile_metadata_is_refused(xml: str) -> None:
    with pytest.raises(ValueError, match="A metadata document"):
        parse_metadata(xml)


def test_bodies() -> None:
    multipart = (
        b"preamble\r\n--b x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b x\r\n"
        b"content-type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n<r/>\r\n"
        b"--b x--\r\n"
    )
    bodies = split_bodies('multipart/mixed; boundary="b x"', multipart)
    assert (bodies.sdp.strip(), bodies.metadata) == (b"v=0", "<r/>")
    assert split_bodies("application/sdp;charset=x", b"v=0").sdp == b"v=0"
    assert split_bodies("", b"").sdp == b""
    with pytest.raises(SipRefused) as unsupported:
        split_bodies("text/plain", b"hello")
    assert unsupported.value.status == 415
    for kind in ("multipart/mixed", "multipart/mixed;boundary=zzz", 'multipart/mixed;boundary="'):
        with pytest.raises(SipRefused) as broken:
            split_bodies(kind, multipart)
        assert broken.value.status == 400
