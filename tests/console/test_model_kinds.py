"""Commands that need a network of our own kind, with a pack of another kind: one sentence, exit status 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from console.cli import main
from tests.builders.small_packs import tiny_ctc_pack

pytest.importorskip("kaldifst", reason="needs kaldifst: pip install 'callwarden[onnx]'")
soundfile = pytest.importorskip("soundfile")


@pytest.mark.parametrize(
    ("command", "purpose"), [("align", "To align a text"), ("speakers", "To tell speakers apart")]
)
@pytest.mark.parametrize("kind", ["onnx-ctc", "onnx-hybrid"])
def test_a_model_of_another_kind_is_refused(
    command: str,
    purpose: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    pack = tiny_ctc_pack(tmp_path / "other")
    manifest = (pack / "manifest.json").read_text()
    (pack / "manifest.json").write_text(
        manifest.replace("onnx-ctc", kind).replace('"frame_shift_ms": 40', '"frame_shift_ms": 30')
    )
    soundfile.write(tmp_path / "call.wav", np.zeros(8000), 8000)
    (tmp_path / "call.txt").write_text("a bee")
    arguments = [str(tmp_path / "call.wav"), *([str(tmp_path / "call.txt")] if command == "align" else [])]
    monkeypatch.setattr("sys.argv", ["callwarden", command, *arguments, "--model", str(pack)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 1
    sentence = f"{purpose}, a model of the kind tdnnf is needed; the pack other has one of the kind {kind}."
    assert said.err == f"callwarden: {sentence}\n"
    assert said.out == ""
