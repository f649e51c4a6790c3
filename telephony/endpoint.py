"""What capture and a SIP endpoint ask of each other. Two endpoints exist: `sip_endpoint` (ours) and `pjsua_endpoint`.

They share the desk (call_desk), which turns requests into plans, and one law suite; no other code. Laws:

- A call is answered only once it is stored (`Calls.store`) and media follows its plan (`Calls.apply`).
- Every call that was answered ends exactly once (`Calls.end`); ports of a call that never began are given back.
- Whatever comes in: no other call notices.

Only the built-in endpoint goes on with the *signalling* of a process that died; see docs/decisions/0005.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from events.identity import CallId
from events.lifecycle import EndReason
from telephony.call_desk import CallDesk
from telephony.plan import CallPlan
from telephony.sip_dialog import Dialog
from telephony.sockets import CaptureSockets


class Calls(Protocol):
    """What signalling asks of the rest of capture. Any thread may ask."""

    def may_begin(self) -> bool:
        """Tell whether a new call can be taken now."""
        ...

    def store(self, plan: CallPlan, dialog: bytes, ended: EndReason | None) -> None:
        """Make a call durable; blocks. Raises CallwardenError."""
        ...

    def apply(self, plan: CallPlan) -> Future[None]:
        """Have media follow a plan; done when packets are taken accordingly."""
        ...

    def end(self, call: CallId, reason: EndReason) -> None:
        """Have media end a call."""
        ...

    def discard(self, plan: CallPlan) -> None:
        """Take back what `store` did for a call that never began; blocks. Raises CallwardenError."""
        ...

    def release(self, plan: CallPlan) -> None:
        """Give back the ports of a call that never began."""
        ...


class Endpoint(Protocol):
    """SIP in, plans out. All methods are called on the thread of capture's event loop."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that SIP is served on, the same for UDP and TCP; known once `start` has returned."""
        ...

    @property
    def dialogs(self) -> int:
        """How many calls are up."""
        ...

    @property
    def failed(self) -> bool:
        """Whether signalling has broken down, so that the process should end and be started again."""
        ...

    async def start(self, restored: Sequence[tuple[Dialog, bool]] = ()) -> None:
        """Serve. `restored` are the dialogs of a process that died, and whether they have ended.

        Raises
        ------
        events.errors.CallwardenError
            SIP cannot be served; the text names the setting.
        """
        ...

    async def stop(self) -> None:
        """Hang up all calls, wait shortly for the answers, and close."""
        ...

    def hang_up(self, call: CallId, reason: EndReason) -> None:
        """End a call from our side; one that is unknown or over is ignored."""
        ...


class EndpointFactory(Protocol):
    """Makes the endpoint of one capture process, from that process' sockets, desk and calls."""

    def __call__(self, sockets: CaptureSockets, desk: CallDesk, calls: Calls) -> Endpoint: ...
