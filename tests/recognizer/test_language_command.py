"""The commands that make language models, run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recognizer.language.__main__ import main
from recognizer.language.arpa_file import read_arpa
from recognizer.language.compact_model import CompactModel, unpacked
from recognizer.language.ngram_counts import numbered_text, word_numbers
from recognizer.language.perplexity import perplexity
from tests.builders.made_language import WORDS, made_lines, sums

SITE = ["please renew my premium plan", "the premium plan is fine", "renew the plan please"] * 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a dictionary, and a model trained of two texts."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "near.txt").write_text("\n".join(made_lines(600, seed=1)))
    (folder / "far.txt").write_text("\n".join(made_lines(600, seed=2, words=WORDS[::-1])))
    (folder / "develop.txt").write_text("\n".join(made_lines(200, seed=3)))
    (folder / "test.txt").write_text("\n".join([*made_lines(100, seed=4), "zebra dog"]))
    (folder / "site.txt").write_text("\n".join(SITE))
    said = [*WORDS, "please", "renew", "my", "premium", "plan", "is", "fine", "yes", "no", "uh"]
    (folder / "lexicon.txt").write_text("".join(f"{word} AH\n" for word in said))
    assert (
        main(
            [
                "train", "--text", f"near={folder}/near.txt", "--text", f"far={folder}/far.txt",
                "--develop", f"d={folder}/develop.txt*2", "--lexicon", f"{folder}/lexicon.txt",
                "--keep", "200", "--out", f"{folder}/general.arpa.xz",
                "--compact", "400", "--compact-out", f"{folder}/big.lm", "--measure", f"test={folder}/test.txt",
            ]
        )
        == 0
    )  # fmt: skip
    return folder


def test_training_prints_weights_sizes_and_perplexities(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "train", "--text", f"near={folder}/near.txt", "--text", f"far={folder}/far.txt", "--order", "2",
        "--develop", f"d={folder}/develop.txt", "--lexicon", f"{folder}/lexicon.txt",
        "--out", f"{folder}/two.arpa", "--measure", f"test={folder}/test.txt",
    ]  # fmt: skip
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    weight = float(printed.split("near ")[1].split(",")[0])
    assert weight > 0.7
    assert "two.arpa: n-grams" in printed
    found = perplexity(*_text(folder / "two.arpa", folder / "test.txt"))
    assert f"{found.perplexity:.1f}" in printed
    assert found.unknown == 1


def _text(arpa: Path, text: Path) -> tuple:  # type: ignore[type-arg]
    model = read_arpa(arpa)
    return model, numbered_text(text.read_text().splitlines(), word_numbers(model.words))


def test_the_model_is_pruned_sums_to_one_and_has_the_words_that_are_always_there(folder: Path) -> None:
    model = read_arpa(folder / "general.arpa.xz")
    assert sum(model.counts[1:]) <= 200
    assert {"yes", "no", "uh", "dog"} <= set(model.words)
    assert "premium" not in model.words
    assert sums(model, [[1], [4, 5], []]) == pytest.approx([1.0] * 3, abs=2e-2)  # three decimal places


def test_the_compact_model_is_the_bigger_one(folder: Path) -> None:
    compact = unpacked((folder / "big.lm").read_bytes())
    assert isinstance(compact, CompactModel)
    lines = (folder / "test.txt").read_text().splitlines()
    small, tokens = _text(folder / "general.arpa.xz", folder / "test.txt")
    running = sum(len(line.split()) + 1 for line in lines)
    big = np.exp(-sum(compact.sentence_log_probability(line.split()) for line in lines) / running)
    assert big < 1.2 * perplexity(small, tokens).perplexity


def test_a_sites_own_text_is_foretold_better_after_adaptation_and_its_words_are_known(folder: Path) -> None:
    arguments = [
        "adapt", "--base", f"{folder}/general.arpa.xz", "--adapt", f"{folder}/site.txt",
        "--lexicon", f"{folder}/lexicon.txt", "--out", f"{folder}/site.arpa",
    ]  # fmt: skip
    assert main(arguments) == 0
    adapted, tokens = _text(folder / "site.arpa", folder / "site.txt")
    assert {"premium", "plan", "dog", "cat"} <= set(adapted.words)
    assert perplexity(adapted, tokens).perplexity < 5
    general, other = _text(folder / "site.arpa", folder / "test.txt")
    before, same = _text(folder / "general.arpa.xz", folder / "test.txt")
    assert perplexity(general, other).perplexity < 2.5 * perplexity(before, same).perplexity
    assert not list(folder.glob("*.learned.txt"))


def test_adding_words_says_those_that_the_dictionary_lacks(folder: Path) -> None:
    (folder / "novel.txt").write_text("the colour was favourable\n" * 4)
    (folder / "small.txt").write_text("the DH AH\nwas W AH Z\nfavorable F EY V ER AH B AH L\ncolor K AH L ER\n")
    arguments = [
        "words", "--text", f"n={folder}/novel.txt", "--lexicon", f"{folder}/small.txt", "--out", f"{folder}/more.txt",
    ]  # fmt: skip
    assert main(arguments) == 0
    lines = (folder / "more.txt").read_text().splitlines()
    assert "colour K AH L ER" in lines
    assert "favourable F EY V ER AH B AH L" in lines


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["perplexity", "{}/nothing.arpa", "--measure", "t={}/test.txt"], "No such file"),
        (["perplexity", "{}/test.txt", "--measure", "t={}/test.txt"], "no complete ARPA file"),
        (["train", "--lexicon", "{}/lexicon.txt", "--out", "{}/x.arpa"], "neither a text nor a ready language model"),
        (
            ["train", "--text", "a={}/near.txt", "--text", "b={}/far.txt", "--lexicon", "{}/lexicon.txt", "--out", "x"],
            "need a development text",
        ),
        (["adapt", "--base", "{}/general.arpa.xz", "--adapt", "{}/short.txt", "--lexicon", "{}/lexicon.txt",
          "--out", "{}/x.arpa"], "fewer than twenty"),
        (["gather", "--repositories", "{}", "--held-out", "{}/test.txt", "--out", "{}/g"], "There is no clone of"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    (folder / "short.txt").write_text("please renew my plan\n" * 19)
    assert main([argument.replace("{}", str(folder)) for argument in arguments]) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recognizer.language", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "adapt" in done.stdout
