"""Models from elsewhere: what fits becomes a pack that recognises; what does not is refused in one sentence."""

from __future__ import annotations

import json
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("kaldifst", reason="needs the extra onnx: pip install 'callwarden[onnx]'")
pytest.importorskip("onnx", reason="needs the extra onnx: pip install 'callwarden[onnx]'")
pytest.importorskip("onnxruntime", reason="needs the extra onnx: pip install 'callwarden[onnx]'")

from events import metrics
from events.transcript import SegmentStatus
from recognizer.graph_build import main as build_graph_of_pack
from recognizer.language.arpa_file import read_arpa
from recognizer.language.compact_model import pack as packed
from recognizer.model_adding import Added, add_model
from recognizer.model_check import ModelRefused, check_apart, check_here
from recognizer.model_pack import ModelPack, ModelPackError, read_manifest, seal_manifest
from recognizer.model_store import ModelStore
from recognizer.onnx_export import export_pack
from recognizer.recogniser import Recogniser, RecogniserSettings
from recognizer.second_pass import SecondPassSettings
from recognizer.session import Place, RecognitionSession, Utterance
from tests.builders.onnx_models import METADATA, TOKENS, TONES_HZ, listening_for_tones, zipformer_like
from tests.builders.small_graphs import LEXICON
from tests.builders.small_packs import tiny_pack


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pack(tmp_path_factory.mktemp("packs") / "shipped" / "tiny")


@pytest.fixture
def store(base: Path, tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "site", base.parent)


@pytest.fixture
def add(store: ModelStore) -> Callable[..., Added]:
    # In this process, for quickness; that the other process does the same and is limited has tests of its own.
    return lambda folder, **given: add_model(folder, store, store.find("tiny"), check=check_here, **given)


def tokens_text(tokens: tuple[str, ...] = TOKENS) -> str:
    return "".join(f"{token} {column}\n" for column, token in enumerate(tokens))


@pytest.fixture
def zipformer(tmp_path: Path) -> Path:
    """A folder as icefall's export leaves it: the model and the token table."""
    folder = tmp_path / "Streaming Zipformer"
    folder.mkdir()
    zipformer_like(folder / "ctc-epoch-9-avg-1-chunk-16-left-6.onnx", made=listening_for_tones())
    (folder / "tokens.txt").write_text(tokens_text(), "utf-8")
    return folder


def spoken(*tokens: str) -> np.ndarray:
    """Audio of 8 kHz: each token's tone for 160 ms, digital silence for ``" "`` (600 ms) and ``"."`` (240 ms)."""
    pieces = []
    for token in tokens:
        if token in " .":
            pieces.append(np.zeros(4800 if token == " " else 1920))
            continue
        time = np.arange(1280) / 8000
        pieces.append(0.3 * np.sin(2 * np.pi * TONES_HZ[TOKENS.index(token) - 1] * time))
    return np.concatenate(pieces).astype(np.float32)


def heard(session: RecognitionSession, audio: np.ndarray, piece: int) -> list[Utterance]:
    told = []
    for at in range(0, len(audio), piece):
        told += session.accept(audio[at : at + piece])
    return [one for one in [*told, *session.finish()] if one.status is SegmentStatus.FINAL]


def test_our_own_export_recognises_as_the_pack_it_came_from(
    base: Path, store: ModelStore, add: Callable[..., Added], tmp_path: Path
) -> None:
    export_pack(base, tmp_path / "export")
    added = add(tmp_path / "export", name="exported")
    assert added.checked.section.kind == "onnx-hybrid"
    assert added.words == len(LEXICON)
    pack = ModelPack.load(store.find("exported").folder, tmp_path / "cache")
    rng = np.random.default_rng(1)
    audio = (rng.normal(0, 0.05, 48_000) * np.repeat(rng.integers(0, 2, 30), 1600)).astype(np.float32)
    exact = RecogniserSettings(weights="float32")
    ours = heard(
        RecognitionSession(Recogniser.of_pack(ModelPack.load(base, tmp_path / "cache"), exact)), audio, 800
    )
    theirs = heard(RecognitionSession(Recogniser.of_pack(pack)), audio, 800)
    assert ours
    assert [(u.text, u.first_sample, u.end_sample) for u in theirs] == [
        (u.text, u.first_sample, u.end_sample) for u in ours
    ]


def test_a_zipformer_becomes_a_pack_and_hears_words_where_they_were_said(
    store: ModelStore, zipformer: Path, tmp_path: Path
) -> None:
    steps: list[str] = []
    added = add_model(zipformer, store, store.find("tiny"), progress=steps.append)  # apart, as a command does it
    assert added.name == "streaming-zipformer"
    section = added.checked.section
    assert (section.kind, section.frame_shift_ms, section.sample_rate_hz) == ("onnx-ctc", 40, 16000)
    assert (section.window_frames, section.shift_frames, section.features.bins) == (45, 32, 80)
    assert steps[:2] == ["copy", "dry run"]
    assert any("16 kHz" in note for note in added.notes)
    stored = store.find("streaming-zipformer")
    assert "not fitted to this model" in (stored.folder / "card.md").read_text()

    recogniser = Recogniser.of_pack(ModelPack.load(stored.folder, tmp_path / "cache"))
    audio = spoken(" ", "▁c", "a", "b", ".", "▁b", "ee", " ", " ", " ", "▁a", "b", " ", " ", " ")
    told = heard(RecognitionSession(recogniser), audio, 800)
    assert [utterance.text for utterance in told] == ["cab bee", "ab"]
    cab, bee = told[0].words
    for word, start_ms, end_ms in ((cab, 600, 1080), (bee, 1320, 1640), (told[1].words[0], 3440, 3760)):
        assert abs(word.start_ms - start_ms) <= 160, word
        assert abs(word.end_ms - end_ms) <= 200, word
    for piece in (97, 1600, len(audio)):
        assert heard(RecognitionSession(recogniser), audio, piece) == told
    # A successor that takes the leg up at the second utterance says the same from there on.
    place = Place(told[0].end_sample)
    session = RecognitionSession(recogniser, 0, place)
    assert heard(session, audio[session.needed_from :], 800)[0].text == "ab"


def test_words_are_told_by_an_icefall_lexicon_where_there_is_one(
    store: ModelStore, add: Callable[..., Added], zipformer: Path
) -> None:
    (zipformer / "lexicon.txt").write_text("CAB ▁c a b\nBEE ▁b e e\nBEE ▁b ee\n", "utf-8")
    added = add(zipformer, name="listed")
    assert (added.words, added.unspelled) == (5, 0)


def test_a_token_table_of_phones_needs_the_dictionarys_phones(add: Callable[..., Added], zipformer: Path) -> None:
    description = {
        "kind": "onnx-ctc", "file": "x.onnx", "sample_rate_hz": 16000, "frame_shift_ms": 40, "units": "phones",
        "features": {"kind": "kaldi-fbank", "bins": 80}, "window_frames": 45, "shift_frames": 32,
        "padding": "silence", "output": "log-probabilities",
    }  # fmt: skip
    (zipformer / "model.json").write_text(json.dumps(description))
    (zipformer / "tokens.txt").write_text(tokens_text(("<blk>", "SIL", "A", "B", "C", "D", "E", "F", "G")))
    assert add(zipformer, name="phones").words == len(LEXICON)
    (zipformer / "tokens.txt").write_text(tokens_text(("<blk>", "SIL", "A", "X", "C", "D", "E", "F", "G")))
    with pytest.raises(ModelRefused, match=r"^The token table lacks the phone 'B', which the dictionary has\.$"):
        add(zipformer, name="other")


def _without_tokens(folder: Path) -> None:
    (folder / "tokens.txt").unlink()


def _fewer_tokens(folder: Path) -> None:
    (folder / "tokens.txt").write_text(tokens_text(TOKENS[:-1]), "utf-8")


def _other_tokens(folder: Path) -> None:
    (folder / "tokens.txt").write_text(tokens_text(("<blk>", *(f"▁{n}" for n in range(8)))), "utf-8")


def _second_model(folder: Path) -> None:
    (folder / "more.onnx").write_bytes(b"")


def _no_model(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        path.unlink()


def _truncated(folder: Path) -> None:
    path = next(folder.glob("*.onnx"))
    path.write_bytes(path.read_bytes()[:1000])


def _link(folder: Path) -> None:
    (folder / "tokens.txt").unlink()
    (folder / "tokens.txt").symlink_to("/etc/hostname")


def _pipe(folder: Path) -> None:
    (folder / "tokens.txt").unlink()
    os.mkfifo(folder / "tokens.txt")


def _unknown(folder: Path) -> None:
    zipformer_like(next(folder.glob("*.onnx")), metadata={"model_type": "whisper"})


def _other_chunks(folder: Path) -> None:
    zipformer_like(next(folder.glob("*.onnx")), metadata={**METADATA, "decode_chunk_len": "30"})


def _probabilities(folder: Path) -> None:
    described(folder, output="probabilities")


def _telephone(folder: Path) -> None:
    described(folder, sample_rate_hz=22050)


def _shift(folder: Path) -> None:
    described(folder, frame_shift_ms=20)


def _bins(folder: Path) -> None:
    described(folder, features={"kind": "kaldi-fbank", "bins": 40})


def _own_features(folder: Path) -> None:
    described(folder, features={"kind": "callwarden", "bins": 80})


def _kind(folder: Path) -> None:
    described(folder, kind="whisper")


def _bomb(folder: Path) -> None:
    (folder / "model.json").write_text("[" * 60_000)


def described(folder: Path, **changes: Any) -> None:
    entry = {
        "kind": "onnx-ctc", "file": "x.onnx", "sample_rate_hz": 16000, "frame_shift_ms": 40, "padding": "silence",
        "features": {"kind": "kaldi-fbank", "bins": 80}, "window_frames": 45, "shift_frames": 32,
        "output": "log-probabilities", **changes,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(entry))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_without_tokens, "The folder lacks the token table tokens.txt."),
        (_fewer_tokens, "The token table has 8 tokens, the model's output has 9 columns."),
        (_other_tokens, "The token table can spell only 0 of the language model's 5 words, not for instance 'a'."),
        (_second_model, "The folder must hold one ONNX model; it holds ctc-epoch-9-avg-1-chunk-16-left-6.onnx, "
         "more.onnx."),
        (_no_model, "The folder must hold one ONNX model; it holds none."),
        (_truncated, "The file ctc-epoch-9-avg-1-chunk-16-left-6.onnx is no ONNX model (DecodeError)."),
        (_link, "The folder's tokens.txt is no plain file."),
        (_pipe, "The folder's tokens.txt is no plain file."),
        (_unknown, "Nothing says how ctc-epoch-9-avg-1-chunk-16-left-6.onnx is to be run: there is no model.json, and "
         "its metadata name neither callwarden nor a streaming zipformer of icefall."),
        (_other_chunks, "The model ctc-epoch-9-avg-1-chunk-16-left-6.onnx gives 8 rows for 30 feature frames, no whole "
         "number each."),
        (_probabilities, "The model's output is not made of probabilities: a row sums to"),
        (_telephone, "The acoustic model is for 22050 samples a second; 8000 and 16000 can be served. It stands in "
         "model.json."),
        (_shift, "The ONNX model gives rows of the shape (1, 8, 9) for a chunk; (1, 16, 9) would fit its frame shift."),
        (_bins, "The ONNX model's input x has the shape (any, 45, 80); (1, 45, 40) (batch, frames, bins) would be "
         "given."),
        (_own_features, "Features of callwarden's kind have 40 bins at 8000 samples a second. It stands in "
         "model.json."),
        (_kind, "The description of the acoustic model is not valid: Invalid enum value 'whisper' - at `$.kind`. It "
         "stands in model.json."),
        (_bomb, "The description of the model in model.json is not JSON."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_sentence_and_leaves_nothing(
    store: ModelStore, add: Callable[..., Added], zipformer: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    spoil(zipformer)
    with pytest.raises(ModelRefused) as refused:
        add(zipformer)
    assert str(refused.value).startswith(sentence)
    assert str(refused.value).endswith(".")
    assert list(store.site.iterdir() if store.site.exists() else ()) == []


def test_leaves_that_do_not_fit_are_refused(base: Path, add: Callable[..., Added], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export_pack(base, folder)
    with np.load(folder / "hybrid.npz") as arrays:
        good = dict(arrays)
    np.savez(folder / "hybrid.npz", **{**good, "self_loop": good["self_loop"][:-1]})
    with pytest.raises(
        ModelRefused, match=r"^The leaves in hybrid\.npz do not serve: The table of leaves and the self"
    ):
        add(folder)
    np.savez(folder / "hybrid.npz", **{name: good[name] for name in ("mean", "std", "leaf")})
    with pytest.raises(ModelRefused, match=r"^The file hybrid\.npz lacks the array 'self_loop"):
        add(folder)
    np.savez_compressed(folder / "hybrid.npz", **good, bomb=np.zeros(65 << 20, np.int8))
    with pytest.raises(ModelRefused, match=r"^The arrays in hybrid\.npz are larger than 64 MiB\.$"):
        add(folder)
    np.savez(folder / "hybrid.npz", **{**good, "leaf": np.array([object()])})
    with pytest.raises(ModelRefused, match=r"^The leaves in hybrid\.npz do not serve: it cannot be read\.$"):
        add(folder)


def test_a_whole_pack_is_added_under_its_name(
    store: ModelStore, add: Callable[..., Added], tmp_path: Path
) -> None:
    other = tiny_pack(tmp_path / "made", "site-calls")
    assert add(other).name == "site-calls"
    stored = store.find("site-calls")
    assert (stored.problem, stored.shipped) == ("", False)
    assert ModelPack.load(stored.folder, tmp_path / "cache").name == "site-calls"
    with pytest.raises(ModelPackError, match=r"^There is a model pack site-calls already; choose another name"):
        add(other)
    assert add(other, name="again").name == "again"
    assert ModelPack.load(store.find("again").folder, tmp_path / "cache").name == "again"


def test_packed_language_models_serve_as_others_do_and_the_bigger_one_goes_along(
    base: Path, zipformer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLWARDEN_CACHE", str(tmp_path / "cache"))
    mine = Path(shutil.copytree(base, tmp_path / "shipped" / "tiny"))
    (mine / "general.lm").write_bytes(packed(read_arpa(mine / "model.arpa")))
    (mine / "bigger.lm").write_bytes(packed(read_arpa(mine / "model.arpa"), 16))
    (mine / "model.arpa").unlink()
    manifest = read_manifest(mine)
    seal_manifest(mine, {**manifest, "language_model": "general.lm", "rescoring_language_model": "bigger.lm"})
    assert build_graph_of_pack(["--pack", str(mine)]) == 0
    store = ModelStore(tmp_path / "site", mine.parent)
    assert add_model(mine, store, store.find("tiny"), "whole", check=check_here).name == "whole"
    added = add_model(zipformer, store, store.find("tiny"), "ctc", check=check_here)
    assert added.words == len(LEXICON)
    stored = store.find("ctc")
    assert stored.manifest["rescoring_language_model"] == "bigger.lm"
    before = metrics.counted(metrics.SECOND_PASSES)
    settings = RecogniserSettings(second_pass=SecondPassSettings(1.0))
    recogniser = Recogniser.of_pack(ModelPack.load(stored.folder), settings)
    audio = spoken(" ", "▁c", "a", "b", ".", "▁b", "ee", " ", " ", " ", "▁a", "b", " ", " ", " ")
    told = heard(RecognitionSession(recogniser), audio, 800)
    assert [utterance.text for utterance in told] == ["cab bee", "ab"]
    assert metrics.counted(metrics.SECOND_PASSES) == before + 2
    # One that brings its own small model gets no bigger one of other words.
    shutil.copyfile(mine / "general.lm", zipformer / "own.lm")
    add_model(zipformer, store, store.find("tiny"), "own", check=check_here)
    assert "rescoring_language_model" not in store.find("own").manifest
    (zipformer / "own.lm").write_bytes((mine / "general.lm").read_bytes()[:-40])
    with pytest.raises(ModelRefused, match=r"^The packed language model is damaged\.$"):
        add_model(zipformer, store, store.find("tiny"), "broken", check=check_here)


def test_a_pack_that_names_files_elsewhere_is_refused(add: Callable[..., Added], tmp_path: Path) -> None:
    other = tiny_pack(tmp_path / "made", "site-calls")
    manifest = read_manifest(other)
    for entry in ("lexicon", "acoustic_model"):
        (other / "manifest.json").write_text(json.dumps({**manifest, entry: "../../../../etc/passwd"}))
        with pytest.raises(ModelRefused, match="outside of"):
            add(other)
    seal_manifest(other, manifest)
    (other / "acoustic.npz").write_bytes(b"damaged")
    with pytest.raises(ModelRefused, match=r"^The model pack's file acoustic\.npz is damaged"):
        add(other)


def test_a_text_that_unpacks_to_very_much_is_not_read(
    add: Callable[..., Added], zipformer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognizer.model_adding.MOST_TEXT_BYTES", 1 << 20)
    (zipformer / "big.arpa.xz").write_bytes(lzma.compress(b"\n" * (1 << 21)))
    with pytest.raises(ModelRefused, match=r"^The text in big\.arpa\.xz is larger than 1 MiB\.$"):
        add(zipformer)
    (zipformer / "big.arpa.xz").write_bytes(b"no archive")
    with pytest.raises(ModelRefused, match=r"^The file big\.arpa\.xz cannot be unpacked\.$"):
        add(zipformer)


@pytest.mark.parametrize("name", ["../x", "", "A", "in-use", "x" * 70, ".x"])
def test_a_name_that_is_none_is_refused(add: Callable[..., Added], zipformer: Path, name: str) -> None:
    if not name:
        return
    with pytest.raises(ModelPackError, match="name is made of small letters"):
        add(zipformer, name=name)


def test_a_run_that_takes_too_long_or_too_much_memory_is_ended(zipformer: Path) -> None:
    with pytest.raises(ModelRefused, match=r"^The model's dry run was not over after 0\.01 s\.$"):
        check_apart("inspect", zipformer, seconds=0.01)
    with pytest.raises(ModelRefused, match=r"^The model"):
        check_apart("inspect", zipformer, memory_bytes=200 << 20)


def test_a_refusal_comes_out_of_the_other_process_as_it_is(zipformer: Path) -> None:
    _fewer_tokens(zipformer)
    _bins(zipformer)
    for check in (check_here, check_apart):
        with pytest.raises(ModelRefused, match=r"^The ONNX model's input x has the shape \(any, 45, 80\)"):
            check("inspect", zipformer)


def test_a_section_is_written_as_it_is_read(zipformer: Path) -> None:
    checked = check_apart("inspect", zipformer)
    assert msgspec.convert(msgspec.to_builtins(checked.section), type(checked.section)) == checked.section
    assert checked.columns == len(TOKENS)
    assert checked.share > 0
