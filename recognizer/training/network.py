"""The acoustic network while it is trained: a factored time-delay network (TDNN-F) in torch.

Povey et al., "Semi-orthogonal low-rank matrix factorization for deep neural networks" (Interspeech 2018). Every
layer works at the output rate of 33 Hz (three feature frames stacked) and looks to the past with its narrow half and
to either side with its wide half, as its shape says; the present shape keeps the future short, for words have to
appear while the call runs. Instead of constraining the narrow matrices to be semi-orthogonal, their updates are
orthogonalised (:mod:`recognizer.training.optimiser`).

Parameter names are those of ``acoustic.npz`` (:class:`recognizer.acoustic_model.AcousticModel` reads them), plus
``x``, the cross-entropy output, which only regularises and is left behind on export.

Time comes first, (frames, sequences, columns), so that a splice of shifted slices is a product of contiguous blocks;
on processors with AVX-512 BF16 the products are 2.3 times as fast in bfloat16, with float32 weights kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recognizer.acoustic_model import STACK
from recognizer.log_mel import BINS

INPUT: Final = STACK * BINS
_RESIDUAL: Final = 0.66
_VARIANCE_FLOOR: Final = 1e-3
_LEAST_PARAMETERS_SCALE: Final = 0.1


@dataclass(frozen=True)
class NetworkShape:
    """What the network is made of.

    Attributes
    ----------
    width, bottleneck, prefinal : int
        Columns of the layers, of their narrow halves, and of the linear layer before the outputs.
    layers : tuple of (int, int)
        Per layer: frames its narrow half looks back, and frames its wide half looks ahead (below zero: back).
        ``(3, -1)`` sees t - 4, t - 3, t - 1 and t.
    first_future : int
        Frames that the first layer looks ahead (0 or 1); it always looks one back.
    """

    width: int = 512
    bottleneck: int = 80
    prefinal: int = 192
    layers: tuple[tuple[int, int], ...] = ((1, 1),) * 3 + ((0, 0),) + ((1, 1),) * 2 + ((2, -1),) * 5
    first_future: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.bottleneck, self.prefinal) < 1 or not self.layers:
            raise ValueError("A network has columns and layers.")
        if self.first_future not in (0, 1) or any(past < 0 for past, _ in self.layers):
            raise ValueError("A layer's narrow half looks back; the first layer looks at most one frame ahead.")

    @classmethod
    def parse(cls, text: str) -> NetworkShape:
        """Read ``512-80: 1+1 x3, 0+0, 1+1 x2, 2-1 x5`` (width-bottleneck: past and future of each layer).

        Raises
        ------
        ValueError
            The text is not of that form.
        """
        match = re.fullmatch(r"\s*(\d+)-(\d+)(\+)?\s*:(.+)", text)
        if not match:
            raise ValueError(f"A network's shape is written like '512-80: 1+1 x3, 2-1 x5', not {text!r}.")
        layers: list[tuple[int, int]] = []
        for part in match[4].split(","):
            layer = re.fullmatch(r"\s*(\d+)([+-]\d+)\s*(?:x\s*(\d+))?\s*", part)
            if not layer:
                raise ValueError(f"A layer is written like '1+1' or '2-1 x5', not {part.strip()!r}.")
            layers += [(int(layer[1]), int(layer[2]))] * int(layer[3] or 1)
        return cls(int(match[1]), int(match[2]), layers=tuple(layers), first_future=int(bool(match[3])))

    @property
    def past(self) -> int:
        """Frames of the past that an output depends on."""
        return 1 + sum(past + max(0, -future) for past, future in self.layers)

    @property
    def future(self) -> int:
        """Frames of the future that an output depends on."""
        return self.first_future + sum(max(0, future) for _, future in self.layers)


class _Splice(torch.autograd.Function):
    """``y[t] = sum_i x[t + tap_i] W_i + b`` over the frames for which all taps exist; taps ascend from 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, taps: tuple[int, ...]) -> Tensor:
        frames, sequences, columns = x.shape
        w = weight.to(x.dtype)
        kept = frames - taps[-1]
        rows = x.view(frames * sequences, columns)
        block = rows[: kept * sequences]
        y = block @ w[0] if bias is None else torch.addmm(bias.to(x.dtype), block, w[0])
        for tap, matrix in zip(taps[1:], w[1:], strict=True):
            y.addmm_(rows[tap * sequences : (tap + kept) * sequences], matrix)
        ctx.save_for_backward(x, w)
        ctx.taps, ctx.kept, ctx.with_bias = taps, kept, bias is not None
        return y.view(kept, sequences, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        x, w = ctx.saved_tensors
        frames, sequences, columns = x.shape
        rows = x.view(frames * sequences, columns)
        g = gradients[0].reshape(ctx.kept * sequences, -1)
        spans = [slice(tap * sequences, (tap + ctx.kept) * sequences) for tap in ctx.taps]
        to_input = None
        if ctx.needs_input_grad[0]:
            to_input = torch.zeros_like(rows)
            for span, matrix in zip(spans, w, strict=True):
                to_input[span].addmm_(g, matrix.t())
            to_input = to_input.view_as(x)
        to_weight = torch.stack([(rows[span].t() @ g).float() for span in spans])
        to_bias = g.sum(0, dtype=torch.float32) if ctx.with_bias else None
        return to_input, to_weight, to_bias, None


class Splice(nn.Module):
    """Affine or linear over frames at `taps` relative to the output's time."""

    def __init__(self, columns: int, outputs: int, taps: Sequence[int], bias: bool = True, relu: bool = False):
        super().__init__()
        gain = math.sqrt((2.0 if relu else 1.0) / (len(taps) * columns))
        self.W = nn.Parameter(torch.randn(len(taps), columns, outputs) * gain)
        self.b = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.taps = tuple(taps)

    def forward(self, x: Tensor) -> Tensor:
        shifted = tuple(tap - self.taps[0] for tap in self.taps)
        return _Splice.apply(x, self.W, self.b, shifted)  # type: ignore[no-any-return, no-untyped-call]


class Normalisation(nn.Module):
    """Batch normalisation without scale and offset of its own."""

    m: Tensor
    v: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("m", torch.zeros(columns))
        self.register_buffer("v", torch.ones(columns))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(-1, x.shape[2])
        done = functional.batch_norm(
            flat, self.m, self.v, None, None, self.training, momentum=0.02, eps=_VARIANCE_FLOOR
        )
        return done.view_as(x)


class FactoredLayer(nn.Module):
    """Narrow over the past, wide over past or future, rectified, normalised, plus 0.66 of what came in.

    `dropout` is Kaldi's continuous kind: each column of a sequence is multiplied by one number from
    [1 - 2 p, 1 + 2 p] through all frames.
    """

    def __init__(self, width: int, bottleneck: int, past: int, future: int) -> None:
        super().__init__()
        self.a = Splice(width, bottleneck, (-past, 0) if past else (0,), bias=False)
        self.b = Splice(bottleneck, width, tuple(sorted({0, future})), relu=True)
        self.n = Normalisation(width)
        self.left = past + max(0, -future)
        self.right = max(0, future)
        self.dropout = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.n(functional.relu(self.b(self.a(x))))
        if self.training and self.dropout:
            factor = 2 * torch.rand(1, y.shape[1], y.shape[2], device=y.device) - 1
            y = y * (1 + 2 * self.dropout * factor).to(y.dtype)
        return torch.add(y, x[self.left : x.shape[0] - self.right], alpha=_RESIDUAL)


class Network(nn.Module):
    """Features to the two outputs.

    Parameters
    ----------
    shape : NetworkShape
    pdfs : int
    half : bool
        Compute products in bfloat16.
    """

    def __init__(self, shape: NetworkShape, pdfs: int, half: bool = True) -> None:
        super().__init__()
        self.shape = shape
        self.half_precision = half
        first = (-1, 0, 1) if shape.first_future else (-1, 0)
        self.i = Splice(INPUT, shape.width, first, relu=True)
        self.n0 = Normalisation(shape.width)
        self.L = nn.ModuleList(FactoredLayer(shape.width, shape.bottleneck, *layer) for layer in shape.layers)
        self.p = Splice(shape.width, shape.prefinal, (0,), bias=False)
        self.pb = Normalisation(shape.prefinal)
        self.o = Splice(shape.prefinal, pdfs, (0,))
        self.x = Splice(shape.prefinal, pdfs, (0,))
        with torch.no_grad():
            self.o.W.mul_(_LEAST_PARAMETERS_SCALE)
            self.x.W.mul_(_LEAST_PARAMETERS_SCALE)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chain and the cross-entropy output of float32[past + frames + future, sequences, 120]."""
        x = features.to(torch.bfloat16) if self.half_precision else features
        x = self.n0(functional.relu(self.i(x)))
        for layer in self.L:
            x = layer(x)
        x = self.pb(self.p(x))
        return self.o(x).float(), self.x(x).float()

    def set_dropout(self, share: float) -> None:
        """Set the dropout of all layers."""
        for layer in self.L:
            layer.dropout = share  # type: ignore[assignment]

    @property
    def parameter_count(self) -> int:
        """Parameters that the exported network has."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("x."))


def exported(
    state: Mapping[str, Tensor], shape: NetworkShape, further: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``acoustic.npz``: matrices in float16, vectors in float32, and `further` ones.

    Parameters
    ----------
    state : mapping of str to Tensor
        State dict of a :class:`Network` of that shape.
    shape : NetworkShape
    further : mapping of str to array
        Tree and feature statistics (``leaf``, ``self_loop``, ``mean``, ``std``).
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, tensor in state.items():
        if name.startswith("x."):
            continue
        values = tensor.detach().cpu().numpy()
        arrays[name] = values.astype(np.float16 if values.ndim == 3 else np.float32)
    arrays["i.taps"] = np.array((-1, 0, 1) if shape.first_future else (-1, 0), np.int8)
    for k, (past, future) in enumerate(shape.layers):
        arrays[f"L.{k}.a.taps"] = np.array((-past, 0) if past else (0,), np.int8)
        arrays[f"L.{k}.b.taps"] = np.array(sorted({0, future}), np.int8)
    return arrays | dict(further)


def restored(arrays: Mapping[str, NDArray[Any]], half: bool = True) -> Network:
    """Return the network whose exported `arrays` these are, to train it further.

    The cross-entropy output, which is not exported, begins as a copy of the chain output.

    Raises
    ------
    ValueError
        The arrays are of a network of another kind.
    """
    try:
        first = tuple(int(tap) for tap in arrays["i.taps"])
        layers: list[tuple[int, int]] = []
        while f"L.{len(layers)}.a.W" in arrays:
            narrow, wide = (arrays[f"L.{len(layers)}.{half_name}.taps"] for half_name in "ab")
            layers.append((-int(narrow[0]), int(wide[-1]) or int(wide[0])))
        shape = NetworkShape(
            arrays["i.W"].shape[2],
            arrays["L.0.a.W"].shape[2],
            arrays["p.W"].shape[2],
            tuple(layers),
            int(first[-1] == 1),
        )
        network = Network(shape, arrays["o.W"].shape[2], half)
        state = network.state_dict()
        for name in state:
            source = f"o{name[1:]}" if name.startswith("x.") else name
            state[name] = torch.from_numpy(np.asarray(arrays[source], np.float32)).reshape(state[name].shape)
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError("The acoustic model cannot be trained further: it is of another kind.") from error
    network.load_state_dict(state)
    return network
