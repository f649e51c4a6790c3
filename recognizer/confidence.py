"""How likely each recognised word is right: a logistic over what search and alignment saw of it.

Three things are looked at (:data:`FEATURES`):

- ``agreement``: of the paths that were still alive shortly after the word, the share (weighted by
  ``exp(-cost / 4)``, for search costs are overconfident) that had the same word at about the same time; as log odds.
- ``acoustic_gap``: by how much per frame the aligned states scored worse than the best of all states.
- ``agreement_before``, ``agreement_after``: the agreement on its neighbours, for errors come in runs.

Durations were tried and left out: they helped on the speakers they were fitted on and harmed on others. The
coefficients are fitted on the development speakers (figures: the pack's card) and lie in the pack's manifest; a
confidence is comparable only within one pack and search setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.beam_search import BeamSearch, Hypothesis
from recognizer.word_alignment import AlignedWord

FEATURES = ("agreement", "acoustic_gap", "agreement_before", "agreement_after")
_TEMPERATURE = 4.0
_LOOK_AHEAD_FRAMES = (2, 16)
_SAME_TIME_FRAMES = 8
_LEAST_AGREEMENT = 1e-3


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
        return cls(float(entry["intercept"]), tuple(float(entry[name]) for name in FEATURES))

    def estimate(
        self, hypothesis: Hypothesis, alignment: Sequence[AlignedWord], search: BeamSearch
    ) -> tuple[float, ...]:
        """Return one probability per word of `hypothesis`.

        Parameters
        ----------
        hypothesis : Hypothesis
            From `search`, which has not gone on since.
        alignment : sequence of AlignedWord
            Of the same words.
        search : BeamSearch
        """
        features = word_features(hypothesis, alignment, search)
        logits = self.intercept + features @ np.array(self.weights)
        return tuple(float(p) for p in 1.0 / (1.0 + np.exp(-np.clip(logits, -20.0, 20.0))))


def timed(
    hypothesis: Hypothesis,
    alignment: Sequence[AlignedWord] | None,
    search: BeamSearch,
    model: ConfidenceModel,
) -> Hypothesis:
    """Return `hypothesis` with the times of `alignment` and with confidences.

    Without an alignment the search's rough times stay and the confidence is 0.
    """
    if alignment is None:
        return hypothesis
    confidences = model.estimate(hypothesis, alignment, search)
    words = tuple(
        replace(word, start_frame=span.start_frame, end_frame=span.end_frame, confidence=confidence)
        for word, span, confidence in zip(hypothesis.words, alignment, confidences, strict=True)
    )
    return replace(hypothesis, words=words)


def word_features(
    hypothesis: Hypothesis, alignment: Sequence[AlignedWord], search: BeamSearch
) -> NDArray[np.float64]:
    """Return float64[words, features]."""
    rows = np.zeros((len(alignment), len(FEATURES)))
    if not len(rows):
        return rows
    share = np.clip(_agreement(hypothesis, alignment, search), _LEAST_AGREEMENT, 1.0 - _LEAST_AGREEMENT)
    rows[:, 0] = np.log(share / (1.0 - share))
    rows[:, 1] = [(word.score - word.best_score) / (word.end_frame - word.start_frame) for word in alignment]
    rows[:, 2] = np.concatenate([rows[:1, 0], rows[:-1, 0]])
    rows[:, 3] = np.concatenate([rows[1:, 0], rows[-1:, 0]])
    return rows


def _agreement(hypothesis: Hypothesis, alignment: Sequence[AlignedWord], search: BeamSearch) -> list[float]:
    """Share of the living paths that agree on each word, a little after it."""
    glimpses, history = search.glimpses(), search.history()
    frames = glimpses["frame"]
    weights = np.exp(-glimpses["cost"].astype(np.float64) / _TEMPERATURE)
    shares = []
    for i, (word, record) in enumerate(zip(hypothesis.word_ids, hypothesis.history, strict=True)):
        said = int(history["frame"][record])
        end = max(alignment[i].end_frame, said)
        first, last = np.searchsorted(frames, [end + _LOOK_AHEAD_FRAMES[0], end + _LOOK_AHEAD_FRAMES[1]])
        if first == last:  # the utterance ended: its last glimpse has to do
            first = int(np.searchsorted(frames, frames[-1])) if len(frames) else 0
            last = len(frames)
        agree = total = 0.0
        known: dict[int, bool] = {}
        for g in range(int(first), int(last)):
            start = int(glimpses["history"][g])
            if start not in known:
                known[start] = _said(history, start, word, record, said)
            total += weights[g]
            agree += weights[g] * known[start]
        shares.append(agree / total if total else 1.0)
    return shares


def _said(history: NDArray[np.void], start: int, word: int, record: int, frame: int) -> bool:
    """Whether the path ending in record `start` has `word` at about `frame`."""
    here = start
    while here >= 0:
        if here == record:
            return True
        at = int(history["frame"][here])
        if at < frame - _SAME_TIME_FRAMES:
            return False
        if int(history["word"][here]) == word and at <= frame + _SAME_TIME_FRAMES:
            return True
        here = int(history["previous"][here])
    return False
