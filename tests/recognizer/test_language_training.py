"""Counting, Kneser-Ney, mixing and pruning against formulas, brute force and the laws of probability."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.language.arpa_file import read_arpa, write_arpa
from recognizer.language.backoff_model import BackoffModel, renormalised, selected
from recognizer.language.kneser_ney import discounts, train
from recognizer.language.mixture import mixed, weights_by_em
from recognizer.language.ngram_counts import count_ngrams, numbered_text, word_numbers
from recognizer.language.perplexity import perplexity, token_rows
from recognizer.language.pruning import costs, kept_at, pruned, pruned_to
from recognizer.language_model import read_arpa as read_for_graph
from recognizer.lexicon import LexiconError
from tests.builders.made_language import kneser_ney_by_the_book, made_lines, made_tokens, sums

LINES = made_lines(300, seed=5)
TOKENS, WORDS = made_tokens(LINES, extra=["never"])


def histories(model: BackoffModel, seed: int, count: int = 60) -> list[list[int]]:
    dice = random.Random(seed)
    some = [[dice.randrange(3, len(model.words)) for _ in range(dice.randrange(0, 4))] for _ in range(count)]
    seen = [[1], [1, 4], [4, 5], [1, 4, 5]]
    return some + seen


@pytest.fixture(scope="module", params=[2, 3, 4])
def model(request: pytest.FixtureRequest) -> BackoffModel:
    return train(TOKENS, WORDS, request.param)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), min_size=1, max_size=12), st.integers(2, 4)
)
def test_counts_are_those_of_a_dictionary(sentences: list[list[str]], order: int) -> None:
    tokens, words = made_tokens([" ".join(sentence) for sentence in sentences])
    levels = count_ngrams(tokens, order, len(words))
    spelled = [[(word,) for word in words]]
    for level in levels[1:]:
        spelled.append([(*spelled[-1][p], words[w]) for p, w in zip(level.parent, level.word, strict=True)])
    marked = [["<s>", *sentence, "</s>"] for sentence in sentences]
    for n in range(2, order + 1):
        wanted = Counter(tuple(t[i : i + n]) for t in marked for i in range(len(t) - n + 1))
        assert dict(zip(spelled[n - 1], levels[n - 1].count.tolist(), strict=True)) == wanted
        before = Counter(gram[1:] for gram in wanted)
        found = dict(zip(spelled[n - 2], levels[n - 2].before.tolist(), strict=True))
        assert {gram: count for gram, count in found.items() if count} == before
        suffixes = [spelled[n - 2][s] for s in levels[n - 1].suffix]
        assert suffixes == [gram[1:] for gram in spelled[n - 1]]


def test_probabilities_are_those_of_the_formulas(model: BackoffModel) -> None:
    dice = random.Random(7)
    vocabulary = len(WORDS) - 2
    for _ in range(60):
        line = ["<s>", *dice.choice(LINES).split()]
        end = dice.randrange(1, len(line) + 1)
        history = line[max(0, end - model.order + 1) : end]
        word = dice.choice([*WORDS[2:]])
        row = [0] * (model.order - 1 - len(history)) + [WORDS.index(w) for w in (*history, word)]
        found = math.exp(model.score(np.array([row], np.int32))[0])
        assert found == pytest.approx(
            kneser_ney_by_the_book(LINES, model.order, vocabulary, history, word), rel=1e-9
        )


def test_probabilities_sum_to_one_after_any_history(model: BackoffModel) -> None:
    assert sums(model, histories(model, 1)) == pytest.approx([1.0] * 64, abs=1e-9)


@pytest.mark.parametrize("least", [(1, 1, 2, 2), (1, 2, 2, 3), (1, 3, 5, 9)])
def test_rare_ngrams_left_out_keep_the_sums(least: tuple[int, ...]) -> None:
    cut = train(TOKENS, WORDS, 4, least)
    assert sum(cut.counts) < sum(train(TOKENS, WORDS, 4).counts)
    assert sums(cut, histories(cut, 2)) == pytest.approx([1.0] * 64, abs=1e-9)


def test_backoff_weights_are_what_makes_the_sums_one(model: BackoffModel) -> None:
    again = renormalised(model)
    has_continuation = np.diff(model.first) > 0
    assert again.log_backoff[has_continuation] == pytest.approx(model.log_backoff[has_continuation], abs=1e-9)


def test_discounts_of_small_or_odd_texts_are_the_fixed_ones() -> None:
    assert discounts(np.array([1, 2, 3])) == (0.5, 1.0, 1.5)
    counts = np.repeat([1, 2, 3, 4], [40, 20, 12, 8])
    one, two, more = discounts(counts)
    assert (one, two, more) == pytest.approx((1 - 2 * 0.5 * 20 / 40, 2 - 3 * 0.5 * 12 / 20, 3 - 4 * 0.5 * 8 / 12))


def test_training_refuses_what_makes_no_model() -> None:
    with pytest.raises(ValueError, match="two to four words"):
        train(TOKENS, WORDS, 5)
    with pytest.raises(ValueError, match="no text"):
        train(TOKENS[:0], WORDS, 3)
    with pytest.raises(ValueError, match="must not decrease"):
        train(TOKENS, WORDS, 3, (1, 3, 2))


def test_a_mixture_sums_to_one_and_is_the_weighted_sum_where_all_know_the_history() -> None:
    others, _ = made_tokens(made_lines(200, seed=9), extra=["never"])
    one, two = train(TOKENS, WORDS, 3), train(others, WORDS, 3)
    both = mixed([one, two], [0.3, 0.7])
    assert sums(both, histories(both, 3)) == pytest.approx([1.0] * 64, abs=1e-6)
    rows = np.concatenate([both.ngrams(3)[:50], both.ngrams(3)[-50:]])
    wanted = 0.3 * np.exp(one.score(rows)) + 0.7 * np.exp(two.score(rows))
    assert np.exp(both.score(rows)) == pytest.approx(wanted)


def test_weights_find_the_mixture_that_the_text_came_from() -> None:
    far = made_lines(
        3000, seed=1, words=["fish", "bone", "a", "small", "ate", "saw", "cat", "dog", "the", "slept"]
    )
    near_tokens, _ = made_tokens(made_lines(3000, seed=2), extra=["never"])
    far_tokens, _ = made_tokens(far, extra=["never"])
    components = [train(near_tokens, WORDS, 2), train(far_tokens, WORDS, 2)]
    develop, _ = made_tokens(
        made_lines(600, seed=3) + made_lines(200, 4, words=far[0].split() or WORDS), ["never"]
    )
    weights = weights_by_em(components, [made_tokens(made_lines(900, seed=3), ["never"])[0]])
    assert weights[0] > 0.95
    assert weights.sum() == pytest.approx(1.0)
    best = weights_by_em(components, [develop])
    at = [perplexity_of_sum(components, w, develop) for w in (best[0], best[0] + 0.05, best[0] - 0.05)]
    assert at[0] <= min(at[1:]) + 1e-9


def perplexity_of_sum(components: list[BackoffModel], first: float, tokens: np.ndarray) -> float:
    rows = token_rows(tokens, 2, components[0].words)
    one, two = (np.exp(c.score(rows)) for c in components)
    share = min(max(first, 1e-9), 1 - 1e-9)
    return float(np.exp(-np.log(share * one + (1 - share) * two).mean()))


def test_mixing_wants_the_same_words_and_weights_of_one() -> None:
    one = train(TOKENS, WORDS, 2)
    tokens, words = made_tokens(["other words"])
    with pytest.raises(ValueError, match="same words"):
        mixed([one, train(tokens, words, 2)], [0.5, 0.5])
    with pytest.raises(ValueError, match="sum to one"):
        mixed([one, one], [0.5, 0.4])


def test_pruning_keeps_the_sums_at_one_and_histories_of_what_is_kept(model: BackoffModel) -> None:
    for threshold in (1e-5, 1e-4, 1e-3, 1e-2):
        small = pruned(model, threshold)
        assert sums(small, histories(small, 4)) == pytest.approx([1.0] * 64, abs=1e-6)
        assert (small.parent[small.level[1] :] >= 0).all()
        assert sum(small.counts) <= sum(model.counts)


def test_more_pruning_foretells_the_text_worse_and_a_size_is_held(model: BackoffModel) -> None:
    sizes = [sum(model.counts[1:]), 200, 100, 50]
    found = [perplexity(pruned_to(model, size)[0], TOKENS).perplexity for size in sizes]
    assert found == sorted(found)
    for size in sizes:
        assert sum(pruned_to(model, size)[0].counts[1:]) <= size


def test_the_cost_of_an_ngram_is_the_entropy_between_the_models_with_and_without_it() -> None:
    whole = train(TOKENS, WORDS, 2)
    (cost,) = costs(whole)
    for i in (0, 17, len(cost) - 1):
        keep = kept_at(whole, [cost], -1.0)
        keep[whole.level[1] + i] = False
        without = renormalised(selected(whole, keep))
        history = whole.parent[whole.level[1] + i]
        rows = np.array([[history, word] for word in range(2, len(WORDS))], np.int32)
        before, after = whole.score(rows), without.score(rows)
        entropy = float((np.exp(before) * (before - after)).sum())
        assert cost[i] == pytest.approx(whole.frequency[history] * entropy, abs=1e-9)


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.xz"])
def test_a_written_model_is_read_back(tmp_path: Path, model: BackoffModel, name: str) -> None:
    small, _ = pruned_to(model, 150)
    write_arpa(small, tmp_path / name, digits=7)
    again = read_arpa(tmp_path / name)
    assert again.words == small.words
    assert again.counts == small.counts
    assert (again.word == small.word).all()
    assert (again.parent == small.parent).all()
    assert again.log_probability == pytest.approx(small.log_probability, abs=1e-6)
    assert again.log_backoff == pytest.approx(small.log_backoff, abs=1e-6)


def test_the_graph_builders_reader_agrees(tmp_path: Path) -> None:
    whole = train(TOKENS, WORDS, 3)
    write_arpa(whole, tmp_path / "m.arpa", digits=7)
    small = read_for_graph(tmp_path / "m.arpa")
    dice = random.Random(3)
    for _ in range(200):
        row = [dice.randrange(3, len(WORDS)) for _ in range(3)]
        there = tuple(small.words.index(WORDS[i]) for i in row)
        wanted = float(whole.score(np.array([row], np.int32))[0])
        assert small.log_probability(there[:2], there[2]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("\\end\\", ""), "no complete ARPA file"),
        (lambda text: "", "no complete ARPA file"),
        (lambda text: text.replace("\\2-grams", "\\9-grams"), "n-grams of 9 words"),
        (lambda text: re.sub(r"(2-grams:\n)-[\d.]+", r"\1low", text), "malformed line among its 2-grams"),
        (lambda text: text.replace("\\2-grams:\n", "\\2-grams:\n-1\tdog\n"), "malformed line among its 2-grams"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(tmp_path: Path, change: object, sentence: str) -> None:
    write_arpa(train(TOKENS, WORDS, 2), tmp_path / "m.arpa")
    (tmp_path / "m.arpa").write_text(change((tmp_path / "m.arpa").read_text()))  # type: ignore[operator]
    with pytest.raises(LexiconError, match=sentence):
        read_arpa(tmp_path / "m.arpa")


def test_a_trigram_without_its_bigram_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.arpa"
    path.write_text(
        "\\data\\\n\\1-grams:\n-1 </s>\n-99 <s> -1\n-1 a -1\n-1 b\n\n\\2-grams:\n-1 a b\n\n"
        "\\3-grams:\n-1 b a b\n\n\\end\\\n"
    )
    with pytest.raises(LexiconError, match="history it lacks"):
        read_arpa(path)


def test_pocketsphinx_reads_the_model_alike(tmp_path: Path) -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx", reason="the peer: pip install pocketsphinx")
    whole = train(TOKENS, WORDS, 3)
    write_arpa(whole, tmp_path / "m.arpa", digits=4)
    peer = pocketsphinx.NGramModel.readfile(str(tmp_path / "m.arpa"))
    dice = random.Random(11)
    compared = 0
    for _ in range(200):
        row = [dice.randrange(3, len(WORDS)) for _ in range(3)]
        words = [WORDS[i] for i in row]
        if {"<unk>", "never"} & set(words):
            continue
        theirs = peer.prob([words[2], words[1], words[0]])  # newest first
        ours = float(whole.score(np.array([row], np.int32))[0])
        assert theirs * math.log(1.0001) == pytest.approx(ours, abs=0.02)
        compared += 1
    assert compared > 100


@pytest.mark.kenlm
@pytest.mark.parametrize("order", [2, 3, 4])
def test_kenlm_reads_the_model_alike(tmp_path: Path, order: int) -> None:
    kenlm = pytest.importorskip("kenlm", reason="the peer: pip install kenlm")
    whole = pruned_to(train(TOKENS, WORDS, order), 200)[0]
    write_arpa(whole, tmp_path / "m.arpa", digits=7)
    peer = kenlm.Model(str(tmp_path / "m.arpa"))
    for line in [*made_lines(50, seed=21), "never never the", "fish zebra dog"]:
        tokens = numbered_text([line], word_numbers(WORDS))
        row = [0] * (order - 2) + tokens.tolist()
        ours = whole.score(np.array([row[i : i + order] for i in range(len(row) - order + 1)], np.int32)).sum()
        assert peer.score(line) * math.log(10) == pytest.approx(float(ours), abs=1e-3)


def test_perplexity_counts_words_sentence_ends_and_unknown_words() -> None:
    whole = train(TOKENS, WORDS, 3)
    found = perplexity(whole, numbered_text(["the dog", "zebra cat"], word_numbers(WORDS)))
    assert (found.words, found.unknown, found.sentences) == (4, 1, 2)
    number = word_numbers(WORDS)
    rows = [
        [0, 1, number["the"]], [1, number["the"], number["dog"]], [number["the"], number["dog"], 2],
        [1, number["<unk>"], number["cat"]], [number["<unk>"], number["cat"], 2],
    ]  # fmt: skip
    mean = whole.score(np.array(rows, np.int32)).mean()
    assert found.perplexity == pytest.approx(math.exp(-mean))
