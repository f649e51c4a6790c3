"""From the blocks of the event log to what the recogniser hears: float32 at 8 kHz, the legs of a call in step.

In step means: of two open legs none is given out further than the other one is known, so that whatever needs
both of them finds the far leg's samples beside the near leg's. A leg that stays away is waited for only up to
`FrontEndSettings.longest_wait_ms` of the other one's audio; then the other goes on without it, and what comes
late is given out late, with its true place in time. A leg that has ended, or that nothing was heard of yet,
is not waited for.

Echo cancellation has its place in `FrontEnd._give_out`: there, and only there, the samples of all legs for the
same stretch of time are at hand, in order of time, before they leave.

What is given out depends on the audio alone, never on how it was cut into blocks or on a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp import g711
from dsp.resample import TELEPHONE_RATE, Resampler
from events.audio import AudioBlock, Encoding, LegAudioEnded
from events.errors import NeverRetry

Float32 = NDArray[np.float32]

LONGEST_HOLE_S: Final = 6 * 3600
_L16_TO_FLOAT: Final = np.float32(1 / 32768)


@dataclass(frozen=True, slots=True)
class FrontEndSettings:
    longest_wait_ms: int = 500
    """How far one leg may run ahead before it stops waiting for the other."""

    def __post_init__(self) -> None:
        if not 0 <= self.longest_wait_ms <= 60_000:
            raise ValueError("longest_wait_ms of the front end lies between 0 and 60,000.")


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Samples of one leg. Chunks of a leg follow each other without overlap or hole."""

    leg: int
    start_sample: int
    """On the call's timeline, counted at 8 kHz. A leg's first chunk starts where the leg joined the call."""
    samples: Float32
    """float32[n] in [-1, 1) at 8 kHz; zero where nothing was heard."""

    @property
    def end_sample(self) -> int:
        return self.start_sample + self.samples.size


@dataclass(slots=True)
class _Leg:
    rate: int
    expected: int
    """Number, at `rate`, of the sample that the next block should start with."""
    resampler: Resampler
    known_to: int
    """8 kHz samples before this one are known."""
    given_to: int
    waiting: list[Float32] = field(default_factory=list)
    ended: bool = False


class FrontEnd:
    """One call's front end. Give it the call's audio records in their order; it gives chunks back.

    A front end that is started in the middle of a call (a recogniser took the call over) gives the same
    samples as one that heard the call from the start; at rates other than 8 kHz, from 11 ms on.
    """

    def __init__(self, settings: FrontEndSettings | None = None) -> None:
        wait_ms = (settings or FrontEndSettings()).longest_wait_ms
        self._longest_wait = wait_ms * TELEPHONE_RATE // 1000
        self._legs: dict[int, _Leg] = {}

    def push(self, block: AudioBlock) -> list[AudioChunk]:
        """Take a block of any leg, encoding and rate. What was taken before is ignored, and an ended leg.

        Raises
        ------
        NeverRetry
            The block's rate does not serve, or it starts more than six hours behind its leg's last block.
        """
        leg = self._legs.get(block.leg)
        if leg is not None and leg.ended:
            return []
        if leg is None or leg.rate != block.sample_rate:
            leg = self._join(block, leg)
        if block.start_sample - leg.expected > LONGEST_HOLE_S * leg.rate:
            raise NeverRetry("An audio block starts more than six hours behind the one before it.")
        if block.start_sample > leg.expected:
            self._take(leg, np.zeros(block.start_sample - leg.expected, np.float32))
        seen = leg.expected - block.start_sample
        if seen < block.samples:
            self._take(leg, decoded(block)[seen:])
        return self._give_out()

    def end_leg(self, end: LegAudioEnded) -> list[AudioChunk]:
        """No block of this leg comes any more: give out what its resampler held back, wait for it no longer."""
        leg = self._legs.get(end.leg)
        if leg is None or leg.ended:
            return []
        self._know(leg, leg.resampler.finish())
        leg.ended = True
        return self._give_out()

    def end_call(self) -> list[AudioChunk]:
        """No audio comes any more: end all legs and give out the rest."""
        for leg in self._legs.values():
            if not leg.ended:
                self._know(leg, leg.resampler.finish())
                leg.ended = True
        return self._give_out()

    def _join(self, block: AudioBlock, before: _Leg | None) -> _Leg:
        """Start a leg, or go on with one whose rate has changed."""
        try:
            resampler = Resampler(block.sample_rate, TELEPHONE_RATE, block.start_sample)
        except ValueError as error:
            raise NeverRetry(str(error)) from None
        start = resampler.next_sample
        if before is None:
            leg = _Leg(block.sample_rate, block.start_sample, resampler, start, start)
            self._legs[block.leg] = leg
            return leg
        self._know(before, before.resampler.finish())
        if start > before.known_to:
            self._know(before, np.zeros(start - before.known_to, np.float32))
        before.rate = block.sample_rate
        before.expected = block.start_sample
        before.resampler = resampler
        return before

    def _take(self, leg: _Leg, samples: Float32) -> None:
        leg.expected += samples.size
        first = leg.resampler.next_sample
        made = leg.resampler.push(samples)
        # After a change of rate the new samples may reach back by less than one sample's time.
        self._know(leg, made[max(0, leg.known_to - first) :])

    def _know(self, leg: _Leg, samples: Float32) -> None:
        if samples.size:
            leg.waiting.append(samples)
            leg.known_to += samples.size

    def _give_out(self) -> list[AudioChunk]:
        """Give out all legs up to the moment to which every leg that is waited for is known.

        A stage that needs both legs (echo cancellation) belongs here, on the chunks about to be returned.
        """
        furthest = max(leg.known_to for leg in self._legs.values())
        still_open = [leg.known_to for leg in self._legs.values() if not leg.ended]
        until = max(min(still_open, default=furthest), furthest - self._longest_wait)
        chunks = []
        for number, leg in sorted(self._legs.items()):
            samples = _cut(leg, until)
            if samples.size:
                chunks.append(AudioChunk(number, leg.given_to, samples))
                leg.given_to += samples.size
        return chunks


def _cut(leg: _Leg, until: int) -> Float32:
    """Take the waiting samples before `until` from the leg."""
    wanted = min(until, leg.known_to) - leg.given_to
    if wanted <= 0:
        return np.empty(0, np.float32)
    together = leg.waiting[0] if len(leg.waiting) == 1 else np.concatenate(leg.waiting)
    leg.waiting = [together[wanted:]] if wanted < together.size else []
    return together[:wanted]


def decoded(block: AudioBlock) -> Float32:
    """Return a block's samples at its own rate, float32 in [-1, 1), with zeros in its gaps."""
    if not block.payload:
        return np.zeros(block.samples, np.float32)
    if block.encoding is Encoding.L16:
        samples = np.frombuffer(block.payload, "<i2").astype(np.float32) * _L16_TO_FLOAT
    else:
        codes = np.frombuffer(block.payload, np.uint8)
        decode = g711.decode_a_law_float if block.encoding is Encoding.PCMA else g711.decode_mu_law_float
        samples = decode(codes)
    for gap in block.gaps:
        first = max(0, gap.start_sample - block.start_sample)
        samples[first : max(first, gap.start_sample - block.start_sample + gap.samples)] = 0
    return samples
