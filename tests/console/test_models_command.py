"""`callwarden models`: what it lists, shows, chooses and adds, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compliance.audit.audit_log import AuditFilter
from console.chosen_model import ModelNotUsable, chosen_pack
from console.cli import main
from console.data_folder import DataFolder
from console.settings import EngineSettings, load_settings
from console.wiring import Wiring
from events.audit_entry import Action
from recognizer.language.arpa_file import read_arpa
from recognizer.language.compact_model import pack as packed
from recognizer.model_pack import CACHE_VARIABLE, DEFAULT_PACK, read_manifest, seal_manifest
from tests.builders.small_packs import tiny_pack

pytest.importorskip("kaldifst", reason="needs kaldifst: pip install 'callwarden[onnx]'")

Run = Callable[..., tuple[int, str, str]]
NAME = DEFAULT_PACK.name


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `callwarden models ARGUMENTS` on the data folder; return exit status and what was printed."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def callwarden(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["callwarden", "models", *arguments, "--data", str(tmp_path / "data")])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return callwarden


def data(tmp_path: Path) -> DataFolder:
    return DataFolder.at(tmp_path / "data")


def recorded(tmp_path: Path) -> list[tuple[str, str]]:
    """What the audit log has of changed models."""
    wiring = Wiring(data(tmp_path), load_settings())
    try:
        logged = wiring.audit_log.page(AuditFilter(action=Action.MODEL_CHANGED), None, 50)
        return [(one.entry.subject, one.entry.reason) for one in reversed(logged)]
    finally:
        wiring.close()


@pytest.fixture
def site_pack(tmp_path: Path) -> Path:
    """A pack in the site's folder, as `add` leaves it."""
    return tiny_pack(data(tmp_path).models / "site-calls", "site-calls")


def test_the_shipped_pack_is_listed_and_in_use(run: Run) -> None:
    status, printed, _ = run("list")
    assert status == 0
    assert f"* {NAME} tdnnf" in " ".join(printed.split())
    (told,) = json.loads(run("list", "--json")[1])
    assert (told["name"], told["in_use"], told["shipped"], told["kind"]) == (NAME, True, True, "tdnnf")
    assert (told["sample_rate_hz"], told["frame_shift_ms"], told["problem"]) == (8000, 30, "")
    assert 0 < told["size_bytes"] < 40_000_000


def test_a_choice_stays_until_another_is_made(run: Run, tmp_path: Path, site_pack: Path) -> None:
    assert chosen_pack(data(tmp_path), EngineSettings()) == DEFAULT_PACK
    status, printed, _ = run("use", "site-calls")
    assert (status, printed.strip()) == (0, "Recognisers that start from now on use site-calls.")
    assert chosen_pack(data(tmp_path), EngineSettings()) == site_pack
    assert [told["name"] for told in json.loads(run("list", "--json")[1]) if told["in_use"]] == ["site-calls"]
    assert any((tmp_path / "cache" / "graphs").glob("site-calls-*/graph.json"))
    assert recorded(tmp_path) == [("model site-calls", "put to use")]
    # A setting goes before it.
    assert chosen_pack(data(tmp_path), EngineSettings(model=NAME)) == DEFAULT_PACK


def test_language_models_for_rescoring_are_unpacked_before_anybody_waits_for_them(
    run: Run, tmp_path: Path, site_pack: Path
) -> None:
    (site_pack / "big.lm").write_bytes(packed(read_arpa(site_pack / "model.arpa")))
    seal_manifest(site_pack, {**read_manifest(site_pack), "rescoring_language_model": "big.lm"})
    assert run("use", "site-calls")[0] == 0
    assert len(list((tmp_path / "cache" / "language-models").glob("*/words.txt"))) == 2
    (site_pack / "big.lm").write_bytes(b"no model")
    seal_manifest(site_pack, read_manifest(site_pack))
    status, _, told = run("use", "site-calls")
    assert (status, "The pack's language model for rescoring cannot be used: " in told) == (1, True)


def test_who_chooses_against_the_settings_is_told(
    run: Run, site_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLWARDEN_ENGINE__MODEL", NAME)
    status, _, told = run("use", "site-calls")
    assert status == 0
    assert f"The setting [engine] model goes before it and names {NAME}." in told


def test_a_pack_that_is_not_there_is_told_with_those_that_are(run: Run, tmp_path: Path) -> None:
    for command in ("use", "card"):
        status, _, told = run(command, "nothing")
        assert (status, told.strip()) == (
            1, f"callwarden: There is no model pack 'nothing'; there are: {NAME}."
        )  # fmt: skip
    with pytest.raises(ModelNotUsable, match="There is no model pack 'nothing'"):
        chosen_pack(data(tmp_path), EngineSettings(model="nothing"))


def test_a_damaged_pack_is_not_put_to_use(run: Run, tmp_path: Path, site_pack: Path) -> None:
    (site_pack / "lexicon.txt").write_text("changed")
    status, _, told = run("use", "site-calls")
    assert status == 1
    assert "The model pack's file lexicon.txt is damaged: its checksum is not the manifest's." in told
    (site_pack / "manifest.json").write_text("{")
    assert "holds no model pack with a readable manifest" in run("use", "site-calls")[2]
    assert "unusable" in run("list")[1]
    assert chosen_pack(data(tmp_path), EngineSettings()) == DEFAULT_PACK


def test_the_card_is_shown(run: Run, site_pack: Path) -> None:
    assert "Made for tests." in run("card", "site-calls")[1]
    assert "simulated telephone speech" in " ".join(run("card", NAME)[1].split())
    (site_pack / "card.md").unlink()
    assert run("card", "site-calls")[2].strip() == "callwarden: The pack site-calls has no card."


def test_a_whole_pack_is_added_checked_and_then_listed(run: Run, tmp_path: Path) -> None:
    made = tiny_pack(tmp_path / "made", "from-elsewhere")
    status, printed, told = run("add", str(made))
    assert status == 0, told
    assert printed.startswith("Added from-elsewhere: tdnnf,")
    assert told.split("\n")[:2] == ["copy", "dry run"]
    assert read_manifest(data(tmp_path).models / "from-elsewhere")["name"] == "from-elsewhere"
    assert recorded(tmp_path) == [("model from-elsewhere", "added")]
    status, _, told = run("add", str(made))
    assert (status, told.count("already")) == (1, 1)
    assert len(recorded(tmp_path)) == 1


def test_a_folder_without_a_model_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, _, told = run("add", str(tmp_path / "empty"))
    assert status == 1
    assert told.strip().endswith("callwarden: The folder must hold one ONNX model; it holds none.")
    status, _, told = run("add", str(tmp_path / "away"))
    assert told.strip().endswith("callwarden: The folder cannot be read: no such file or directory.")


def test_a_choice_that_cannot_be_read_is_told(run: Run, tmp_path: Path) -> None:
    folder = data(tmp_path).models
    folder.mkdir()
    (folder / "in-use").write_bytes(b"\xff\xfe")
    assert "The choice of the model pack in the data folder cannot be read." in run("list")[2]
