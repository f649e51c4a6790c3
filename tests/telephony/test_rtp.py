"""RTP parsing: broken packets beside good ones (packets/*.bin), and both parsers of one mind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telephony.rtp import SENTENCES, Refusal, RtpPacket, is_rtcp, read_header, unwrap

PACKETS = Path(__file__).parent / "packets"
BROKEN = {
    "empty": Refusal.TOO_SHORT,
    "eleven_bytes": Refusal.TOO_SHORT,
    "version_1": Refusal.BAD_VERSION,
    "version_0_stun": Refusal.BAD_VERSION,
    "csrc_truncated": Refusal.CSRC_TRUNCATED,
    "extension_header_truncated": Refusal.EXTENSION_TRUNCATED,
    "extension_truncated": Refusal.EXTENSION_TRUNCATED,
    "padding_zero": Refusal.BAD_PADDING,
    "padding_too_long": Refusal.BAD_PADDING,
    "padding_without_payload": Refusal.BAD_PADDING,
}


def kernel(data: bytes) -> tuple[Refusal, tuple[int, ...]]:
    buffer = np.zeros(2048, np.uint8)
    buffer[: len(data)] = np.frombuffer(data, np.uint8)
    header = np.zeros(6, np.int64)
    refusal = Refusal(read_header(buffer, len(data), header))
    return refusal, tuple(header.tolist())


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_packets(name: str) -> None:
    data = (PACKETS / f"{name}.bin").read_bytes()
    with pytest.raises(ValueError) as error:
        RtpPacket.parse(data)
    assert str(error.value) == SENTENCES[BROKEN[name]]
    assert kernel(data)[0] is BROKEN[name]


def test_no_broken_packet_is_left_out() -> None:
    good = {"pcmu", "csrc_extension_padding", "rtcp_sender_report"}
    assert {path.stem for path in PACKETS.glob("*.bin")} == set(BROKEN) | good


def test_plain_packet() -> None:
    packet = RtpPacket.parse((PACKETS / "pcmu.bin").read_bytes())
    assert (packet.payload_type, packet.sequence, packet.timestamp) == (0, 15743, 3937035252)
    assert (packet.ssrc, packet.marker, len(packet.payload)) == (0x5F320B14, True, 160)
    assert packet.serialize() == (PACKETS / "pcmu.bin").read_bytes()


def test_everything_a_header_can_have() -> None:
    data = (PACKETS / "csrc_extension_padding.bin").read_bytes()
    packet = RtpPacket.parse(data)
    assert packet.csrc == (1, 0xFFFFFFFF)
    assert (packet.extension_profile, packet.extension) == (0xBEDE, b"\x10\xff\x00\x00")
    assert (packet.padding, packet.payload) == (4, b"\x01\x02\x03")
    assert packet.serialize() == data
    refusal, header = kernel(data)
    assert refusal is Refusal.NONE
    assert data[header[4] : header[4] + header[5]] == packet.payload


def test_rtcp_is_told_apart() -> None:
    assert is_rtcp((PACKETS / "rtcp_sender_report.bin").read_bytes())
    assert not is_rtcp((PACKETS / "pcmu.bin").read_bytes())


@settings(deadline=None)
@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda tail: b"\xb2\x00" + tail))
def test_both_parsers_agree_on_anything(data: bytes) -> None:
    refusal, header = kernel(data)
    if refusal is not Refusal.NONE:
        with pytest.raises(ValueError) as error:
            RtpPacket.parse(data)
        assert str(error.value) == SENTENCES[refusal]
        return
    packet = RtpPacket.parse(data)
    assert header[:4] == (packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc)
    assert data[header[4] : header[4] + header[5]] == packet.payload


@settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(-30_000, 30_000), st.sampled_from([16, 32]))
def test_numbers_that_wrap(newest: int, ahead: int, bits: int) -> None:
    true = newest + ahead
    assert unwrap(true & (2**bits - 1), newest, bits) == true
