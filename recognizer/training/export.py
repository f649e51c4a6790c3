"""From a trained network to a model pack: a copy of another pack with this network, and a graph for its tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from recognizer import model_pack
from recognizer.hmm_topology import HmmTopology
from recognizer.model_pack import ModelPackError, PackSources
from recognizer.training.run import MODEL


def make_pack(run: Path, base: Path, out: Path) -> None:
    """Write the pack of the network in `run` to the folder `out`.

    Lexicon, language model and confidence are those of `base`. The graph is too when both networks have one tree;
    else it is built, which takes minutes.

    Raises
    ------
    ModelPackError
        `out` exists already, or `base` is of another kind.
    """
    if out.exists():
        raise ModelPackError(f"The folder {out} exists already; a pack is made in a new one.")
    if not (run / MODEL).exists():
        raise ModelPackError(f"The folder {run} holds no trained network.")
    manifest = model_pack.read_manifest(base)
    sources = PackSources.of(base)
    growing = out.with_name(out.name + ".new")
    shutil.rmtree(growing, ignore_errors=True)
    shutil.copytree(base, growing)
    target = growing / sources.acoustic.name
    shutil.copyfile(run / MODEL, target)
    manifest["name"] = out.name
    model_pack.seal_manifest(growing, manifest)
    old = HmmTopology.load(sources.acoustic, sources.phones)
    new = HmmTopology.load(target, sources.phones)
    # Self-loop probabilities may differ a little under one table of leaves; the graph then keeps the old ones.
    if not np.array_equal(old.leaf, new.leaf):
        _build_graph(growing)
    growing.rename(out)


def _build_graph(pack: Path) -> None:
    from recognizer import graph_build

    if graph_build.main(["--pack", str(pack)]):
        raise ModelPackError("The recognition graph of the new pack was not built.")
