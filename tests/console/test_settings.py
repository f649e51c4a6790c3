from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from console.settings import Settings, SettingsRefused, as_toml, load_settings


def test_defaults_when_nothing_is_said() -> None:
    assert load_settings(None, {}) == Settings()


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "callwarden.toml"
    file.write_text("[web]\npage_size = 30\nsite = 'North'\n[engine]\nrecogniser_workers = 3\n")
    settings = load_settings(file, {"CALLWARDEN_WEB__PAGE_SIZE": "50", "CALLWARDEN_DATA": "elsewhere"})
    assert settings.web.page_size == 50
    assert settings.web.site == "North"
    assert settings.engine.recogniser_workers == 3


def test_the_second_pass_is_set_as_the_rest_is() -> None:
    settings = load_settings(
        None, {"CALLWARDEN_SECOND_PASS__BELOW_CONFIDENCE": "0.7", "CALLWARDEN_RESCORING__WEIGHT": "0.8"}
    )
    assert (settings.second_pass.below_confidence, settings.rescoring.weight) == (0.7, 0.8)


def test_what_is_printed_can_be_read_back(tmp_path: Path) -> None:
    settings = load_settings(None, {"CALLWARDEN_ENGINE__HTTP_PORT": "8099"})
    file = tmp_path / "printed.toml"
    file.write_text(as_toml(settings))
    assert load_settings(file, {}) == settings


def test_secrets_are_not_printed() -> None:
    settings = load_settings(None, {"CALLWARDEN_WEB__METRICS_TOKEN": "correct horse"})
    printed = as_toml(settings)
    assert "correct horse" not in printed
    assert tomllib.loads(printed)["web"]["metrics_token"] == "***"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[web]\npage_sise = 3\n", "The section [web] has no setting page_sise, named in the file"),
        ("[wev]\npage_size = 3\n", "There is no section [wev] of settings, named in the file"),
        ("page_size = 3\n", "The setting page_size in"),
        ("[web\n", "is not TOML"),
        ("[web]\npage_size = 'many'\n", "web.page_size"),
        ("[second_pass]\nbelow_confidence = 2\n", "The confidence below which an utterance gets a second pass"),
        ("[rescoring]\nweight = 1.5\n", "The weight of the language model for rescoring"),
        ("[engine]\nrecogniser_workers = 0\n", "recogniser_workers must be at least 1"),
        ("[supervisor]\nfirst_restart_after_s = 60.0\n", "not above longest_restart_after_s"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    file = tmp_path / "callwarden.toml"
    file.write_text(content)
    with pytest.raises(SettingsRefused) as refused:
        load_settings(file, {})
    assert sentence in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_a_variable_of_no_section_is_refused() -> None:
    with pytest.raises(SettingsRefused, match="CALLWARDEN_WEV__PAGE_SIZE"):
        load_settings(None, {"CALLWARDEN_WEV__PAGE_SIZE": "3"})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused, match="no such file"):
        load_settings(tmp_path / "none.toml", {})
