"""Small ONNX models: one in the layout of icefall's streaming zipformer-CTC exports, one in plain chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

BINS = 80
TOKENS = ("<blk>", "▁a", "b", "▁b", "ee", "c", "▁c", "a", "e")
CHUNK, WINDOW, ROWS = 32, 45, 8
KEYS, DIM = 6, 5
_TONE_BINS = range(10, 10 + 5 * (len(TOKENS) - 1), 5)
_MEL = np.linspace(*(1127 * np.log1p(np.array([20.0, 7600.0]) / 700)), BINS + 2)
TONES_HZ = tuple(float(700 * np.expm1(_MEL[b + 1] / 1127)) for b in _TONE_BINS)
METADATA = {
    "model_type": "zipformer2", "version": "1", "model_author": "k2-fsa", "comment": "streaming ctc zipformer2",
    "decode_chunk_len": str(CHUNK), "T": str(WINDOW), "num_encoder_layers": "1", "encoder_dims": str(DIM),
    "cnn_module_kernels": "7", "left_context_len": str(KEYS), "query_head_dims": str(DIM),
    "value_head_dims": str(DIM), "num_heads": "1",
}  # fmt: skip


def weights(seed: int = 0, columns: int = len(TOKENS)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "embed": (rng.standard_normal((BINS * 17, DIM)) / 30).astype(np.float32),
        "output": (2 * rng.standard_normal((4 * DIM, columns))).astype(np.float32),
    }


def listening_for_tones() -> dict[str, np.ndarray]:
    """Weights with which the token of column k + 1 is heard in a tone of `TONES_HZ[k]`, and blank in silence."""
    made = {
        "embed": np.zeros((17, BINS, len(TONES_HZ)), np.float32),
        "output": np.zeros((4 * len(TONES_HZ), len(TOKENS)), np.float32),
    }
    for k, tone_bin in enumerate(_TONE_BINS):
        made["embed"][:, tone_bin, k] = 0.4 / 17
        made["output"][k, k + 1] = 9.0
    made["embed"] = made["embed"].reshape(17 * BINS, -1)
    return made


def zipformer_like(
    path: Path,
    seed: int = 0,
    columns: int = len(TOKENS),
    metadata: dict[str, str] | None = None,
    made: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a model with the names, shapes and metadata of an icefall export, and as much memory.

    A row sees 17 frames of its window, the two rows before it through ``cached_conv1_0``, the mean of the last rows
    through ``cached_key_0`` and the count of all rows through ``processed_lens``: a forgotten or mixed-up state
    changes the output, and the last of these never forgets.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(value: Any, kind: Any = np.int64) -> str:
        name = f"constant_{len(constants)}"
        constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def node(kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"node_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def rows_of(x: str, first: int, last: int, axis: int, output: str = "") -> str:
        return node("Slice", [x, constant([first]), constant([last]), constant([axis])], output)

    made = weights(seed, columns) if made is None else made
    wide = made["embed"].shape[1]
    parts = [rows_of("x", 4 * r, 4 * r + 17, 1) for r in range(ROWS)]
    flat = [node("Reshape", [part, constant([0, 1, BINS * 17])]) for part in parts]
    embedded = node("Concat", flat, axis=1)
    embedded = node("Tanh", [node("MatMul", [embedded, constant(made["embed"], np.float32)])])  # (N, 8, DIM)
    # Two rows back, as a causal convolution's cache: (N, DIM, 2).
    across = node("Transpose", [embedded], perm=[0, 2, 1])
    joined = node("Concat", ["cached_conv1_0", across], axis=2)
    rows_of(joined, ROWS, ROWS + 2, 2, "new_cached_conv1_0")
    delayed = node("Transpose", [rows_of(joined, 0, ROWS, 2)], perm=[0, 2, 1])
    # Keys of the rows before: (KEYS, N, DIM); only their mean over the window is used.
    steps = node("Transpose", [embedded], perm=[1, 0, 2])
    keys = node("Concat", ["cached_key_0", steps], axis=0)
    rows_of(keys, ROWS, ROWS + KEYS, 0, "new_cached_key_0")
    past = node("ReduceMean", ["cached_key_0"], axes=[0], keepdims=1)  # (1, N, DIM)
    attended = node(
        "Add", [node("Transpose", [past], perm=[1, 0, 2]), node("Mul", [embedded, constant(0.0, np.float32)])]
    )
    # How many rows were processed: (N,).
    node("Add", ["processed_lens", constant(ROWS)], "new_processed_lens")
    count = node("Reshape", [node("Cast", ["processed_lens"], to=TensorProto.FLOAT), constant([-1, 1, 1])])
    counted = node("Add", [node("Sin", [count]), node("Mul", [embedded, constant(0.0, np.float32)])])
    together = node("Concat", [embedded, delayed, attended, counted], axis=2)
    logits = node("MatMul", [together, constant(made["output"], np.float32)])
    node("LogSoftmax", [logits], "log_probs", axis=2)

    def tensor(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    states = [
        ("cached_key_0", [KEYS, "N", wide], TensorProto.FLOAT),
        ("cached_conv1_0", ["N", wide, 2], TensorProto.FLOAT),
        ("processed_lens", ["N"], TensorProto.INT64),
    ]
    graph = helper.make_graph(
        nodes, "zipformer",
        [tensor("x", ["N", WINDOW, BINS]), *(tensor(*state) for state in states)],
        [tensor("log_probs", ["N", ROWS, columns]), *(tensor(f"new_{n}", s, k) for n, s, k in states)],
        constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, METADATA if metadata is None else metadata)
    path.write_bytes(model.SerializeToString())
    return path


def zipformer_whole(features: np.ndarray, chunks: int, seed: int = 0) -> np.ndarray:
    """The same network on all chunks at once, in float64 and without caches."""
    made = weights(seed)
    rows = ROWS * chunks
    windows = np.stack([features[4 * r : 4 * r + 17].reshape(-1) for r in range(rows)])
    embedded = np.tanh(windows.astype(np.float64) @ made["embed"])
    before = np.concatenate([np.zeros((KEYS, DIM)), embedded])
    delayed = before[KEYS - 2 : KEYS - 2 + rows]
    attended = np.stack([before[r // ROWS * ROWS : r // ROWS * ROWS + KEYS].mean(0) for r in range(rows)])
    counted = np.repeat(np.sin([r // ROWS * ROWS for r in range(rows)])[:, None], DIM, 1)
    logits = np.concatenate([embedded, delayed, attended, counted], axis=1) @ made["output"]
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))
