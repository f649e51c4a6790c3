"""What a recogniser does with the site's words at its start: takes them, or goes on without and says why."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from console import site_vocabulary
from console.data_folder import DataFolder
from console.settings import Settings, load_settings
from console.site_vocabulary import vocabulary_file, with_site_vocabulary
from recognizer.model_pack import CACHE_VARIABLE, ModelPack
from recognizer.vocabulary import VocabularyEntry
from recognizer.vocabulary_settings import VocabularySettings
from tests.builders.small_packs import tiny_ctc_pack, tiny_pack

pytest.importorskip("kaldifst")


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataFolder:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return DataFolder.at(tmp_path / "data")


@pytest.fixture
def settings() -> Settings:
    """Without rulebooks' phrases, which the tiny language has no words for."""
    return replace(load_settings(), vocabulary=VocabularySettings(rulebook_boost=0))


def keep(data: DataFolder, *words: str) -> None:
    entries = [VocabularyEntry.checked(word, 2.0, ("B C A",)) for word in words]
    vocabulary_file(data).change(lambda old: old.added(*entries))


def test_the_sites_words_are_taken(data: DataFolder, settings: Settings, tmp_path: Path) -> None:
    keep(data, "Zelle")
    pack = ModelPack.load(tiny_pack(tmp_path / "pack"))
    grown, why_without = with_site_vocabulary(pack, data, settings)
    assert why_without == ""
    assert "zelle" in grown.graph.words


def test_a_ctc_model_goes_on_without_them_in_one_sentence(
    data: DataFolder, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = ModelPack.load(tiny_ctc_pack(tmp_path / "ctc"))
    with caplog.at_level(logging.INFO):
        same, why_without = with_site_vocabulary(pack, data, load_settings())
    assert same is pack
    assert why_without == "", "nobody's words are missing where there are none but the rulebooks'"
    assert "What rulebooks look for is not made likelier." in caplog.text
    keep(data, "Zelle")
    same, why_without = with_site_vocabulary(pack, data, settings)
    assert same is pack
    assert why_without == (
        "Recognition goes on without the site's vocabulary. "
        "The model tiny-ctc is of the kind onnx-ctc, which takes no words yet."
    )


def test_a_damaged_file_does_not_keep_calls_from_being_recognised(
    data: DataFolder, settings: Settings, tmp_path: Path
) -> None:
    keep(data, "Zelle")
    path = vocabulary_file(data).path
    path.write_bytes(path.read_bytes()[:-5])
    pack = ModelPack.load(tiny_pack(tmp_path / "pack"))
    same, why_without = with_site_vocabulary(pack, data, settings)
    assert same is pack
    assert why_without.startswith(
        "Recognition goes on without the site's vocabulary. The vocabulary's file cannot"
    )
    assert "elle" not in why_without


def test_whatever_is_wrong_with_words_is_told_without_them(
    data: DataFolder, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(data, "Zelle")
    pack = ModelPack.load(tiny_pack(tmp_path / "pack"))

    def fails(*_: object) -> ModelPack:
        raise KeyError("zelle")

    monkeypatch.setattr(site_vocabulary, "with_vocabulary", fails)
    same, why_without = with_site_vocabulary(pack, data, settings)
    assert same is pack
    assert why_without.endswith("The vocabulary was not put into the graph: KeyError.")
