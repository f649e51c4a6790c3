"""Telephone channel simulation: what training does to clean speech, anew every epoch, before features are taken.

The order is that of a real line: vocal tract, room, noise and other voices around the speaker, handset and line
response, the other leg's crosstalk, level and clipping, speech codec, G.711, lost packets. Each step is a small pure
function (:mod:`~recognizer.training.channel_voice`, ``channel_noise``, ``channel_line``, ``channel_gsm``) that takes
its random choices from a numpy ``Generator``; how often each is used, and how strongly, stands in `ChannelSettings`.

Nothing here shifts time: sample ``n`` of the result is the moment of sample ``n`` of the input, so an alignment made
on clean audio stays true. Only `perturb_speed` changes durations, and says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.audio_file import to_telephone_rate
from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.training.channel_gsm import gsm_like
from recognizer.training.channel_line import (
    clip_peaks,
    lose_packets,
    modulated_noise,
    random_response,
    set_level,
    through_a_law,
    through_mu_law,
)
from recognizer.training.channel_noise import add_crosstalk, add_noise, reverberate
from recognizer.training.channel_voice import change_speed, warp_formants

Float32 = NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class ChannelSettings:
    """How often each impairment is applied, and between which bounds its strength is drawn (uniformly).

    Probabilities are within [0, 1]; ranges are (low, high).

    Raises
    ------
    ValueError
        A probability or range is not of that kind; the message names the setting.
    """

    speed_probability: float = 0.75
    speed: Range = (0.83, 1.2)
    """Used by `perturb_speed` alone."""
    warp_probability: float = 0.35
    warp: Range = (0.87, 1.15)
    """Factor on formant frequencies, pitch and tempo kept (vocal tract length)."""
    reverberation_probability: float = 0.25
    reverberation_s: Range = (0.05, 0.4)
    """Time in which the room's sound falls by 60 dB."""
    reverberation_db: Range = (-18.0, -3.0)
    """Energy of the reverberation relative to the direct sound."""
    noise_probability: float = 0.6
    noise_snr_db: Range = (5.0, 30.0)
    babble_snr_db: Range = (10.0, 30.0)
    """Voices around the speaker have words in them, so they stay further below."""
    second_noise_probability: float = 0.1
    response_probability: float = 0.85
    response_low_hz: Range = (120.0, 360.0)
    response_high_hz: Range = (3050.0, 3800.0)
    response_tilt_db: Range = (-6.0, 6.0)
    """Gain at 3400 Hz relative to 300 Hz."""
    response_ripple_db: Range = (0.0, 3.0)
    """Standard deviation of a handset's smooth ups and downs."""
    crosstalk_probability: float = 0.1
    crosstalk_db: Range = (-40.0, -18.0)
    level_probability: float = 0.9
    level_dbfs: Range = (-48.0, -16.0)
    """Root mean square of the active speech over that of full scale."""
    clipping_probability: float = 0.05
    clipping_at: Range = (0.2, 0.7)
    """Share of the peak at which the wave is cut."""
    gsm_probability: float = 0.12
    mnru_probability: float = 0.08
    mnru_q_db: Range = (8.0, 30.0)
    mu_law_probability: float = 0.5
    a_law_probability: float = 0.3
    """Else no G.711 (a wide-band leg that was resampled)."""
    loss_probability: float = 0.15
    loss_rate: Range = (0.005, 0.05)
    loss_burst_packets: Range = (1.0, 3.0)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_probability"):
                if not 0 <= value <= 1:
                    raise ValueError(f"The channel setting {field.name} is a probability between 0 and 1.")
            elif not (len(value) == 2 and value[0] <= value[1] and np.isfinite(value).all()):
                raise ValueError(f"The channel setting {field.name} is a pair of numbers, the lower one first.")
        if self.mu_law_probability + self.a_law_probability > 1:
            raise ValueError("mu_law_probability and a_law_probability together are not above 1.")


def reference_channel(samples: Float32, rate: int) -> Float32:
    """Return `samples` (float32[n] in [-1, 1) at `rate` Hz) as the test sets have them: 8 kHz, 300-3400 Hz, mu-law."""
    return telephone_speech(to_telephone_rate(samples, rate))


def perturb_speed(samples: Float32, rng: np.random.Generator, settings: ChannelSettings) -> tuple[Float32, float]:
    """Return `samples` (8 kHz) at a random speed, and the speed: durations are divided by it, pitch multiplied."""
    if rng.random() >= settings.speed_probability:
        return samples, 1.0
    speed = round(float(rng.uniform(*settings.speed)), 2)
    return change_speed(samples, speed), speed


def simulate(
    samples: Float32,
    rng: np.random.Generator,
    settings: ChannelSettings,
    noises: Sequence[Float32] = (),
    others: Sequence[Float32] = (),
) -> Float32:
    """Send clean speech through a random telephone line.

    Parameters
    ----------
    samples
        float32[n] in [-1, 1) at 8 kHz.
    rng
        Decides everything; the same state gives the same samples.
    noises
        Recorded noises, float32 at 8 kHz, of any length; without them noise is synthetic.
    others
        Speech of other people, float32 at 8 kHz: for babble and crosstalk; without it there is neither.

    Returns
    -------
    float32[n], in [-1, 1].
    """
    if samples.dtype != np.float32 or samples.ndim != 1:
        raise ValueError("The channel simulation takes a one-dimensional float32 array.")
    if not samples.size:
        return samples
    s = settings
    x = samples

    def draw(bounds: Range) -> float:
        return float(rng.uniform(*bounds))

    def happens(probability: float) -> bool:
        return bool(rng.random() < probability)

    if happens(s.warp_probability):
        x = warp_formants(x, draw(s.warp))
    if happens(s.reverberation_probability):
        x = reverberate(x, rng, draw(s.reverberation_s), draw(s.reverberation_db))
    for probability in (s.noise_probability, s.second_noise_probability):
        if happens(probability):
            x = add_noise(x, rng, draw(s.noise_snr_db), draw(s.babble_snr_db), noises, others)
    if happens(s.response_probability):
        x = random_response(
            x,
            rng,
            draw(s.response_low_hz),
            draw(s.response_high_hz),
            draw(s.response_tilt_db),
            draw(s.response_ripple_db),
        )
    if others and happens(s.crosstalk_probability):
        x = add_crosstalk(x, rng, draw(s.crosstalk_db), others)
    if happens(s.level_probability):
        x = set_level(x, draw(s.level_dbfs))
    if happens(s.clipping_probability):
        x = clip_peaks(x, draw(s.clipping_at))
    if happens(s.gsm_probability):
        x = gsm_like(x)
    if happens(s.mnru_probability):
        x = modulated_noise(x, rng, draw(s.mnru_q_db))
    law = rng.random()
    if law < s.mu_law_probability:
        x = through_mu_law(x)
    elif law < s.mu_law_probability + s.a_law_probability:
        x = through_a_law(x)
    if happens(s.loss_probability):
        x = lose_packets(x, rng, draw(s.loss_rate), draw(s.loss_burst_packets))
    return np.clip(x, np.float32(-1), np.float32(1))
