"""Write our network as an ONNX model that runs chunk by chunk with its caches as inputs and outputs.

    python -m recognizer.onnx_export recognizer/models/general-8k OUT_FOLDER

OUT_FOLDER then holds ``acoustic.onnx`` and ``hybrid.npz`` (leaves, self-loops, statistics of the features), which is
what ``callwarden models add`` takes. One chunk is 12 normalised feature frames (120 ms) in and 4 rows out; a row is
unscaled log likelihoods. Needs the extra ``onnx``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from recognizer.acoustic_section import METADATA_KEY, AcousticSection

Weights = Mapping[str, NDArray[Any]]

OPSET: Final = 17
_STACK: Final = 3
_STEPS: Final = 4
_BINS: Final = 40
_RESIDUAL: Final = np.float32(0.66)
_VARIANCE_FLOOR: Final = 1e-3


class ExportError(ValueError):
    """The weights are of a form that cannot be exported."""


@dataclass
class _Writer:
    """Collects nodes, constants and caches; every tensor is (1, rows, width)."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    caches: list[tuple[str, int, int]] = field(default_factory=list)
    left: int = 0
    right: int = 0

    def constant(self, name: str, value: NDArray[Any]) -> str:
        import onnx

        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        import onnx

        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def rows(self, x: str, first: int, last: int, output: str) -> str:
        ends = [self.constant(f"{output}.{end}", np.array([n])) for end, n in (("first", first), ("last", last))]
        axis = self.constant(f"{output}.axis", np.array([1]))
        return self.node("Slice", [x, *ends, axis], output)

    def remembered(self, x: str, rows: int, width: int, name: str) -> str:
        """Return `x` with the `rows` that came before it in front."""
        if not rows:
            return x
        cache = f"cache_{len(self.caches)}"
        self.caches.append((cache, rows, width))
        joined = self.node("Concat", [cache, x], f"{name}.joined", axis=1)
        self.rows(joined, _STEPS, _STEPS + rows, f"new_{cache}")
        return joined

    def spliced(self, x: str, first: int, taps: NDArray[Any], weight: NDArray[Any], name: str) -> str:
        """Return the product with the rows at `taps`, where the output's first row lies at row `first` of `x`."""
        parts = [
            self.rows(x, first + int(tap), first + int(tap) + _STEPS, f"{name}.tap{i}")
            for i, tap in enumerate(taps)
        ]
        side = self.node("Concat", parts, f"{name}.spliced", axis=2) if len(parts) > 1 else parts[0]
        matrix = self.constant(f"{name}.W", weight.reshape(-1, weight.shape[-1]).astype(np.float32))
        return self.node("MatMul", [side, matrix], f"{name}.product")

    def reaching(self, taps: NDArray[Any]) -> tuple[int, int]:
        """Note how far `taps` look to either side, and return it: past, future."""
        past, future = max(0, -int(taps.min())), max(0, int(taps.max()))
        self.left += past
        self.right += future
        return past, future

    def activated(self, x: str, bias: NDArray[Any], weights: Weights, norm: str) -> str:
        scale = 1.0 / np.sqrt(weights[f"{norm}.v"].astype(np.float64) + _VARIANCE_FLOOR)
        offset = -weights[f"{norm}.m"] * scale
        x = self.node("Add", [x, self.constant(f"{norm}.b", bias.astype(np.float32))], f"{norm}.biased")
        return self.scaled(self.node("Relu", [x], f"{norm}.relu"), scale, offset, norm)

    def scaled(self, x: str, scale: NDArray[Any], offset: NDArray[Any], norm: str) -> str:
        x = self.node("Mul", [x, self.constant(f"{norm}.s", scale.astype(np.float32))], f"{norm}.scaled")
        return self.node("Add", [x, self.constant(f"{norm}.o", offset.astype(np.float32))], f"{norm}.normal")


def tap_offsets(weights: Weights, name: str, first: int) -> NDArray[np.int64]:
    """Return the time offsets of the matrices in ``{name}.W``: as named in the file, else ascending from `first`."""
    count = len(weights[f"{name}.W"])
    named = weights.get(f"{name}.taps")
    nearby = np.arange(first, first + count) if count > 1 else np.zeros(1, np.int64)
    taps = nearby if named is None else np.atleast_1d(np.asarray(named, np.int64))
    if len(taps) != count or (np.diff(taps) <= 0).any():
        raise ExportError(f"The taps of {name} are not as many, ascending offsets as it has matrices.")
    return taps


def as_numbers(weights: Weights) -> dict[str, NDArray[Any]]:
    """Return the arrays with matrices in 8 bits (``X.q`` and ``X.scale``) turned into numbers (``X``)."""
    made = dict(weights)
    for name in weights:
        if name.endswith(".W.q"):
            matrix = name.removesuffix(".q")
            made[matrix] = made.pop(name).astype(np.float32) * made.pop(f"{matrix}.scale").astype(np.float32)
    return made


def export_tdnnf(weights: Weights, scale: float) -> tuple[bytes, AcousticSection]:
    """Return the network as a serialised ONNX model, and its description.

    Parameters
    ----------
    weights : mapping of str to array
        As in ``acoustic.npz`` (names: the pack's card).
    scale : float
        The pack's acoustic scale; it is not applied to the outputs but written into the description.

    Raises
    ------
    ExportError
        The taps of a layer cannot be understood.
    KeyError
        An array is missing.
    """
    import onnx

    weights = as_numbers(weights)
    writer = _Writer()
    x = writer.node(
        "Reshape", ["features", writer.constant("steps", np.array([1, _STEPS, _STACK * _BINS]))], "stacked"
    )
    taps = tap_offsets(weights, "i", -1)
    past, future = writer.reaching(taps)
    joined = writer.remembered(x, past + future, _STACK * _BINS, "i")
    x = writer.activated(writer.spliced(joined, past, taps, weights["i.W"], "i"), weights["i.b"], weights, "n0")
    layers = 0
    while f"L.{layers}.a.W" in weights:
        x = _layer(writer, weights, f"L.{layers}", x)
        layers += 1
    last = writer.constant("p.W", weights["p.W"][0].astype(np.float32))
    norm = 1.0 / np.sqrt(weights["pb.v"].astype(np.float64) + _VARIANCE_FLOOR)
    x = writer.scaled(writer.node("MatMul", [x, last], "p"), norm, -weights["pb.m"] * norm, "pb")
    x = writer.node("MatMul", [x, writer.constant("o.W", weights["o.W"][0].astype(np.float32))], "o")
    writer.node("Add", [x, writer.constant("o.b", weights["o.b"].astype(np.float32))], "log_likelihoods")

    section = AcousticSection(
        "onnx-hybrid",
        "acoustic.onnx",
        scale=scale,
        window_frames=_STEPS * _STACK,
        shift_frames=_STEPS * _STACK,
        padding_frames=_STACK * writer.left,
        delay_rows=writer.right,
        memory_chunks=-(-(writer.left + writer.right) // _STEPS),
    )
    tensor, real = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    pdfs = len(weights["o.b"])
    graph = onnx.helper.make_graph(
        writer.nodes,
        "tdnnf",
        [tensor("features", real, [1, _STEPS * _STACK, _BINS])]
        + [tensor(name, real, [1, rows, width]) for name, rows, width in writer.caches],
        [tensor("log_likelihoods", real, [1, _STEPS, pdfs])]
        + [tensor(f"new_{name}", real, [1, rows, width]) for name, rows, width in writer.caches],
        writer.constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.helper.set_model_props(model, {METADATA_KEY: msgspec.json.encode(section).decode()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString()), section


def _layer(writer: _Writer, weights: Weights, name: str, x: str) -> str:
    narrow = tap_offsets(weights, f"{name}.a", 1 - len(weights[f"{name}.a.W"]))
    wide = tap_offsets(weights, f"{name}.b", 0)
    width = weights[f"{name}.a.W"].shape[1]
    before, behind = writer.reaching(narrow)
    narrow_before, narrow_behind = writer.reaching(wide)
    delay = behind + narrow_behind
    # The residual is the input at the output's time, which lies `delay` rows back.
    rows = max(before + behind, delay)
    joined = writer.remembered(x, rows, width, f"{name}.a")
    bottleneck = writer.spliced(joined, rows - behind, narrow, weights[f"{name}.a.W"], f"{name}.a")
    kept = writer.remembered(
        bottleneck, narrow_before + narrow_behind, weights[f"{name}.a.W"].shape[2], f"{name}.b"
    )
    y = writer.spliced(kept, narrow_before, wide, weights[f"{name}.b.W"], f"{name}.b")
    y = writer.activated(y, weights[f"{name}.b.b"], weights, f"{name}.n")
    if weights[f"{name}.b.W"].shape[2] != width:
        return y
    past = writer.rows(joined, rows - delay, rows - delay + _STEPS, f"{name}.input")
    past = writer.node("Mul", [past, writer.constant(f"{name}.residual", np.array(_RESIDUAL))], f"{name}.past")
    return writer.node("Add", [y, past], f"{name}.out")


def export_pack(pack: Path, out: Path) -> AcousticSection:
    """Write ``acoustic.onnx`` and ``hybrid.npz`` of the pack in `pack` into the folder `out`.

    Raises
    ------
    ExportError
        The pack's network is not ours, or cannot be read.
    """
    from recognizer.acoustic_section import section_of
    from recognizer.model_pack import read_manifest

    section = section_of(read_manifest(pack))
    if section.kind != "tdnnf":
        raise ExportError("Only packs with a network of our own kind can be exported.")
    try:
        with np.load(pack / section.file, allow_pickle=False) as archive:
            weights = {name: archive[name] for name in archive.files}
        model, exported = export_tdnnf(weights, section.scale)
        out.mkdir(parents=True, exist_ok=True)
        (out / exported.file).write_bytes(model)
        np.savez_compressed(
            out / exported.topology, **{name: weights[name] for name in ("leaf", "self_loop", "mean", "std")}
        )
    except KeyError as error:
        raise ExportError(f"The acoustic model lacks the array {error}.") from None
    except (OSError, EOFError) as error:
        raise ExportError(f"The model could not be exported: {type(error).__name__}.") from None
    return exported


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m recognizer.onnx_export", description="Write a pack's network as ONNX."
    )
    parser.add_argument("pack", type=Path, help="model pack")
    parser.add_argument("out", type=Path, help="folder to write acoustic.onnx and hybrid.npz to")
    given = parser.parse_args(arguments)
    try:
        export_pack(given.pack, given.out)
    except ValueError as error:
        print(f"The model was not exported: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except ImportError:
        print("The export needs the extra onnx: pip install 'callwarden[onnx]'.", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
