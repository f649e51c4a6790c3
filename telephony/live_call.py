"""One call as media sees it: what was agreed, what has been told about it, and what a crash interrupted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from events.audio import Gap, GapCause
from events.identity import CallId, Role
from events.lifecycle import (
    CallStarted,
    LegAdded,
    LegHeld,
    LegResumed,
    LifecycleRecord,
    MetadataReceived,
)
from telephony.leg import RATE
from telephony.plan import CallPlan, LegPlan


class Interruption(msgspec.Struct):
    """The hole that a restart leaves, as far as it is known; in samples of the call."""

    from_sample: int
    to_sample: int
    back_at: int
    """Where the call was when capture came back."""
    open_legs: set[int]

    def learn(self, leg: int, start: int, samples: int, gaps: Sequence[Gap]) -> None:
        """Take one block of a leg into account."""
        down = [gap for gap in gaps if gap.cause is GapCause.DOWN]
        for gap in down:
            self.to_sample = max(self.to_sample, gap.start_sample + gap.samples)
        if start + samples >= self.back_at or sum(gap.samples for gap in down) < samples:
            self.open_legs.discard(leg)


class Kept(msgspec.Struct, frozen=True):
    """What of a live call is stored with its blocks."""

    t0_ns: int
    plan: CallPlan
    started: bool
    newest_stamp_ms: int
    interrupted_at: int | None


class LiveCall:
    """State and lifecycle of one call. Call times are milliseconds from sample 0."""

    def __init__(self, call: CallId, opened_ns: int) -> None:
        self.call = call
        self.opened_ns = opened_ns
        self.slots: list[int] = []
        self.roles: list[Role] = []
        self.started = False
        self.told_timeout = False
        self.interruption: Interruption | None = None
        self._plan: CallPlan | None = None
        self._newest_stamp_ms = 0

    @property
    def plan(self) -> CallPlan:
        assert self._plan is not None
        return self._plan

    def begin(self, epoch_ms: int) -> list[LifecycleRecord]:
        """Return the call's first records; `epoch_ms` is UTC time of sample 0."""
        plan = self.plan
        self.started = True
        records: list[LifecycleRecord] = [
            CallStarted(
                self.call,
                epoch_ms,
                plan.source,
                plan.from_uri,
                plan.to_uri,
                plan.external_id,
                dict(plan.metadata),
            )
        ]
        records += [self._added(leg, 0) for leg in plan.legs]
        records += [LegHeld(self.call, leg.leg, 0) for leg in plan.legs if leg.held]
        if plan.metadata_xml:
            records.append(MetadataReceived(self.call, 0, plan.metadata_xml))
        return records

    def agree(self, plan: CallPlan, at_ms: int) -> list[LifecycleRecord]:
        """Take a new plan; return what it changes, nothing before the call has begun."""
        before, self._plan = self._plan, plan
        self.roles = [leg.role for leg in plan.legs]
        if not self.started or before is None:
            return []
        records: list[LifecycleRecord] = []
        known = {leg.leg: leg for leg in before.legs}
        for leg in plan.legs:
            old = known.get(leg.leg)
            if old is None or _described(old) != _described(leg):
                records.append(self._added(leg, self._stamp(at_ms)))
            if leg.held and (old is None or not old.held):
                records.append(LegHeld(self.call, leg.leg, self._stamp(at_ms)))
            elif old is not None and old.held and not leg.held:
                records.append(LegResumed(self.call, leg.leg, self._stamp(at_ms)))
        if plan.metadata_xml and plan.metadata_xml != before.metadata_xml:
            records.append(MetadataReceived(self.call, self._stamp(at_ms), plan.metadata_xml))
        return records

    def keep(self, t0_ns: int) -> Kept:
        """Return what a successor needs."""
        at = None if self.interruption is None else self.interruption.from_sample
        return Kept(t0_ns, self.plan, self.started, self._newest_stamp_ms, at)

    def load(self, kept: Kept) -> None:
        self._plan = kept.plan
        self.roles = [leg.role for leg in kept.plan.legs]
        self.started = kept.started
        self._newest_stamp_ms = kept.newest_stamp_ms

    def interrupt(self, cuts: Sequence[int], back_at: int, earlier: int | None) -> None:
        """Note that capture was down from the legs' next samples `cuts` on; `earlier` is a hole not yet told."""
        first = min(cuts, default=back_at)
        if earlier is not None:
            first = min(first, earlier)
        self.interruption = Interruption(first, first, back_at, set(range(len(cuts))))

    def _added(self, leg: LegPlan, at_ms: int) -> LegAdded:
        return LegAdded(
            self.call,
            leg.leg,
            at_ms,
            leg.role,
            leg.role_verified,
            leg.label,
            leg.speaker_name,
            leg.speaker_uri,
            leg.encoding.value,
        )

    def _stamp(self, at_ms: int) -> int:
        # Ids of lifecycle records are made from kind, leg and time: two changes must not share a millisecond.
        self._newest_stamp_ms = max(at_ms, self._newest_stamp_ms + 1)
        return self._newest_stamp_ms


def _described(leg: LegPlan) -> tuple[object, ...]:
    return leg.role, leg.role_verified, leg.label, leg.speaker_name, leg.speaker_uri, leg.encoding


def samples_to_ms(samples: int) -> int:
    return samples * 1000 // RATE
