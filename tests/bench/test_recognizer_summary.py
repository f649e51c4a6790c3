"""The summary of the recogniser's benchmarks: no figure is lost, mixed up or made up, and no failure stops the rest."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.bench import recognizer_summary
from tests.bench.bench_first_start import STEPS
from tests.bench.figures import Figures, MissingFigureError
from tests.bench.recognizer_more_sections import SECTIONS
from tests.bench.recognizer_plan import PLAN, PlannedBench, folder, package
from tests.bench.recognizer_report import measure_all, shown_command
from tests.bench.recognizer_summary import RUN, Summary, as_markdown, summarised

Json = dict[str, Any]


def waits(p50: float) -> Json:
    return {"p50": p50, "p95": 2 * p50}


def heard(wer: float) -> Json:
    interval = {"low": wer - 0.02, "high": wer + 0.03, "over": "speakers"}
    return {
        "words": 2778,
        "wer": wer,
        "wer_interval": interval,
        "oracle_wer": 0.4 * wer,
        "real_time_factor": 0.0061,
    }


def overall(brier: float) -> Json:
    nothing = {"count": 0, "p50": None, "p95": None}
    return {
        "delay_ms": {"shown_audio": {"count": 2000, **waits(241)}, "final_audio": nothing},
        "calibration": {
            "words": 2700, "share_right": 0.81, "brier": brier, "brier_of_constant": 0.1751,
            "expected_calibration_error": 0.021, "roc_area": 0.862,
        },
    }  # fmt: skip


def of_peer(wer: float) -> Json:
    interval = {"low": wer - 0.04, "high": wer + 0.05, "over": "speakers"}
    return {"wer": wer, "wer_interval": interval, "real_time_factor": 0.412}


FOUND: dict[str, Json] = {
    "search": {
        "against_kaldi": [{
            "beam": 12.0, "recordings": 36, "recordings_with_other_cost": 0, "ratio_to_faster_decoder": 0.27,
            "ratio_to_lattice_simple_decoder": 0.066,
        }],
        "by_beam": [{
            "beam": 13.0, "word_error_rate": 0.225, "oracle_word_error_rate": 0.079, "search_real_time_factor": 0.0043,
            "lattice_real_time_factor": 0.0002, "bytes_per_stream_median": 4.1e5, "bytes_per_stream_most": 2.9e6,
        }],
    },
    "streaming": {
        "memory_per_leg_mib": 4.2,
        "seconds_per_leg": 60.0,
        "parts": {"features": 0.0003, "network": 0.0007, "search and the rest": 0.0061, "all": 0.0071},
        "networks": [{
            "network": "shipped, int8", "weights_mib": 2.5, "activations_kib": 160.0, "look_ahead_ms": 150,
            "legs_1": 0.0007, "legs_4": 0.0004, "legs_16": 0.0005,
        }],
        "live": [{
            "what": "shipped, int8", "legs": 20, "use": 0.13, "word": waits(272), "final": waits(132),
            "silence": waits(510), "stable": 900, "unstable": 5,
        }],
    },
    "recognizer": {
        "test": {
            "sets": {"librispeech-422-777": heard(0.199), "own-calls": heard(0.41)},
            "overall": overall(0.1197),
            "peers": {"PocketSphinx 5": {"librispeech-422-777": of_peer(0.612), "own-calls": of_peer(0.75)}},
        },
        "development": {"sets": {"dev-adults": heard(0.33)}, "overall": overall(0.1301), "peers": {}},
    },
    "second_pass": {
        "default_below_confidence": 0.7,
        "sets": {"own-calls": {
            "words": 3554, "without": 0.261, "with": 0.252, "difference": -0.009, "difference_low": -0.015,
            "difference_high": 0.002, "real_time_factor_without": 0.0062, "real_time_factor_with": 0.0065,
        }},
    },
    "weights": {"sets": {"own-calls": {
        "words": 3554, "recordings": 233, "recordings_with_other_words": 16, "float32": 0.2227, "int8": 0.2230,
        "difference_low": -0.003, "difference_high": 0.004, "real_time_factor_float32": 0.0081,
        "real_time_factor_int8": 0.0064,
    }}},
    "first_start": {
        "cache_bytes": 121_700_000,
        "starts": {"empty cache": {
            "starts": 3, "steps_s": dict(zip(STEPS, (1.1, 9.3, 0.4, 0.3), strict=True)), "total_s": 11.2,
            "audio_heard_s": 1.4, "resident_mib": 258.0,
        }},
    },
    "pack": {
        "most_bytes": 40_000_000,
        "sizes": {"graph": 16_150_000, "all": 27_400_000},
        "network": {
            "parameters": 2_895_648, "look_ahead_ms": 150, "weight_bytes": {"float32": 10_362_112, "int8": 2_645_248},
        },
        "graph": {
            "words": 62_976, "states": 1_883_715, "arcs": 6_162_519, "arcs_without_input": 790_821,
            "bytes": 121_204_896,
        },
        "build": {
            "bigrams": 761_592, "trigrams": 538_408, "steps": {"compose": {"wall_s": 5.1, "processor_s": 4.9}},
            "wall_s": 51.5, "processor_s": 49.7, "peak_memory_bytes": 1_240_000_000, "same_as_shipped": True,
        },
    },
    "confidence": {
        "words": 3487, "speakers": 8, "share_right": 0.77, "brier_of_constant": 0.1753,
        "ways": {"before": {"brier": 0.1523, "expected_calibration_error": 0.0912, "roc_area": 0.8311}},
    },
    "look_ahead": {
        "legs": 20,
        "delays": [{"look_ahead_ms": 120, "word": waits(231), "final": waits(183), "use": 0.28}],
        "words": [{"pack": "shipped", "look_ahead_ms": 150, "wer": {"dev-adults": 0.336}}],
    },
    "alignment": {
        "utterances": 172, "left_out": 22, "real_time_factor": 0.0025, "real_time_factor_pocketsphinx": 0.0281,
        "bounds": {"both": {
            "count": 3800, "signed_median_ms": 10.0, "absolute_median_ms": 20.0, "p90_ms": 50.0,
            "share_within_60_ms": 0.931, "share_over_100_ms": 0.041,
        }},
        "an_hour": {"hours": 1.06, "words": 8768, "real_time_factor": 0.0023, "mib_more": 15.0},
    },
    "diarization": {
        "conversations": 60, "split": "test", "real_time_factor": 0.0051,
        "errors": [{
            "speakers": "all", "collar_s": 0.25, "rate": 0.076, "missed": 0.021, "false_alarm": 0.015,
            "confusion": 0.04,
        }],
    },
    "perplexity": {
        "ngrams": {"graph": [62_976, 761_592], "rescoring": [76_000, 4_900_000]},
        "texts": {"own-calls": {"words": 2825, "outside": 0.0064, "graph": 335.7, "rescoring": 278.4}},
    },
    "language": {
        "words": 41_000, "packed_bytes": 3_100_000,
        "readers": {"KenLM, sentence by sentence": {"load_s": 1.4, "words_per_s": 2_400_000.0, "perplexity": 208.07}},
    },
    "vocabulary": {
        "minutes": 24.1, "words": 3554,
        "rows": [{
            "vocabulary": "words that the graph lacks", "entries": 46, "boost": 3.0, "said": 56, "found": 38,
            "false": 5, "wer": 0.2437, "wer_before": 0.2606, "time_ratio": 0.95,
        }],
    },
    "pronunciations": {
        "trained_s": 61.0, "per_word_ms": 1.9,
        "guessers": {"callwarden": {
            "words": 3589, "phone_error_rate": 0.0651, "word_error_rate": 0.281, "word_error_rate_of_three": 0.128,
        }},
    },
}  # fmt: skip


def run_note() -> Json:
    machine = {"processor": "AMD EPYC", "cores": 2, "memory_gb": 24, "python": "3.11.7"}
    bench = {
        "command": "python -m x",
        "began": "2030-01-02 03:04 UTC",
        "seconds": 71.0,
        "status": 0,
        "load": 0.25,
        "quick": False,
    }
    return {
        "quick": False, "command": "make bench-recognizer", "machine": machine, "commit": "414c4d9",
        "sets": ["own-calls"], "seconds": 1320.0, "benches": {name: dict(bench) for name in FOUND},
    }  # fmt: skip


def written(folder: Path, found: dict[str, Json], run: Json | None = None) -> Path:
    for name, figures in {**found, RUN.removesuffix(".json"): run or run_note()}.items():
        (folder / f"{name}.json").write_text(json.dumps(figures))
    return folder


def leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*place, key))
    else:
        yield place, value


def changed(found: dict[str, Json], name: str, place: tuple[str | int, ...], value: Any = None) -> dict[str, Json]:
    """The figures with one of them replaced, or, without a value, gone."""
    made = {**found, name: copy.deepcopy(found[name])}
    inner: Any = made[name]
    for key in place[:-1]:
        inner = inner[key]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return made


def shown(name: str, figures: Any) -> list[Any]:
    return SECTIONS[name](Figures(name, figures))


NUMBERS = [
    pytest.param(name, place, value, id=f"{name}-{'-'.join(map(str, place))}")
    for name, figures in FOUND.items()
    for place, value in leaves(figures)
    if isinstance(value, int | float) and "final_audio" not in place
]


def test_what_is_planned_can_be_summarised_and_run() -> None:
    assert [planned.name for planned in PLAN][:3] == ["search", "streaming", "recognizer"]
    assert {planned.name for planned in PLAN} == set(SECTIONS) == set(FOUND)
    for planned in PLAN:
        module = f"{planned.command(quick=False)[0].replace('.', '/')}.py"
        assert (Path(__file__).parent.parent.parent / module).is_file()


@pytest.mark.parametrize(("name", "place", "value"), NUMBERS)
def test_a_figure_that_is_another_shows_as_another(name: str, place: Any, value: float) -> None:
    other = changed(FOUND, name, place, (not value) if isinstance(value, bool) else 3 * value + 1)
    assert shown(name, other[name]) != shown(name, FOUND[name])


@pytest.mark.parametrize(("name", "place", "value"), NUMBERS)
def test_a_figure_that_is_missing_or_no_number_is_told(name: str, place: Any, value: float) -> None:
    open_table = place[0] in ("sizes", "ngrams") and place[-1] != "all"  # a pack may have more parts, or fewer
    for wrong in ([] if open_table else [None]) + ["much", float("nan"), [value]]:
        found = changed(FOUND, name, place, wrong)
        with pytest.raises(MissingFigureError, match=rf"^{name} .*({place[-1]}|nothing at {place[0]})"):
            shown(name, found[name])


def test_the_summary_holds_what_was_measured(tmp_path: Path) -> None:
    summary = summarised(written(tmp_path, FOUND))
    told = as_markdown(summary)
    assert not summary.missing
    assert not summary.not_measured
    for line in (
        "| librispeech-422-777 | 2,778 | 19.9 | 17.9-22.9 (speakers) | 61.2 | 57.2-66.2 (speakers) | 0.33 | 8.0 "
        "| 0.0061 | 0.412 |",
        "| dev-adults | 2,778 | 33.0 | 31.0-36.0 (speakers) |  |  |  | 13.2 | 0.0061 |  |",
        "| 12 | 36 | 0.27 | 0.066 | 0 |",
        "| shipped, int8 | 20 | 13 % | 272 / 544 | 132 / 264 | 510 / 1020 | 5 of 900 |",
        "| own-calls | 3,554 | 26.1 | 25.2 | -0.9 (-1.5 to +0.2) | 0.0062 | 0.0065 |",
        "| empty cache | 1.1 | 9.3 | 0.4 | 0.3 | 11.2 | 258 | 3 |",
        "| words that the graph lacks | 46 | 3 | 38 of 56 | 5 | 24.37 | 26.06 | 0.95 |",
    ):
        assert line in told.splitlines()
    assert "22 minutes in all" in told
    assert "begun 2030-01-02 03:04 UTC, when 0.2 processes had been running on average." in told
    assert "2 cores of AMD EPYC, 24 GB" in told.replace("\n", " ")
    assert "simulated telephone speech" in told
    headings = [line for line in told.splitlines() if line.startswith("## ")]
    assert len(headings) == len(set(headings)) == 1 + sum(len(sections) for _, sections in summary.parts)
    for _, sections in summary.parts:
        for section in sections:
            assert all(len(row) == len(section.headings) for row in section.rows)


@pytest.mark.parametrize(
    ("name", "place", "value", "what"),
    [
        ("recognizer", ("test", "sets", "librispeech-422-777", "wer"), 0.3011, "WER, librispeech-422-777"),
        ("recognizer", ("test", "sets", "own-calls", "wer"), 0.376, "WER of PocketSphinx 5's, own-calls"),
        (
            "search",
            ("against_kaldi", 0, "ratio_to_faster_decoder"),
            1.01,
            "search time of FasterDecoder's, beam 12",
        ),
        (
            "search",
            ("against_kaldi", 0, "recordings_with_other_cost"),
            1,
            "sentences with another best cost, beam 12",
        ),
        ("streaming", ("live", 0, "use"), 1.01, "20 legs on a core, int8: of the core"),
        ("streaming", ("live", 0, "word", "p50"), 301.0, "20 legs on a core, int8: word, P50"),
        ("streaming", ("live", 0, "final", "p95"), 401.0, "20 legs on a core, int8: final, P95"),
        ("pack", ("sizes", "all"), 40_000_001, "size of the pack"),
    ],
)
def test_a_goal_that_is_missed_is_told(tmp_path: Path, name: str, place: Any, value: float, what: str) -> None:
    met = dict.fromkeys((goal.what for goal in summarised(written(tmp_path, FOUND)).goals), True)
    met["WER of PocketSphinx 5's, own-calls"] = False  # 41 % of 75 %
    goals = summarised(written(tmp_path, FOUND)).goals
    assert {goal.what: goal.met for goal in goals} == met
    goals = summarised(written(tmp_path, changed(FOUND, name, place, value))).goals
    assert {goal.what: goal.met for goal in goals} == {**met, what: False}


def test_what_is_missing_or_was_not_run_is_said_and_the_others_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = run_note()
    note["benches"]["alignment"] = {"reason": "It needs a folder of recordings."}
    note["benches"]["search"]["status"] = 1
    found = changed(FOUND, "streaming", ("live", 0, "word", "p95"))
    written(tmp_path, found, note)
    (tmp_path / "weights.json").unlink()
    (tmp_path / "pack.json").write_text("{")
    assert recognizer_summary.main(tmp_path) == 1
    told, printed = (tmp_path / "recognizer.md").read_text(), capsys.readouterr().out.split("\n")
    for sentence in (
        "- streaming has no figure live/0/word/p95.",
        "- weights.json cannot be read: FileNotFoundError.",
        "- pack.json cannot be read: JSONDecodeError.",
        "- alignment: It needs a folder of recordings.",
    ):
        assert sentence in told.splitlines()
        assert sentence.removeprefix("- ") in printed
    assert "it ended with status 1" in told
    assert "## Word error rates" in told
    kept = json.loads((tmp_path / "recognizer-summary.json").read_text())
    assert len(kept["missing"]) == 3
    assert kept["sections"]["diarization"][0]["rows"] == [["all", "0.25", "7.6", "2.1", "1.5", "4.0"]]


def test_without_a_run_there_is_no_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recognizer_summary.main(tmp_path) == 1
    assert "Run make bench-recognizer first." in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    note = run_note()
    del note["machine"]["cores"]
    assert recognizer_summary.main(written(tmp_path, FOUND, note)) == 1
    assert "recognizer-run.json has no figure machine/cores." in capsys.readouterr().out
    assert not (tmp_path / "recognizer.md").exists()


@dataclass(frozen=True)
class Scripted(PlannedBench):
    """Runs another module than its name says."""

    module: tuple[str, ...] = ()

    def command(self, quick: bool) -> tuple[str, ...]:
        return self.module


def test_a_bench_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text('{"made": 1}')
    (tmp_path / "broken.json").write_text("of an earlier run")
    plan = [
        Scripted("broken", module=("json.tool", str(tmp_path / "nothing"))),
        Scripted("lacking", lacks=(package("no_such_package", "pip install it"), folder("X", "Y"))),
        Scripted("working", module=("json.tool", str(source), str(tmp_path / "working.json"))),
    ]
    assert measure_all(plan, False, [], tmp_path)
    notes = json.loads((tmp_path / RUN).read_text())["benches"]
    assert list(notes) == ["broken", "lacking", "working"]
    assert notes["broken"]["status"] != 0
    assert not (tmp_path / "broken.json").exists()
    assert notes["lacking"] == {"reason": "It needs the Python package no-such-package: pip install it."}
    assert notes["working"]["status"] == 0
    assert json.loads((tmp_path / "working.json").read_text()) == {"made": 1}
    again = [plan[0], Scripted("new", module=plan[2].module), plan[2]]
    assert measure_all(again, False, ["new"], tmp_path)
    assert json.loads((tmp_path / RUN).read_text())["benches"].items() >= {"working": notes["working"]}.items()


def test_what_was_measured_before_an_interruption_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("1")

    class Interrupting(Scripted):
        def reason(self, quick: bool) -> str | None:
            raise KeyboardInterrupt

    first = Scripted("first", module=("json.tool", str(source), str(tmp_path / "first.json")))
    assert not measure_all([first, Interrupting("second"), first], False, [], tmp_path)
    assert list(json.loads((tmp_path / RUN).read_text())["benches"]) == ["first"]


def test_what_is_lacking_names_the_command_that_provides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALLWARDEN_CORPORA", raising=False)
    (alignment,) = (planned for planned in PLAN if planned.name == "alignment")
    assert "make bench-recognizer CALLWARDEN_CORPORA=FOLDER" in (alignment.reason(quick=False) or "")
    monkeypatch.setenv("CALLWARDEN_CORPORA", str(tmp_path))
    assert alignment.lacks[0]() is None
    slow = PlannedBench("slow", quick=None, too_long="it takes an hour")
    assert slow.reason(quick=True) == "It is left out of the quick run: it takes an hour."
    assert slow.reason(quick=False) is None


def test_no_folder_of_the_machine_is_told() -> None:
    command = shown_command(("tests.bench.bench_vocabulary", "--sets", "/somewhere/private/dev.tsv"))
    assert command == "python -m tests.bench.bench_vocabulary --sets dev.tsv"


def test_goals_name_their_limits() -> None:
    assert isinstance(Summary({}).goals, list)
    assert recognizer_summary.Goal("time", 0.27, 1.0).row() == ("time", "0.27", "1", "yes")
    assert recognizer_summary.Goal("word", 301.4, 300, " ms").row() == ("word", "301.4 ms", "300 ms", "**no**")
