"""Requests of ours within a dialog: which way they go, and that they are repeated until they are answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from telephony.sip_dialog import Dialog
from telephony.sip_message import SipMessage, SipRefused
from telephony.sip_transaction import ClientTransaction, SipTimers
from telephony.sip_transport import Address, Flow, SipTransport

logger = logging.getLogger(__name__)

_CONNECT_S: Final = 3.0


class OutgoingRequests:
    """Client transactions by branch."""

    def __init__(self, transport: SipTransport, timers: SipTimers) -> None:
        self._transport = transport
        self._timers = timers
        self._open: dict[str, ClientTransaction] = {}

    async def send(self, method: str, dialog: Dialog, flow: Flow | None, sent_by: Address) -> None:
        """Send a request; `flow` is the connection that the dialog used last, if there is one."""
        way = await self._way(dialog, flow)
        if way is None:
            logger.warning("The caller of call %s cannot be reached with a %s.", dialog.call, method)
            return
        request, branch = dialog.request(method, way.protocol, sent_by)
        self._open[branch] = ClientTransaction(
            request.serialize(), way, self._timers, lambda _: self._drop(branch)
        )

    def answered(self, message: SipMessage) -> None:
        """Take a response; one that belongs to no request of ours is ignored. Raises SipRefused."""
        try:
            request = self._open.get(message.via.branch)
        except ValueError as error:
            raise SipRefused("bad_via", f"A SIP response belongs to nothing: {error}", 0) from None
        if request is not None:
            request.answered(message.status)

    async def finish(self, longest_s: float) -> None:
        """Wait until all are answered, or for `longest_s`; give the rest up."""
        deadline = asyncio.get_running_loop().time() + longest_s
        while self._open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        for request in self._open.values():
            request.close()

    async def _way(self, dialog: Dialog, flow: Flow | None) -> Flow | None:
        hop = dialog.next_hop()
        if dialog.protocol == "UDP":
            return self._transport.udp_flow(hop)
        if flow is not None and flow.alive:
            return flow
        try:
            return self._transport.tcp_flow(hop) or await self._transport.connect(hop, _CONNECT_S)
        except (OSError, TimeoutError):
            return None

    def _drop(self, branch: str) -> None:
        self._open.pop(branch, None)
