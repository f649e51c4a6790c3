"""The one place that imports onnxruntime: a file becomes something to run, on one thread, the same bits every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

INSTALL: Final = "pip install 'callwarden[onnx]'"
_DTYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_QUIET: Final = 4


class OnnxError(ValueError):
    """The ONNX model cannot be opened or run; one sentence."""


@dataclass(frozen=True)
class Port:
    """An input or output of a model. A dimension that the file leaves open, such as the batch, is None."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


class OnnxSession:
    """An opened model.

    Raises
    ------
    OnnxError
        onnxruntime is not installed, or refuses the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise OnnxError(f"ONNX models need onnxruntime, which is not installed: {INSTALL}.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = _QUIET
        # Threads that spin while they wait would take the core from the other legs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common class of their own
            raise OnnxError(f"onnxruntime refuses the model ({type(error).__name__}).") from None
        self.inputs = tuple(_port(one) for one in self._session.get_inputs())
        self.outputs = tuple(_port(one) for one in self._session.get_outputs())
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, outputs: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the named outputs.

        Raises
        ------
        OnnxError
            The model fails on these inputs.
        """
        try:
            return list(self._session.run(list(outputs), dict(feeds)))
        except Exception as error:  # as above; its text may hold values, so only its kind is told
            raise OnnxError(f"The ONNX model fails while it runs ({type(error).__name__}).") from None


def _port(node: Any) -> Port:
    if node.type not in _DTYPES:
        raise OnnxError(
            f"The ONNX model's tensor {node.name[:80]} is of a type that cannot be served: {node.type}."
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in node.shape)
    return Port(node.name, np.dtype(_DTYPES[node.type]), shape)
