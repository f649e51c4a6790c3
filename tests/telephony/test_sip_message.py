"""SIP parsing: RFC 3261's liberties are taken, broken messages (messages/*.sip) refused in one sentence."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.sip_message import NameAddress, SipMessage, SipRefused, Via, parse_parameters, response, split_list
from telephony.sip_stream import SipStream

MESSAGES = Path(__file__).parent / "messages"
BROKEN = {
    "not_sip": (0, "A message on the SIP port is not SIP."),
    "request_line_short": (0, "A SIP request line is not method, address and version."),
    "version_3": (505, "A SIP request has a version other than 2.0."),
    "status_line": (0, "A SIP response has a malformed status line."),
    "no_colon": (0, "A SIP message has a header line without a name and a colon."),
    "not_utf8": (0, "A SIP message has header lines that are not UTF-8 text."),
    "no_via": (0, "A SIP request cannot be answered: A Via value has no transport and host."),
    "via_port": (0, "A SIP request cannot be answered: A Via value has a port that is no number."),
    "no_call_id": (400, "A SIP request has no Call-ID header."),
    "no_cseq": (400, "A SIP request has no CSeq header."),
    "no_from": (400, "A SIP request has no From header."),
    "no_to": (400, "A SIP request has no To header."),
    "no_from_tag": (400, "A SIP request has a From header without a tag."),
    "cseq_huge": (
        400,
        "A SIP request has a malformed header: The CSeq header has no number below 2^31 and method.",
    ),
    "cseq_method": (400, "A SIP request has a CSeq header of another method."),
    "open_bracket": (400, "A SIP request has a malformed header: An address has no closing angle bracket."),
    "open_quote": (400, "A SIP request has a malformed header: An address has no closing quotation mark."),
    "max_forwards": (400, "A SIP request has a Max-Forwards header that is no number."),
    "truncated_body": (400, "A SIP message is shorter than its Content-Length says."),
    "content_length_negative": (400, "A SIP message has a Content-Length that is no number."),
}
INVITE = b"""INVITE sip:recorder@10.0.0.9 SIP/2.0\r
v: SIP/2.0/UDP a.example;branch=z9hG4bKa;rport, SIP/2.0/UDP b.example:5080;branch=z9hG4bKb\r
Via: SIP/2.0/TCP c.example;branch=z9hG4bKc\r
f: "Quote \\" and; comma, <x>" <sip:a@b;user=phone>;tag=1;x="a;b"\r
t: sip:recorder@10.0.0.9;p=1\r
i : 42@b\r
CSeq:  7   invite\r
Subject: folded\r
  over\r
\tlines\r
m: <sip:a@1.2.3.4:5070;transport=tcp>;+sip.src\r
k: timer, 100rel\r
l: 5\r
\r
v=0\r
trailing bytes are not the message's"""


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_messages(name: str) -> None:
    status, sentence = BROKEN[name]
    with pytest.raises(SipRefused) as error:
        SipMessage.parse((MESSAGES / f"{name}.sip").read_bytes()).check_request()
    assert (error.value.status, str(error.value)) == (status, sentence)


def test_no_broken_message_is_left_out() -> None:
    assert {path.stem for path in MESSAGES.glob("*.sip")} == set(BROKEN)


def test_liberties_of_the_grammar() -> None:
    message = SipMessage.parse(INVITE)
    message.check_request()
    assert message.method == "INVITE"
    assert [Via.parse(via).host for via in message.all("via")] == ["a.example", "b.example", "c.example"]
    assert (message.from_.name, message.from_.uri) == ('Quote " and; comma, <x>', "sip:a@b;user=phone")
    assert message.from_.parameters == {"tag": "1", "x": "a;b"}
    assert (message.to.uri, message.to.parameters) == ("sip:recorder@10.0.0.9", {"p": "1"})
    assert message.call_id == "42@b"
    assert message.cseq == (7, "INVITE")
    assert message.get("subject") == "folded over lines"
    assert message.tokens("supported") == ["timer", "100rel"]
    assert message.body == b"v=0\r\n"


def test_bare_line_feeds() -> None:
    message = SipMessage.parse(INVITE.replace(b"\r\n", b"\n").replace(b"l: 5", b"l: 4"))
    message.check_request()
    assert message.body == b"v=0\n"


def test_a_message_survives_its_own_wire_format() -> None:
    message = SipMessage.parse(INVITE)
    again = SipMessage.parse(message.serialize())
    assert again.method == message.method
    assert again.body == message.body
    assert [header for header in again.headers if header[0] != "content-length"] == [
        header for header in message.headers if header[0] != "content-length"
    ]


def test_response_tells_where_the_request_came_from() -> None:
    answer = response(SipMessage.parse(INVITE), 200, to_tag="t", source=("9.8.7.6", 4444))
    vias = answer.all("via")
    assert vias[0] == "SIP/2.0/UDP a.example;branch=z9hG4bKa;rport=4444;received=9.8.7.6"
    assert len(vias) == 3
    assert (answer.to.uri, answer.to.tag) == ("sip:recorder@10.0.0.9", "t")
    assert answer.cseq == (7, "INVITE")


def test_parameters_and_lists() -> None:
    assert parse_parameters(';A=1;b;c="x;y";a=2') == {"a": "1", "b": "", "c": "x;y"}
    assert split_list('"a,b" <sip:x,y>;p=1, <sip:z>') == ['"a,b" <sip:x,y>;p=1', "<sip:z>"]
    with pytest.raises(ValueError, match="no URI"):
        NameAddress.parse("nothing here")


@settings(deadline=None)
@given(st.binary(max_size=400) | st.integers(0, len(INVITE)).map(lambda cut: INVITE[:cut]))
def test_anything_is_parsed_or_refused(data: bytes) -> None:
    with contextlib.suppress(SipRefused):
        message = SipMessage.parse(data)
        message.check_request()
        assert message.serialize()


@settings(deadline=None)
@given(st.data())
def test_a_stream_is_parted_alike_however_it_comes(data: st.DataObject) -> None:
    messages = [INVITE[: INVITE.index(b"trailing")], b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n"]
    pieces = data.draw(st.lists(st.sampled_from([*messages, b"\r\n\r\n"]), max_size=6))
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    stream, got = SipStream(), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        got += stream.feed(whole[start:end])
    assert got == [piece for piece in pieces if piece != b"\r\n\r\n"]
    assert stream.pings == pieces.count(b"\r\n\r\n")
    assert stream.pending == 0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"X" * 40_000, "without an end of headers"),
        (b"OPTIONS sip:x SIP/2.0\r\nTo: x\r\n\r\n", "no Content-Length"),
        (b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 99999\r\n\r\n", "longer than 65536"),
    ],
)
def test_streams_that_lost_their_framing(data: bytes, sentence: str) -> None:
    with pytest.raises(SipRefused, match=sentence):
        SipStream().feed(data)
