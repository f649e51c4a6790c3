"""Where each of two voices speaks, frame by frame: a two-state HMM on each row's likeness to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class TurnSettings:
    """How turns are cut.

    Attributes
    ----------
    sharpness : float
        How much a difference of cosine of 1 weighs per second of speech, as a log likelihood.
    change_cost : float
        Log likelihood that a change of speaker costs.
    """

    sharpness: float = 20.0
    change_cost: float = 3.0

    def __post_init__(self) -> None:
        if self.sharpness <= 0 or self.change_cost < 0:
            raise ValueError("The sharpness of turns is positive, the cost of a change not negative.")


def voices_by_row(
    likeness: Float32, speech: NDArray[np.bool_], row_s: float, settings: TurnSettings
) -> NDArray[Any]:
    """Return which voice speaks in each row: int8[rows], 0 or 1, and -1 in silence.

    Parameters
    ----------
    likeness : float32[rows, 2]
        Cosine of each row's embedding and each voice.
    speech : bool[rows]
        Where anybody speaks. Rows of silence do not vote, and a change of speaker in them costs a quarter.
    row_s : float
        Seconds per row.
    """
    gain = settings.sharpness * row_s * (likeness[:, 0] - likeness[:, 1]).astype(np.float64)
    gain[~speech] = 0
    change = np.full(len(gain), settings.change_cost, np.float64)
    change[~speech] = settings.change_cost / 4
    found: NDArray[Any] = _two_state_viterbi(gain, change)
    found[~speech] = -1
    return found


@njit(cache=True)
def _two_state_viterbi(gain: Any, change: Any) -> Any:
    rows = gain.size
    came = np.zeros((rows, 2), np.int8)
    first, second = 0.0, 0.0
    for t in range(rows):
        from_first, from_second = first, second
        came[t, 0] = 0 if from_first >= from_second - change[t] else 1
        came[t, 1] = 1 if from_second >= from_first - change[t] else 0
        first = max(from_first, from_second - change[t]) + 0.5 * gain[t]
        second = max(from_second, from_first - change[t]) - 0.5 * gain[t]
    found = np.empty(rows, np.int8)
    state = 0 if first >= second else 1
    for t in range(rows - 1, -1, -1):
        found[t] = state
        state = came[t, state]
    return found
