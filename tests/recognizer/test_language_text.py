"""From print to spoken words, and nothing of a test into the training text."""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.grapheme_to_phoneme import GraphemeToPhoneme
from recognizer.language.held_out import DOCUMENT_RUNS, RUN, HeldOut, Screening
from recognizer.language.new_words import is_wordlike, missing_words, pronunciations
from recognizer.language.spoken_text import (
    number_words,
    ordinal_words,
    roman_number,
    sentences,
    spoken_words,
    year_words,
)
from recognizer.language.text_sources import SOURCES, Document, TextSourceError, documents
from recognizer.language.vocabulary import ALWAYS, chosen_words
from recognizer.lexicon import Lexicon


@pytest.mark.parametrize(
    ("printed", "spoken"),
    [
        ("Mr. Darcy bowed to Mrs. Bennet.", ["mister darcy bowed to missus bennet"]),
        ("“Well—yes,” he said; “I’ll go.”", ["well yes he said", "i'll go"]),
        (
            "It was 1850. He had £3 and 25 sheep.",
            ["it was eighteen fifty", "he had three pounds and twenty five sheep"],
        ),
        ("The 3rd of May, at 10:05 p.m. sharp", ["the third of may at ten oh five p m sharp"]),
        ("Call 5551234 now", ["call five five five one two three four now"]),
        ("It costs $12.50.", ["it costs twelve dollars and fifty cents"]),
        ("CHAPTER XIV. The Storm", ["chapter fourteen", "the storm"]),
        ("CHAPTER I.\nDown the Rabbit-Hole", ["chapter one", "down the rabbit hole"]),
        ("For my part I think so.", ["for my part i think so"]),
        ("A wind of 3.5 knots", ["a wind of three point five knots"]),
        ("_Never_ say so, St. John!", ["never say so saint john"]),
        ("'Tis the café's naïve œuvre", ["'tis the cafe's naive oeuvre"]),
        ("Um {vocalsound} well, [laughter] okay", ["um well okay"]),
        ("The sum is 1,234,567,890 dollars.", [None]),
        ("Πᾶν μέτρον ἄριστον", [None]),
        ("...", []),
    ],
)
def test_print_becomes_what_a_reader_says(printed: str, spoken: list[str | None]) -> None:
    assert list(sentences(printed)) == spoken


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (19, "nineteen"), (80, "eighty"), (101, "one hundred one"), (40_012, "forty thousand twelve"),
     (999_999, "nine hundred ninety nine thousand nine hundred ninety nine")],
)  # fmt: skip
def test_numbers_are_spelled(number: int, words: str) -> None:
    assert number_words(number) == words


def test_years_and_ordinals() -> None:
    assert [year_words(n) for n in (1905, 1900, 2003, 1066)] == [
        "nineteen oh five", "nineteen hundred", "two thousand three", "ten sixty six",
    ]  # fmt: skip
    assert [ordinal_words(n) for n in (1, 12, 22, 30, 105)] == [
        "first", "twelfth", "twenty second", "thirtieth", "one hundred fifth",
    ]  # fmt: skip
    assert [roman_number(letters) for letters in ("iv", "XLII", "xc")] == [4, 42, 90]
    with pytest.raises(ValueError, match="not spelled out"):
        number_words(10**6)


@given(st.text(max_size=80))
def test_any_text_gives_lower_case_words_or_none(text: str) -> None:
    for spoken in sentences(text):
        assert spoken is None or all(set(word) <= set("abcdefghijklmnopqrstuvwxyz'") for word in spoken.split())
        if spoken is not None:
            assert spoken_words(spoken) == spoken


def words_of(dice: random.Random, count: int) -> list[str]:
    return [f"w{chr(97 + dice.randrange(26))}{chr(97 + dice.randrange(26))}" for _ in range(count)]


def screened(held: HeldOut, *books: Document) -> tuple[list[list[str]], Screening]:
    report = Screening()
    return list(held.screen(books, report)), report


def test_a_sentence_that_shares_six_words_is_left_out_and_no_other() -> None:
    held = HeldOut(["one two three four five six seven"])
    book = Document("b", ["zero two three four five six nought", "three four five six seven eight", "a", None])
    kept, report = screened(held, book)
    assert kept == [["zero two three four five six nought", "three four five six seven eight", "a"]]
    kept, report = screened(held, Document("c", ["so one two three four five six it was", "quite another thing"]))
    assert kept == [["quite another thing"]]
    assert (report.sentences_shared, report.sentences) == (1, 1)


def test_a_run_across_two_sentences_takes_both() -> None:
    held = HeldOut(["one two three four five six"])
    kept, _ = screened(held, Document("b", ["begin one two three", "four five six end", "far away"]))
    assert kept == [["far away"]]


def test_a_book_that_was_read_for_a_test_is_left_out_whole() -> None:
    dice = random.Random(1)
    read = words_of(dice, RUN + DOCUMENT_RUNS)
    other = [" ".join(words_of(dice, 12)) for _ in range(200)]
    held = HeldOut([" ".join(read)])
    kept, report = screened(
        held, Document("read", [*other[:100], " ".join(read), *other[100:]]), Document("new", other)
    )
    assert report.documents_read_in_tests == ["read"]
    assert kept == [other]
    fewer = [" ".join(read[: RUN + DOCUMENT_RUNS - 1]), *other[:3]]
    assert screened(held, Document("chance", fewer))[0] == [other[:3]]


def test_books_are_left_out_by_title_and_duplicates_by_content() -> None:
    dice = random.Random(2)
    book = [" ".join(words_of(dice, 15)) for _ in range(400)]
    new = [" ".join(words_of(dice, 15)) for _ in range(400)]
    held = HeldOut([], ["Adam Bede (version 2)", "Emma"])
    kept, report = screened(
        held, Document("George Eliot/Adam Bede.md", new), Document("Jane Austen/Emma.md", book),
        Document("copies/again.txt", book[30:370]), Document("x", new),
    )  # fmt: skip
    assert report.documents_read_in_tests == ["George Eliot/Adam Bede.md"]  # "Emma" is too short to go by
    assert report.duplicate_documents == ["copies/again.txt"]
    assert kept == [book, new]


def committed(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir(parents=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    for arguments in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "m"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()  # fmt: skip


CASES = {
    "mlschmitt/classic-books-markdown": (
        {"A B/Book.md": "# Title: Book\n\n-------\n\n## CHAPTER I\n\nIt _was_ dark. He ran.\n", "x.py": "no"},
        ["chapter one", "it was dark", "he ran"],
    ),
    "COST-ELTeC/ELTeC-eng": (
        {"level1/a.xml": "<teiHeader><p>Head.</p></teiHeader><body><p>One<hi> two</hi>.</p><l>3 &amp; 4</l></body>"},
        ["one two", "three and four"],
    ),
    "dbamman/litbank": (
        {"original/1_a.txt": "Licence.\n*** START OF THIS BOOK ***\nA dog\nran.\n\n*** END OF THIS BOOK ***\nMore."},
        ["a dog ran"],
    ),
    "proger/flaky-librispeech": (
        {"spin/a.query.txt.spin": "x/1-2-3.flac\t<↑> ▁CH AP TER ▁ONE\nx/1-2-4.flac\t<↑> ▁THE ▁PART ▁I ▁SAW\n"},
        ["chapter one", "the part i saw"],
    ),
    "Yale-LILY/QMSum": (
        {"data/Product/all/a.json": json.dumps({"meeting_transcripts": [{"content": "I 'm uh okay . Yeah ."}]})},
        ["i'm uh okay", "yeah"],
    ),
    "awslabs/multi-domain-goal-oriented-dialogues-dataset": (
        {"data/paper_splits/splits_annotated_at_turn_level/media/train.tsv": "a\tb\tc\td\nq\t1\tu\tthats fine\n"},
        ["that's fine"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("repository", CASES)
def test_each_layout_is_read_from_its_commit(tmp_path: Path, repository: str) -> None:
    files, spoken = CASES[repository]
    commit = committed(tmp_path / repository, files)
    for path in files:  # only what is committed counts
        (tmp_path / repository / path).write_text("changed")
    source = replace(next(s for s in SOURCES if s.repository == repository), commit=commit)
    found = list(documents(source, tmp_path))
    assert [words for document in found for words in document.sentences] == spoken


def test_a_missing_clone_or_commit_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TextSourceError, match=r"There is no clone of github.com/mlschmitt/"):
        list(documents(SOURCES[0], tmp_path))
    committed(tmp_path / SOURCES[0].repository, {"a": "b"})
    with pytest.raises(TextSourceError, match="lacks the commit 9448"):
        list(documents(SOURCES[0], tmp_path))


def test_sources_are_pinned_and_licensed() -> None:
    for source in SOURCES:
        assert len(source.commit) == 40
        assert source.licence


def test_the_vocabulary_is_the_most_probable_words_that_can_be_said() -> None:
    counts = {"books": {"whale": 90, "sea": 8, "ship": 2, "qzx": 50}, "calls": {"refund": 3, "account": 1}}
    pronounced = {"whale", "sea", "ship", "refund", "account", "yes", "no", "agent"}
    assert chosen_words(counts, {}, pronounced, 2) == ["no", "refund", "whale", "yes"]
    assert "sea" in chosen_words(counts, {"books": 20.0}, pronounced, 3)
    assert "agent" in chosen_words(counts, {}, pronounced, 1, ["agent", "unsayable"])
    assert {"a", "z", "seven", "yes", "okay", "uh", "um"} <= set(ALWAYS)


def test_words_to_add_look_like_words_and_come_by_frequency() -> None:
    counts = {"a": {"waistcoat": 5, "xiv": 9, "hmmm": 9, "brr": 9, "dog": 50, "endeavoured": 7, "rare": 2}}
    assert missing_words(counts, {"dog"}, 10) == ["endeavoured", "waistcoat"]
    assert [is_wordlike(word) for word in ("lucilla's", "ii", "o", "naïve", "1st")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_added_words_are_said_like_their_american_spelling_or_noun_or_letters() -> None:
    letters = GraphemeToPhoneme.load()
    lexicon: Lexicon = {"favor": [("F", "EY", "V", "ER")], "boss": [("B", "AO", "S")], "cat": [("K", "AE", "T")]}
    assert pronunciations("favour", lexicon, letters) == [("F", "EY", "V", "ER")]
    assert pronunciations("boss's", lexicon, letters) == [("B", "AO", "S", "AH", "Z")]
    assert pronunciations("cat's", lexicon, letters) == [("K", "AE", "T", "S")]
    assert pronunciations("dombey", lexicon, letters)[0][:2] == ("D", "AA")
