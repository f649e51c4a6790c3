"""What the shipped pack weighs, part by part, and what building its graph takes.

Run as ``python -m tests.bench.bench_pack [--without-building]``; prints tables and writes build/bench/pack.json.
The graph is built from the pack's own sources, in this process, and not kept; it has to have the shipped one's
states and arcs.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from recognizer.acoustic_model import AcousticModel
from recognizer.graph import Graph
from recognizer.model_pack import DEFAULT_PACK, SHIPPED_BYTES, ModelPack, PackSources, read_manifest
from tests.bench import machine

OUT = Path("build/bench/pack.json")
_PARTS = {
    "acoustic_model": "network",
    "language_model": "language model",
    "rescoring_language_model": "language model for rescoring",
    "lexicon": "pronunciations",
    "graph": "graph",
}


def sizes(folder: Path) -> dict[str, int]:
    """Bytes per part of the pack; what the manifest does not name is the rest."""
    manifest = read_manifest(folder)
    found: dict[str, int] = {}
    for entry, name in _PARTS.items():
        files = manifest.get(entry, [])
        for file in [files] if isinstance(files, str) else files:
            found[name] = found.get(name, 0) + (folder / file).stat().st_size
    total = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {**found, "rest": total - sum(found.values()), "all": total}


def network(pack: ModelPack) -> dict[str, Any]:
    with np.load(pack.acoustic_model) as arrays:
        parameters = sum(arrays[name].size for name in arrays.files if name.endswith((".W", ".W.q")))
    models = {
        form: AcousticModel.load(pack.acoustic_model, pack.acoustic_scale, form) for form in ("float32", "int8")
    }
    return {
        "parameters": int(parameters),
        "pdfs": models["int8"].pdfs,
        "look_ahead_ms": pack.frame_shift_ms * models["int8"].right,
        "weight_bytes": {form: model.weight_bytes for form, model in models.items()},
    }


def graph_figures(graph: Graph) -> dict[str, int]:
    return {
        "words": len(graph.words),
        "states": graph.state_count,
        "arcs": len(graph.arcs),
        "arcs_without_input": int((graph.arcs["pdf"] < 0).sum()),
        "bytes": graph.states.nbytes + graph.arcs.nbytes,
    }


def build(pack: ModelPack) -> dict[str, Any]:
    """Build the graph again; seconds of the clock and of the processor per step."""
    from recognizer.graph_build import build_graph
    from recognizer.hmm_topology import HmmTopology, add_self_loops
    from recognizer.language_model import read_arpa
    from recognizer.lexicon import read_lexicon

    moments: list[tuple[str, float, float]] = []

    def progress(step: str) -> None:
        print(f"{step} ...", flush=True)
        moments.append((step, time.monotonic(), time.process_time()))

    sources = PackSources.of(pack.folder)
    progress("read the sources")
    lexicon = read_lexicon(sources.lexicon, sources.phones)
    model = read_arpa(sources.arpa, lexicon)
    topology = HmmTopology.load(sources.acoustic, sources.phones)
    fst = build_graph(model, lexicon, topology, progress)
    progress("durations")
    made = graph_figures(add_self_loops(fst, topology, model.words))
    moments.append(("", time.monotonic(), time.process_time()))
    steps = {
        step: {"wall_s": wall_end - wall, "processor_s": core_end - core}
        for (step, wall, core), (_, wall_end, core_end) in pairwise(moments)
    }
    return {
        "bigrams": len(model.bigram_keys),
        "trigrams": len(model.trigram_keys),
        "steps": steps,
        "wall_s": moments[-1][1] - moments[0][1],
        "processor_s": moments[-1][2] - moments[0][2],
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "same_as_shipped": made == graph_figures(pack.graph),
    }


def shown(title: str, rows: Mapping[str, str]) -> None:
    table = Table(title, "", box=None)
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_pack")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    parser.add_argument("--without-building", action="store_true", help="tell the sizes only")
    given = parser.parse_args()
    pack = ModelPack.load(given.pack)
    figures: dict[str, Any] = {
        "machine": machine.described(),
        "most_bytes": SHIPPED_BYTES,
        "sizes": sizes(given.pack),
        "network": network(pack),
        "graph": graph_figures(pack.graph),
    }
    shown("the pack, MB", {name: f"{size / 1e6:.2f}" for name, size in figures["sizes"].items()})
    shown("the network", {name: f"{value}" for name, value in figures["network"].items()})
    shown("the graph", {name: f"{value:,}" for name, value in figures["graph"].items()})
    if not given.without_building:
        figures["build"] = build(pack)
        steps = figures["build"]["steps"].items()
        rows = {step: f"{taken['wall_s']:.1f} s, {taken['processor_s']:.1f} s of a core" for step, taken in steps}
        rows["all"] = f"{figures['build']['wall_s']:.1f} s, {figures['build']['processor_s']:.1f} s of a core"
        rows["peak memory"] = f"{figures['build']['peak_memory_bytes'] / 1e9:.2f} GB"
        rows["same states and arcs as shipped"] = "yes" if figures["build"]["same_as_shipped"] else "no"
        shown("building the graph", rows)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
