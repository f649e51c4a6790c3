"""Whether confidences mean what they say: of the words told with confidence p, a share p should be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.measurement import Outcome

BINS = 10
_BAR = 40


class PictureError(RuntimeError):
    """The picture cannot be made; the message is one sentence."""


@dataclass(frozen=True)
class Bin:
    """Words whose confidence lies in [low, high) (the last bin: also at 1)."""

    low: float
    high: float
    words: int
    mean_confidence: float
    share_right: float


@dataclass(frozen=True)
class Calibration:
    """Figures of one system's confidences.

    Attributes
    ----------
    words : int
        Recognised words with a confidence.
    share_right : float
    brier : float
        Mean squared distance of the confidence from 1 (right) or 0 (wrong). G. W. Brier, 1950.
    brier_of_constant : float
        What always telling `share_right` would get: a useful confidence has less.
    expected_error : float
        Expected calibration error: mean over the words of how far their bin's mean confidence lies from its share
        of right words (M. P. Naeini et al., AAAI 2015; ten bins of equal width).
    roc_area : float
        Probability that a right word has a higher confidence than a wrong one; 0.5 without either kind.
    bins : tuple of Bin
        Those that hold words.
    """

    words: int
    share_right: float
    brier: float
    brier_of_constant: float
    expected_error: float
    roc_area: float
    bins: tuple[Bin, ...]


def confidences_and_truth(outcomes: Iterable[Outcome]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return one confidence per recognised word and whether the word stands opposite the same said word."""
    confidences: list[float] = []
    right: list[bool] = []
    for outcome in outcomes:
        if not outcome.confidences:
            continue
        hits = {
            j for i, j in outcome.edits.tolist() if i >= 0 and j >= 0 and outcome.said[i] == outcome.recognised[j]
        }
        confidences += outcome.confidences
        right += [j in hits for j in range(len(outcome.recognised))]
    return np.array(confidences, np.float64), np.array(right, np.bool_)


def calibration_of(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration | None:
    """Return the figures of float64[n] confidences in [0, 1] and bool[n] truth; None without words."""
    if not len(confidences):
        return None
    truth = right.astype(np.float64)
    share = float(truth.mean())
    place = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    bins = tuple(
        Bin(b / BINS, (b + 1) / BINS, int(mask.sum()), float(confidences[mask].mean()), float(truth[mask].mean()))
        for b in range(BINS)
        if (mask := place == b).any()
    )
    return Calibration(
        len(truth),
        share,
        float(((confidences - truth) ** 2).mean()),
        share * (1 - share),
        sum(one.words * abs(one.mean_confidence - one.share_right) for one in bins) / len(truth),
        _roc_area(confidences, right),
        bins,
    )


def _roc_area(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Mann-Whitney's U over its greatest value; ties count half."""
    positive, negative = int(right.sum()), int((~right).sum())
    if not positive or not negative:
        return 0.5
    _, places, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[right].sum() - positive * (positive + 1) / 2) / (positive * negative))


def reliability_text(calibration: Calibration) -> str:
    """Return the reliability diagram in characters, one line a bin: ``#`` is right, ``|`` where it should end."""
    lines = ["confidence  words  right %  0" + "100".rjust(_BAR - 1)]
    for one in calibration.bins:
        bar = list(("#" * round(_BAR * one.share_right)).ljust(_BAR + 1))
        bar[round(_BAR * one.mean_confidence)] = "|"
        lines.append(
            f"{one.low:.1f}-{one.high:.1f}  {one.words:>9}  {100 * one.share_right:>7.1f}  {''.join(bar).rstrip()}"
        )
    return "\n".join(lines)


def draw_reliability(curves: dict[str, Calibration], path: Path, title: str) -> None:
    """Write the reliability diagram of one or more named systems as a PNG.

    Raises
    ------
    PictureError
        If matplotlib is not installed or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PictureError(
            "Drawing needs the Python package matplotlib: pip install 'callwarden[train]'."
        ) from error
    figure = Figure(figsize=(5.6, 6.4), dpi=120, layout="constrained")
    curve, count = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    curve.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="as it should be")
    for name, calibration in curves.items():
        x = [one.mean_confidence for one in calibration.bins]
        y = [one.share_right for one in calibration.bins]
        label = f"{name}: Brier {calibration.brier:.3f}, ECE {calibration.expected_error:.3f}"
        (line,) = curve.plot(x, y, marker="o", markersize=4, label=label)
        count.step(
            [one.low for one in calibration.bins] + [calibration.bins[-1].high],
            [one.words for one in calibration.bins] + [calibration.bins[-1].words],
            where="post",
            color=line.get_color(),
        )
    curve.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of words that are right", title=title)
    curve.title.set_fontsize(10)
    curve.legend(loc="upper left", fontsize=8)
    curve.grid(alpha=0.25)
    count.set(xlabel="confidence", ylabel="words", ylim=(0, None))
    count.grid(alpha=0.25)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")
    except OSError as error:
        raise PictureError(f"The picture could not be written to {path}: {error.strerror}.") from error
