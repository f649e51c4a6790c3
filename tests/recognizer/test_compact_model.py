"""The quantised model for rescoring: same probabilities, small error, hostile bytes refused."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.language import compact_model
from recognizer.language.arpa_file import write_arpa
from recognizer.language.backoff_model import NEVER, BackoffModel
from recognizer.language.compact_model import (
    EMPTY_STATE,
    CompactModel,
    CompactModelError,
    load,
    pack,
    quantised,
    save,
    unpacked,
)
from recognizer.language.kneser_ney import train
from recognizer.language.perplexity import perplexity
from recognizer.language.pruning import pruned_to
from recognizer.language_model import read_arpa
from recognizer.lexicon import LexiconError
from tests.builders.made_language import made_lines, made_tokens

TOKENS, WORDS = made_tokens(made_lines(400, seed=8), extra=["never"])


@pytest.fixture(scope="module", params=[(2, 10**6), (3, 120), (3, 10**6), (4, 300), (4, 10**6)])
def model(request: pytest.FixtureRequest) -> BackoffModel:
    order, size = request.param
    return pruned_to(train(TOKENS, WORDS, order), size)[0]


def whole_score(model: BackoffModel, sentence: list[int]) -> float:
    """Sum over a sentence by the back-off model itself."""
    line = [0] * (model.order - 2) + [1, *sentence, 2]
    rows = [line[i : i + model.order] for i in range(len(line) - model.order + 1)]
    return float(model.score(np.array(rows, np.int32)).sum())


def sentences(seed: int, count: int) -> list[list[int]]:
    dice = random.Random(seed)
    return [[dice.randrange(3, len(WORDS)) for _ in range(dice.randrange(1, 9))] for _ in range(count)]


def test_steps_from_state_to_state_give_the_models_probabilities(model: BackoffModel) -> None:
    compact = CompactModel.of(model)
    for sentence in sentences(1, 200):
        found = compact.sentence_log_probability([WORDS[i] for i in sentence])
        assert found == pytest.approx(whole_score(model, sentence), abs=1e-3)


def test_histories_that_cannot_differ_any_more_share_a_state(model: BackoffModel) -> None:
    compact = CompactModel.of(model)
    internal = len(compact.suffix)
    for sentence in sentences(2, 100):
        state = compact.start
        for word in sentence:
            state, _ = compact.step(state, word)
            assert 0 <= state < internal
            assert state == EMPTY_STATE or compact.first[state] < compact.first[state + 1]


def test_a_packed_model_is_read_back_within_the_error_of_its_codes(model: BackoffModel) -> None:
    compact, exact = unpacked(pack(model)), CompactModel.of(model)
    assert compact.words == exact.words
    for name in ("level", "word", "first", "suffix"):
        assert (getattr(compact, name) == getattr(exact, name)).all()
    found, wanted = (perplexity(m.restored(), TOKENS).perplexity for m in (compact, exact))
    assert found == pytest.approx(wanted, rel=0.01)
    assert wanted == pytest.approx(perplexity(model, TOKENS).perplexity, rel=1e-5)
    assert (compact.log_backoff[exact.log_backoff == 0] == 0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-60, 3) | st.just(NEVER) | st.just(0.0), min_size=1, max_size=300), st.integers(8, 64))
def test_no_value_moves_by_more_than_a_step_and_zero_and_never_stay(values: list[float], levels: int) -> None:
    array = np.array(values)
    codes, table = quantised(array, levels)
    assert len(table) <= levels
    decoded = table[codes].astype(np.float64)
    special = (array == 0) | (array == NEVER)
    assert (decoded[special] == array[special]).all()
    rest = array[~special]
    if len(rest):
        step = (rest.max() - rest.min()) / (levels - 2)
        assert np.abs(decoded[~special] - rest).max() <= step + 1e-5


def test_frequent_words_keep_their_distances() -> None:
    """Few values far apart, many close together: the few must not be thrown into one."""
    values = np.concatenate([[-3.0, -3.5, -5.0, -7.0], np.linspace(-14, -12, 5000)])
    codes, table = quantised(values, 64)
    assert table[codes][:4] == pytest.approx(values[:4], abs=0.18)


def test_saved_arrays_are_mapped_and_give_the_same(tmp_path: Path, model: BackoffModel) -> None:
    exact = unpacked(pack(model))
    save(exact, tmp_path / "big")
    mapped = load(tmp_path / "big")
    assert isinstance(mapped.word, np.memmap)
    for sentence in sentences(3, 30):
        words = [WORDS[i] for i in sentence]
        assert mapped.sentence_log_probability(words) == exact.sentence_log_probability(words)


def test_unknown_words_have_the_probability_of_the_unknown_word(model: BackoffModel) -> None:
    compact = CompactModel.of(model)
    assert compact.word_numbers(["zebra", "dog", "<eps>"]).tolist() == [
        WORDS.index("<unk>"),
        WORDS.index("dog"),
        0,
    ]


def test_damaged_bytes_are_refused_in_one_sentence() -> None:
    data = pack(train(TOKENS, WORDS, 3))
    with pytest.raises(CompactModelError, match="another format"):
        unpacked(b"CWNGRAM9" + data[8:])
    dice = random.Random(4)
    for cut in (8, 9, 20, len(data) // 2, len(data) - 1):
        with pytest.raises(CompactModelError, match="damaged"):
            unpacked(data[:cut])
    for _ in range(60):
        broken = bytearray(data)
        broken[dice.randrange(8, len(data))] ^= 1 << dice.randrange(8)
        try:  # a flipped bit may also only change a probability; it must never do more than that
            compact = unpacked(bytes(broken))
        except CompactModelError:
            continue
        assert len(compact.suffix) == compact.level[-2]


@pytest.fixture(scope="module")
def whole() -> bytes:
    return pack(train(TOKENS, WORDS, 3))


def remade(data: bytes, place: int, change: Callable[[bytes], bytes]) -> bytes:
    """Return a packed model with one of its chunks changed and well compressed."""
    at, chunks = len(compact_model.MAGIC), []
    while at < len(data):
        (length,) = compact_model._LENGTH.unpack_from(data, at)
        at += 4 + length
        chunks.append(data[at - length : at])
    plain = lzma.decompress(chunks[place], lzma.FORMAT_RAW, filters=compact_model._FILTERS)
    quick = [{**compact_model._FILTERS[0], "preset": 0}]
    chunks[place] = lzma.compress(change(plain), lzma.FORMAT_RAW, filters=quick)
    return compact_model.MAGIC + b"".join(compact_model._LENGTH.pack(len(c)) + c for c in chunks)


def test_levels_that_do_not_belong_to_the_n_grams_are_refused(whole: bytes) -> None:
    model = unpacked(remade(whole, 0, lambda chunk: chunk))
    assert model.words == WORDS
    levels = model.level.tolist()
    for wrong in ([1, *levels[1:]], [*levels[:2], levels[2] - 1, levels[3]], [*levels[:2], levels[2] + 1, levels[3]],
                  levels[:2], [-levels[1], *levels[1:]], [*levels, levels[-1]]):  # fmt: skip
        with pytest.raises(CompactModelError, match="damaged"):
            unpacked(remade(whole, 0, lambda chunk, wrong=wrong: json.dumps({"level": wrong}).encode()))


@pytest.mark.parametrize("place", [2, 4])
def test_values_that_are_no_numbers_are_refused(whole: bytes, place: int) -> None:
    with pytest.raises(CompactModelError, match="damaged"):
        unpacked(remade(whole, place, lambda chunk: np.full(len(chunk) // 4, np.nan, np.float32).tobytes()))


def test_a_model_that_unpacks_to_very_much_is_not_unpacked(whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_model, "_MOST_CHUNK_BYTES", 1000)
    with pytest.raises(CompactModelError, match="damaged"):
        unpacked(remade(whole, 1, lambda chunk: chunk + bytes(10**6)))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompactModelError, match="cannot be read"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("without", [set(), {"dog", "a", "<unk>"}])
def test_a_packed_model_makes_the_same_graph_as_its_arpa_file(
    tmp_path: Path, order: int, without: set[str]
) -> None:
    small = pruned_to(train(TOKENS, WORDS, order), 160)[0]
    (tmp_path / "m.lm").write_bytes(pack(small, levels=256))
    write_arpa(small, tmp_path / "m.arpa", digits=7)
    vocabulary = set(WORDS) - without
    packed, plain = (read_arpa(tmp_path / name, vocabulary) for name in ("m.lm", "m.arpa"))
    assert packed.words == plain.words
    for name in ("bigram_keys", "trigram_keys"):
        assert (getattr(packed, name) == getattr(plain, name)).all()
    for name in ("unigram", "unigram_backoff", "bigram", "bigram_backoff", "trigram"):
        assert getattr(packed, name) == pytest.approx(getattr(plain, name), abs=2e-2)


def test_a_packed_model_that_no_graph_can_be_made_of_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.lm"
    path.write_bytes(pack(train(TOKENS, WORDS, 4)))
    with pytest.raises(LexiconError, match="n-grams of 4 words"):
        read_arpa(path)
    path.write_bytes(pack(train(TOKENS, WORDS, 3)))
    with pytest.raises(LexiconError, match="no word in common"):
        read_arpa(path, {"zebra"})
    path.write_bytes(b"nothing")
    with pytest.raises(LexiconError, match="another format"):
        read_arpa(path)
