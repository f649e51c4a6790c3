"""The recognition graph (HCLG) as two flat arrays that every worker of a machine maps into memory.

A folder holds ``states.npy``, ``arcs.npy``, ``words.txt`` and ``graph.json``; :mod:`recognizer.graph_build` makes
it, :mod:`recognizer.graph_archive` packs and unpacks it. The arcs of state ``s`` are
``arcs[states[s]["first"] : states[s + 1]["first"]]``; those without input label ("epsilon") come first and end
before ``states[s]["emitting"]``. An emitting arc's ``pdf`` is the column of the acoustic model's output; ``word``
is a row of ``words.txt``, 0 for none. All weights are costs: negative natural logarithms.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMAT = 2
"""What is written; format 1 has the same layout, with more arcs without labels."""
_READ = (1, 2)
EPSILON_PDF = -1
STATE = np.dtype([("first", "<i4"), ("emitting", "<i4"), ("final", "<f4")])
ARC = np.dtype([("next", "<i4"), ("weight", "<f4"), ("word", "<i4"), ("pdf", "<i4")])


class GraphError(ValueError):
    """The folder does not hold a recognition graph that this version can read."""


@dataclass(frozen=True)
class Graph:
    """A weighted graph whose paths are word sequences and whose emitting arcs consume one frame each.

    Attributes
    ----------
    states : STATE[states + 1]
        Offsets into `arcs` and final costs (``inf``: not final). The last row only closes the last state's range.
    arcs : ARC[arcs]
        Per state: arcs without input label first (``pdf`` is -1), then the emitting ones.
    start : int
        The state in which every path begins.
    pdfs : int
        Columns an acoustic model must deliver.
    silence_pdfs : tuple of int
        Columns that belong to silence; the search counts trailing silence with them.
    words : tuple of str
        Spelling by word id; id 0 is no word.
    """

    states: NDArray[np.void]
    arcs: NDArray[np.void]
    start: int
    pdfs: int
    silence_pdfs: tuple[int, ...]
    words: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.states.dtype != STATE or self.arcs.dtype != ARC:
            raise GraphError("The recognition graph's arrays have a layout that this version does not know.")
        if not 0 <= self.start < self.state_count:
            raise GraphError(f"The recognition graph has no start state {self.start}.")
        if int(self.states["first"][-1]) != len(self.arcs):
            raise GraphError("The recognition graph's states and arcs do not belong together.")
        self.states.flags.writeable = self.arcs.flags.writeable = False

    @property
    def state_count(self) -> int:
        """Number of states."""
        return len(self.states) - 1

    @classmethod
    def load(cls, folder: Path) -> Graph:
        """Map the graph in `folder` into memory; pages are shared by all processes that do the same.

        Raises
        ------
        GraphError
            If a file is missing or damaged.
        """
        try:
            facts = json.loads((folder / "graph.json").read_text("utf-8"))
            states = np.load(folder / "states.npy", mmap_mode="r", allow_pickle=False)
            arcs = np.load(folder / "arcs.npy", mmap_mode="r", allow_pickle=False)
            words = (folder / "words.txt").read_text("utf-8").split("\n")
            if facts["format"] not in _READ:
                raise GraphError(
                    f"The recognition graph has format {facts['format']}, this version reads up to {FORMAT}."
                )
            return cls(
                states.view(np.ndarray),
                arcs.view(np.ndarray),
                int(facts["start"]),
                int(facts["pdfs"]),
                tuple(int(p) for p in facts["silence_pdfs"]),
                tuple(words),
            )
        except GraphError:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise GraphError(f"The recognition graph could not be read: {type(error).__name__}.") from error

    def save(self, folder: Path) -> None:
        """Write the files that :meth:`load` reads into the existing `folder`."""
        np.save(folder / "states.npy", self.states)
        np.save(folder / "arcs.npy", self.arcs)
        (folder / "words.txt").write_text("\n".join(self.words), "utf-8")
        facts = {
            "format": FORMAT,
            "start": self.start,
            "pdfs": self.pdfs,
            "silence_pdfs": list(self.silence_pdfs),
        }
        (folder / "graph.json").write_text(json.dumps(facts), "utf-8")


def graph_from_arcs(
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    pdf: NDArray[np.int64],
    word: NDArray[np.int64],
    weight: NDArray[np.float32],
    final: NDArray[np.float32],
    start: int,
    pdfs: int,
    silence_pdfs: Sequence[int],
    words: Sequence[str],
) -> Graph:
    """Lay out columns of arcs (any order) as a :class:`Graph`.

    Parameters
    ----------
    source, target, pdf, word : int[arcs]
        ``pdf`` is -1 for an arc that consumes no frame.
    weight : float32[arcs]
    final : float32[states]
        ``inf`` where a state is not final.
    """
    states_count = len(final)
    order = np.lexsort((pdf, source))
    arcs = np.empty(len(order), ARC)
    arcs["next"], arcs["weight"], arcs["word"], arcs["pdf"] = (
        target[order],
        weight[order],
        word[order],
        pdf[order],
    )
    states = np.zeros(states_count + 1, STATE)
    states["first"][1:] = np.cumsum(np.bincount(source, minlength=states_count))
    epsilons = np.bincount(source[pdf < 0], minlength=states_count)
    states["emitting"][:-1] = states["first"][:-1] + epsilons
    states["emitting"][-1] = states["first"][-1]
    states["final"][:-1] = final
    states["final"][-1] = np.inf
    return Graph(states, arcs, start, pdfs, tuple(silence_pdfs), tuple(words))
