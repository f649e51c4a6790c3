"""Build the recognition graph HCLG from a dictionary and a language model.

    python -m recognizer.graph_build --pack recognizer/models/general-8k
    python -m recognizer.graph_build --arpa LM.arpa --lexicon LEXICON.txt --acoustic acoustic.npz --out FOLDER

The first form writes the pack's compressed graph again from the pack's own sources, the second one a graph that
:meth:`recognizer.graph.Graph.load` reads. L and G (:mod:`recognizer.grammar_fst`) are composed, determinised and
minimised; phones get their left neighbours (C), then leaves of the acoustic model, and
:func:`recognizer.hmm_topology.add_self_loops` adds durations. Both end with a table of times and sizes. Needs kaldifst;
63,000 words with 1.3 million n-grams take about 1.2 GB of memory and 40 s of one core.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from recognizer.flat_fst import FlatFst
from recognizer.grammar_fst import build_grammar, build_lexicon
from recognizer.graph import Graph
from recognizer.hmm_topology import HmmTopology, add_self_loops
from recognizer.language_model import LanguageModel, read_arpa
from recognizer.lexicon import Lexicon, LexiconError, read_lexicon

STEPS = (
    "grammar and lexicon",
    "compose",
    "determinise",
    "minimise",
    "left context",
    "leaves",
)
Progress = Callable[[str], None]


def build_graph(
    model: LanguageModel, lexicon: Lexicon, topology: HmmTopology, progress: Progress = lambda step: None
) -> FlatFst:
    """Return HCLG without self-loops: input labels are leaf + 1, output labels are word ids.

    Parameters
    ----------
    model : LanguageModel
        Every word of it must be in `lexicon`.
    lexicon : mapping of str to pronunciations
    topology : HmmTopology
    progress : callable
        Called with the name of each step (one of ``STEPS``) before it starts.
    """
    import kaldifst

    progress(STEPS[0])
    spoken = build_lexicon(model.words, lexicon, topology.phones)
    lexicon_fst, grammar_fst = spoken.fst.to_kaldifst(), build_grammar(model).to_kaldifst()
    kaldifst.arcsort(lexicon_fst, "olabel")
    progress(STEPS[1])
    fst = kaldifst.StdVectorFst(kaldifst.compose(lexicon_fst, grammar_fst))
    del lexicon_fst, grammar_fst
    progress(STEPS[2])
    kaldifst.determinize_star(fst, use_log=True)
    progress(STEPS[3])
    kaldifst.minimize_encoded(fst)
    kaldifst.arcsort(fst, "ilabel")
    progress(STEPS[4])
    fst, contexts = kaldifst.compose_context(list(spoken.disambiguation), 2, 1, fst)
    columns = FlatFst.from_kaldifst(fst)
    del fst
    progress(STEPS[5])
    columns = replace(columns, input=_leaf_labels(contexts, topology)[columns.input])
    if _shared_leaves(topology):
        fst = columns.to_kaldifst()
        kaldifst.determinize_star(fst, use_log=True)
        columns = FlatFst.from_kaldifst(fst)
    columns = replace(columns, input=np.where(columns.input > topology.leaves, 0, columns.input))
    if _shared_leaves(topology):
        fst = columns.to_kaldifst()
        kaldifst.minimize_encoded(fst)
        columns = FlatFst.from_kaldifst(fst)
    return columns


def _shared_leaves(topology: HmmTopology) -> bool:
    """Whether two phones have a leaf in common.

    Where they have not, arcs of different phones keep different labels when these become leaves: what was
    deterministic stays so, and next to nothing becomes equal (0.4 % of the states, for half of the time).
    """
    phones = [set(topology.leaf[:, phone].tolist()) for phone in range(1, len(topology.phones) + 1)]
    return sum(map(len, phones)) > len(set().union(*phones))


def _leaf_labels(contexts: Any, topology: HmmTopology) -> np.ndarray:
    """Label per context window: leaf + 1, 0 for none, above the leaves for disambiguation symbols."""
    labels = np.zeros(len(contexts), np.int64)
    for i, window in enumerate(contexts):
        if len(window) == 1 and window[0] < 0:
            labels[i] = topology.leaves - window[0]
        elif len(window) > 1:
            labels[i] = int(topology.leaf[window[0], window[1]]) + 1
    return labels


@contextmanager
def shown_progress(quiet: bool = False) -> Iterator[Progress]:
    """Yield a callback that moves a bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("recognition graph", total=len(STEPS))
        done = -1

        def progress(step: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, description=step, completed=done)

        yield progress
        bar.update(task, description="done", completed=len(STEPS))


class Stopwatch:
    """Called at the beginning of each step, it keeps how long they take."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, float, float]] = []

    def __call__(self, step: str) -> None:
        self._steps.append((step, time.monotonic(), time.process_time()))

    def print_table(self, sizes: Mapping[str, str]) -> None:
        """Print what each step took, up to now, and `sizes`."""
        from rich.console import Console
        from rich.table import Table

        self("total")
        steps = Table("step", "s", "CPU s", box=None)
        for (step, wall, core), (_, wall_end, core_end) in pairwise(self._steps):
            steps.add_row(step, f"{wall_end - wall:.1f}", f"{core_end - core:.1f}")
        _, wall, core = self._steps[0]
        _, wall_end, core_end = self._steps[-1]
        steps.add_row("total", f"{wall_end - wall:.1f}", f"{core_end - core:.1f}", style="bold")
        told = Table("size", "", box=None)
        for name, value in sizes.items():
            told.add_row(name, value)
        console = Console(stderr=True)
        console.print(steps, told)


def _sizes(model: LanguageModel, fst: FlatFst, graph: Graph, packed: bytes) -> dict[str, str]:
    silent = int((graph.arcs["pdf"] < 0).sum())
    sizes = {
        "words": f"{len(model.words):,}",
        "bigrams, trigrams": f"{len(model.bigram_keys):,}, {len(model.trigram_keys):,}",
        "states, arcs before durations": f"{len(fst.final):,}, {len(fst.source):,}",
        "states, arcs": f"{graph.state_count:,}, {len(graph.arcs):,} ({silent:,} without input)",
        "in memory": f"{(graph.states.nbytes + graph.arcs.nbytes) / 1e6:.1f} MB",
        "peak memory of the build": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB",
    }
    return {**sizes, "packed": f"{len(packed) / 1e6:.1f} MB"} if packed else sizes


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    from recognizer import graph_archive, model_pack

    parser = argparse.ArgumentParser(
        prog="python -m recognizer.graph_build", description="Build a recognition graph."
    )
    parser.add_argument("--pack", type=Path, help="model pack whose graph is written again from its own sources")
    parser.add_argument("--arpa", type=Path, help="language model, ARPA, up to trigrams (.xz allowed)")
    parser.add_argument("--lexicon", type=Path, help="dictionary, 'word PHONE PHONE ...' per line (.xz allowed)")
    parser.add_argument("--acoustic", type=Path, help="acoustic model (.npz with leaf and self_loop)")
    parser.add_argument("--out", type=Path, help="folder to write the graph to")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    given = parser.parse_args(arguments)
    try:
        if given.pack:
            sources = model_pack.PackSources.of(given.pack)
        elif given.arpa and given.lexicon and given.acoustic and given.out:
            sources = model_pack.PackSources(given.arpa, given.lexicon, given.acoustic, model_pack.PHONES)
        else:
            parser.error("give --pack, or --arpa, --lexicon, --acoustic and --out")
        watch = Stopwatch()
        with shown_progress(given.quiet) as shown:

            def progress(step: str) -> None:
                watch(step)
                shown(step)

            watch("read the sources")
            lexicon = read_lexicon(sources.lexicon, sources.phones)
            model = read_arpa(sources.arpa, lexicon)
            topology = HmmTopology.load(sources.acoustic, sources.phones)
            fst = build_graph(model, lexicon, topology, progress)
            watch("durations")
            graph = add_self_loops(fst, topology, model.words)
            watch("pack" if given.pack else "write")
            packed = graph_archive.pack_graph(fst, model.words) if given.pack else b""
            if given.pack:
                model_pack.write_graph(given.pack, packed)
            else:
                given.out.mkdir(parents=True, exist_ok=True)
                graph.save(given.out)
        if not given.quiet:
            watch.print_table(_sizes(model, fst, graph, packed))
    except (OSError, LexiconError, ValueError) as error:
        print(f"The recognition graph was not built: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
