"""One training from a working folder to an exported network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from recognizer.hmm_topology import HmmTopology
from recognizer.model_pack import PackSources
from recognizer.training import examples
from recognizer.training.network import NetworkShape, exported, restored
from recognizer.training.trainer import Point, Trainer, TrainingSettings
from recognizer.training.utterances import Prepared, read_statistics

MODEL = "acoustic.npz"


def train_network(
    work: Path,
    name: str,
    *,
    topology: HmmTopology,
    progress: Callable[[float, Point | None], None],
    leaves: int = 0,
    shape: str | None = None,
    start: Path | None = None,
    **settings: Any,
) -> Path:
    """Train, or go on with, the network `name` and write its ``acoustic.npz``; returns its folder.

    Parameters
    ----------
    work : Path
        A folder that is prepared.
    name : str
        Folder of this run below it.
    topology : HmmTopology
        Tree to use, unless `leaves` asks for a new one.
    progress : callable
        Told the hours heard and new points of the curve.
    leaves : int
    shape : str, optional
        As :meth:`NetworkShape.parse` reads it.
    start : Path, optional
        Pack whose network is trained further; it brings its tree.
    settings
        Further fields of :class:`TrainingSettings`.
    """
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    prepared = Prepared(work)
    begin = None
    if start is not None:
        sources = PackSources.of(start)
        topology = HmmTopology.load(sources.acoustic, sources.phones)
        with np.load(sources.acoustic) as arrays:
            begin = restored(dict(arrays))
    elif leaves:
        topology = _tree(folder, prepared, topology.phones, leaves)
    chosen = TrainingSettings(**settings)
    if shape is not None:
        chosen = replace(chosen, shape=NetworkShape.parse(shape))
    if begin is not None:
        chosen = replace(chosen, shape=begin.shape)
    statistics = read_statistics(work)
    trainer = Trainer(
        examples.train_examples(prepared, topology),
        examples.dev_examples(prepared, topology, statistics),
        examples.denominator(prepared, topology),
        topology.self_loop,
        chosen,
        folder,
    )
    if not trainer.resume() and begin is not None:
        trainer.network.load_state_dict(begin.state_dict())
        trainer.average.load_state_dict(begin.state_dict())
    (folder / "settings.json").write_text(json.dumps(asdict(chosen), indent=1), "utf-8")
    trainer.run(progress)
    further = {
        "leaf": topology.leaf,
        "self_loop": topology.self_loop,
        "mean": statistics.mean,
        "std": statistics.deviation,
    }
    np.savez_compressed(folder / MODEL, **exported(trainer.average.state_dict(), chosen.shape, further))  # type: ignore[arg-type]
    return folder


def _tree(folder: Path, prepared: Prepared, phones: tuple[str, ...], leaves: int) -> HmmTopology:
    path = folder / "tree.npz"
    if not path.exists():
        examples.save_tree(path, examples.grown_tree(prepared, phones, leaves))
    return HmmTopology.load(path, phones)
