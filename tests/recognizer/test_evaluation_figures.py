"""The evaluation's figures: deletion runs, recall, delays, calibration, intervals, several processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.transcript import SegmentStatus, Word
from recognizer.evaluation.breakdown import Recall, deletion_histogram, deletion_runs, errors_by_length, recall_of
from recognizer.evaluation.calibration import (
    calibration_of,
    confidences_and_truth,
    draw_reliability,
    reliability_text,
)
from recognizer.evaluation.card import as_markdown
from recognizer.evaluation.jobs import SystemChoice, VariantError, changed_settings, run_all
from recognizer.evaluation.lattice_oracle import oracle_errors
from recognizer.evaluation.measurement import Outcome, SetResult, recognise_recording
from recognizer.evaluation.recognition import Telling, waits_of
from recognizer.evaluation.report import as_json, oracle_lines
from recognizer.evaluation.systems import Callwarden
from recognizer.evaluation.telephone_channel import LABEL
from recognizer.evaluation.test_set import Recording
from recognizer.evaluation.uncertainty import difference_interval, wer_interval
from recognizer.evaluation.word_errors import WordErrors, align_words, count_errors
from recognizer.lattice import ARC, Lattice
from recognizer.model_pack import DEFAULT_PACK
from recognizer.session import Utterance

GOLDEN = Path(__file__).parent.parent / "golden" / "speech"
TABLE = ["<eps>", "a", "b", "c", "[noise]"]
WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=9)


def outcome(said: str, recognised: str, speaker: str = "", confidences: tuple[float, ...] = ()) -> Outcome:
    return Outcome(tuple(said.split()), tuple(recognised.split()), confidences, speaker, 1.0, 0.01)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_an_alignment_counts_both_texts_through_once(said: list[str], recognised: list[str]) -> None:
    edits = align_words(said, recognised)
    assert [i for i, _ in edits if i >= 0] == list(range(len(said)))
    assert [j for _, j in edits if j >= 0] == list(range(len(recognised)))
    assert not (edits < 0).all(axis=1).any()


class TestBreakdown:
    def test_lost_stretches_are_told_from_single_lost_words(self) -> None:
        runs = deletion_runs(
            [
                outcome("a b c d e f", "f"),
                outcome("a b c", "a c"),
                outcome("a b c d", "a d"),
                outcome("a", "a"),
            ]
        )
        assert runs == {5: 1, 1: 1, 2: 1}
        found = deletion_histogram(runs)
        assert found["1"] == (1, 1)
        assert found["5-9"] == (1, 5)
        assert found["3-4"] == (0, 0)

    @settings(deadline=None)
    @given(st.lists(st.tuples(WORDS, WORDS), max_size=5))
    def test_runs_hold_every_deletion_and_lengths_every_error(
        self, pairs: list[tuple[list[str], list[str]]]
    ) -> None:
        outcomes = [Outcome(tuple(said), tuple(told)) for said, told in pairs]
        deletions = sum(one.errors.deletions for one in outcomes)
        assert sum(length * count for length, count in deletion_runs(outcomes).items()) == deletions
        assert sum(words for _, words in deletion_histogram(deletion_runs(outcomes)).values()) == deletions
        spoken = [one for one in outcomes if one.said]
        total = sum((errors for _, errors in errors_by_length(outcomes).values()), WordErrors())
        assert total == sum((one.errors for one in spoken), WordErrors())

    def test_recall_of_deciding_words(self) -> None:
        found = recall_of(
            [
                outcome("yes okay no", "yeah ok know"),
                outcome("one two three", "one too four"),
                outcome("go", "yes"),
            ]
        )
        assert found["yes"] == Recall(1, 1, 2)
        assert found["okay"] == Recall(1, 1, 1)
        assert found["no"] == Recall(1, 0, 0)
        assert found["digits"] == Recall(3, 1, 2), "three heard as four is wrong"
        assert found["no"].precision is None
        assert found["yes"].precision == 0.5


class TestCalibration:
    def test_figures_of_a_known_case(self) -> None:
        confidences = np.array([0.95, 0.95, 0.95, 0.95, 0.25, 0.25])
        right = np.array([True, True, True, False, False, True])
        found = calibration_of(confidences, right)
        assert found is not None
        assert found.brier == pytest.approx(
            np.mean([0.05**2, 0.05**2, 0.05**2, 0.95**2, 0.25**2, 0.75**2]),
        )
        assert found.expected_error == pytest.approx((4 * 0.2 + 2 * 0.25) / 6)
        # Pairs of a right and a wrong word: 4 x 2; the surer one right 3, equal 3 + 1.
        assert found.roc_area == pytest.approx((3 + 0.5 * 4) / 8)
        assert [one.words for one in found.bins] == [2, 4]
        assert reliability_text(found).count("\n") == 2

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
    def test_bounds(self, words: list[tuple[float, bool]]) -> None:
        found = calibration_of(np.array([p for p, _ in words]), np.array([right for _, right in words]))
        assert found is not None
        assert 0 <= found.brier <= 1
        assert 0 <= found.expected_error <= 1
        assert 0 <= found.roc_area <= 1
        assert sum(one.words for one in found.bins) == len(words)

    def test_words_that_tell_the_truth_are_calibrated(self) -> None:
        rng = np.random.default_rng(1)
        confidences = rng.random(20_000)
        found = calibration_of(confidences, rng.random(20_000) < confidences)
        assert found is not None
        assert found.expected_error < 0.02
        assert found.brier == pytest.approx(1 / 6, abs=0.01)

    def test_a_word_is_right_where_it_stands(self) -> None:
        confidences, right = confidences_and_truth(
            [outcome("a b c", "a c x", "", (0.9, 0.8, 0.1)), outcome("a", "a")]
        )
        assert confidences.tolist() == [0.9, 0.8, 0.1]
        assert right.sum() == 1
        assert calibration_of(*confidences_and_truth([outcome("a", "a")])) is None

    def test_the_diagram_is_a_picture(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="pip install 'callwarden[dev]'")
        found = calibration_of(np.array([0.2, 0.9, 0.8]), np.array([False, True, True]))
        assert found is not None
        draw_reliability({"ours": found}, tmp_path / "new" / "r.png", LABEL)
        assert (tmp_path / "new" / "r.png").read_bytes().startswith(b"\x89PNG")


class TestUncertainty:
    def test_speakers_that_differ_make_it_wider(self) -> None:
        good = [outcome("a b", "a b", f"s{n}") for n in range(5) for _ in range(10)]
        bad = [outcome("a b", "x y", f"t{n}") for n in range(5) for _ in range(10)]
        over_speakers = wer_interval(good + bad)
        nameless = [Outcome(one.said, one.recognised) for one in good + bad]
        over_utterances = wer_interval(nameless)
        assert over_speakers is not None
        assert over_utterances is not None
        assert (over_speakers.over, over_utterances.over) == ("speakers", "utterances")
        assert over_speakers.low < over_utterances.low < 0.5 < over_utterances.high < over_speakers.high
        assert wer_interval(good + bad) == over_speakers, "the same every time"

    def test_it_is_as_wide_as_theory_says(self) -> None:
        rng = np.random.default_rng(2)
        outcomes = [outcome("a", "a" if rng.random() < 0.7 else "b") for _ in range(1000)]
        found = wer_interval(outcomes)
        assert found is not None
        assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.3 * 0.7 / 1000), rel=0.1)

    def test_a_difference_on_the_same_words_is_surer_than_each(self) -> None:
        rng = np.random.default_rng(3)
        theirs = [outcome("a b c d", "a b c x" if rng.random() < 0.5 else "w x y z") for _ in range(100)]
        ours = [outcome("a b c d", " ".join([one.recognised[0], "b", *one.recognised[2:]])) for one in theirs]
        gap, alone = difference_interval(ours, theirs), wer_interval(ours)
        assert gap is not None
        assert alone is not None
        assert gap.high < 0
        assert gap.high - gap.low < alone.high - alone.low
        assert difference_interval(ours, theirs[1:]) is None

    def test_no_words_have_no_interval(self) -> None:
        assert wer_interval([]) is None
        assert wer_interval([outcome("", "noise")]) is None


class TestDelays:
    @staticmethod
    def telling(heard_ms: float, status: SegmentStatus, *words: tuple[str, int, int]) -> Telling:
        made = tuple(Word(text, start, end, 0.5) for text, start, end in words)
        return Telling(Utterance(status, 0, 8 * words[-1][2], made, 0), heard_ms, heard_ms / 100)

    def test_a_word_is_shown_when_it_first_stands_at_its_time(self) -> None:
        partials = [
            self.telling(400, SegmentStatus.PARTIAL, ("yes", 0, 300)),
            self.telling(900, SegmentStatus.PARTIAL, ("yes", 0, 300), ("i", 350, 700)),
            self.telling(1400, SegmentStatus.PARTIAL, ("yes", 0, 300), ("i'd", 350, 700), ("yes", 900, 1200)),
        ]
        final = self.telling(2000, SegmentStatus.FINAL, ("yes", 20, 310), ("i'd", 400, 680), ("yes", 900, 1250))
        waits = waits_of(partials, final, at_end=False)
        assert waits.shown_audio == (400 - 310, 1400 - 680, 1400 - 1250)
        assert waits.shown_compute == (4, 14, 14)
        assert (waits.final_audio, waits.final_compute) == ((750.0,), (20.0,))
        assert waits.silence == ()
        decided = replace(
            final, utterance=replace(final.utterance, decided_ms=final.utterance.words[-1].end_ms + 510)
        )
        assert waits_of(partials, decided, at_end=False).silence == (510.0,)
        assert waits_of(partials, decided, at_end=True).silence == ()
        assert waits_of(partials, final, at_end=True).final_audio == ()
        assert waits_of([], final, at_end=True).shown_audio == (1690, 1320, 750)

    def test_delays_of_real_speech_are_told(self) -> None:
        from recognizer.evaluation.audio_file import read_audio

        samples = read_audio(GOLDEN / "1993-147964-0006.wav")
        heard = Callwarden().listen(np.concatenate([samples, np.zeros(16_000, np.float32)]))
        assert len(heard.confidences) == len(heard.words) == len(heard.waits.shown_audio) > 5
        assert len(heard.waits.final_audio) >= 1
        # No word can be shown before it ends by more than its own length, no final before its endpoint's silence.
        assert min(heard.waits.shown_audio) > -500
        assert min(heard.waits.final_audio) > 200
        # The alignment may end a word some frames from where the search did.
        assert all(300 < silence < 1500 for silence in heard.waits.silence)
        for silence, whole in zip(heard.waits.silence, heard.waits.final_audio, strict=True):
            assert silence + 100 < whole


def test_several_processes_give_the_same_figures_in_order(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    rows = [line.split("\t") for line in (GOLDEN / "librispeech-dev.tsv").read_text().splitlines()[1:4]]
    recordings = [Recording(GOLDEN / audio, text, "s") for audio, text in rows]
    recordings.insert(1, Recording(tmp_path / "missing.wav", "lost"))
    complaints: list[str] = []
    note = complaints.append
    alone, together = (
        run_all(
            [("set", recordings)],
            [SystemChoice(DEFAULT_PACK)],
            ["ours"],
            True,
            processes,
            complain=note,
        )
        for processes in (1, 2)
    )
    for results in (alone, together):
        assert [(one.name, one.system, one.recordings, one.unreadable) for one in results] == [
            ("set", "ours", 3, 1)
        ]
    assert [one.recognised for one in alone[0].outcomes] == [one.recognised for one in together[0].outcomes]
    assert [one.confidences for one in alone[0].outcomes] == [one.confidences for one in together[0].outcomes]
    assert len(complaints) == 2


def test_reports_of_several_systems_say_the_condition() -> None:
    results = [
        SetResult("a", "ours", (outcome("one two", "one two", "", (0.9, 0.8)),)),
        SetResult("a", "theirs", (outcome("one two", "one"),)),
        SetResult("b", "ours", (outcome("yes", "no", "", (0.4,)),)),
        SetResult("b", "theirs", (outcome("yes", ""),)),
    ]
    figures = json.loads(json.dumps(as_json(results, LABEL)))
    assert figures["system"] == "ours"
    assert set(figures["sets"]) == {"a", "b"}
    assert figures["overall"]["wer"] == pytest.approx(1 / 3, abs=1e-5)
    assert figures["peers"]["theirs"]["b"]["deletion_runs"]["1"] == {"runs": 1, "words": 1}
    assert figures["sets"]["a"]["calibration"]["words"] == 2
    assert figures["peers"]["theirs"]["a"]["calibration"] is None
    assert all(found["condition"] == LABEL for found in figures["sets"].values())
    assert len(figures["comparisons"]) == 3
    card = as_markdown(results, LABEL)
    assert card.count(LABEL) >= 2
    assert "| b | theirs | 1 | 1 | 0 | 1 | 0 | 100.0 |" in card
    assert "Brier score" in card


class TestOracle:
    @staticmethod
    def lattice(draw: np.random.Generator, nodes: int) -> Lattice:
        arcs = sorted(
            {
                (int(a), int(b), int(draw.integers(1, 5)))
                for a, b in (np.sort(draw.choice(nodes, 2, replace=False)) for _ in range(2 * nodes))
            }
            | {(n, n + 1, int(draw.integers(1, 5))) for n in range(nodes - 1)}
        )
        table = np.array([(a, b, word, 0.0, 0.0) for a, b, word in arcs], ARC)
        final = np.where(draw.random(nodes) < 0.3, 0.0, np.inf)
        final[-1] = 0.0
        return Lattice(table, np.arange(nodes, dtype=np.int32), final, np.zeros(nodes), nodes, 1.0)

    @staticmethod
    def paths(lattice: Lattice, node: int = 0) -> list[list[str]]:
        found: list[list[str]] = [[]] if np.isfinite(lattice.final_graph[node]) else []
        for arc in lattice.arcs[lattice.arcs["source"] == node]:
            own = [] if TABLE[arc["word"]] == "[noise]" else [TABLE[arc["word"]]]
            found += [own + rest for rest in TestOracle.paths(lattice, int(arc["target"]))]
        return found

    @pytest.mark.parametrize("seed", range(25))
    def test_it_is_the_best_of_all_paths(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "recognizer.evaluation.lattice_oracle.normalised_words", lambda word: [] if word[0] == "[" else [word]
        )
        draw = np.random.default_rng(seed)
        first, second = self.lattice(draw, 4), self.lattice(draw, 3)
        said = [str(word) for word in draw.choice(["a", "b", "c", "unheard"], 5)]
        best = min(
            count_errors(said, [*one, *two]).errors for one in self.paths(first) for two in self.paths(second)
        )
        assert oracle_errors([first, second], TABLE, said) == best
        assert oracle_errors([], TABLE, said) == len(said)

    def test_lattices_of_real_speech_hold_more_than_the_best_path(self) -> None:
        rows = [line.split("\t") for line in (GOLDEN / "librispeech-dev.tsv").read_text().splitlines()[1:4]]
        system = Callwarden(lattices=True)
        outcomes = [recognise_recording(Recording(GOLDEN / audio, text), system) for audio, text in rows]
        told = [one.oracle_errors for one in outcomes]
        assert all(
            found is not None and found <= one.errors.errors for found, one in zip(told, outcomes, strict=True)
        )
        assert sum(told) < sum(one.errors.errors for one in outcomes)  # type: ignore[arg-type]
        assert "oracle" in oracle_lines([SetResult("a", "ours", tuple(outcomes))], LABEL)[0]


def test_settings_can_be_varied() -> None:
    changed = changed_settings((("search.beam", "9.5"), ("search.max_active", "500"), ("settle_margin_ms", "400")))
    assert (changed.search.beam, changed.search.max_active, changed.settle_margin_ms) == (9.5, 500, 400)
    other = changed_settings(
        (("second_recogniser.kind", "vosk"), ("second_recogniser.model", "a/b"), ("rescoring.weight", "1"))
    )
    assert (other.second_recogniser.kind, other.second_recogniser.model) == ("vosk", Path("a/b"))
    assert other.rescoring.weight == 1
    with pytest.raises(VariantError, match=r"^The setting second_recogniser\.kind cannot be vosk: A second .*\.$"):
        changed_settings((("second_recogniser.kind", "vosk"),))
    for name, value in (
        ("search.bem", "9"),
        ("second_recogniser.kind", "oracle"),
        ("keep_lattice", "yes"),
        ("bogus.beam", "9"),
        ("search.beam", "wide"),
        ("search.beam", "-1"),
    ):
        with pytest.raises(VariantError, match=name):
            changed_settings(((name, value),))
