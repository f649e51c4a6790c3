"""Transactions (RFC 3261, 17): repeats are answered alike, answers are repeated until they are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from telephony.sip_message import SipMessage, Via
from telephony.sip_transport import Address, Flow

MAGIC: Final = "z9hG4bK"


@dataclass(frozen=True, slots=True)
class SipTimers:
    t1_s: float = 0.5
    """Estimate of a round trip; everything else follows from it."""
    t2_s: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.t1_s <= self.t2_s:
            raise ValueError("Of SIP's timers, T1 is positive and not longer than T2.")

    @property
    def patience_s(self) -> float:
        """64 * T1: how long a transaction lives."""
        return 64 * self.t1_s


def transaction_key(request: SipMessage) -> Hashable:
    """Return what tells a request's transaction (17.2.3); an ACK or CANCEL has its INVITE's where that is so."""
    via = request.via
    number, _ = request.cseq
    method = "INVITE" if request.method == "ACK" else request.method
    if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
        return via.branch, via.host.lower(), via.port, method
    return request.call_id, number, request.from_.tag, via.text, method


def reply_address(via: Via, source: Address) -> Address:
    """Return where a datagram's answer goes (18.2.2, RFC 3581)."""
    if "rport" in via.parameters:
        return source
    return source[0], via.port or 5060


class ServerTransaction:
    """One request and its answer. `acknowledged` says what happened to an INVITE's final answer."""

    def __init__(
        self,
        request: SipMessage,
        flow: Flow,
        timers: SipTimers,
        ended: Callable[[], None],
        unacknowledged: Callable[[], None] | None = None,
    ) -> None:
        self.request = request
        self.flow = flow
        self._timers = timers
        self._ended = ended
        self._unacknowledged = unacknowledged
        self._to = reply_address(request.via, flow.source)
        self._answer: bytes | None = None
        self._status = 0
        self._repeat: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.cancelled = False

    @property
    def final(self) -> bool:
        return self._status >= 200

    def respond(self, response: SipMessage) -> None:
        """Send a response; a final one starts the timers."""
        if self.final:
            return
        self._status = response.status
        self._answer = response.serialize()
        self._send()
        if not self.final:
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._timers.patience_s, self._give_up)
        if self.request.method == "INVITE" and (self.flow.protocol == "UDP" or self._status < 300):
            self._repeat = loop.call_later(self._timers.t1_s, self._again, self._timers.t1_s)

    def repeated(self) -> None:
        """The request came again."""
        if self._answer is not None:
            self._send()

    def acknowledge(self) -> None:
        """The ACK came: an INVITE's answer is repeated no more."""
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None
        self._unacknowledged = None

    def close(self) -> None:
        for timer in (self._repeat, self._deadline):
            if timer is not None:
                timer.cancel()

    def _send(self) -> None:
        if self._answer is not None:
            self.flow.send(self._answer, self._to if self.flow.protocol == "UDP" else None)

    def _again(self, interval_s: float) -> None:
        self._send()
        longer = min(2 * interval_s, self._timers.t2_s)
        self._repeat = asyncio.get_running_loop().call_later(longer, self._again, longer)

    def _give_up(self) -> None:
        self.close()
        self._ended()
        if self.request.method == "INVITE" and self._status < 300 and self._unacknowledged is not None:
            self._unacknowledged()


class ClientTransaction:
    """A request of ours other than INVITE, repeated until a final answer or 64 * T1 (17.1.2)."""

    def __init__(self, data: bytes, flow: Flow, timers: SipTimers, ended: Callable[[int], None]) -> None:
        self._data = data
        self._flow = flow
        self._timers = timers
        self._ended = ended
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(timers.patience_s, self._finish, 408)
        self._repeat: asyncio.TimerHandle | None = None
        flow.send(data)
        if flow.protocol == "UDP":
            self._repeat = loop.call_later(timers.t1_s, self._again, timers.t1_s)

    def answered(self, status: int) -> None:
        if status >= 200:
            self._finish(status)

    def close(self) -> None:
        self._deadline.cancel()
        if self._repeat is not None:
            self._repeat.cancel()

    def _again(self, interval_s: float) -> None:
        self._flow.send(self._data)
        longer = min(2 * interval_s, self._timers.t2_s)
        self._repeat = asyncio.get_running_loop().call_later(longer, self._again, longer)

    def _finish(self, status: int) -> None:
        self.close()
        self._ended(status)
