"""The laws of `telephony.endpoint`, over real sockets, to be run on every SIP endpoint.

An endpoint plugs in with classes that derive from `SipEndpointLaws` (one capture for all of them) and
`SipEndpointAloneLaws` (one each), and name it: see tests/telephony/test_pjsua_endpoint.py.

What is asked is answered with the right status, and no other call notices. One promise is not
every endpoint's, and its class says so: with `SOME_COUNTED`, a stack that is not ours answers requests that belong to
no call by itself; only refused INVITEs are counted and told.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from events.identity import Role
from events.lifecycle import CallEnded, CallStarted, EndReason, LegAdded, LegHeld, LegResumed, MetadataReceived
from events.metrics import RTP_REFUSED, SIP_REFUSED, counted
from telephony.caller import Caller, CallFailed, Encoding, Party, siprec_metadata
from telephony.capture import CaptureSettings
from telephony.media import MediaSettings
from telephony.sip_endpoint import SipSettings
from telephony.sip_message import SipMessage
from telephony.sip_transaction import SipTimers
from tests.builders.capture_bench import until
from tests.builders.capture_here import CaptureHere, SipVisitor, offer

MESSAGES = Path(__file__).parent.parent / "telephony" / "messages"
FAST = CaptureSettings(
    sip=SipSettings(timers=SipTimers(t1_s=0.05, t2_s=0.2)),
    media=MediaSettings(media_timeout_s=30.0, linger_ms=20),
)


def ended(here: CaptureHere, external_id: str) -> list[EndReason]:
    return [one.reason for one in of_call(here, external_id, CallEnded)]


def of_call(here: CaptureHere, external_id: str, kind: type) -> list:
    records = here.lifecycle()
    calls = {one.call for one in records if isinstance(one, CallStarted) and one.external_id == external_id}
    return [one for one in records if isinstance(one, kind) and one.call in calls]


def broken_message(name: str, port: int) -> bytes:
    """Return a message that its file's name says what is wrong with, from a sender at `port`."""
    return (MESSAGES / f"{name}.sip").read_bytes().replace(b"127.0.0.1:5099", f"127.0.0.1:{port}".encode())


class SipEndpointLaws:
    """Laws that one capture can serve one after the other."""

    ENDPOINT: ClassVar[str]
    SOME_COUNTED: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def here(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptureHere]:
        with CaptureHere(tmp_path_factory.mktemp("capture"), FAST, endpoint=cls.ENDPOINT) as here:
            yield here

    @pytest.fixture
    def visitor(self, here: CaptureHere) -> SipVisitor:
        return SipVisitor(here.sip)

    @pytest.fixture
    def refused(self) -> Callable[[str], float]:
        """Tell how often a cause was counted since the test began."""
        before: dict[str, float] = {}

        def since(cause: str) -> float:
            now = counted(SIP_REFUSED, cause=cause)
            return now - before.setdefault(cause, now)

        return since

    def test_invite_and_bye(self, here: CaptureHere, visitor: SipVisitor) -> None:
        answer = visitor.invite(offer(4000), record_route="<sip:p1;lr>, <sip:p2;lr>")
        assert answer.status == 200
        assert answer.all("record-route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
        assert "+sip.srs" in answer.get("contact")
        (port,) = re.findall(rb"m=audio (\d+) RTP/AVP 0\r\n", answer.body)
        assert int(port) in here.sockets.rtp_ports
        assert b"a=recvonly" in answer.body
        bye = visitor.request("BYE")
        visitor.send(bye)
        assert visitor.final().status == 200
        until(lambda: ended(here, visitor.call_id))
        assert ended(here, visitor.call_id) == [EndReason.HUNG_UP]
        visitor.send(bye)
        assert visitor.final().status == 200, "A repeated request gets the same answer."
        assert visitor.ask("BYE").status in (200, 481), "A call that is over may be remembered for a while."
        assert ended(here, visitor.call_id) == [EndReason.HUNG_UP]

    def test_an_invite_that_comes_twice_is_one_call(self, here: CaptureHere, visitor: SipVisitor) -> None:
        invite = visitor.request("INVITE", body=offer(4000))
        visitor.send(invite)
        visitor.send(invite)
        first, second = visitor.final(), visitor.final()
        assert (first.status, second.status) == (200, 200)
        assert first.to.tag == second.to.tag
        visitor.to_tag = first.to.tag
        visitor.send(visitor.request("ACK", number=1))
        other_way = SipVisitor(here.sip)
        other_way.call_id, other_way.tag = visitor.call_id, visitor.tag
        assert other_way.ask("INVITE", body=offer(4000)).status == 482
        assert visitor.ask("BYE").status == 200

    def test_an_answer_is_repeated_until_it_is_acknowledged(self, visitor: SipVisitor) -> None:
        visitor.send(visitor.request("INVITE", body=offer(4000)))
        answers = [visitor.final() for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        visitor.to_tag = answers[0].to.tag
        visitor.send(visitor.request("ACK", number=1))
        assert visitor.ask("BYE").status == 200

    def test_a_call_that_is_never_acknowledged_is_hung_up(self, here: CaptureHere, visitor: SipVisitor) -> None:
        visitor.send(visitor.request("INVITE", body=offer(4000)))
        message = visitor.final()
        while message.method != "BYE":
            message = visitor.final()
        assert message.to.tag == visitor.tag
        until(lambda: ended(here, visitor.call_id))

    def test_cancel(self, here: CaptureHere, visitor: SipVisitor) -> None:
        free = here.capture.status().free_legs
        invite = visitor.request("INVITE", body=offer(4000))
        cancel = visitor.request("CANCEL", number=1, branch=invite.via.branch)
        statuses = {}
        with here.slow_disk():
            visitor.send(invite)
            assert visitor.receive().status == 100
            visitor.send(cancel)
            while "CANCEL" not in statuses:
                answer = visitor.final()
                statuses[answer.cseq[1]] = answer.status
        while "INVITE" not in statuses:
            answer = visitor.final()
            statuses[answer.cseq[1]] = answer.status
        assert statuses == {"CANCEL": 200, "INVITE": 487}
        visitor.send(visitor.request("ACK", number=1, branch=invite.via.branch))
        until(lambda: here.capture.status().free_legs == free)
        assert of_call(here, visitor.call_id, object) == [], "A call that never began leaves no record."
        stray = visitor.request("CANCEL", branch="z9hG4bKunknown")
        visitor.send(stray)
        while (answer := visitor.final()).cseq[1] != "CANCEL":
            pass
        assert answer.status == 481

    def test_hold_and_resume_by_reinvite_and_update(self, here: CaptureHere, visitor: SipVisitor) -> None:
        first = visitor.invite(offer(4000))
        held = visitor.invite(offer(4000, direction="sendonly"))
        assert held.status == 200
        assert re.findall(rb"m=audio (\d+)", held.body) == re.findall(rb"m=audio (\d+)", first.body)
        assert visitor.ask("UPDATE", body=offer(4000)).status == 200
        assert visitor.ask("UPDATE", body=offer(4000, host="0.0.0.0")).status == 200
        refreshed = visitor.ask("UPDATE", session_expires="1800", supported="timer")
        assert (refreshed.status, refreshed.body) == (200, b"")
        assert refreshed.get("session-expires") == "1800;refresher=uac"
        bare = visitor.invite(b"")
        assert (bare.status, b"m=audio" in bare.body) == (200, True), "A re-INVITE without an offer asks for ours."
        old = visitor.ask("UPDATE", number=1)
        assert old.status == 500
        no_codec = visitor.ask("UPDATE", number=50, body=offer(4000, formats="18"))
        visitor.number = 50
        assert no_codec.status == 488
        assert visitor.ask("BYE").status == 200
        until(lambda: ended(here, visitor.call_id))

    def test_hold_is_told(self, here: CaptureHere) -> None:
        caller = Caller(here.sip)
        call = caller.call()
        call.send([bytes(1600)])
        assert call.hold().status == 200
        assert call.resume().status == 200
        call.hang_up()
        external = call._dialog.call_id
        until(lambda: ended(here, external))
        (held,), (resumed,) = of_call(here, external, LegHeld), of_call(here, external, LegResumed)
        assert 0 < held.at_ms < resumed.at_ms

    def test_siprec_with_a_leg_added_and_metadata_later(self, here: CaptureHere, visitor: SipVisitor) -> None:
        first = visitor.invite(offer(4000, direction="sendonly"), contact="<sip:sbc@127.0.0.1>;+sip.src")
        assert re.findall(rb"a=label:(\d)", first.body) == [b"1"]
        second = visitor.invite(offer(4000, 4002, direction="sendonly"))
        assert re.findall(rb"a=label:(\d)", second.body) == [b"1", b"2"]
        ports = re.findall(rb"m=audio (\d+)", second.body)
        assert len(set(ports)) == 2
        xml = siprec_metadata("S9", [("1", Party("Ann", "sip:agent@x")), ("2", Party("Bob", "sip:customer@x"))])
        told = visitor.ask("UPDATE", body=xml.encode(), content_type="application/rs-metadata+xml")
        assert told.status == 200
        assert visitor.ask("BYE").status == 200
        until(lambda: ended(here, visitor.call_id))
        added = of_call(here, visitor.call_id, LegAdded)
        newest = {one.leg: one for one in added}
        assert [(newest[leg].role, newest[leg].role_verified) for leg in (0, 1)] == [
            (Role.AGENT, True),
            (Role.CUSTOMER, True),
        ]
        assert len(of_call(here, visitor.call_id, MetadataReceived)) == 1

    @pytest.mark.parametrize(
        ("method", "fields", "status", "cause"),
        [
            ("INVITE", {"body": offer()}, (400, 488), "no_media"),
            ("INVITE", {"body": b"hello"}, (400,), "bad_sdp"),
            ("INVITE", {}, (488,), "no_offer"),
            ("INVITE", {"body": offer(4000, formats="18")}, (488,), "no_codec"),
            ("INVITE", {"body": b"hello", "content_type": "text/plain"}, (415,), "content_type"),
            ("INVITE", {"body": offer(4000), "content_encoding": "gzip"}, (415,), "content_encoding"),
            ("INVITE", {"body": b"x", "content_type": "multipart/mixed;boundary=q"}, (400,), "bad_multipart"),
            ("INVITE", {"body": offer(4000), "require": "levitation, siprec"}, (420,), "extension"),
            ("INVITE", {"body": offer(4000), "contact": ""}, (400,), "no_contact"),
            (
                "INVITE",
                {"body": offer(4000), "session_expires": "30", "supported": "timer"},
                (422,),
                "short_session",
            ),
            ("BYE", {"to": "<sip:r@x>;tag=unknown"}, (481,), "no_dialog"),
            ("UPDATE", {"to": "<sip:r@x>;tag=unknown"}, (481,), "no_dialog"),
            ("INVITE", {"to": "<sip:r@x>;tag=unknown", "body": offer(4000)}, (481,), "no_dialog"),
        ],
    )
    def test_what_cannot_be_done_is_refused(
        self,
        here: CaptureHere,
        visitor: SipVisitor,
        refused: Callable[[str], float],
        method: str,
        fields: dict[str, object],
        status: tuple[int, ...],
        cause: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        refused(cause)
        free = here.capture.status().free_legs
        answer = visitor.ask(method, **fields)
        assert answer.status in status
        assert SipVisitor(here.sip).ask("OPTIONS").status == 200
        if not self.SOME_COUNTED or cause != "no_dialog":
            assert refused(cause) == 1
        assert here.capture.status().free_legs == free
        needed = {420: "unsupported", 422: "min-se"}.get(answer.status)
        assert needed is None or answer.get(needed)
        sentences = [one.getMessage() for one in caplog.records if one.name == "telephony.sip_refusals"]
        assert len(sentences) <= 1

    def test_all_ports_in_use_and_free_again(self, here: CaptureHere) -> None:
        until(lambda: here.capture.status().free_legs == 6)
        callers = [Caller(here.sip) for _ in range(4)]
        calls = [caller.call([Encoding.PCMU, Encoding.PCMA]) for caller in callers[:3]]
        with pytest.raises(CallFailed, match="503"):
            callers[3].call()
        calls[0].hang_up()
        until(lambda: here.capture.status().free_legs == 2)
        fourth = callers[3].call([Encoding.PCMU, Encoding.PCMU])
        for call in (calls[1], calls[2], fourth):
            assert call.hang_up().status == 200
        until(lambda: here.capture.status().free_legs == 6)

    def test_tcp_with_keep_alives_and_several_messages_at_once(self, here: CaptureHere) -> None:
        with socket.create_connection(here.sip, timeout=10) as connection:
            connection.sendall(b"\r\n\r\n")
            visitor = SipVisitor(here.sip)
            one = visitor.request("OPTIONS").serialize().replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
            two = visitor.request("OPTIONS").serialize().replace(b"SIP/2.0/UDP", b"SIP/2.0/TCP")
            for at in range(0, len(one + two), 100):
                connection.sendall((one + two)[at : at + 100])
            got = b""
            while got.count(b"SIP/2.0 200 OK") < 2 or not got.endswith(b"\r\n\r\n"):
                got += connection.recv(65536).removeprefix(b"\r\n")
            connection.sendall(b"X" * 40_000)
        assert SipVisitor(here.sip).ask("OPTIONS").status == 200

    def test_rtp_of_strangers_and_on_wrong_ports_is_counted(self, here: CaptureHere) -> None:
        def of(cause: str) -> float:
            return counted(RTP_REFUSED, cause=cause)

        before = {cause: of(cause) for cause in ("foreign_source", "no_call", "too_short", "unknown_payload_type")}
        call = Caller(here.sip).call()
        stream = call.streams[0]
        stream.send(bytes(160))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(3):
                stranger.sendto(b"\x80\x00" + bytes(170), stream.to)
            free = next(port for port in here.sockets.rtp_ports if port != stream.to[1])
            stranger.sendto(b"\x80\x00" + bytes(170), ("127.0.0.1", free))
        stream.socket.sendto(b"\x80", stream.to)
        stream.socket.sendto(b"\x80\x12" + bytes(20), stream.to)
        stream.socket.sendto(b"\x80\xc8" + bytes(20), stream.to)  # RTCP is neither refused nor heard
        until(lambda: of("unknown_payload_type") > before["unknown_payload_type"])
        until(lambda: of("no_call") > before["no_call"])
        assert of("foreign_source") == before["foreign_source"] + 3
        assert of("too_short") == before["too_short"] + 1
        call.hang_up()

    @pytest.mark.parametrize("name", sorted(path.stem for path in MESSAGES.glob("*.sip")))
    def test_broken_messages_disturb_nobody(self, here: CaptureHere, visitor: SipVisitor, name: str) -> None:
        visitor.invite(offer(4000))
        stranger = SipVisitor(here.sip)
        stranger.send(broken_message(name, stranger.port))
        assert SipVisitor(here.sip).ask("OPTIONS").status == 200
        assert visitor.invite(offer(4000, direction="sendonly")).status == 200
        assert visitor.ask("BYE").status == 200


class SipEndpointAloneLaws:
    """Laws that need a capture of their own."""

    ENDPOINT: ClassVar[str]

    def test_media_timeout_hangs_up(self, tmp_path: Path) -> None:
        settings = CaptureSettings(sip=FAST.sip, media=MediaSettings(media_timeout_s=0.6, linger_ms=0))
        with CaptureHere(tmp_path, settings, legs=2, endpoint=self.ENDPOINT) as here:
            visitor = SipVisitor(here.sip)
            visitor.invite(offer(4000))
            bye = visitor.final()
            assert bye.method == "BYE"
            assert (bye.to.tag, bye.from_.tag, bye.call_id) == (visitor.tag, visitor.to_tag, visitor.call_id)
            answer = SipMessage(
                [(name, bye.get(name)) for name in ("via", "from", "to", "call-id", "cseq")],
                status=200,
                reason="OK",
            )
            visitor.send(answer)
            assert visitor.quiet(0.5), "An answered BYE is not repeated."
            until(lambda: ended(here, visitor.call_id))
            assert ended(here, visitor.call_id) == [EndReason.MEDIA_TIMEOUT]

    def test_stopping_hangs_up(self, tmp_path: Path) -> None:
        with CaptureHere(tmp_path, FAST, legs=2, endpoint=self.ENDPOINT) as here:
            visitor = SipVisitor(here.sip)
            visitor.invite(offer(4000))
            here.stop()
            assert visitor.final().method == "BYE"
            assert ended(here, visitor.call_id) == [EndReason.SHUT_DOWN]
