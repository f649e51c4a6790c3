"""What signalling has agreed about a call: the whole of it, newest state, as plain data.

Signalling never tells media what to do step by step. It makes a new plan and hands it over; media compares it
with what it has and does and records the difference. So a plan can be stored, and applied again after a crash.
"""

from __future__ import annotations

import msgspec

from events.audio import Encoding
from events.identity import CallId, Role
from events.lifecycle import CallSourceKind
from telephony.leg import PayloadKind


class LegPlan(msgspec.Struct, frozen=True):
    """One leg. `port` is ours and decides whose a packet is."""

    leg: int
    port: int
    encoding: Encoding
    payload_kinds: tuple[tuple[int, PayloadKind], ...]
    announced: int = 0
    """Where the peer's SDP says its media lives: IPv4 address << 16 | port, 0 for nowhere."""
    label: str = ""
    role: Role = Role.UNKNOWN
    role_verified: bool = False
    speaker_name: str = ""
    speaker_uri: str = ""
    held: bool = False


class CallPlan(msgspec.Struct, frozen=True):
    call: CallId
    source: CallSourceKind
    legs: tuple[LegPlan, ...]
    from_uri: str = ""
    to_uri: str = ""
    external_id: str = ""
    metadata: dict[str, str] = {}
    metadata_xml: str = ""
    """SIPREC metadata as it came last."""
