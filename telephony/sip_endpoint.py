"""The SIP endpoint: a recording server (RFC 7866) and plain called party, over UDP and TCP, on one asyncio loop.

Whatever a message is like, it gets the right status, one sentence in the log and a counter, and no other call
notices. A call is answered only once its dialog is stored, so that a successor process can go on with it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import socket
from collections.abc import Coroutine, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from events.errors import CallwardenError
from events.identity import CallId, new_call_id
from events.lifecycle import EndReason
from events.metrics import SIP_REFUSED, count
from telephony.call_desk import CallDesk
from telephony.endpoint import Calls, EndpointFactory
from telephony.sip_answers import (
    ALLOW,
    cannot_store,
    capabilities,
    check_extensions,
    contact_of,
    session_headers,
    session_timer,
)
from telephony.sip_dialog import Dialog
from telephony.sip_message import SipMessage, SipRefused, response
from telephony.sip_outgoing import OutgoingRequests
from telephony.sip_refusals import Refusals
from telephony.sip_transaction import (
    ServerTransaction,
    SipTimers,
    reply_address,
    transaction_key,
)
from telephony.sip_transport import Address, Flow, SipTransport
from telephony.sockets import CaptureSockets, host_towards

logger = logging.getLogger(__name__)

_STOP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SipSettings:
    timers: SipTimers = field(default_factory=SipTimers)
    advertised_host: str = ""
    """IPv4 address that callers reach us under (behind NAT); empty: the address of the interface they came by."""

    def __post_init__(self) -> None:
        if self.advertised_host:
            try:
                ipaddress.IPv4Address(self.advertised_host)
            except ValueError:
                raise ValueError("The advertised host is an IPv4 address.") from None


def built_in(settings: SipSettings) -> EndpointFactory:
    """Return what makes this endpoint on the SIP sockets that capture was given."""

    def make(sockets: CaptureSockets, desk: CallDesk, calls: Calls) -> SipEndpoint:
        udp, tcp = sockets.sip()
        return SipEndpoint(udp, tcp, desk, calls, settings)

    return make


class SipEndpoint:
    """See the module. All methods run on the loop's thread."""

    def __init__(
        self,
        udp: socket.socket,
        tcp: socket.socket,
        desk: CallDesk,
        calls: Calls,
        settings: SipSettings,
    ) -> None:
        self._desk = desk
        self._calls = calls
        self._settings = settings
        self._address: Address = udp.getsockname()[:2]
        self._transport = SipTransport(udp, tcp, self)
        self._transactions: dict[Hashable, ServerTransaction] = {}
        self._outgoing = OutgoingRequests(self._transport, settings.timers)
        self._dialogs: dict[tuple[str, str, str], Dialog] = {}
        self._by_call: dict[CallId, Dialog] = {}
        self._busy: set[CallId] = set()
        self._flows: dict[CallId, Flow] = {}
        self._refusals = Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer = ThreadPoolExecutor(1, "call-store")

    async def start(self, restored: Sequence[tuple[Dialog, bool]] = ()) -> None:
        """Serve. `restored` are the dialogs of a process that died, and whether they have ended."""
        for dialog, ended in restored:
            if not ended:
                self._dialogs[dialog.key] = dialog
                self._by_call[dialog.call] = dialog
        await self._transport.start()
        loop = asyncio.get_running_loop()
        for dialog, ended in restored:
            if not ended and not dialog.acknowledged:
                loop.call_later(self._settings.timers.patience_s, self._never_acknowledged, dialog.call)

    async def stop(self) -> None:
        """Hang up all calls, wait shortly for the answers, and close."""
        for call in list(self._by_call):
            self.hang_up(call, EndReason.SHUT_DOWN)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)
        await self._outgoing.finish(_STOP_S)
        for task in list(self._tasks):
            task.cancel()
        for transaction in self._transactions.values():
            transaction.close()
        self._transport.close()
        self._writer.shutdown(wait=True)

    @property
    def address(self) -> Address:
        return self._address

    @property
    def dialogs(self) -> int:
        return len(self._by_call)

    failed = False

    def hang_up(self, call: CallId, reason: EndReason) -> None:
        """End a call from our side."""
        dialog = self._by_call.get(call)
        if dialog is not None:
            self._spawn(self._hang_up(dialog, reason))

    # What transports call

    def received(self, data: bytes, flow: Flow) -> None:
        """Take one message; never raises."""
        message: SipMessage | None = None
        try:
            message = SipMessage.parse(data)
            if message.is_request:
                message.check_request()
                self._request(message, flow)
            else:
                self._outgoing.answered(message)
        except SipRefused as error:
            self._refuse(message or error.message, error, flow)
        except Exception:
            logger.exception("A SIP message could not be served; other calls go on.")
            count(SIP_REFUSED, cause="internal")
            if message is not None and message.is_request and message.method != "ACK":
                self._answer_statelessly(message, 500, flow)

    def refused(self, error: SipRefused, flow: Flow) -> None:
        """Take note of bytes that are no message."""
        self._refusals.note(error, flow.source[0])

    # Requests

    def _request(self, request: SipMessage, flow: Flow) -> None:
        key = transaction_key(request)
        known = self._transactions.get(key)
        if request.method == "ACK":
            self._acknowledge(request, known)
            return
        if known is not None:
            known.repeated()
            return
        if request.method == "INVITE" and self._answer_again(request, flow):
            return
        transaction = self._open(key, request, flow)
        try:
            check_extensions(request)
            self._dispatch(request, transaction, flow)
        except SipRefused as error:
            self._reject(transaction, error, flow)

    def _dispatch(self, request: SipMessage, transaction: ServerTransaction, flow: Flow) -> None:
        match request.method:
            case "INVITE" | "UPDATE" if request.to.tag:
                self._spawn(self._change(request, transaction, flow), transaction)
            case "INVITE":
                self._spawn(self._begin(request, transaction, flow), transaction)
            case "BYE":
                self._spawn(self._bye(request, transaction), transaction)
            case "CANCEL":
                self._cancel(request, transaction)
            case "OPTIONS":
                self._respond(transaction, 200, headers=capabilities())
            case _:
                raise SipRefused(
                    "method", "A SIP request has a method that is not served.", 405, (("allow", ALLOW),)
                )

    async def _begin(self, request: SipMessage, transaction: ServerTransaction, flow: Flow) -> None:
        if any(key[0] == request.call_id and key[2] == request.from_.tag for key in self._dialogs):
            raise SipRefused("loop", "An INVITE of a call that is up came again by another way.", 482)
        if not self._calls.may_begin():
            raise SipRefused(
                "overload", "A call is refused because the event log is behind.", 503, (("retry-after", "10"),)
            )
        offer, xml = self._desk.read(request)
        if offer is None:
            raise SipRefused("no_offer", "An INVITE has no offer.", 488)
        contact = contact_of(request)
        expires = session_timer(request)
        self._respond(transaction, 100)
        dialog = self._new_dialog(request, contact, flow)
        dialog.siprec = "siprec" in request.tokens("require") or "+sip.src" in request.get("contact").lower()
        dialog.session_expires_s = expires
        self._desk.agree(dialog, request, offer, xml)
        plan = dialog.plan
        assert plan is not None
        try:
            await self._store(dialog)
        except CallwardenError:
            self._calls.release(plan)
            raise cannot_store() from None
        if transaction.cancelled:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._calls.discard, plan)
            self._calls.release(plan)
            self._respond(transaction, 487, dialog)
            return
        self._dialogs[dialog.key] = dialog
        self._by_call[dialog.call] = dialog
        self._flows[dialog.call] = flow
        await asyncio.wrap_future(self._calls.apply(plan))
        self._respond(transaction, 200, dialog, session_headers(dialog, request), dialog.answer)

    async def _change(self, request: SipMessage, transaction: ServerTransaction, flow: Flow) -> None:
        dialog = self._dialog_of(request)
        number, _ = request.cseq
        if number <= dialog.remote_number:
            raise SipRefused("old_cseq", "A SIP request within a call has an old CSeq number.", 500)
        if dialog.call in self._busy:
            raise SipRefused(
                "pending", "A change of a call came while another was under way.", 491, (("retry-after", "1"),)
            )
        offer, xml = self._desk.read(request)
        expires = session_timer(request)
        self._busy.add(dialog.call)
        try:
            dialog.remote_number = number
            before = dialog.plan
            changed = self._desk.agree(dialog, request, offer, xml)
            dialog.session_expires_s = expires or dialog.session_expires_s
            if request.get("contact"):
                dialog.target = contact_of(request)
            if request.method == "INVITE":
                dialog.invite_branch, dialog.invite_number = request.via.branch, number
            self._flows[dialog.call] = flow
            try:
                await self._store(dialog)
            except CallwardenError:
                dialog.plan = before
                raise cannot_store() from None
            if changed and dialog.plan is not None:
                await asyncio.wrap_future(self._calls.apply(dialog.plan))
            # An INVITE without an offer asks for ours: it is the session as it stands.
            body = dialog.answer if offer is not None or request.method == "INVITE" else b""
            self._respond(transaction, 200, dialog, session_headers(dialog, request), body)
        finally:
            self._busy.discard(dialog.call)

    async def _bye(self, request: SipMessage, transaction: ServerTransaction) -> None:
        dialog = self._dialog_of(request)
        self._forget(dialog)
        try:
            await self._store(dialog, EndReason.HUNG_UP)
        except CallwardenError as error:
            logger.error("The end of call %s could not be stored: %s", dialog.call, error)
        self._calls.end(dialog.call, EndReason.HUNG_UP)
        self._respond(transaction, 200, dialog)

    def _cancel(self, request: SipMessage, transaction: ServerTransaction) -> None:
        via = request.via
        invite = next(
            (
                one
                for one in self._transactions.values()
                if one.request.method == "INVITE"
                and one.request.via.branch == via.branch
                and one.request.call_id == request.call_id
            ),
            None,
        )
        if invite is None:
            raise SipRefused("no_transaction", "A CANCEL names no INVITE of ours.", 481)
        invite.cancelled = invite.cancelled or not invite.final
        self._respond(transaction, 200)

    def _acknowledge(self, request: SipMessage, transaction: ServerTransaction | None) -> None:
        if transaction is not None:
            transaction.acknowledge()
        dialog = self._dialogs.get((request.call_id, request.to.tag, request.from_.tag))
        if dialog is None:
            return
        for one in self._transactions.values():
            # An ACK to a 200 is a transaction of its own (17.1.1.3): dialog and CSeq number name the INVITE.
            if (
                one.request.method == "INVITE"
                and one.request.call_id == request.call_id
                and one.request.cseq[0] == request.cseq[0]
            ):
                one.acknowledge()
        if not dialog.acknowledged:
            dialog.acknowledged = True
            self._spawn(self._store_quietly(dialog))

    def _answer_again(self, request: SipMessage, flow: Flow) -> bool:
        """Repeat the 200 of an INVITE that an earlier process of ours answered."""
        number, _ = request.cseq
        for dialog in self._dialogs.values():
            if (
                dialog.call_id == request.call_id
                and dialog.remote_tag == request.from_.tag
                and dialog.invite_number == number
                and dialog.invite_branch == request.via.branch
            ):
                transaction = self._open(transaction_key(request), request, flow)
                self._respond(transaction, 200, dialog, session_headers(dialog, request), dialog.answer)
                return True
        return False

    # Requests of ours

    async def _hang_up(self, dialog: Dialog, reason: EndReason) -> None:
        flow = self._flows.get(dialog.call)
        self._forget(dialog)
        try:
            await self._store(dialog, reason)
        except CallwardenError as error:
            logger.error("The end of call %s could not be stored: %s", dialog.call, error)
        self._calls.end(dialog.call, reason)
        await self._outgoing.send("BYE", dialog, flow, (dialog.address, self._address[1]))

    # Dialogs and answers

    def _new_dialog(self, request: SipMessage, target: str, flow: Flow) -> Dialog:
        host = self._settings.advertised_host or host_towards(flow.source[0], self._address[0])
        transport = ";transport=tcp" if flow.protocol == "TCP" else ""
        tag = secrets.token_hex(8)
        number, _ = request.cseq
        return Dialog(
            call=new_call_id(),
            call_id=request.call_id,
            local_tag=tag,
            remote_tag=request.from_.tag,
            local=f"{request.get('to')};tag={tag}",
            remote=request.get("from"),
            target=target,
            routes=request.all("record-route"),
            contact=f"<sip:callwarden@{host}:{self._address[1]}{transport}>;+sip.srs",
            address=host,
            protocol=flow.protocol,
            source=flow.source,
            remote_number=number,
            invite_branch=request.via.branch,
            invite_number=number,
            session_id=secrets.randbelow(1 << 31),
        )

    def _dialog_of(self, request: SipMessage) -> Dialog:
        dialog = self._dialogs.get((request.call_id, request.to.tag, request.from_.tag))
        if dialog is None:
            raise SipRefused("no_dialog", "A SIP request belongs to no call.", 481)
        return dialog

    def _forget(self, dialog: Dialog) -> None:
        self._dialogs.pop(dialog.key, None)
        self._by_call.pop(dialog.call, None)
        self._flows.pop(dialog.call, None)

    def _never_acknowledged(self, call: CallId) -> None:
        dialog = self._by_call.get(call)
        if dialog is not None and not dialog.acknowledged:
            logger.warning("Call %s was answered, but the caller never acknowledged it.", call)
            self.hang_up(call, EndReason.HUNG_UP)

    def _open(self, key: Hashable, request: SipMessage, flow: Flow) -> ServerTransaction:
        transaction = ServerTransaction(
            request,
            flow,
            self._settings.timers,
            lambda: self._drop_transaction(key),
            lambda: self._unacknowledged(request),
        )
        self._transactions[key] = transaction
        return transaction

    def _drop_transaction(self, key: Hashable) -> None:
        self._transactions.pop(key, None)

    def _unacknowledged(self, request: SipMessage) -> None:
        for dialog in list(self._dialogs.values()):
            if dialog.call_id == request.call_id and dialog.remote_tag == request.from_.tag:
                self._never_acknowledged(dialog.call)

    def _respond(
        self,
        transaction: ServerTransaction,
        status: int,
        dialog: Dialog | None = None,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        extra = [("server", "callwarden"), *headers]
        tag = ""
        if status > 100:
            tag = dialog.local_tag if dialog else secrets.token_hex(8)
        if dialog is not None and status < 300:
            extra.append(("contact", dialog.contact))
        if body:
            extra.append(("content-type", "application/sdp"))
        request = transaction.request
        transaction.respond(
            response(request, status, to_tag=tag, source=transaction.flow.source, headers=extra, body=body)
        )

    def _reject(self, transaction: ServerTransaction, error: SipRefused, flow: Flow) -> None:
        self._refusals.note(error, flow.source[0])
        self._respond(transaction, error.status or 400, headers=error.headers)

    def _refuse(self, message: SipMessage | None, error: SipRefused, flow: Flow) -> None:
        self._refusals.note(error, flow.source[0])
        if message is not None and message.is_request and message.method != "ACK" and error.status:
            self._answer_statelessly(message, error.status, flow)

    def _answer_statelessly(self, request: SipMessage, status: int, flow: Flow) -> None:
        try:
            to = reply_address(request.via, flow.source)
        except ValueError:
            return
        answer = response(request, status, to_tag=secrets.token_hex(8), source=flow.source)
        flow.send(answer.serialize(), to if flow.protocol == "UDP" else None)

    # Tasks and storage

    def _spawn(self, work: Coroutine[None, None, None], transaction: ServerTransaction | None = None) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work, transaction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[None, None, None], transaction: ServerTransaction | None) -> None:
        try:
            await work
        except SipRefused as error:
            if transaction is not None:
                self._reject(transaction, error, transaction.flow)
        except Exception:
            logger.exception("A SIP request could not be served; other calls go on.")
            count(SIP_REFUSED, cause="internal")
            if transaction is not None and not transaction.final:
                self._respond(transaction, 500)

    async def _store(self, dialog: Dialog, ended: EndReason | None = None) -> None:
        assert dialog.plan is not None
        stored = dialog.dump()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, self._calls.store, dialog.plan, stored, ended)

    async def _store_quietly(self, dialog: Dialog) -> None:
        if dialog.call in self._by_call:
            try:
                await self._store(dialog)
            except CallwardenError as error:
                logger.warning("The acknowledgement of call %s could not be stored: %s", dialog.call, error)
