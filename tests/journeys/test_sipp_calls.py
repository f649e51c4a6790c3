"""Calls placed by sipp, a SIP client that is not ours: every 20 ms frame captured is exactly what was sent."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from events.audio import AudioBlock, Encoding
from events.identity import CallId, Role
from events.lifecycle import CallEnded, CallSourceKind, CallStarted, EndReason, LegAdded, MetadataReceived
from telephony.caller import Caller, RtpStream, send_paced
from telephony.rtp import RtpPacket
from tests.builders.capture_bench import CaptureBench, blocks_of, until
from tests.services.needed import pjsua2_module, services

SCENARIOS = Path(__file__).parent / "sipp"
FRAME = 160

pytestmark = [
    pytest.mark.sipp,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp is missing: apt-get install sip-tester"),
]


@pytest.fixture(params=["built-in", pytest.param("pjsua2", marks=services)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CaptureBench]:
    if request.param == "pjsua2":
        pjsua2_module()
    with CaptureBench(tmp_path, endpoint=request.param) as bench:
        yield bench


def sipp(bench: CaptureBench, scenario: str, transport: str = "u1", **values: str) -> subprocess.Popen[bytes]:
    """Start sipp with one call of a scenario, after filling its upper-case words in."""
    text = (SCENARIOS / f"{scenario}.xml").read_text()
    for name, value in values.items():
        text = text.replace(name, value)
    file = bench.folder / f"{scenario}-{len(list(bench.folder.iterdir()))}.xml"
    file.write_text(text)
    return subprocess.Popen(
        [
            *f"sipp 127.0.0.1:{bench.sip[1]} -sf {file.name} -m 1 -i 127.0.0.1 -t {transport}".split(),
            *f"-nostdin -timeout 60s -trace_msg -message_file {file.stem}.log".split(),
        ],
        cwd=bench.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def ended(bench: CaptureBench, calls: int = 1) -> list[CallId]:
    until(lambda: sum(isinstance(one, CallEnded) for one in bench.lifecycle()) == calls)
    return bench.calls()


def frames_captured(blocks: list[AudioBlock], sent: bytes) -> int:
    """Return how many of the sent frames were captured, sample by sample, in their order and place."""
    whole = b"".join(block.payload or b"\0" * block.samples for block in blocks)
    at = whole.find(sent[:FRAME])
    if at < 0:
        return 0
    frames = range(0, len(sent), FRAME)
    return sum(whole[at + one : at + one + FRAME] == sent[one : one + FRAME] for one in frames)


def pcap_of(payload: bytes, path: Path) -> None:
    """Write G.711 payload as RTP, 20 ms a packet, in the classic pcap format (Ethernet, IPv4, UDP)."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, at in enumerate(range(0, len(payload), FRAME)):
            part = payload[at : at + FRAME]
            rtp = RtpPacket(0, 65530 + number, 2**32 - 1600 + at, 0x1234, part, number == 0).serialize()
            udp = struct.pack("!HHHH", 6000, 6002, 8 + len(rtp), 0) + rtp
            ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0, *[b"\x7f\0\0\1"] * 2)
            frame = bytes(12) + b"\x08\0" + ip + udp
            seconds, micros = divmod(number * 20_000, 1_000_000)
            file.write(struct.pack("<IIII", 1 + seconds, micros, len(frame), len(frame)) + frame)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_plain_call_by_rtp_stream(bench: CaptureBench, transport: str) -> None:
    sent = random.Random(transport).randbytes(FRAME * 150)
    (bench.folder / "speech.raw").write_bytes(sent)
    play = f"{bench.folder}/speech.raw,1,0"
    client = sipp(
        bench,
        "plain",
        transport,
        PLAY="rtp_stream",
        FILE=play,
        DURATION_MS="3500",
        **{"[MEDIA_PORT]": "[rtpstream_audio_port]"},
    )
    assert client.wait(60) == 0
    (call,) = ended(bench)
    blocks = blocks_of(bench.audio(call), 0)
    assert frames_captured(blocks, sent) == 150
    started, added = bench.lifecycle(call)[:2]
    assert isinstance(started, CallStarted)
    assert started.source is CallSourceKind.SIP
    assert isinstance(added, LegAdded)
    assert (added.role, added.role_verified) == (Role.MIXED, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="sipp's play_pcap_audio needs a raw socket: run as root")
def test_plain_call_by_play_pcap_audio(bench: CaptureBench) -> None:
    sent = random.Random(1).randbytes(FRAME * 150)
    pcap_of(sent, bench.folder / "speech.pcap")
    client = sipp(
        bench,
        "plain",
        PLAY="play_pcap_audio",
        FILE=f"{bench.folder}/speech.pcap",
        DURATION_MS="3500",
        **{"[MEDIA_PORT]": "[media_port]"},
    )
    assert client.wait(60) == 0
    (call,) = ended(bench)
    assert frames_captured(blocks_of(bench.audio(call), 0), sent) == 150


def answered_ports(log: Path) -> list[int]:
    """Return the media ports of the 200 in sipp's message log, none before it came."""
    if not log.exists():
        return []
    _, found, answer = log.read_text(errors="replace").partition("SIP/2.0 200")
    return [int(port) for port in re.findall(r"^m=audio (\d+)", answer, re.MULTILINE)] if found else []


def test_siprec_call(bench: CaptureBench) -> None:
    draw = random.Random(2)
    customer, agent = draw.randbytes(FRAME * 150), draw.randbytes(FRAME * 150)
    (bench.folder / "customer.raw").write_bytes(customer)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(("127.0.0.1", 0))
        client = sipp(
            bench,
            "siprec",
            "t1",
            FILE=f"{bench.folder}/customer.raw",
            DURATION_MS="4500",
            SECOND_PORT=str(second.getsockname()[1]),
        )
        (log,) = [bench.folder / f"{file.stem}.log" for file in bench.folder.glob("siprec-*.xml")]
        until(lambda: len(answered_ports(log)) == 2)
        stream = RtpStream(second, Encoding.PCMA, to=("127.0.0.1", answered_ports(log)[1]), ssrc=0x1234)
        send_paced([stream], [agent])
        assert client.wait(60) == 0
    (call,) = ended(bench)
    audio, lifecycle = bench.audio(call), bench.lifecycle(call)
    first, second_leg = blocks_of(audio, 0), blocks_of(audio, 1)
    assert frames_captured(first, customer) == 150
    assert frames_captured(second_leg, agent) == 150
    assert {block.encoding for block in first} == {Encoding.PCMU}
    assert {block.encoding for block in second_leg} == {Encoding.PCMA}
    # The metadata crosses the order of the labels over: the first stream is the customer's all the same.
    assert [(one.role, one.role_verified, one.label) for one in lifecycle if isinstance(one, LegAdded)] == [
        (Role.CUSTOMER, True, "96"),
        (Role.AGENT, True, "97"),
    ]
    assert any(isinstance(one, MetadataReceived) and "hVpd7YQgRW2nD22h7q60JQ" in one.xml for one in lifecycle)
    assert "SIP/2.0 200" in log.read_text()
    assert "+sip.srs" in log.read_text()


def test_two_calls_at_once_and_one_misbehaves(bench: CaptureBench) -> None:
    sent = random.Random(3).randbytes(FRAME * 150)
    (bench.folder / "speech.raw").write_bytes(sent)
    client = sipp(
        bench,
        "plain",
        PLAY="rtp_stream",
        FILE=f"{bench.folder}/speech.raw,1,0",
        DURATION_MS="3500",
        **{"[MEDIA_PORT]": "[rtpstream_audio_port]"},
    )
    bad = Caller(bench.sip)
    call = bad.call()
    victim = next(port for port in bench.sockets.rtp_ports if port != call.streams[0].to[1])
    stream = call.streams[0]
    for number in range(200):
        stream.socket.sendto(bytes([number]) * (number % 40), stream.to)  # no RTP
        stream.socket.sendto(os.urandom(172), ("127.0.0.1", victim))  # not its port
        stream.sequence = number * 7919 & 0xFFFF  # numbers that leap
        stream.send(bytes(FRAME))
        bad._socket.sendto(os.urandom(300) + b"\r\n\r\n", bench.sip)
        bad._socket.sendto(b"BYE sip:x SIP/2.0\r\nVia: nonsense\r\n\r\n", bench.sip)
    assert client.wait(60) == 0
    until(lambda: any(isinstance(one, CallEnded) for one in bench.lifecycle()))
    call.hang_up()
    calls = ended(bench, 2)
    good = next(
        one.call
        for one in bench.lifecycle()
        if isinstance(one, CallStarted) and one.from_uri.startswith("sip:sipp@")
    )
    assert good in calls
    assert frames_captured(blocks_of(bench.audio(good), 0), sent) == 150
    reasons = [one.reason for one in bench.lifecycle() if isinstance(one, CallEnded)]
    assert reasons == [EndReason.HUNG_UP, EndReason.HUNG_UP]
    assert "RTP packet" in bench.stderr()
    if bench.endpoint == "built-in":
        assert "header lines that are not UTF-8 text" in bench.stderr()
