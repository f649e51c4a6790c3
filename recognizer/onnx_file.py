"""What can be said of an ONNX file without running it, and what is refused: such a file may come from anybody.

An ONNX file is a program. Refused are operators that the runtime does not bring itself (custom code), operators that
read files or may run for ever, and tensors kept in files outside of the model's folder. Nothing is loaded here but
the protobuf message; the first run happens in a process of its own (:mod:`recognizer.model_check`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recognizer.acoustic_section import is_plain_name
from recognizer.onnx_session import INSTALL, OnnxError

MOST_BYTES: Final = 1 << 30
"""Of the file and of what lies beside it."""
_STANDARD: Final = frozenset({"", "ai.onnx"})
_RUNTIME_DOMAIN: Final = "com.microsoft"
_RUNTIME_OPERATORS: Final = frozenset(
    {
        "Attention", "BiasGelu", "BiasSoftmax", "ConvTransposeWithDynamicPads", "DequantizeLinear",
        "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "FastGelu", "FusedConv", "FusedGemm", "FusedMatMul", "Gelu",
        "GemmFastGelu", "Inverse", "MatMulInteger16", "MatMulIntegerToFloat", "MatMulNBits", "MultiHeadAttention",
        "NhwcMaxPool", "QAttention", "QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearConv",
        "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid",
        "QLinearSoftmax", "QLinearWhere", "QuantizeLinear", "QuickGelu", "RelativePositionBias", "Rfft",
        "RotaryEmbedding", "SimplifiedLayerNormalization", "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
)  # fmt: skip
"""Of onnxruntime's own operators those that quantisation and fusion make; none of them touches a file."""
_ENDLESS: Final = frozenset({"Loop"})
_RANDOM: Final = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_MOST_NODES: Final = 200_000
_DEEPEST: Final = 20


@dataclass(frozen=True)
class OnnxFile:
    """What a file says of itself.

    Attributes
    ----------
    metadata : dict of str to str
    data : tuple of str
        Files of its folder that hold tensors of it.
    """

    metadata: dict[str, str]
    data: tuple[str, ...]


def inspect(path: Path) -> OnnxFile:
    """Read the file's structure and refuse what may not be run.

    Raises
    ------
    OnnxError
        In one sentence.
    """
    try:
        import onnx
    except ImportError:
        raise OnnxError(f"ONNX models need the package onnx, which is not installed: {INSTALL}.") from None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise OnnxError("The ONNX model is larger than 1 GiB.")
        model = onnx.load_model(str(path), load_external_data=False)
    except OnnxError:
        raise
    except Exception as error:  # protobuf's errors have no common class of their own
        raise OnnxError(f"The file {path.name} is no ONNX model ({type(error).__name__}).") from None
    _check_operators(model)
    data = sorted({_data_file(tensor, path.parent) for tensor in _tensors(model) if tensor.data_location})
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxFile(metadata, tuple(data))


def _check_operators(model: Any) -> None:
    local = {(function.domain, function.name) for function in model.functions}
    count = 0
    for node in _nodes(model):
        count += 1
        if count > _MOST_NODES:
            raise OnnxError(f"The ONNX model has more than {_MOST_NODES} nodes.")
        kind = f"{node.domain}.{node.op_type}".lstrip(".")[:80]
        if node.op_type in _ENDLESS:
            raise OnnxError(f"The ONNX model has the operator {kind}, which may run for ever.")
        if node.op_type in _RANDOM:
            raise OnnxError(f"The ONNX model has the operator {kind}, whose output is left to chance.")
        if (node.domain, node.op_type) in local or node.domain in _STANDARD:
            continue
        if node.domain != _RUNTIME_DOMAIN or node.op_type not in _RUNTIME_OPERATORS:
            raise OnnxError(f"The ONNX model has the operator {kind}, which is not one of the runtime's own.")


def _graphs(model: Any) -> Iterator[Any]:
    """Every graph, and every function as one: with the graphs in their attributes."""
    waiting = [(model.graph, 0), *((function, 0) for function in model.functions)]
    while waiting:
        graph, depth = waiting.pop()
        if depth > _DEEPEST:
            raise OnnxError(f"The ONNX model nests graphs more than {_DEEPEST} deep.")
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                inner = [attribute.g] if attribute.HasField("g") else []
                waiting += [(one, depth + 1) for one in (*inner, *attribute.graphs)]


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
    for training in model.training_info:
        for graph in (training.initialization, training.algorithm):
            yield from graph.initializer


def _data_file(tensor: Any, folder: Path) -> str:
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    if not is_plain_name(location):
        raise OnnxError("The ONNX model keeps a tensor in a file outside of its folder.")
    path = folder / location
    if path.is_symlink() or not path.is_file():
        raise OnnxError(f"The ONNX model keeps a tensor in the file {location}, which is not there.")
    if path.stat().st_size > MOST_BYTES:
        raise OnnxError(f"The file {location} of the ONNX model is larger than 1 GiB.")
    return location
