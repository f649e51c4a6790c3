"""How loud a leg is, and a plain measure of whether somebody speaks.

Level is in dBm0 as in ITU-T G.711: a full-scale sine is +3.17 dBm0 in mu-law, so dBm0 = 20 log10(rms) + 6.18
with samples in [-1, 1).

Activity compares each block's energy with the noise floor, the lowest energy of the last seconds. That is good
enough to show who is speaking; it is fooled by noise that swells, and endpoints of utterances are not taken
from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

FULL_SCALE_RMS_DBM0: Final = 6.18
SILENCE_DBM0: Final = -90.0
_FLOOR_POWER: Final = 10 ** ((SILENCE_DBM0 - FULL_SCALE_RMS_DBM0) / 10)


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _powers(samples: Any, block: int, out: Any) -> None:
    for i in range(out.size):
        window = samples[i * block : (i + 1) * block]
        total = np.float32(0)
        for k in range(window.size):
            total += window[k] * window[k]
        out[i] = total / np.float32(block)


def block_levels_dbm0(samples: Float32, block: int) -> Float32:
    """Return the level of each whole block of `block` samples, float32[n // block], not below -90 dBm0.

    Raises
    ------
    ValueError
        `samples` is not one-dimensional float32, or `block` is not positive.
    """
    if samples.dtype != np.float32 or samples.ndim != 1 or block <= 0:
        raise ValueError("Levels are taken of one-dimensional float32 samples in blocks of at least one sample.")
    powers = np.empty(samples.size // block, np.float32)
    _powers(np.ascontiguousarray(samples), block, powers)
    return (10 * np.log10(np.maximum(powers, _FLOOR_POWER)) + FULL_SCALE_RMS_DBM0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ActivitySettings:
    block_ms: int = 10
    above_floor_db: float = 12.0
    """Speech stands out of the noise floor by at least this much."""
    never_below_dbm0: float = -55.0
    """Nothing softer is speech."""
    floor_window_ms: int = 3000
    """The noise floor is the lowest smoothed level within this time."""
    hang_ms: int = 80
    """Activity goes on this long behind the last loud block, over weak consonants."""

    def __post_init__(self) -> None:
        if not 1 <= self.block_ms <= self.hang_ms < self.floor_window_ms:
            raise ValueError("block_ms, hang_ms and floor_window_ms of speech activity must rise in this order.")


@njit(cache=True)
def _activity(
    levels: Any, smoothed: Any, ring: Any, state: Any, above: float, never_below: float, hang: int, out: Any
) -> None:
    for i in range(levels.size):
        smoothed[0] += 0.3 * (levels[i] - smoothed[0])
        ring[state[0] % ring.size] = smoothed[0]
        state[0] += 1
        floor = ring[0]
        for k in range(1, ring.size):
            floor = min(floor, ring[k])
        if levels[i] > floor + above and levels[i] > never_below:
            state[1] = hang + 1
        out[i] = state[1] > 0
        if state[1] > 0:
            state[1] -= 1


class EnergyActivity:
    """Speech activity of one leg, block by block; the same under any split of the samples.

    Before the first block the floor is taken for `never_below_dbm0` less the margin, so that a leg that begins
    with speech is heard at once.
    """

    def __init__(self, sample_rate: int = 8000, settings: ActivitySettings | None = None) -> None:
        self._settings = chosen = settings or ActivitySettings()
        self._block = sample_rate * chosen.block_ms // 1000
        if self._block < 1:
            raise ValueError("A block of speech activity holds at least one sample.")
        first_floor = chosen.never_below_dbm0 - chosen.above_floor_db
        self._ring = np.full(chosen.floor_window_ms // chosen.block_ms, first_floor, np.float64)
        self._smoothed = np.full(1, first_floor, np.float64)
        self._state = np.zeros(2, np.int64)
        self._rest = np.empty(0, np.float32)

    def push(self, samples: Float32) -> NDArray[np.bool_]:
        """Take float32[n], give back bool[blocks] for the blocks that are complete now."""
        together = np.concatenate((self._rest, samples))
        levels = block_levels_dbm0(together, self._block)
        self._rest = together[levels.size * self._block :]
        active = np.empty(levels.size, np.bool_)
        chosen = self._settings
        _activity(
            levels,
            self._smoothed,
            self._ring,
            self._state,
            chosen.above_floor_db,
            chosen.never_below_dbm0,
            chosen.hang_ms // chosen.block_ms,
            active,
        )
        return active
