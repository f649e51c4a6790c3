"""The built-in endpoint: the laws of SIP endpoints, and what it alone promises."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from events.metrics import SIP_REFUSED, counted
from tests.builders.capture_here import CaptureHere, SipVisitor, offer
from tests.contracts.sip_endpoint_laws import (
    FAST,
    MESSAGES,
    SipEndpointAloneLaws,
    SipEndpointLaws,
    broken_message,
)


class TestBuiltInEndpoint(SipEndpointLaws):
    ENDPOINT = "built-in"


class TestBuiltInEndpointAlone(SipEndpointAloneLaws):
    ENDPOINT = "built-in"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptureHere]:
    with CaptureHere(tmp_path_factory.mktemp("capture"), FAST) as here:
        yield here


@pytest.fixture
def visitor(here: CaptureHere) -> SipVisitor:
    return SipVisitor(here.sip)


def test_options(visitor: SipVisitor) -> None:
    answer = visitor.ask("OPTIONS")
    assert answer.status == 200
    assert answer.get("allow") == "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"
    assert "application/rs-metadata+xml" in answer.get("accept")
    assert answer.tokens("supported") == ["siprec", "timer", "record-aware"]


def test_a_late_bye_belongs_to_no_call(visitor: SipVisitor) -> None:
    visitor.invite(offer(4000))
    assert [visitor.ask("BYE").status for _ in range(2)] == [200, 481]


@pytest.mark.parametrize(
    ("method", "fields", "status", "cause"),
    [
        ("SUBSCRIBE", {}, 405, "method"),
        ("LEVITATE", {}, 405, "method"),
        ("INVITE", {"body": b"v=0\r\n"}, 488, "no_media"),
        ("INVITE", {"body": offer(4000, formats="18 96")}, 488, "no_codec"),
        ("INVITE", {"body": offer(4000), "require": "100rel, siprec"}, 420, "extension"),
    ],
)
def test_what_it_refuses(
    visitor: SipVisitor, method: str, fields: dict[str, object], status: int, cause: str
) -> None:
    before = counted(SIP_REFUSED, cause=cause)
    answer = visitor.ask(method, **fields)
    assert answer.status == status
    assert bool(answer.get("allow")) == (status == 405)
    assert counted(SIP_REFUSED, cause=cause) == before + 1


@pytest.mark.parametrize("name", sorted(path.stem for path in MESSAGES.glob("*.sip")))
def test_broken_messages_are_answered_where_that_is_safe(here: CaptureHere, name: str) -> None:
    visitor = SipVisitor(here.sip)
    visitor.send(broken_message(name, visitor.port))
    answered = {"version_3": 505}.get(name, 400)
    silent = {"not_sip", "request_line_short", "status_line", "no_colon", "not_utf8", "no_via", "via_port"}
    if name not in silent:
        assert visitor.final().status == answered
    assert visitor.ask("OPTIONS").status == 200


def test_keep_alives_over_tcp_are_answered(here: CaptureHere) -> None:
    with socket.create_connection(here.sip, timeout=10) as connection:
        connection.sendall(b"\r\n\r\n")
        assert connection.recv(10) == b"\r\n"


def test_a_connection_without_messages_is_closed(here: CaptureHere) -> None:
    with socket.create_connection(here.sip, timeout=10) as connection:
        connection.sendall(b"X" * 40_000)
        rest = b"x"
        while rest:
            try:
                rest = connection.recv(65536)
            except ConnectionResetError:
                break
