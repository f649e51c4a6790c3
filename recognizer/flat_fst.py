"""Weighted transducers as columns of arcs, and their way into and out of kaldifst (OpenFst's ConstFst files).

Only the graph builder needs this; recognition does not import kaldifst.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

_MAGIC = 2125659606
_STATE = np.dtype([("final", "<f4"), ("first", "<u4"), ("arcs", "<u4"), ("no_input", "<u4"), ("no_output", "<u4")])
_ARC = np.dtype([("input", "<i4"), ("output", "<i4"), ("weight", "<f4"), ("next", "<i4")])
_EXPANDED, _INPUT_SORTED = 0x1, 0x10000000
_ALIGNED = 0x4


@dataclass(frozen=True)
class FlatFst:
    """A transducer; weights are costs in the tropical semiring.

    Attributes
    ----------
    source, target, input, output : int64[arcs]
        Label 0 is epsilon.
    weight : float32[arcs]
    final : float32[states]
        ``inf``: not final.
    start : int
    """

    source: Int64
    target: Int64
    input: Int64
    output: Int64
    weight: Float32
    final: Float32
    start: int

    def to_kaldifst(self) -> Any:
        """Return it as a kaldifst ``StdVectorFst`` with arcs sorted by input label."""
        import kaldifst

        order = np.lexsort((self.input, self.source))
        states = np.zeros(len(self.final), _STATE)
        counts = np.bincount(self.source, minlength=len(states))
        states["final"], states["arcs"] = self.final, counts
        states["first"] = np.concatenate([[0], np.cumsum(counts)[:-1]])
        states["no_input"] = np.bincount(self.source[self.input == 0], minlength=len(states))
        states["no_output"] = np.bincount(self.source[self.output == 0], minlength=len(states))
        arcs = np.zeros(len(order), _ARC)
        arcs["input"], arcs["output"] = self.input[order], self.output[order]
        arcs["weight"], arcs["next"] = self.weight[order], self.target[order]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.fst"
            with path.open("wb") as file:
                file.write(np.int32(_MAGIC).tobytes())
                for name in (b"const", b"standard"):
                    file.write(np.int32(len(name)).tobytes() + name)
                file.write(np.array([2, 0], "<i4").tobytes())
                file.write(np.uint64(_EXPANDED | _INPUT_SORTED).tobytes())
                file.write(np.array([self.start, len(states), len(arcs)], "<i8").tobytes())
                file.write(states.tobytes())
                file.write(arcs.tobytes())
            return kaldifst.StdVectorFst(kaldifst.StdConstFst.read(str(path)))

    @classmethod
    def from_kaldifst(cls, fst: Any) -> FlatFst:
        """Return the columns of a kaldifst ``StdVectorFst``."""
        import kaldifst

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.fst"
            kaldifst.StdConstFst(fst).write(str(path))
            data = path.read_bytes()
        at = 4
        for _ in range(2):
            at += 4 + int(np.frombuffer(data, "<i4", 1, at)[0])
        flags = int(np.frombuffer(data, "<i4", 2, at)[1])
        at += 16
        start, state_count, arc_count = (int(n) for n in np.frombuffer(data, "<i8", 3, at))
        at += 24
        if flags & _ALIGNED:
            at = (at + 15) // 16 * 16
        states = np.frombuffer(data, _STATE, state_count, at)
        at += states.nbytes
        if flags & _ALIGNED:
            at = (at + 15) // 16 * 16
        arcs = np.frombuffer(data, _ARC, arc_count, at)
        return cls(
            np.repeat(np.arange(state_count), states["arcs"]),
            arcs["next"].astype(np.int64),
            arcs["input"].astype(np.int64),
            arcs["output"].astype(np.int64),
            arcs["weight"].copy(),
            states["final"].copy(),
            start,
        )
