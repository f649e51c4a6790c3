"""A linear model over named features, as a small file: int8 weights and a list of names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

MODEL_FILE: Final = Path(__file__).parent / "sentences.npz"
_FORMAT: Final = 1


class SentenceModelError(ValueError):
    """The model's file cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class LinearModel:
    """Sums of weights, one column a class.

    Attributes
    ----------
    rows : dict of str to int
        Row of each feature's name.
    weights : float32[rows, classes]
    """

    rows: dict[str, int]
    weights: NDArray[np.float32]

    def scores(self, features: Sequence[str]) -> NDArray[np.float32]:
        """Return float32[classes]; names that the model does not know say nothing."""
        rows = self.rows
        known = [row for name in features if (row := rows.get(name)) is not None]
        return np.asarray(self.weights[known].sum(axis=0))


@dataclass(frozen=True)
class SentenceModel:
    """Attributes: `marks` scores ``MARKS``, `capitals` scores (no, yes)."""

    marks: LinearModel
    capitals: LinearModel


def save_model(model: SentenceModel, path: Path) -> None:
    """Write the model; weights are rounded to 1/127 of the greatest."""
    content: dict[str, NDArray[np.generic]] = {"format": np.array(_FORMAT)}
    for name, part in (("marks", model.marks), ("capitals", model.capitals)):
        step = float(np.abs(part.weights).max()) / 127 or 1.0
        names = sorted(part.rows)
        content[f"{name}.names"] = np.frombuffer("\n".join(names).encode(), np.uint8)
        content[f"{name}.weights"] = np.rint(part.weights[[part.rows[n] for n in names]] / step).astype(np.int8)
        content[f"{name}.step"] = np.array(step, np.float32)
    np.savez_compressed(path, **content)  # type: ignore[arg-type]


@cache
def load_model(path: Path = MODEL_FILE) -> SentenceModel:
    """Read the model; once per process.

    Raises
    ------
    SentenceModelError
        If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if int(file["format"]) != _FORMAT:
                raise SentenceModelError("The sentence model is of a format that this version does not read.")
            return SentenceModel(_part(file, "marks"), _part(file, "capitals"))
    except SentenceModelError:
        raise
    except Exception as error:  # a zip file breaks in many ways
        raise SentenceModelError("The sentence model of the reading text is missing or damaged.") from error


def _part(file: np.lib.npyio.NpzFile, name: str) -> LinearModel:
    names = file[f"{name}.names"].tobytes().decode().split("\n")
    weights = file[f"{name}.weights"].astype(np.float32) * file[f"{name}.step"]
    if len(names) != len(weights):
        raise SentenceModelError("The sentence model of the reading text is damaged.")
    return LinearModel({one: row for row, one in enumerate(names)}, weights)
