"""Alignment of known texts: the trellis against exhaustive search, the aligner on real and made speech."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recognizer.alignment_chain import BETWEEN, NO_LEAF, UNWRITTEN, AlignmentChain, build_chain
from recognizer.alignment_formats import ctm, json_text, srt, textgrid
from recognizer.alignment_trellis import Trellis
from recognizer.evaluation.audio_file import read_audio
from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.forced_alignment import Alignment, AlignmentError, AlignmentSettings, ForcedAligner
from recognizer.hmm_topology import HmmTopology
from tests.builders.demo_texts import demo_words
from tests.builders.small_graphs import LEXICON, PHONES, tiny_topology
from tests.builders.small_recogniser import demo_audio

Float32 = NDArray[np.float32]

LABEL = {phone: i + 1 for i, phone in enumerate(PHONES)}
WORDS = sorted(LEXICON)


def spoken(words: list[str]) -> list[list[tuple[int, ...]]]:
    return [[tuple(LABEL[phone] for phone in variant) for variant in LEXICON[word]] for word in words]


def scores_of(seed: int, frames: int, topology: HmmTopology) -> Float32:
    """Random log likelihoods in eighths."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-80, 1, (frames, topology.pdfs)) / 8).astype(np.float32)


def exhaustive(words: list[str], scores: Float32, topology: HmmTopology) -> float:
    """The best total over every pronunciation, every choice of pauses and every duration."""
    stay, leave = np.log(topology.self_loop), np.log1p(-topology.self_loop)
    best = -np.inf
    for variants in itertools.product(*spoken(words)):
        for pauses in itertools.product((False, True), repeat=len(words) + 1):
            phones = [1] * pauses[0]
            for variant, pause in zip(variants, pauses[1:], strict=True):
                phones += [*variant, *[1] * pause]
            leaves = [int(topology.leaf[left, phone]) for left, phone in zip([0, *phones], phones, strict=False)]
            if len(phones) > len(scores):
                continue
            for cuts in itertools.combinations(range(1, len(scores)), len(phones) - 1):
                bounds = [0, *cuts, len(scores)]
                total = 0.0
                for leaf, (begin, end) in zip(leaves, itertools.pairwise(bounds), strict=True):
                    total += scores[begin, 2 * leaf] + scores[begin + 1 : end, 2 * leaf + 1].sum()
                    total += stay[leaf] * (end - begin - 1) + (leave[leaf] if end < len(scores) else 0)
                best = max(best, float(total))
    return best


def total_of(path: NDArray[np.int32], chain: AlignmentChain, scores: Float32, topology: HmmTopology) -> float:
    stay, leave = np.log(topology.self_loop), np.log1p(-topology.self_loop)
    total = float(scores[0, 2 * chain.leaf[path[0]]])
    for t in range(1, len(path)):
        was, now = int(path[t - 1]), int(path[t])
        leaf = chain.leaf[now]
        if was == now:
            total += stay[leaf] + scores[t, 2 * leaf + 1]
        else:
            assert was in chain.before[chain.first[now] : chain.first[now + 1]], (
                "a step that the text does not have"
            )
            total += leave[chain.leaf[was]] + scores[t, 2 * leaf]
    return total


def run(
    chain: AlignmentChain, scores: Float32, topology: HmmTopology, beam: float = 1e6, pieces: tuple[int, ...] = ()
) -> tuple[NDArray[np.int32], Float32] | None:
    trellis = Trellis(chain, topology, beam, 3.0, 5.0)
    for piece in np.split(scores, np.cumsum(pieces)):
        trellis.advance(piece)
    return trellis.finish()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=2),
    st.integers(1, 8),
    st.integers(0, 2**31),
)
def test_the_path_is_the_best_of_all(words: list[str], frames: int, seed: int) -> None:
    topology = tiny_topology()
    scores = scores_of(seed, frames, topology)
    chain = build_chain(spoken(words), topology, unwritten=False)
    found = run(chain, scores, topology)
    best = exhaustive(words, scores, topology)
    if found is None:
        assert best == -np.inf
        return
    path, _ = found
    assert total_of(path, chain, scores, topology) == pytest.approx(best, abs=1e-3)
    said = [int(chain.word[node]) for node in path if chain.word[node] != BETWEEN]
    assert [number for number, _ in itertools.groupby(said)] == list(range(len(words)))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=12),
    st.integers(0, 2**31),
    st.lists(st.integers(1, 90), min_size=1, max_size=6),
    st.booleans(),
)
def test_any_split_gives_the_same_path(words: list[str], seed: int, pieces: list[int], unwritten: bool) -> None:
    topology = tiny_topology()
    scores = scores_of(seed, sum(pieces) + 60, topology)
    chain = build_chain(spoken(words), topology, unwritten)
    whole, split = run(chain, scores, topology), run(chain, scores, topology, pieces=tuple(pieces))
    assert whole is not None
    assert split is not None
    np.testing.assert_array_equal(whole[0], split[0])
    np.testing.assert_array_equal(whole[1], split[1])


def test_settling_by_force_keeps_a_path_through_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that favour nothing keep all paths open; the past is settled nevertheless."""
    monkeypatch.setattr("recognizer.alignment_trellis._LONGEST_OPEN_FRAMES", 300)
    topology = tiny_topology()
    chain = build_chain(spoken(["cab", "a"] * 40), topology, unwritten=False)
    scores = np.zeros((3000, topology.pdfs), np.float32)
    trellis = Trellis(chain, topology, 1e6, 3.0, 5.0)
    longest = 0
    for begin in range(0, 3000, 100):
        trellis.advance(scores[begin : begin + 100])
        longest = max(longest, len(trellis._low))
    found = trellis.finish()
    assert found is not None
    assert len(found[0]) == 3000
    total_of(found[0], chain, scores, topology)
    assert longest <= 700, "memory is bounded"


def test_the_beam_may_lose_the_end_and_says_so() -> None:
    topology = tiny_topology()
    chain = build_chain(spoken(["cab"] * 30), topology, unwritten=False)
    assert run(chain, scores_of(1, 20, topology), topology) is None


def test_unwritten_speech_takes_what_fits_no_word() -> None:
    topology = tiny_topology()
    chain = build_chain(spoken(["a", "bee"]), topology, unwritten=True)
    a, b = int(topology.leaf[1, LABEL["A"]]), int(topology.leaf[1, LABEL["B"]])
    other = int(topology.leaf[1, LABEL["C"]])
    scores = np.full((60, topology.pdfs), -20, np.float32)
    for leaf, span in ((a, slice(0, 10)), (other, slice(10, 50)), (b, slice(50, 60))):
        scores[span, 2 * leaf : 2 * leaf + 2] = 0
    found = run(chain, scores, topology)
    assert found is not None
    kinds = chain.word[found[0]]
    assert (kinds[12:48] == UNWRITTEN).all()
    assert kinds[5] == 0
    assert kinds[-3] == 1
    assert (chain.leaf[chain.word == UNWRITTEN] == NO_LEAF).all()
    assert (found[1][12:48] == -3).all()


def test_predecessors_come_first_and_reach_rises() -> None:
    topology = tiny_topology()
    chain = build_chain(spoken(["cab", "a", "ab"]), topology, unwritten=True)
    for node in range(len(chain.leaf)):
        before = chain.before[chain.first[node] : chain.first[node + 1]]
        assert (before < node).all()
        assert (chain.reach[before] >= node).all()
    assert (np.diff(chain.reach) >= 0).all()


# -- with the shipped network


@pytest.fixture(scope="module")
def aligner() -> ForcedAligner:
    return ForcedAligner.of_pack()


@pytest.fixture(scope="module")
def agent(aligner: ForcedAligner) -> Float32:
    return demo_audio("agent")


def blocks(samples: Float32, size: int = 40_000):  # type: ignore[no-untyped-def]
    return lambda: (samples[i : i + size] for i in range(0, len(samples), size))


FLITE = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is missing: apt-get install flite")


def flite(folder: Path, text: str) -> Float32:
    path = folder / "speech.wav"
    subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(path)], check=True)
    return telephone_speech(read_audio(path))


@FLITE
def test_words_are_found_where_they_were_put(aligner: ForcedAligner, tmp_path: Path) -> None:
    """Single words of a synthetic voice with silence between them: their places are known."""
    words = ["seven", "please", "account", "tomorrow", "thank", "money"]
    pieces, places, at = [], [], 0
    for word in words:
        loud = flite(tmp_path, word)
        heard = np.flatnonzero(np.abs(loud) > 0.02)
        gap = np.zeros(4000, np.float32)
        pieces += [gap, loud]
        places.append(((at + 4000 + heard[0]) / 8, (at + 4000 + heard[-1]) / 8))
        at += 4000 + loud.size
    samples = np.concatenate([*pieces, np.zeros(4000, np.float32)])
    found = aligner.align(words, blocks(samples))
    assert [word.text for word in found.words] == words
    off = np.array([(w.start_ms - s, w.end_ms - e) for w, (s, e) in zip(found.words, places, strict=True)])
    assert np.median(np.abs(off)) < 60
    assert np.abs(off).max() < 250
    assert all(word.phones for word in found.words)
    for word in found.words:
        assert word.phones[0].start_ms == word.start_ms
        assert word.phones[-1].end_ms == word.end_ms
        assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(word.phones))


@FLITE
def test_what_the_text_lacks_is_told_as_unwritten(aligner: ForcedAligner, tmp_path: Path) -> None:
    said = "please hold the line. our agents are all busy at the moment. thank you for calling the bank today"
    samples = flite(tmp_path, said)
    words = said.replace(".", "").split()
    full = aligner.align(words, blocks(samples))
    lacking = aligner.align(words[:4] + words[12:], blocks(samples))
    assert full.unwritten == ()
    ((start, end),) = lacking.unwritten
    middle = full.words[4:12]
    assert start == pytest.approx(middle[0].start_ms, abs=250)
    assert end == pytest.approx(middle[-1].end_ms, abs=250)
    for ours, theirs in zip(lacking.words, full.words[:4] + full.words[12:], strict=True):
        assert ours.start_ms == pytest.approx(theirs.start_ms, abs=120)


def test_a_wrong_text_scores_worse(aligner: ForcedAligner) -> None:
    samples = demo_audio("agent")[: 8000 * 8]
    words = demo_words("agent")[:12]
    strict = ForcedAligner(aligner._model, aligner._topology, aligner.lexicon, AlignmentSettings(unwritten=False))
    right = strict.align(words, blocks(samples))
    wrong = strict.align(list(reversed(words)), blocks(samples))
    assert np.mean([w.score for w in right.words]) > np.mean([w.score for w in wrong.words])


def test_blocks_do_not_matter(aligner: ForcedAligner) -> None:
    samples = demo_audio("agent")[: 8000 * 6]
    words = demo_words("agent")[:8]
    assert aligner.align(words, blocks(samples)) == aligner.align(words, blocks(samples, 777))


def test_words_without_pronunciation_are_named_by_place(aligner: ForcedAligner) -> None:
    with pytest.raises(AlignmentError) as refused:
        aligner.align(["hello", "xqzzt", "bank"], blocks(np.zeros(8000, np.float32)))
    assert "1 of 3 words of the text have no pronunciation (word 2)" in str(refused.value)
    assert "xqzzt" not in str(refused.value)


def test_words_outside_the_lexicon_are_pronounced(aligner: ForcedAligner) -> None:
    told = ForcedAligner(
        aligner._model, aligner._topology, aligner.lexicon, pronounce=lambda word: [("HH", "AH", "L", "OW")]
    )
    samples = demo_audio("agent")[:24_000]
    assert told.align(["xqzzt"], blocks(samples)).words[0].text == "xqzzt"


def test_a_text_that_is_too_long_is_refused_in_one_sentence(aligner: ForcedAligner) -> None:
    with pytest.raises(AlignmentError, match=r"^The text does not fit the recording: its 50 words were not found"):
        aligner.align(["tomorrow"] * 50, blocks(np.zeros(8000, np.float32)))
    with pytest.raises(AlignmentError, match="too short"):
        aligner.align(["tomorrow"], blocks(np.zeros(0, np.float32)))


# -- formats


@pytest.fixture(scope="module")
def small(aligner: ForcedAligner) -> Alignment:
    words = demo_words("agent")[:10]
    return aligner.align(words, blocks(demo_audio("agent")[: 8000 * 7]))


def test_formats_say_the_same(small: Alignment) -> None:
    lines = ctm(small, "my call", 1).splitlines()
    assert [line.split()[4] for line in lines] == [word.text for word in small.words]
    assert {tuple(line.split()[:2]) for line in lines} == {("my_call", "2")}
    document = json.loads(json_text(small))
    assert [(w["start_ms"], w["end_ms"]) for w in document["words"]] == [
        (w.start_ms, w.end_ms) for w in small.words
    ]
    cues = srt(small).strip().split("\n\n")
    assert " ".join(cue.split("\n", 2)[2] for cue in cues).split() == [word.text for word in small.words]
    assert all(" --> " in cue.split("\n")[1] for cue in cues)


def test_a_textgrid_has_no_holes(small: Alignment) -> None:
    text = textgrid(small)
    for tier in text.split("item [")[2:]:
        numbers = [
            line.split("=")[1].strip() for line in tier.splitlines() if line.strip().startswith(("xmin", "xmax"))
        ]
        bounds = list(zip(numbers[2::2], numbers[3::2], strict=True))
        assert bounds[0][0] == "0.000"
        assert bounds[-1][1] == f"{small.duration_ms / 1000:.3f}"
        assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
        assert all(float(a) < float(b) for a, b in bounds)


# -- the command


def test_the_command(aligner: ForcedAligner, small: Alignment, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from console.cli import app

    words = [word.text for word in small.words]
    samples = demo_audio("agent")[: 8000 * 7]
    audio = tmp_path / "call.wav"
    soundfile.write(audio, np.stack((np.zeros_like(samples), samples), axis=1), 8000)
    text = tmp_path / "call.txt"
    text.write_text(" ".join(words).capitalize() + ".\n")
    result = CliRunner().invoke(app, ["align", str(audio), str(text), "--channel", "2", "--format", "json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["words"]
    assert [word["text"] for word in told] == words
    assert [word["start_ms"] for word in told] == pytest.approx([word.start_ms for word in small.words], abs=30)
    table = CliRunner().invoke(app, ["align", str(audio), str(text), "--channel", "2"])
    assert words[0] in table.stdout
    for arguments, sentence in (
        (["--channel", "3"], "has 2 channels"),
        ([], "--channel"),
    ):
        refused = CliRunner().invoke(app, ["align", str(audio), str(text), *arguments])
        assert refused.exit_code == 1
        assert sentence in str(refused.exception), refused.exception
