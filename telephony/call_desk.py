"""What a call is, made from what SIP says: offers and metadata in; plan, answer and ports out. No I/O."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from events.identity import CallId, Role
from events.lifecycle import CallSourceKind
from events.metrics import SIP_REFUSED, count
from telephony.plan import CallPlan, LegPlan
from telephony.sdp import MediaAnswer, MediaOffer, Offer, build_answer, parse_offer
from telephony.sip_dialog import Dialog, MediaLine
from telephony.sip_message import SipMessage, SipRefused
from telephony.siprec import Bodies, Metadata, SiprecSettings, Speaker, parse_metadata, speakers, split_bodies

logger = logging.getLogger(__name__)

_NO_CODEC = (("warning", '305 callwarden "Only PCMU and PCMA at 8000 Hz over RTP/AVP are recorded"'),)


@dataclass(frozen=True, slots=True)
class DeskSettings:
    plain_role: Role = Role.MIXED
    """Role of the one leg of a call without SIPREC."""


class PortPool:
    """Media ports; the one that has rested longest is given out first, so that stragglers hit no new call."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._free = deque(ports)
        self._known = frozenset(ports)

    def __len__(self) -> int:
        return len(self._free)

    def __contains__(self, port: object) -> bool:
        return port in self._known

    def take(self) -> int:
        """Raises SipRefused (503) when all are in use."""
        if not self._free:
            raise SipRefused("no_ports", "All media ports are in use.", 503, (("retry-after", "10"),))
        return self._free.popleft()

    def claim(self, port: int) -> None:
        """Mark a port as in use that a restored call has."""
        self._free.remove(port)

    def give_back(self, port: int) -> None:
        self._free.append(port)


class CallDesk:
    """Turns requests into plans."""

    def __init__(self, pool: PortPool, settings: DeskSettings, siprec: SiprecSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._siprec = siprec

    def read(self, request: SipMessage) -> tuple[Offer | None, str]:
        """Return a request's offer and SIPREC metadata.

        Raises
        ------
        SipRefused
        """
        if request.get("content-encoding").strip().lower() not in ("", "identity"):
            raise SipRefused(
                "content_encoding",
                "A SIP request has an encoded body.",
                415,
                (("accept-encoding", "identity"),),
            )
        bodies: Bodies = split_bodies(request.get("content-type"), request.body)
        return (parse_offer(bodies.sdp) if bodies.sdp else None), bodies.metadata

    def agree(self, dialog: Dialog, request: SipMessage, offer: Offer | None, xml: str) -> bool:
        """Bring `dialog` to what a request asks for: plan, media lines and, for an offer, a new answer.

        Returns whether the plan has changed. On a refusal the dialog stays as it was.

        Raises
        ------
        SipRefused
            488 without usable media, 503 without a free port.
        """
        before = dialog.plan
        xml = xml or (before.metadata_xml if before else "")
        metadata = self._metadata(dialog.call, xml)
        taken: list[int] = []
        try:
            lines, legs, answers = self._negotiate(dialog, offer, taken)
        except SipRefused:
            for port in taken:
                self._pool.give_back(port)
            raise
        dialog.siprec = dialog.siprec or bool(xml) or len(legs) > 1
        named = self._speakers(dialog, legs, metadata)
        legs = [
            msgspec.structs.replace(
                leg,
                role=speaker.role,
                role_verified=speaker.verified,
                speaker_name=speaker.name,
                speaker_uri=speaker.uri,
            )
            for leg, speaker in zip(legs, named, strict=True)
        ]
        dialog.plan = self._plan(dialog, request, legs, xml, metadata)
        if offer is not None:
            dialog.lines = tuple(lines)
            dialog.version += 1
            dialog.answer = build_answer(answers, dialog.address, dialog.session_id, dialog.version)
        return dialog.plan != before

    def _negotiate(
        self, dialog: Dialog, offer: Offer | None, taken: list[int]
    ) -> tuple[list[MediaLine], list[LegPlan], list[MediaAnswer]]:
        legs = list(dialog.plan.legs) if dialog.plan else []
        lines = list(dialog.lines)
        answers: list[MediaAnswer] = []
        if offer is None:
            return lines, legs, answers
        if len(offer.media) < len(lines):
            raise SipRefused("bad_offer", "A new offer has fewer media lines than the session.", 488)
        for index, media in enumerate(offer.media):
            line = lines[index] if index < len(lines) else MediaLine(None, media.direction)
            if index >= len(lines):
                lines.append(line)
            if line.leg is not None:
                legs[line.leg], port = _renewed(legs[line.leg], line, media)
                answers.append(MediaAnswer(media, port))
            elif media.acceptable:
                port = self._pool.take()
                taken.append(port)
                lines[index] = line = MediaLine(len(legs), media.direction)
                legs.append(_fresh(len(legs), port, line, media))
                answers.append(MediaAnswer(media, port))
            else:
                answers.append(MediaAnswer(media, 0))
        if not legs:
            raise SipRefused("no_codec", "An offer has no audio in PCMU or PCMA.", 488, _NO_CODEC)
        return lines, legs, answers

    def _speakers(self, dialog: Dialog, legs: Sequence[LegPlan], metadata: Metadata | None) -> list[Speaker]:
        if not dialog.siprec:
            return [Speaker(self._settings.plain_role, False)]
        return speakers([leg.label for leg in legs], metadata, self._siprec)

    def _plan(
        self,
        dialog: Dialog,
        request: SipMessage,
        legs: Sequence[LegPlan],
        xml: str,
        metadata: Metadata | None,
    ) -> CallPlan:
        session = metadata.session_id if metadata else ""
        if dialog.plan is not None:
            known = dialog.plan
            return msgspec.structs.replace(known, legs=tuple(legs), metadata_xml=xml)
        return CallPlan(
            call=dialog.call,
            source=CallSourceKind.SIPREC if dialog.siprec else CallSourceKind.SIP,
            legs=tuple(legs),
            from_uri=request.from_.uri,
            to_uri=request.to.uri,
            external_id=(session or request.call_id)[:256],
            metadata=dict(metadata.facts) if metadata else {},
            metadata_xml=xml,
        )

    def _metadata(self, call: CallId, xml: str) -> Metadata | None:
        if not xml:
            return None
        try:
            return parse_metadata(xml)
        except ValueError as error:
            # The call is worth more than its description: it is recorded, its speakers stay unverified.
            count(SIP_REFUSED, cause="bad_metadata")
            logger.warning("The SIPREC metadata of call %s is not used: %s", call, error)
            return None


def _fresh(leg: int, port: int, line: MediaLine, media: MediaOffer) -> LegPlan:
    chosen = media.encoding
    assert chosen is not None
    return LegPlan(
        leg,
        port,
        chosen[1],
        media.payload_kinds,
        media.announced,
        media.label,
        held=media.held(at_first=line.first_direction),
    )


def _renewed(leg: LegPlan, line: MediaLine, media: MediaOffer) -> tuple[LegPlan, int]:
    """Return a leg as a new offer has it, and the port of the answer."""
    if media.port == 0:
        return msgspec.structs.replace(leg, held=True), 0
    if not media.acceptable:
        raise SipRefused(
            "no_codec", "A new offer takes PCMU and PCMA away from a recorded stream.", 488, _NO_CODEC
        )
    return (
        msgspec.structs.replace(
            leg,
            payload_kinds=media.payload_kinds,
            announced=media.announced or leg.announced,
            label=media.label or leg.label,
            held=media.held(at_first=line.first_direction),
        ),
        leg.port,
    )
