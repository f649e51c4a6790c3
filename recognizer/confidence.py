"""How likely each recognised word is right: a logistic over what lattice and alignment saw of it.

Four things are looked at (:data:`FEATURES`):

- ``agreement``: the word's posterior in the utterance's lattice (same word at about the same time), with all costs
  at half, for search costs are overconfident; as log odds.
- ``acoustic_gap``: by how much per frame the aligned states scored worse than the best of all states.
- ``agreement_before``, ``agreement_after``: the agreement on its neighbours, for errors come in runs.
- ``crowd``: how many words of the lattice end within the word, as log(1 + n); a pack without it works.

Durations were tried and left out: they helped on the speakers they were fitted on and harmed on others. The
coefficients are fitted on the development speakers (:mod:`recognizer.confidence_fit`; figures: the pack's card) and
lie in the pack's manifest; a confidence is comparable only within one pack and search setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.beam_search import Hypothesis
from recognizer.lattice import Lattice
from recognizer.lattice_posteriors import word_posteriors
from recognizer.word_alignment import AlignedWord

FEATURES = ("agreement", "acoustic_gap", "agreement_before", "agreement_after", "crowd")
_SCALE = 0.5
_SAME_TIME_FRAMES = 8
_CROWD_FRAMES = 3
_LEAST_AGREEMENT = 1e-3
_NEWER = frozenset({"crowd"})


@dataclass(frozen=True)
class ConfidenceModel:
    """Coefficients of the logistic, in the order of ``FEATURES``, and its intercept."""

    intercept: float
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES):
            raise ValueError(
                f"The confidence needs {len(FEATURES)} coefficients, the pack has {len(self.weights)}."
            )

    @classmethod
    def from_manifest(cls, entry: Mapping[str, Any]) -> ConfidenceModel:
        """Read the manifest's ``confidence`` entry: ``intercept`` and one coefficient per feature name."""
        known = {**dict.fromkeys(_NEWER, 0.0), **entry}
        return cls(float(known["intercept"]), tuple(float(known[name]) for name in FEATURES))

    def estimate(
        self, hypothesis: Hypothesis, alignment: Sequence[AlignedWord], lattice: Lattice | None
    ) -> tuple[float, ...]:
        """Return one probability per word of `hypothesis`.

        Parameters
        ----------
        hypothesis : Hypothesis
        alignment : sequence of AlignedWord
            Of the same words.
        lattice : Lattice, optional
            Of the search that found `hypothesis`; without it, or if it does not hold the words, nothing disagrees.
        """
        return tuple(self.probabilities(word_features(hypothesis, alignment, lattice)).tolist())

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one probability per row of `features`, float64[words, features]."""
        logits = self.intercept + features @ np.array(self.weights)
        probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(logits, -20.0, 20.0)))
        return probabilities


def timed(
    hypothesis: Hypothesis,
    alignment: Sequence[AlignedWord] | None,
    lattice: Lattice | None,
    model: ConfidenceModel,
) -> Hypothesis:
    """Return `hypothesis` with the times of `alignment` and with confidences.

    Without an alignment the search's rough times stay and the confidence is 0.
    """
    if alignment is None:
        return hypothesis
    confidences = model.estimate(hypothesis, alignment, lattice)
    words = tuple(
        replace(word, start_frame=span.start_frame, end_frame=span.end_frame, confidence=confidence)
        for word, span, confidence in zip(hypothesis.words, alignment, confidences, strict=True)
    )
    return replace(hypothesis, words=words)


def word_features(
    hypothesis: Hypothesis, alignment: Sequence[AlignedWord], lattice: Lattice | None
) -> NDArray[np.float64]:
    """Return float64[words, features]."""
    rows = np.zeros((len(alignment), len(FEATURES)))
    if not len(rows):
        return rows
    path = lattice.path_of(hypothesis.word_ids) if lattice else None
    share = np.ones(len(rows))
    if lattice and path is not None:
        share = word_posteriors(lattice, path, _SCALE, _SAME_TIME_FRAMES)
    share = np.clip(share, _LEAST_AGREEMENT, 1.0 - _LEAST_AGREEMENT)
    rows[:, 0] = np.log(share / (1.0 - share))
    rows[:, 1] = [(word.score - word.best_score) / (word.end_frame - word.start_frame) for word in alignment]
    rows[:, 2] = np.concatenate([rows[:1, 0], rows[:-1, 0]])
    rows[:, 3] = np.concatenate([rows[1:, 0], rows[-1:, 0]])
    if lattice:
        moments = np.sort(lattice.frames[lattice.arcs["target"]])
        ends = np.searchsorted(moments, [word.end_frame + _CROWD_FRAMES for word in alignment])
        rows[:, 4] = np.log1p(ends - np.searchsorted(moments, [word.start_frame for word in alignment]))
    return rows
