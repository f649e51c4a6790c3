"""The gate that a change of model, graph or search has to pass, on the committed set; and the gate itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recognizer.evaluation.__main__ import main
from recognizer.evaluation.gate import BaselineError, baseline_of, judge, read_baseline, write_baseline
from recognizer.evaluation.measurement import Outcome, SetResult
from recognizer.evaluation.telephone_channel import LABEL

pytest.importorskip("soundfile")

FOLDER = Path(__file__).parent / "regression"
SET = f"librispeech-dev={FOLDER}/librispeech-dev.tsv"


def result(name: str, said: str, *recognised: str, system: str = "ours", unreadable: int = 0) -> SetResult:
    outcomes = tuple(Outcome(tuple(said.split()), tuple(text.split())) for text in recognised)
    return SetResult(name, system, outcomes, unreadable)


def test_the_shipped_pack_is_not_worse_than_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    """276 s of real speech, some seconds of processor time."""
    arguments = ["--set", SET, "--channel", "simulated", "--gate", str(FOLDER / "baseline.json")]
    status = main(arguments)
    assert status == 0, capsys.readouterr().out
    printed = capsys.readouterr().out
    assert f"Regression gate, WER %, {LABEL}" in printed
    assert "WORSE" not in printed


def test_the_set_is_small_and_says_where_it_comes_from() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_500_000
    named = {line.split("\t")[1] for line in (FOLDER / "librispeech-dev.tsv").read_text().splitlines()[1:]}
    assert named == {path.name for path in FOLDER.glob("*.wav")}
    assert {name.split("-")[0] for name in named} == {"1993", "2086"}
    assert "CC BY 4.0" in (FOLDER / "README.md").read_text()


def test_each_set_and_all_of_them_are_held_to_the_margin(tmp_path: Path) -> None:
    then = [result("a", "one two three four", "one two three four"), result("b", "five six", "five sax")]
    write_baseline(baseline_of(then, LABEL, 10.0), tmp_path / "base.json")
    baseline = read_baseline(tmp_path / "base.json")
    assert baseline.wer_percent == {"a": 0.0, "b": 50.0, "all": pytest.approx(16.67)}
    assert baseline.words == {"a": 4, "b": 2, "all": 6}
    assert all(verdict.passed for verdict in judge(baseline, then, LABEL, 0.0)), "rounding costs nothing"
    worse = [result("a", "one two three four", "one two three"), then[1]]
    verdicts = {verdict.name: verdict.passed for verdict in judge(baseline, worse, LABEL)}
    assert verdicts == {"a": False, "b": True, "all": False}
    assert all(verdict.passed for verdict in judge(baseline, worse, LABEL, 25.0))
    better = [then[0], result("b", "five six", "five six")]
    assert all(verdict.passed for verdict in judge(baseline, better, LABEL))


@pytest.mark.parametrize(
    ("results", "condition", "complaint"),
    [
        ([result("a", "one two", "one")], "as recorded, at 8 kHz", "another condition"),
        ([result("b", "one two", "one")], LABEL, "holds other sets than were measured: it wants a."),
        ([result("a", "one two three", "one")], LABEL, "is not the one of the baseline: 3 words"),
        ([result("a", "one two", "one", unreadable=1)], LABEL, "is not the one of the baseline"),
        ([result("a", "", "")], LABEL, "Nothing could be measured on the set a."),
        ([result("all", "one two", "one")], LABEL, "may not be called 'all'"),
    ],
)
def test_figures_that_cannot_be_compared_are_refused(
    results: list[SetResult], condition: str, complaint: str
) -> None:
    baseline = baseline_of([result("a", "one two", "one")], LABEL)
    with pytest.raises(BaselineError, match=complaint):
        judge(baseline, results, condition)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "condition": "x", "system": "s", "margin_points": 1, "sets": {"a": 3}}',
        '{"format": 1, "condition": "x", "system": "s", "margin_points": 1, "sets": {}}',
        '{"format": 1, "condition": "x", "system": "s", "margin_points": NaN, "sets": {"all": {"words": 1, "wer_percent": 1}}}',  # noqa: E501
        '{"format": 2}',
    ],
)
def test_a_broken_baseline_is_told_in_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "base.json").write_text(content)
    with pytest.raises(BaselineError):
        read_baseline(tmp_path / "base.json")
    assert main(["--set", SET, "--gate", str(tmp_path / "base.json")]) == 2
    assert main(["--set", SET, "--gate", str(tmp_path / "absent.json")]) == 2


def test_the_command_exits_with_1_when_words_get_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (FOLDER / "librispeech-dev.tsv").read_text().splitlines()
    audio = lines[1].split("\t")[1]
    (tmp_path / "set.tsv").write_text(f"audio\ttext\n{FOLDER / audio}\tnothing of this was ever said\n")
    shared = ["--set", f"one={tmp_path}/set.tsv", "--channel", "simulated"]
    base = tmp_path / "base.json"
    assert main([*shared, "--write-baseline", str(base), "--margin", "2"]) == 0
    written = json.loads(base.read_text())
    assert (written["margin_points"], written["condition"]) == (2.0, LABEL)
    assert main([*shared, "--gate", str(base), "--margin", "0"]) == 0
    for figures in written["sets"].values():
        figures["wer_percent"] = max(0.0, figures["wer_percent"] - 2.5)
    base.write_text(json.dumps(written))
    assert main([*shared, "--gate", str(base)]) == 1
    assert main([*shared, "--gate", str(base), "--margin", "3"]) == 0
    assert "WORSE" in capsys.readouterr().out
