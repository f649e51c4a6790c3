"""The SIP endpoint on PJSIP: its signalling, our media.

PJSIP speaks SIP (UDP, TCP, TLS, registration, session timers), and its answers carry *our* session description, so
that callers send to the media sockets of capture. What a request asks for is read from its text by the same desk
that serves the built-in endpoint. How the two fit is told in docs/decisions/0005-pjsua2-signals-only.md.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from events.errors import CallwardenError
from events.identity import CallId, new_call_id
from events.lifecycle import EndReason
from events.metrics import SIP_REGISTERED, gauge
from telephony.call_desk import CallDesk
from telephony.endpoint import Calls, EndpointFactory
from telephony.pjsua_settings import PjsuaSettings
from telephony.plan import CallPlan
from telephony.sip_answers import cannot_store, contact_of, session_timer
from telephony.sip_dialog import Dialog
from telephony.sip_endpoint import SipSettings
from telephony.sip_message import SipMessage, SipRefused
from telephony.sip_refusals import Refusals
from telephony.sockets import CaptureSockets, SocketRefused, SocketSettings, host_towards

if TYPE_CHECKING:
    from telephony.pjsua_stack import SipCall

logger = logging.getLogger(__name__)

_STOP_S: Final = 2.0
_HOW_TO_GET_IT: Final = (
    'The SIP endpoint pjsua2 is not installed; `make pjsua2` builds it, or set [engine] endpoint = "built-in".'
)


def factory(pjsua: PjsuaSettings, sip: SipSettings, at: SocketSettings) -> EndpointFactory:
    """Return what makes this endpoint; it opens its SIP sockets itself, where `at` says.

    Raises
    ------
    SocketRefused
        The module is not installed.
    """
    if importlib.util.find_spec("pjsua2") is None:
        raise SocketRefused(_HOW_TO_GET_IT)

    def make(sockets: CaptureSockets, desk: CallDesk, calls: Calls) -> PjsuaEndpoint:
        return PjsuaEndpoint(pjsua, sip, at, desk, calls)

    return make


class _Phase(Enum):
    STORING = auto()
    """The plan is on its way to the disk."""
    APPLYING = auto()
    """Media takes it up."""
    UP = auto()
    """Answered."""
    ENDED = auto()
    """Media has been told, or never heard of it."""


@dataclass(slots=True, eq=False)
class _Line:
    """One call, between PJSIP and us."""

    sip: SipCall
    dialog: Dialog
    source: tuple[str, int]
    phase: _Phase = _Phase.STORING
    refused: bool = False
    asked: SipMessage | None = None
    """The request within the call that is being served, when it has an offer."""

    @property
    def plan(self) -> CallPlan:
        assert self.dialog.plan is not None
        return self.dialog.plan


class PjsuaEndpoint:
    """See the module. Calls live on the thread of PJSIP; the public methods belong to capture's loop."""

    def __init__(
        self,
        pjsua: PjsuaSettings,
        sip: SipSettings,
        sockets: SocketSettings,
        desk: CallDesk,
        calls: Calls,
    ) -> None:
        from telephony.pjsua_stack import PjsuaStack

        self._desk = desk
        self._calls = calls
        self._advertised = sip.advertised_host
        self._host = sockets.sip_host
        self._port = sockets.sip_port
        self._lines: dict[SipCall, _Line] = {}
        self._by_call: dict[CallId, _Line] = {}
        self._orphans: dict[CallId, Dialog] = {}
        self._refusals = Refusals()
        self._writer = ThreadPoolExecutor(1, "call-store")
        self._registered: bool | None = None
        self._registrar = bool(pjsua.registrar)
        self._stack = PjsuaStack(
            pjsua, (sockets.sip_host, sockets.sip_port), sip.advertised_host, sockets.legs + 16, self
        )

    # What capture asks, on its loop

    @property
    def address(self) -> tuple[str, int]:
        return self._host, self._port

    @property
    def dialogs(self) -> int:
        return len(self._by_call) + len(self._orphans)

    @property
    def failed(self) -> bool:
        return self._stack.failed

    async def start(self, restored: Sequence[tuple[Dialog, bool]] = ()) -> None:
        for dialog, ended in restored:
            if not ended:
                self._orphans[dialog.call] = dialog
        if self._orphans:
            logger.warning(
                "%d calls go on without signalling: they are recorded until their media ends.", len(self._orphans)
            )
        try:
            self._host, self._port = await asyncio.wrap_future(self._stack.start())
        except BaseException:
            await asyncio.get_running_loop().run_in_executor(None, self._stack.join)
            raise

    async def stop(self) -> None:
        self._stack.post(self._hang_up_all)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._stack.stop, _STOP_S)
        await loop.run_in_executor(None, self._writer.shutdown)

    def hang_up(self, call: CallId, reason: EndReason) -> None:
        self._stack.post(lambda: self._hang_up(call, reason))

    # What PJSIP tells (pjsua_stack.Signals), on its thread

    def incoming(self, call: SipCall, message: bytes, source: tuple[str, int]) -> None:
        try:
            line = self._begin(call, message, source)
        except SipRefused as error:
            self._refuse(call, error, source)
            return
        except Exception:
            logger.exception("An INVITE could not be served; other calls go on.")
            self._refuse(call, SipRefused("internal", "A call failed inside.", 500), source)
            return
        self._lines[call] = self._by_call[line.dialog.call] = line
        stored = line.dialog.dump()
        self._write(lambda: self._calls.store(line.plan, stored, None), lambda done: self._stored(line, done))

    def description(self, call: SipCall, made: str) -> str:
        line = self._lines.get(call)
        if line is None or line.refused:
            return made
        if not made and line.phase is not _Phase.UP:
            line.refused = True
            error = SipRefused(
                "description_too_long",
                "A call is refused because the session description is longer than PJSIP can hand over.",
                488,
            )
            self._refuse(call, error, line.source)
            return made
        return line.dialog.answer.decode()

    def request(self, call: SipCall, message: bytes) -> None:
        line = self._lines.get(call)
        if line is None or line.phase is not _Phase.UP:
            return
        try:
            request = SipMessage.parse(message)
            if request.method == "BYE":
                self._end(line, EndReason.HUNG_UP)
                return
            offer, _ = self._desk.read(request)
            line.asked = request if offer is not None else None
            if offer is None:
                self._change(line, request)
        except SipRefused as error:
            # PJSIP answers by itself where there is no offer to refuse.
            self._refusals.note(error, line.source[0])

    def offered(self, call: SipCall) -> int:
        line = self._lines.get(call)
        if line is None or line.asked is None:
            return 200
        request, line.asked = line.asked, None
        try:
            self._change(line, request)
        except SipRefused as error:
            self._refusals.note(error, line.source[0])
            return error.status or 400
        return 200

    def over(self, call: SipCall) -> None:
        line = self._lines.pop(call, None)
        if line is None:
            return
        if line.phase is _Phase.STORING:
            line.refused = True
        else:
            self._end(line, EndReason.HUNG_UP)

    def refused(self, message: bytes, source: tuple[str, int], status: int) -> None:
        self._refusals.note(self._why(message, status), source[0])

    def registered(self, status: int, seconds: int) -> None:
        now = status == 200 and seconds > 0
        if now and not self._registered:
            logger.info("Registered at the registrar for %d s.", seconds)
        elif not now and self._registered is not False:
            logger.warning(
                "The registration failed%s; see [capture.pjsua] registrar, user and password_secret.",
                f" with status {status}" if status >= 300 else "",
            )
        self._registered = now
        gauge(SIP_REGISTERED, float(now))

    # A call's beginning

    def _begin(self, call: SipCall, message: bytes, source: tuple[str, int]) -> _Line:
        request = SipMessage.parse(message)
        request.check_request()
        if not self._calls.may_begin():
            raise SipRefused(
                "overload", "A call is refused because the event log is behind.", 503, (("Retry-After", "10"),)
            )
        offer, xml = self._desk.read(request)
        if offer is None:
            raise SipRefused("no_offer", "An INVITE has no offer.", 488)
        number, _ = request.cseq
        host = self._advertised or host_towards(source[0], self._host)
        dialog = Dialog(
            call=new_call_id(),
            call_id=request.call_id,
            local_tag="",
            remote_tag=request.from_.tag,
            local=request.get("to"),
            remote=request.get("from"),
            target=contact_of(request),
            routes=request.all("record-route"),
            contact=f"<sip:callwarden@{host}:{self._port}>;+sip.srs",
            address=host,
            protocol=request.via.transport,
            source=source,
            remote_number=number,
            invite_branch=request.via.branch,
            invite_number=number,
            session_id=secrets.randbelow(1 << 31),
        )
        dialog.siprec = "siprec" in request.tokens("require") or "+sip.src" in request.get("contact").lower()
        dialog.session_expires_s = session_timer(request)
        self._desk.agree(dialog, request, offer, xml)
        return _Line(call, dialog, source)

    def _stored(self, line: _Line, done: Future[None]) -> None:
        error = done.exception()
        if error is not None or line.refused:
            self._give_up(line, stored=error is None)
            if isinstance(error, CallwardenError):
                self._refuse(line.sip, cannot_store(), line.source)
            elif error is not None:
                logger.error("A call could not be stored.", exc_info=error)
                self._refuse(line.sip, SipRefused("internal", "A call failed inside.", 500), line.source)
            return
        line.phase = _Phase.APPLYING
        applied = self._calls.apply(line.plan)
        applied.add_done_callback(lambda done: self._stack.post(lambda: self._applied(line, done)))

    def _applied(self, line: _Line, done: Future[None]) -> None:
        if line.phase is not _Phase.APPLYING:
            return
        error = done.exception()
        if error is not None:
            logger.error("Media could not take a call up.", exc_info=error)
            self._end(line, EndReason.HUNG_UP)
            self._refuse(line.sip, SipRefused("internal", "A call failed inside.", 500), line.source)
            return
        line.phase = _Phase.UP
        if not line.sip.answer(200):
            self._end(line, EndReason.HUNG_UP)

    def _give_up(self, line: _Line, *, stored: bool) -> None:
        """Take back a call that media never heard of."""
        line.phase = _Phase.ENDED
        self._by_call.pop(line.dialog.call, None)
        if not stored:
            self._calls.release(line.plan)
            return

        def discarded(done: Future[None]) -> None:
            if done.exception() is not None:
                logger.warning("A call that never began could not be taken back from capture's state.")
            self._calls.release(line.plan)

        self._write(lambda: self._calls.discard(line.plan), discarded)

    # Its changes and its end

    def _change(self, line: _Line, request: SipMessage) -> None:
        """Bring a call to what a request asks for; done, stored and followed by media on return.

        Raises
        ------
        SipRefused
        """
        dialog, before = line.dialog, line.plan
        offer, xml = self._desk.read(request)
        if offer is None and not xml:
            return
        changed = self._desk.agree(dialog, request, offer, xml)
        try:
            self._calls.store(line.plan, dialog.dump(), None)
        except CallwardenError:
            dialog.plan = before
            raise cannot_store() from None
        if changed:
            self._calls.apply(line.plan).result()

    def _hang_up_all(self) -> None:
        for call in [*self._by_call, *self._orphans]:
            self._hang_up(call, EndReason.SHUT_DOWN)

    def _hang_up(self, call: CallId, reason: EndReason) -> None:
        orphan = self._orphans.pop(call, None)
        if orphan is not None and orphan.plan is not None:
            self._tell_end(orphan.plan, orphan.dump(), reason)
            return
        line = self._by_call.get(call)
        if line is None:
            return
        if line.phase is _Phase.UP:
            self._end(line, reason)
            line.sip.end()
        else:
            line.sip.answer(503)

    def _end(self, line: _Line, reason: EndReason) -> None:
        if line.phase is _Phase.ENDED:
            return
        line.phase = _Phase.ENDED
        self._by_call.pop(line.dialog.call, None)
        self._tell_end(line.plan, line.dialog.dump(), reason)

    def _tell_end(self, plan: CallPlan, dialog: bytes, reason: EndReason) -> None:
        try:
            self._calls.store(plan, dialog, reason)
        except CallwardenError as error:
            logger.error("The end of call %s could not be stored: %s", plan.call, error)
        self._calls.end(plan.call, reason)

    # Refusals

    def _refuse(self, call: SipCall, error: SipRefused, source: tuple[str, int]) -> None:
        call.is_refused = True
        self._refusals.note(error, source[0])
        # Not from inside PJSIP's own handling of the INVITE: it would lose the headers.
        self._stack.post(lambda: _done(call.answer(error.status or 400, error.headers)))

    def _why(self, message: bytes, status: int) -> SipRefused:
        """Return what is wrong with an INVITE that PJSIP has refused, in our own words where we find it too."""
        try:
            request = SipMessage.parse(message)
            request.check_request()
            contact_of(request)
            session_timer(request)
            offer, _ = self._desk.read(request)
            if offer is not None and not any(media.acceptable for media in offer.media):
                return SipRefused("no_codec", "An offer has no audio in PCMU or PCMA.", 488)
        except SipRefused as error:
            return error
        if status == 420:
            return SipRefused("extension", "A SIP request requires an extension that is not supported.", 420)
        return SipRefused("pjsip", f"PJSIP refuses an INVITE with status {status}.", status)

    # Storage

    def _write(self, work: Callable[[], None], then: Callable[[Future[None]], None]) -> None:
        """Have the writer's thread do `work`, and PJSIP's thread do `then` with its outcome."""
        done = self._writer.submit(work)
        done.add_done_callback(lambda done: self._stack.post(lambda: then(done)))


def _done(_: bool) -> None:
    """Say that an outcome does not matter: a call that is over needs no answer."""
