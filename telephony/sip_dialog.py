"""A dialog (RFC 3261, 12) of a call that records here: what a successor process needs to go on with it."""

from __future__ import annotations

import re
import secrets
from typing import Final

import msgspec

from events.identity import CallId
from telephony.plan import CallPlan
from telephony.sip_message import SipMessage
from telephony.sip_transport import Address

_HOST_PORT: Final = re.compile(r"sips?:(?:[^@>]*@)?([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::([0-9]{1,5}))?(?:[;?>].*)?")


class MediaLine(msgspec.Struct, frozen=True):
    """One m-line of the session, in the order of the offers. `leg` is None for a refused line."""

    leg: int | None
    first_direction: str = "sendrecv"


class Dialog(msgspec.Struct):
    """We are the called side: our tag is in To, the caller's in From."""

    call: CallId
    call_id: str
    local_tag: str
    remote_tag: str
    local: str
    """The To header, with our tag."""
    remote: str
    """The From header, with the caller's tag."""
    target: str
    """The caller's Contact."""
    routes: list[str]
    contact: str
    """Ours."""
    address: str
    """Our media address, as in the answers."""
    protocol: str
    source: Address
    """Where the INVITE came from."""
    remote_number: int
    """CSeq of the newest request."""
    invite_branch: str
    invite_number: int
    local_number: int = 0
    session_id: int = 0
    version: int = 1
    answer: bytes = b""
    """The newest SDP that we sent."""
    lines: tuple[MediaLine, ...] = ()
    siprec: bool = False
    acknowledged: bool = False
    session_expires_s: int = 0
    plan: CallPlan | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.call_id, self.local_tag, self.remote_tag

    def request(self, method: str, protocol: str, sent_by: Address) -> tuple[SipMessage, str]:
        """Build a request of ours within the dialog; return it and its branch."""
        self.local_number += 1
        branch = f"z9hG4bK{secrets.token_hex(12)}"
        uri, routes = self.target, self.routes
        if routes and ";lr" not in routes[0].lower():
            # A strict router wants to be the request's address itself (12.2.1.1).
            uri, routes = routes[0].strip("<>").partition(">")[0], [*routes[1:], f"<{self.target}>"]
        headers = [
            ("via", f"SIP/2.0/{protocol} {sent_by[0]}:{sent_by[1]};branch={branch};rport"),
            ("max-forwards", "70"),
            *(("route", route) for route in routes),
            ("from", self.local),
            ("to", self.remote),
            ("call-id", self.call_id),
            ("cseq", f"{self.local_number} {method}"),
            ("user-agent", "callwarden"),
        ]
        return SipMessage(headers, method=method, uri=uri), branch

    def next_hop(self) -> Address:
        """Return where our requests go: the first route or the target where that is a number, else the source."""
        match = _HOST_PORT.fullmatch((self.routes[0] if self.routes else self.target).strip().strip("<>"))
        if match is None or int(match[2] or 5060) > 65535:
            return self.source
        return match[1], int(match[2] or 5060)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def load(cls, stored: bytes) -> Dialog:
        return msgspec.msgpack.decode(stored, type=cls)
