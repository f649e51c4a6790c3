"""From a working folder to what the trainer takes: examples of all copies, the tree, the denominator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recognizer.acoustic_model import STACK
from recognizer.features import FeatureStatistics
from recognizer.hmm_topology import HmmTopology
from recognizer.training.batches import Example
from recognizer.training.denominator import DenominatorGraph
from recognizer.training.numerator import Transcript
from recognizer.training.tree import cluster_leaves
from recognizer.training.utterances import Prepared, normalised

_LEAST_FRAMES = 30


def train_examples(prepared: Prepared, topology: HmmTopology, copies: int | None = None) -> list[Example]:
    """Return the training utterances of the first `copies` simulated copies (all of them if None).

    The features stay on disk, mapped: the system keeps in memory what fits.
    """
    count = prepared.copies if copies is None else min(prepared.copies, copies + 1)
    return [example for copy in range(1, count) for example in _examples(prepared, topology, copy, "train", None)]


def dev_examples(prepared: Prepared, topology: HmmTopology, statistics: FeatureStatistics) -> list[Example]:
    """Return the development utterances in the reference channel."""
    return list(_examples(prepared, topology, 0, "dev", statistics))


def _examples(
    prepared: Prepared, topology: HmmTopology, copy: int, split: str, statistics: FeatureStatistics | None
) -> Iterator[Example]:
    for place, speed, frames in prepared.energies(copy):
        segments = prepared.segments(place)
        if segments is None or prepared.utterances[place].split != split or len(frames) < _LEAST_FRAMES:
            continue
        features = frames
        if statistics is not None:
            features = normalised(frames.astype(np.float32), statistics).astype(np.float16)
        transcript = Transcript.of(
            segments.leaves(topology.leaf), segments.start / speed / STACK, -(-len(frames) // STACK)
        )
        yield Example(features, transcript)


def denominator(prepared: Prepared, topology: HmmTopology) -> DenominatorGraph:
    """Return the phone model of the training utterances."""
    aligned = (
        prepared.segments(place)
        for place, utterance in enumerate(prepared.utterances)
        if utterance.split == "train"
    )
    return DenominatorGraph.of((segments.phone for segments in aligned if segments is not None), topology)


def grown_tree(prepared: Prepared, phones: tuple[str, ...], leaves: int) -> HmmTopology:
    """Cluster the leaves of the training utterances in the reference channel."""
    utterances = (
        (frames, segments)
        for place, _, frames in prepared.energies(0)
        if prepared.utterances[place].split == "train" and (segments := prepared.segments(place)) is not None
    )
    return cluster_leaves(utterances, phones, leaves)


def save_tree(path: Path, topology: HmmTopology) -> None:
    """Write leaf table and self-loops as an ``.npz`` that :meth:`HmmTopology.load` reads."""
    np.savez(path, leaf=topology.leaf, self_loop=topology.self_loop)
