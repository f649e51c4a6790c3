"""Lattice-free MMI over a batch of chunks: what the outputs should have been more and less of.

The derivative of ``log P(transcript) - log P(anything)`` with respect to the outputs is the numerator's posteriors
minus the denominator's. Both are computed on the processor in numba, whatever device the network is on: the outputs
of a batch are a few megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recognizer.training.denominator import Denominator, DenominatorGraph, Float32
from recognizer.training.lane_kernels import LANES
from recognizer.training.numerator import Chunk, subtract_posteriors

_LEAST_LOG_LIKELIHOOD = -30.0


@dataclass(frozen=True)
class Outcome:
    """What the objective says about a batch.

    Attributes
    ----------
    gradient : Tensor
        Of the negative objective, summed: float32[frames, sequences, pdfs].
    numerator : Tensor
        Posteriors of the transcripts' outputs, same shape; a sequence that was left out has zeros.
    objective : float
        Sum over the frames that count.
    frames : int
        Frames that count.
    """

    gradient: Tensor
    numerator: Tensor
    objective: float
    frames: int


class Objective:
    """LF-MMI for one process (holds working arrays).

    Parameters
    ----------
    graph : DenominatorGraph
    self_loop : float32[leaves]
    leak : float
    """

    def __init__(self, graph: DenominatorGraph, self_loop: Float32, leak: float) -> None:
        self._denominator = Denominator(graph, leak)
        self._self_loop = self_loop.astype(np.float64)

    @torch.no_grad()
    def of(self, outputs: Tensor, chunks: Sequence[Chunk]) -> Outcome:
        """Return gradient and value for float32[frames, sequences, pdfs]; as many chunks as sequences, in 16s."""
        frames, sequences, pdfs = outputs.shape
        if sequences % LANES or len(chunks) != sequences:
            raise ValueError(f"Batches come in multiples of {LANES} sequences with a chunk each.")
        highest = outputs.max(2, keepdim=True)[0]
        likelihoods = torch.exp((outputs - highest).clamp_min_(_LEAST_LOG_LIKELIHOOD)).cpu()
        gradients, numerators = [], []
        value, counted = 0.0, 0
        for at in range(0, sequences, LANES):
            lanes = likelihoods[:, at : at + LANES].permute(0, 2, 1).contiguous().numpy()
            above = np.zeros((frames, pdfs, LANES), np.float32)
            below = np.zeros((frames, pdfs, LANES), np.float32)
            anything = self._denominator.add_posteriors(lanes, above)
            for lane in range(LANES):
                said = subtract_posteriors(lanes, lane, chunks[at + lane], self._self_loop, below)
                if np.isfinite(said) and np.isfinite(anything[lane]):
                    value += said - float(anything[lane])
                    counted += frames
                else:
                    above[:, :, lane] = 0
                    below[:, :, lane] = 0
            gradients.append(torch.from_numpy(above))
            numerators.append(torch.from_numpy(below))
        numerator = torch.cat(numerators, 2).permute(0, 2, 1).to(outputs.device)
        gradient = torch.cat(gradients, 2).permute(0, 2, 1).to(outputs.device)
        return Outcome(gradient + numerator, -numerator, value, counted)
