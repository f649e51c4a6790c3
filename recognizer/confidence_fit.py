"""Fit the coefficients of the confidence to a model pack, on recordings that the model was not trained on.

    python -m recognizer.confidence_fit dev.tsv other.tsv --pack recognizer/models/general-8k --write

Each table has the columns audio, text and, if there, speaker (:mod:`recognizer.evaluation.test_set`). Every recording
goes through the simulated telephone channel and the recogniser's own search; a word is right when it stands opposite
the same said word. The logistic is fitted by Newton's method with a little shrinking. Printed are the Brier scores of
the pack's coefficients, of the new ones on the same words, and, as the honest figure, of coefficients fitted without
the speaker (without columns: the recording) they are tried on. ``--write`` puts the new ones into the pack's manifest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recognizer.confidence import FEATURES, ConfidenceModel, word_features
from recognizer.evaluation.audio_file import AudioFileError, read_audio
from recognizer.evaluation.calibration import Calibration, calibration_of
from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.evaluation.test_set import Recording, TestSetError, read_test_set
from recognizer.evaluation.word_errors import align_words, normalised_words
from recognizer.model_pack import DEFAULT_PACK, ModelPack, ModelPackError, read_manifest, seal_manifest
from recognizer.recogniser import Recogniser

Float64 = NDArray[np.float64]

_SHRINKING = 1.0
_ROUNDS = 50
_FOLDS = 10


@dataclass(frozen=True)
class ConfidenceExamples:
    """Recognised words.

    Attributes
    ----------
    features : float64[words, features]
    right : bool[words]
    groups : int64[words]
        Whose words (or which recording's) they are.
    """

    features: Float64
    right: NDArray[np.bool_]
    groups: NDArray[np.int64]


def examples_of(
    pack: ModelPack,
    recordings: Iterable[Recording],
    complain: Callable[[str], None] = lambda sentence: None,
) -> ConfidenceExamples:
    """Recognise `recordings` and return what the confidence sees of each word, and whether it is right."""
    recogniser = Recogniser.of_pack(pack)
    features, right, groups = [np.zeros((0, len(FEATURES)))], [np.zeros(0, np.bool_)], [np.zeros(0, np.int64)]
    number: dict[str, int] = {}
    for place, recording in enumerate(recordings):
        try:
            samples = telephone_speech(read_audio(recording.audio))
        except AudioFileError as error:
            complain(str(error))
            continue
        stream = recogniser.model.stream()
        block = recogniser.model.features().accept(samples)
        scores = np.concatenate([stream.accept(block), stream.finish()])
        search = recogniser.search()
        search.advance(scores)
        # As the recogniser itself does, with a second pass where its settings want one.
        last = recogniser.found(search.finish(), search, scores)
        found, aligned = last.hypothesis, last.alignment
        if not aligned:
            continue
        said, heard = normalised_words(recording.text), [word.text for word in found.words]
        hits = {j for i, j in align_words(said, heard).tolist() if i >= 0 and j >= 0 and said[i] == heard[j]}
        features.append(word_features(found, aligned, last.lattice))
        right.append(np.array([j in hits for j in range(len(heard))]))
        group = number.setdefault(recording.speaker or f"recording {place}", len(number))
        groups.append(np.full(len(heard), group))
    return ConfidenceExamples(np.concatenate(features), np.concatenate(right), np.concatenate(groups))


def fitted(features: Float64, right: NDArray[np.bool_], shrinking: float = _SHRINKING) -> ConfidenceModel:
    """Return the logistic of the greatest likelihood, squared coefficients (not the intercept) held small.

    Raises
    ------
    ValueError
        There are no words, or they are all right or all wrong.
    """
    if not right.any() or right.all():
        raise ValueError(
            "The confidence cannot be fitted: it needs words that are right and words that are wrong."
        )
    columns = np.concatenate([np.ones((len(features), 1)), features], axis=1)
    target = right.astype(np.float64)
    penalty = np.diag([0.0] + [shrinking] * features.shape[1])
    weights = np.zeros(columns.shape[1])
    for _ in range(_ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(columns @ weights, -30.0, 30.0)))
        gradient = columns.T @ (target - chance) - penalty @ weights
        curvature = (
            (columns * (chance * (1.0 - chance))[:, None]).T @ columns + penalty + 1e-9 * np.eye(len(weights))
        )
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return ConfidenceModel(float(weights[0]), tuple(float(w) for w in weights[1:]))


def held_out_confidences(examples: ConfidenceExamples) -> Float64:
    """Return each word's confidence by coefficients that were fitted without its group (ten folds of groups)."""
    confidences = np.zeros(len(examples.right))
    fold = examples.groups % min(_FOLDS, max(2, int(examples.groups.max()) + 1))
    for f in np.unique(fold):
        test = fold == f
        model = fitted(examples.features[~test], examples.right[~test])
        confidences[test] = model.probabilities(examples.features[test])
    return confidences


def _figures(name: str, calibration: Calibration | None) -> str:
    assert calibration is not None
    return (
        f"{name:<28} Brier {calibration.brier:.4f}  (constant {calibration.brier_of_constant:.4f})  "
        f"expected calibration error {calibration.expected_error:.4f}  ROC area {calibration.roc_area:.3f}"
    )


def _say(sentence: str) -> None:
    print(sentence)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m recognizer.confidence_fit", description="Fit a model pack's confidence."
    )
    parser.add_argument("tables", type=Path, nargs="+", help="test sets, columns audio, text and speaker")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    parser.add_argument("--write", action="store_true", help="put the coefficients into the pack's manifest")
    given = parser.parse_args(arguments)
    try:
        pack = ModelPack.load(given.pack)
        recordings = [recording for table in given.tables for recording in read_test_set(table)]
        examples = examples_of(pack, recordings, _say)
        model = fitted(examples.features, examples.right)
        held_out = held_out_confidences(examples)
    except (ModelPackError, TestSetError, ValueError) as error:
        print(f"The confidence was not fitted: {error}", file=sys.stderr)  # noqa: T201
        return 1
    _say(f"{len(examples.right)} words, {examples.right.mean():.1%} right, simulated telephone speech")
    for name, confidences in (
        ("the pack's coefficients", pack.confidence.probabilities(examples.features)),
        ("fitted, on the same words", model.probabilities(examples.features)),
        ("fitted on other speakers", held_out),
    ):
        _say(_figures(name, calibration_of(confidences, examples.right)))
    _say(f"intercept {model.intercept:.4f}")
    for feature, weight in zip(FEATURES, model.weights, strict=True):
        _say(f"{feature} {weight:.4f}")
    if given.write:
        manifest = read_manifest(given.pack)
        manifest["confidence"] = {
            "intercept": round(model.intercept, 4),
            **{name: round(weight, 4) for name, weight in zip(FEATURES, model.weights, strict=True)},
        }
        seal_manifest(given.pack, manifest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
