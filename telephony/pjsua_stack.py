# ruff: noqa: N802 (callbacks have the names that pjsua2 calls)
"""PJSIP as this project uses it: signalling on one thread, no media of its own. The only file that imports pjsua2.

Everything of pjsua2 happens on the thread of `PjsuaStack`: other threads leave work there with `post`. Three facts of
the binding rule this file. An exception that leaves a callback ends the process, so none does (`_guarded`). A `Call`
object that is deleted hangs its call up, so each is kept until its call is over, and then deleted on that thread, not
when Python's collector comes to it.
The log writer belongs to C++ once it is handed over.
"""

from __future__ import annotations

import functools
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol

import pjsua2 as pj

from telephony.pjsua_log import PjsipLog
from telephony.pjsua_settings import MAX_CALLS, PjsuaSettings
from telephony.sip_message import wire_name
from telephony.sockets import SocketRefused

logger = logging.getLogger(__name__)

_POLL_MS: Final = 10
_MOST_MEDIA: Final = 16
_TRY_PORTS: Final = 20
_running = threading.Lock()


class Signals(Protocol):
    """Who is told what happens; on the stack's thread."""

    def incoming(self, call: SipCall, message: bytes, source: tuple[str, int]) -> None:
        """Take a new INVITE. It is answered later, with `SipCall.answer`."""
        ...

    def description(self, call: SipCall, made: str) -> str:
        """Return the session description that goes out instead of `made`, PJSIP's own (empty when it was too long)."""
        ...

    def request(self, call: SipCall, message: bytes) -> None:
        """Take note of a re-INVITE, UPDATE or BYE, before it is answered."""
        ...

    def offered(self, call: SipCall) -> int:
        """Tell what becomes of the offer in the request that was noted last: 200, or the status of a refusal."""
        ...

    def over(self, call: SipCall) -> None:
        """A call is over for SIP, however it ended; told once."""
        ...

    def refused(self, message: bytes, source: tuple[str, int], status: int) -> None:
        """PJSIP has refused an INVITE by itself."""
        ...

    def registered(self, status: int, seconds: int) -> None:
        """A registration was answered; `status` 0: not at all. `seconds`: how long it holds, 0 for none."""
        ...


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(callback)
    def guarded(*args: Any) -> None:
        try:
            callback(*args)
        except BaseException:
            logger.exception("A callback of PJSIP failed; other calls go on.")

    return guarded


class SipCall:
    """One call, as others see it. Holds nothing of pjsua2, so it may be kept and dropped on any thread."""

    def __init__(self, stack: PjsuaStack, number: int) -> None:
        self._stack = stack
        self.number = number
        self.is_over = False
        self.is_refused = False
        """Set by whoever refuses it, so that PJSIP's own word on it is not told a second time."""

    def answer(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> bool:
        """Send the final answer to the INVITE; False when PJSIP cannot, because the call is over."""
        answer = pj.CallOpParam(True)
        answer.statusCode = status
        answer.opt.audioCount = _MOST_MEDIA
        answer.opt.videoCount = answer.opt.textCount = 0
        answer.opt.flag = pj.PJSUA_CALL_NO_MEDIA_SYNC
        for name, value in headers:
            header = pj.SipHeader()
            header.hName, header.hValue = wire_name(name), value
            answer.txOption.headers.append(header)
        return self._stack.ask(self, lambda call: call.answer(answer))

    def end(self) -> bool:
        """Send a BYE."""
        return self._stack.ask(self, lambda call: call.hangup(pj.CallOpParam()))


class _Call(pj.Call):  # type: ignore[misc]
    def __init__(self, stack: PjsuaStack, account: pj.Account, number: int) -> None:
        super().__init__(account, number)
        self._stack = stack
        self.handle = SipCall(stack, number)

    @_guarded
    def onCallState(self, prm: pj.OnCallStateParam) -> None:
        if not self.handle.is_over and self.getInfo().state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._stack.call_over(self.handle)

    @_guarded
    def onCallTsxState(self, prm: pj.OnCallTsxStateParam) -> None:
        event = prm.e.body.tsxState
        if (
            event.type == pj.PJSIP_EVENT_RX_MSG
            and event.tsx.state == pj.PJSIP_TSX_STATE_TRYING
            and event.tsx.role == pj.PJSIP_ROLE_UAS
            and event.tsx.method in ("INVITE", "UPDATE", "BYE")
            and not self.handle.is_over
        ):
            self._stack.signals.request(self.handle, _octets(event.src.rdata.wholeMsg))

    @_guarded
    def onCallSdpCreated(self, prm: pj.OnCallSdpCreatedParam) -> None:
        if not self.handle.is_over:
            prm.sdp.wholeSdp = self._stack.signals.description(self.handle, prm.sdp.wholeSdp)

    @_guarded
    def onCallRxReinvite(self, prm: pj.OnCallRxReinviteParam) -> None:
        prm.statusCode = self._stack.signals.offered(self.handle)

    @_guarded
    def onCallRxOffer(self, prm: pj.OnCallRxOfferParam) -> None:
        prm.statusCode = self._stack.signals.offered(self.handle)

    @_guarded
    def onCallTransferRequest(self, prm: pj.OnCallTransferRequestParam) -> None:
        prm.statusCode = pj.PJSIP_SC_METHOD_NOT_ALLOWED  # we never call anybody

    @_guarded
    def onCallReplaceRequest(self, prm: pj.OnCallReplaceRequestParam) -> None:
        prm.statusCode = pj.PJSIP_SC_NOT_ACCEPTABLE_HERE


class _Account(pj.Account):  # type: ignore[misc]
    def __init__(self, stack: PjsuaStack) -> None:
        super().__init__()
        self._stack = stack

    @_guarded
    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:
        self._stack.call_came(self, prm.callId, _octets(prm.rdata.wholeMsg), _address(prm.rdata.srcAddress))

    @_guarded
    def onIncomingSubscribe(self, prm: pj.OnIncomingSubscribeParam) -> None:
        prm.code = pj.PJSIP_SC_METHOD_NOT_ALLOWED

    @_guarded
    def onRegState(self, prm: pj.OnRegStateParam) -> None:
        if self.getInfo().regIsConfigured:
            self._stack.signals.registered(0 if prm.status else prm.code, prm.expiration)


class _Endpoint(pj.Endpoint):  # type: ignore[misc]
    stack: PjsuaStack | None = None

    @_guarded
    def onRejectedIncomingCall(self, prm: pj.OnRejectedIncomingCallParam) -> None:
        if self.stack is not None:
            message, source = _octets(prm.rdata.wholeMsg), _address(prm.rdata.srcAddress)
            self.stack.call_rejected(prm.callId, message, source, prm.statusCode)


class _LogWriter(pj.LogWriter):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self._log = PjsipLog(time.monotonic)

    @_guarded
    def write(self, entry: pj.LogEntry) -> None:
        self._log.line(entry.level, entry.msg)


class PjsuaStack:
    """PJSIP on a thread of its own. One a process at a time.

    Parameters
    ----------
    address
        Where SIP is served over UDP and TCP; port 0 lets the system choose one that is free for both.
    advertised_host
        Address that callers reach us under, empty for that of the interface.
    calls
        How many calls may be up at once.
    """

    def __init__(
        self,
        settings: PjsuaSettings,
        address: tuple[str, int],
        advertised_host: str,
        calls: int,
        signals: Signals,
    ) -> None:
        self.signals = signals
        self._settings = settings
        self._wanted = address
        self._advertised = advertised_host
        self._most_calls = min(calls, MAX_CALLS)
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._calls: dict[int, _Call] = {}
        self._stopping = False
        self._give_up_at = 0.0
        self._thread = threading.Thread(target=self._run, name="pjsua")
        self._started: Future[tuple[str, int]] = Future()
        self.failed = False

    def start(self) -> Future[tuple[str, int]]:
        """Begin; the result is host and port in use, or the SocketRefused that says why not."""
        self._thread.start()
        return self._started

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done on the stack's thread; from any thread."""
        self._work.put(work)

    def stop(self, longest_s: float) -> None:
        """Wait up to `longest_s` until the peers have answered what was sent to them, then close; blocks."""

        def finish() -> None:
            self._stopping = True
            self._give_up_at = time.monotonic() + longest_s

        self.post(finish)
        self.join()

    def join(self) -> None:
        """Wait until all is closed; blocks."""
        self._thread.join()

    def ask(self, call: SipCall, request: Callable[[_Call], None]) -> bool:
        """Have PJSIP do something about a call; False when it cannot. On the stack's thread."""
        known = self._calls.get(call.number)
        if call.is_over or known is None or known.handle is not call:
            return False
        try:
            request(known)
        except pj.Error as error:
            logger.warning("PJSIP cannot serve a call: %s.", error.reason)
            return False
        return True

    # What the callbacks tell

    def call_came(self, account: pj.Account, number: int, message: bytes, source: tuple[str, int]) -> None:
        call = _Call(self, account, number)
        self._calls[number] = call
        self.signals.incoming(call.handle, message, source)

    def call_over(self, call: SipCall) -> None:
        call.is_over = True
        self.signals.over(call)
        # Deleted once PJSIP has let go of it, and before its number is given out again (PJSIP goes round).
        self.post(lambda: self._forget(call))

    def call_rejected(self, number: int, message: bytes, source: tuple[str, int], status: int) -> None:
        call = self._calls.get(number)
        if call is not None and not call.handle.is_over:
            self.call_over(call.handle)
        if call is None or not call.handle.is_refused:
            self.signals.refused(message, source, status)

    def _forget(self, call: SipCall) -> None:
        known = self._calls.get(call.number)
        if known is not None and known.handle is call:
            _delete(self._calls.pop(call.number))

    # The thread

    def _run(self) -> None:
        if not _running.acquire(blocking=False):
            self._started.set_exception(SocketRefused("A second pjsua2 endpoint cannot run in one process."))
            return
        endpoint = accounts = None
        try:
            endpoint = _Endpoint()
            accounts = self._open(endpoint)
            self._serve(endpoint)
        except SocketRefused as error:
            self._started.set_exception(error)
        except pj.Error as error:
            self._fail(f"PJSIP cannot work: {error.reason}.")
        except BaseException:
            logger.exception("The thread of PJSIP failed.")
            self._fail("PJSIP cannot work.")
        finally:
            self._close(endpoint, accounts or [])
            _running.release()

    def _fail(self, sentence: str) -> None:
        self.failed = True
        if not self._started.done():
            self._started.set_exception(SocketRefused(sentence))
        else:
            logger.error("%s", sentence)

    def _serve(self, endpoint: _Endpoint) -> None:
        while not (self._stopping and (not self._calls or time.monotonic() > self._give_up_at)):
            endpoint.libHandleEvents(_POLL_MS)
            self._do_work()

    def _do_work(self) -> None:
        while not self._work.empty():
            work = self._work.get()
            try:
                work()
            except Exception:
                logger.exception("A step of a call failed; other calls go on.")

    def _open(self, endpoint: _Endpoint) -> list[_Account]:
        endpoint.libCreate()
        endpoint.libInit(self._endpoint_settings())
        endpoint.stack = self
        address = self._open_transports(endpoint)
        endpoint.libStart()
        accounts = [self._account(f"sip:callwarden@{address[0]}:{address[1]}", registering=False)]
        if self._settings.registrar:
            domain = self._settings.registrar.partition(":")[2].partition(";")[0].rpartition("@")[2]
            accounts.append(self._account(f"sip:{self._settings.user}@{domain}", registering=True))
        self._started.set_result(address)
        return accounts

    def _endpoint_settings(self) -> pj.EpConfig:
        settings = pj.EpConfig()
        settings.uaConfig.threadCnt = 0
        settings.uaConfig.mainThreadOnly = True
        settings.uaConfig.maxCalls = self._most_calls
        settings.uaConfig.userAgent = "callwarden"
        settings.uaConfig.mwiUnsolicitedEnabled = False
        # Streams are made, because pjsua has no way without; nothing clocks them, and they have no sockets.
        settings.medConfig.threadCnt = 0
        settings.medConfig.hasIoqueue = False
        settings.medConfig.maxMediaPorts = 2 * self._most_calls + 254
        settings.medConfig.clockRate = 8000
        settings.medConfig.noVad = True
        settings.logConfig.level = settings.logConfig.consoleLevel = self._settings.log_level
        settings.logConfig.msgLogging = 0
        settings.logConfig.decor = pj.PJ_LOG_HAS_SENDER
        writer = _LogWriter()
        writer.__disown__()
        settings.logConfig.writer = writer
        return settings

    def _open_transports(self, endpoint: _Endpoint) -> tuple[str, int]:
        host, wanted = self._wanted
        for attempt in range(_TRY_PORTS):
            udp = self._transport(endpoint, pj.PJSIP_TRANSPORT_UDP, host, wanted, "UDP")
            port = int(endpoint.transportGetInfo(udp).localName.rpartition(":")[2])
            try:
                self._transport(endpoint, pj.PJSIP_TRANSPORT_TCP, host, port, "TCP")
                break
            except SocketRefused:
                if wanted or attempt == _TRY_PORTS - 1:
                    raise
                endpoint.transportClose(udp)
        if self._settings.tls_port:
            self._check_tls(host)
            self._transport(endpoint, pj.PJSIP_TRANSPORT_TLS, host, self._settings.tls_port, "TLS")
        endpoint.audDevManager().setNoDev()
        return host, port

    def _check_tls(self, host: str) -> None:
        """Find what PJSIP would not say: a TLS transport without listener is none."""
        for name in ("tls_certificate", "tls_key", "tls_ca"):
            file = getattr(self._settings, name)
            if file and not os.access(file, os.R_OK):
                raise SocketRefused(f"[capture.pjsua] {name} names a file that cannot be read.")
        port = self._settings.tls_port
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError as error:
                raise SocketRefused(f"SIP over TLS cannot be opened on {host}:{port}: {error.strerror}.") from None

    def _transport(self, endpoint: _Endpoint, kind: int, host: str, port: int, what: str) -> int:
        settings = pj.TransportConfig()
        settings.port = port
        settings.boundAddress = host
        settings.publicAddress = self._advertised
        if kind == pj.PJSIP_TRANSPORT_TLS:
            settings.tlsConfig.certFile = self._settings.tls_certificate
            settings.tlsConfig.privKeyFile = self._settings.tls_key
            settings.tlsConfig.CaListFile = self._settings.tls_ca
            checked = bool(self._settings.tls_ca)
            settings.tlsConfig.verifyClient = settings.tlsConfig.requireClientCert = checked
            settings.tlsConfig.verifyServer = checked
        try:
            return int(endpoint.transportCreate(kind, settings))
        except pj.Error as error:
            raise SocketRefused(f"SIP over {what} cannot be opened on {host}:{port}: {error.reason}.") from None

    def _account(self, uri: str, *, registering: bool) -> _Account:
        own, settings = self._settings, pj.AccountConfig()
        settings.idUri = uri
        settings.sipConfig.contactParams = ";+sip.srs"
        settings.sipConfig.autoRespondSipMessage = False
        settings.callConfig.timerUse = pj.PJSUA_SIP_TIMER_OPTIONAL
        settings.callConfig.timerSessExpiresSec = own.session_s
        settings.mediaConfig.useLoopMedTp = True
        settings.mediaConfig.lockCodecEnabled = False
        settings.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_DISABLED
        settings.natConfig.udpKaIntervalSec = own.keep_alive_s
        settings.regConfig.registerOnAdd = registering
        if registering:
            settings.priority = 1
            settings.regConfig.registrarUri = own.registrar
            settings.regConfig.timeoutSec = own.register_every_s
            settings.regConfig.unregWaitMsec = 1000
            settings.regConfig.retryIntervalSec = own.register_again_after_s
            settings.regConfig.firstRetryIntervalSec = min(own.register_again_after_s, 5)
            credentials = pj.AuthCredInfo("digest", own.realm, own.user, 0, own.password_secret)
            settings.sipConfig.authCreds.append(credentials)
        account = _Account(self)
        account.create(settings, not registering)
        return account

    def _close(self, endpoint: _Endpoint | None, accounts: list[_Account]) -> None:
        try:
            self._do_work()
            for number in list(self._calls):
                _delete(self._calls.pop(number))
            for account in accounts:
                account.shutdown()
                _delete(account)
            if endpoint is not None:
                endpoint.stack = None
                # Waiting is for a registrar's answer alone: calls have been waited for.
                endpoint.libDestroy(0 if self._settings.registrar else pj.PJSUA_DESTROY_NO_RX_MSG)
        except Exception:
            logger.exception("PJSIP could not be closed in order.")
        if endpoint is not None:
            _delete(endpoint)


def _delete(thing: pj.Call | pj.Account | pj.Endpoint) -> None:
    """Delete the C++ side now, and not when Python drops its object: that may be later, on another thread."""
    thing.__swig_destroy__(thing)


def _octets(message: str) -> bytes:
    return message.encode("utf-8", "surrogateescape")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else 0
