"""What an ONNX file may hold: hostile ones are refused before anything of them runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recognizer.onnx_file import OnnxFile, inspect
from recognizer.onnx_session import OnnxError
from tests.builders.onnx_models import METADATA, zipformer_like

onnx = pytest.importorskip("onnx", reason="needs the extra onnx: pip install 'callwarden[onnx]'")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT


def written(path: Path, nodes: list[Any], constants: list[Any] | None = None, **more: Any) -> Path:
    x, y = (helper.make_tensor_value_info(name, FLOAT, [1, 2]) for name in ("x", "y"))
    graph = helper.make_graph(nodes, "made", [x], [y], constants or [])
    path.write_bytes(helper.make_model(graph, **more).SerializeToString())
    return path


def external(name: str, location: str) -> Any:
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    return tensor


def test_an_icefall_export_is_fine(tmp_path: Path) -> None:
    assert inspect(zipformer_like(tmp_path / "a.onnx")) == OnnxFile(METADATA, ())


def test_quantised_models_are_fine(tmp_path: Path) -> None:
    node = helper.make_node("DynamicQuantizeMatMul", ["x", "w"], ["y"], domain="com.microsoft")
    inspect(written(tmp_path / "a.onnx", [node]))


@pytest.mark.parametrize(
    ("domain", "operator", "sentence"),
    [
        ("evil.example", "Relu", "operator evil.example.Relu, which is not one of the runtime's own."),
        ("com.microsoft", "EPContext", "operator com.microsoft.EPContext, which is not one of the runtime's own."),
        ("", "Loop", "operator Loop, which may run for ever."),
        ("", "RandomNormal", "operator RandomNormal, whose output is left to chance."),
    ],
)
def test_operators_of_others_endless_and_random_ones_are_refused(
    tmp_path: Path, domain: str, operator: str, sentence: str
) -> None:
    with pytest.raises(OnnxError) as refused:
        inspect(written(tmp_path / "a.onnx", [helper.make_node(operator, ["x"], ["y"], domain=domain)]))
    assert str(refused.value) == f"The ONNX model has the {sentence}"


def test_operators_hidden_in_a_branch_or_a_function_are_found(tmp_path: Path) -> None:
    endless = helper.make_node("Loop", ["n", "c"], ["z"])
    z = helper.make_tensor_value_info("z", FLOAT, [1, 2])
    branch = helper.make_graph([endless], "branch", [], [z])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(OnnxError, match="may run for ever"):
        inspect(written(tmp_path / "a.onnx", [node]))
    function = helper.make_function("mine", "hidden", ["x"], ["y"], [endless], [helper.make_opsetid("", 17)])
    call = helper.make_node("hidden", ["x"], ["y"], domain="mine")
    with pytest.raises(OnnxError, match="may run for ever"):
        inspect(written(tmp_path / "b.onnx", [call], functions=[function]))


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "sub/weights.bin", ".hidden", ""])
def test_tensors_outside_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    path = written(tmp_path / "a.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [external("w", location)])
    with pytest.raises(OnnxError, match=r"^The ONNX model keeps a tensor in a file outside of its folder\.$"):
        inspect(path)


def test_a_tensor_in_a_nodes_attribute_is_looked_at_too(tmp_path: Path) -> None:
    node = helper.make_node("Constant", [], ["y"], value=external("w", "../secret.bin"))
    with pytest.raises(OnnxError, match="outside of its folder"):
        inspect(written(tmp_path / "a.onnx", [node]))


def test_tensors_beside_the_model_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [external("w", "w.bin")])
    with pytest.raises(
        OnnxError, match=r"^The ONNX model keeps a tensor in the file w\.bin, which is not there\.$"
    ):
        inspect(path)
    (tmp_path / "w.bin").symlink_to("/etc/hostname")
    with pytest.raises(OnnxError, match="which is not there"):
        inspect(path)
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").write_bytes(np.zeros(2, np.float32).tobytes())
    assert inspect(path).data == ("w.bin",)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(OnnxError, match=r"^The file a\.onnx is no ONNX model \(\w+\)\.$"):
        inspect(tmp_path / "a.onnx")
