"""Networks of any shape with random weights, and what such a network says, worked out slowly and simply."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recognizer.log_mel import BINS

Weights = dict[str, np.ndarray]
Taps = tuple[int, ...]

FEATURES = 3 * BINS


def random_network(
    layers: Sequence[tuple[Taps | None, Taps | None, int, int]],
    width: int = 24,
    first: Taps | None = None,
    prefinal: int = 9,
    pdfs: int = 14,
    seed: int = 0,
) -> Weights:
    """Return a network's arrays as training writes them, every vector away from zero.

    Parameters
    ----------
    layers : sequence of (taps of a, taps of b, bottleneck, width)
        Taps None: the file does not name them, and there are two.
    width : int
        Of the first layer.
    first : tuple of int, optional
        Its taps; None: not named, three.
    prefinal, pdfs : int
        Widths of the last two products.
    seed : int
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {"mean": rng.uniform(5, 15, BINS), "std": rng.uniform(1, 4, BINS)}

    def matrix(taps: int, inputs: int, outputs: int) -> np.ndarray:
        return (rng.standard_normal((taps, inputs, outputs)) / np.sqrt(taps * inputs)).astype(np.float32)

    def splice(name: str, taps: Taps | None, usual: int, inputs: int, outputs: int) -> None:
        weights[f"{name}.W"] = matrix(usual if taps is None else len(taps), inputs, outputs)
        if taps is not None:
            weights[f"{name}.taps"] = np.array(taps, np.int32)

    def normalisation(name: str, size: int) -> None:
        weights[f"{name}.m"] = rng.standard_normal(size).astype(np.float32)
        weights[f"{name}.v"] = rng.uniform(0.3, 2, size).astype(np.float32)

    splice("i", first, 3, FEATURES, width)
    weights["i.b"] = rng.standard_normal(width).astype(np.float32)
    normalisation("n0", width)
    for i, (narrow_taps, wide_taps, narrow, wide) in enumerate(layers):
        splice(f"L.{i}.a", narrow_taps, 2, width, narrow)
        splice(f"L.{i}.b", wide_taps, 2, narrow, wide)
        weights[f"L.{i}.b.b"] = rng.standard_normal(wide).astype(np.float32)
        normalisation(f"L.{i}.n", wide)
        width = wide
    weights["p.W"], weights["o.W"] = matrix(1, width, prefinal), matrix(1, prefinal, pdfs)
    weights["o.b"] = rng.standard_normal(pdfs).astype(np.float32)
    normalisation("pb", prefinal)
    return weights


def live_network(pdfs: int = 1646, seed: int = 0) -> Weights:
    """Return a random network of 3.5 million parameters that sees 120 ms of the future and 750 ms of the past."""
    spans = [((-1, 0), (0, 1))] * 3 + [((-3, 0), (-1, 0))] * 3 + [((-1, 0), (-1, 0))] * 3 + [((-1, 0), (0,))] * 3
    return random_network([(a, b, 96, 640) for a, b in spans], 640, (-1, 0, 1), 192, pdfs, seed)


def parameters(weights: Weights) -> int:
    """Return how many numbers the matrices hold."""
    return sum(values.size for name, values in weights.items() if name.endswith(".W"))


def as_trained(weights: Weights, features: np.ndarray, scale: float) -> np.ndarray:
    """The network layer by layer on a whole leg, in float64, nothing folded: the structure of the model card."""
    frames = -(-len(features) // 3)
    far = 64
    index = np.clip(np.arange(-3 * far, 3 * (frames + far)), 0, len(features) - 1)
    start, x = -far, features[index].astype(np.float64).reshape(frames + 2 * far, -1)

    def splice(name: str, usual: Taps, start: int, x: np.ndarray) -> tuple[int, np.ndarray]:
        matrices = weights[f"{name}.W"].astype(np.float64)
        taps = [int(t) for t in weights.get(f"{name}.taps", usual if len(matrices) > 1 else (0,))]
        begin, end = start - min(0, *taps), start + len(x) - max(0, *taps)
        spliced = [x[begin - start + t : end - start + t] for t in taps]
        return begin, sum(part @ matrix for part, matrix in zip(spliced, matrices, strict=True))

    def batch_norm(x: np.ndarray, name: str) -> np.ndarray:
        return (x - weights[f"{name}.m"]) / np.sqrt(weights[f"{name}.v"].astype(np.float64) + 1e-3)

    start, x = splice("i", (-1, 0, 1), start, x)
    x = batch_norm(np.maximum(x + weights["i.b"], 0), "n0")
    layer = 0
    while f"L.{layer}.a.W" in weights:
        name = f"L.{layer}"
        begin, y = splice(f"{name}.b", (0, 1), *splice(f"{name}.a", (-1, 0), start, x))
        y = batch_norm(np.maximum(y + weights[f"{name}.b.b"], 0), f"{name}.n")
        if y.shape[1] == x.shape[1]:
            y += 0.66 * x[begin - start : begin - start + len(y)]
        start, x, layer = begin, y, layer + 1
    x = x[-start : frames - start]
    return np.asarray(scale * (batch_norm(x @ weights["p.W"][0], "pb") @ weights["o.W"][0] + weights["o.b"]))
