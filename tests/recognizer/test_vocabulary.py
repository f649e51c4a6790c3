"""The vocabulary and its file: what may stand in it, and that nobody ever sees half of a change."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.vocabulary import (
    HIGHEST_BOOST,
    MOST_ENTRIES,
    Vocabulary,
    VocabularyEntry,
    VocabularyError,
    VocabularyFile,
)


def entry(text: str, *ways: str, boost: float = 3.0) -> VocabularyEntry:
    return VocabularyEntry.checked(text, boost, ways)


def test_spelling_is_kept_and_words_are_lower_case() -> None:
    assert entry("  Northwind \t Energy ").text == "Northwind Energy"
    assert entry("Northwind Energy").words == ("northwind", "energy")
    assert entry("O\u2019Brien").text == "O'Brien"
    assert entry("ISA", "AY EH S EY", "ay s ah").pronunciations == (
        (("AY", "EH", "S", "EY"),),
        (("AY", "S", "AH"),),
    )
    assert entry("be n", "B IY | EH N").pronunciations == ((("B", "IY"), ("EH", "N")),)


@pytest.mark.parametrize("text", [
    "", "   ", "\x00", "a\x1b[31mb", "<script>", "%s", "../../etc", "a|b", "[CARD_NUMBER]", "-", "'", "a" * 41,
    "\u202eabc", " ".join(["a"] * 13), "\ud800", "😀", "a_b",
])  # fmt: skip
def test_what_is_no_word_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(VocabularyError) as refused:
        entry(text)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert not text.strip() or text.strip() not in sentence or len(text.strip()) < 2


@given(st.text(max_size=30))
def test_any_text_is_an_entry_that_stays_or_an_error(text: str) -> None:
    try:
        one = entry(text)
    except VocabularyError:
        return
    assert entry(one.text) == one
    assert all(word and word == word.lower() for word in one.words)


@pytest.mark.parametrize("boost", [-1.0, HIGHEST_BOOST + 0.1, 1e300, float("nan"), float("inf")])
def test_an_absurd_boost_is_refused(boost: float) -> None:
    with pytest.raises(VocabularyError, match="must lie between 0 and 12"):
        entry("a", boost=boost)


@pytest.mark.parametrize("way", ["", "B | IY", "B 1", "be,e", "B " * 50, "|"])
def test_what_is_no_pronunciation_is_refused(way: str) -> None:
    with pytest.raises(VocabularyError, match="pronunciation"):
        entry("bee", way)


def test_entries_with_the_same_words_are_one_and_removing_needs_them_all() -> None:
    vocabulary = Vocabulary().added(entry("Zelle"), entry("ISA", boost=2.0)).added(entry("isa", boost=5.0))
    assert [(one.text, one.boost) for one in vocabulary.entries] == [("isa", 5.0), ("Zelle", 3.0)]
    assert vocabulary.version == 2
    with pytest.raises(VocabularyError, match="1 of the 2 words or phrases to remove are not in the vocabulary"):
        vocabulary.removed("isa", "nothing")
    assert vocabulary.removed("ISA", "zelle").entries == ()


def test_the_fingerprint_is_of_the_entries_alone() -> None:
    one = Vocabulary().added(entry("a")).added(entry("b"))
    other = Vocabulary().added(entry("b"), entry("a"))
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != one.added(entry("b", boost=4.0)).fingerprint
    assert one.fingerprint != one.added(entry("b", "B IY")).fingerprint


def test_a_vocabulary_has_an_end() -> None:
    many = [entry(f"word{i}") for i in range(MOST_ENTRIES)]
    with pytest.raises(VocabularyError, match="20000 entries at most"):
        Vocabulary().added(*many, entry("more"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = VocabularyFile(tmp_path / "new" / "vocabulary.json")
    assert file.read() == Vocabulary()
    kept = file.change(lambda old: old.added(entry("Müller"), entry("be n", "B IY | EH N", boost=0.5)))
    assert file.read() == kept
    assert file.change(lambda old: old.removed("müller")).version == 2
    assert [path.name for path in file.path.parent.iterdir() if path.name.startswith(".")] == []


def test_a_refused_change_changes_nothing(tmp_path: Path) -> None:
    file = VocabularyFile(tmp_path / "vocabulary.json")
    file.change(lambda old: old.added(entry("one")))
    before = file.path.read_bytes()
    with pytest.raises(VocabularyError):
        file.change(lambda old: old.removed("two"))
    assert file.path.read_bytes() == before


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "null", '{"format": 9}', '{"format": 1, "version": -1, "entries": []}', "[" * 100_000, "\udcff",
    '{"format": 1, "version": 1, "entries": [{"text": "a b", "boost": 99, "pronunciations": []}]}',
    '{"format": 1, "version": 1, "entries": [{"text": 7}]}', '{"format": 1, "version": 1, "entries": [null]}',
])  # fmt: skip
def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "vocabulary.json").write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(VocabularyError) as refused:
        VocabularyFile(tmp_path / "vocabulary.json").read()
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_a_damaged_file_is_never_overwritten(tmp_path: Path) -> None:
    file = VocabularyFile(tmp_path / "vocabulary.json")
    file.change(lambda old: old.added(entry("one"), entry("two")))
    torn = file.path.read_bytes()[:-9]
    file.path.write_bytes(torn)
    with pytest.raises(VocabularyError, match="cannot be read"):
        file.change(lambda old: old.added(entry("three")))
    assert file.path.read_bytes() == torn, "somebody may still mend it"


def test_what_a_file_says_of_itself_is_not_repeated(tmp_path: Path) -> None:
    for told in ('"secret name"', '["secret"]', "true"):
        (tmp_path / "vocabulary.json").write_text(f'{{"format": {told}, "version": 1, "entries": 7}}')
        with pytest.raises(VocabularyError) as refused:
            VocabularyFile(tmp_path / "vocabulary.json").read()
        assert "secret" not in str(refused.value)


def test_files_of_any_size_and_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    with path.open("wb") as large:
        large.truncate((16 << 20) + 1)
    with pytest.raises(VocabularyError, match="larger than 16 MiB"):
        VocabularyFile(path).read()
    path.unlink()
    path.mkdir()
    with pytest.raises(VocabularyError, match="cannot be read: IsADirectoryError"):
        VocabularyFile(path).read()
    (tmp_path / "a file").touch()
    with pytest.raises(VocabularyError, match="cannot be written: file exists"):
        VocabularyFile(tmp_path / "a file" / "vocabulary.json").change(lambda old: old)


def test_entries_that_are_there_twice_are_one(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    row = '{"text": "%s", "boost": %s, "pronunciations": []}'
    rows = ", ".join((row % ("Zelle", 3), row % ("ISA", 1), row % ("zelle", 5)))
    path.write_text(f'{{"format": 1, "version": 4, "entries": [{rows}], "more": {{}}}}')
    kept = VocabularyFile(path).read()
    assert [(one.text, one.boost) for one in kept.entries] == [("ISA", 1.0), ("zelle", 5.0)]
    assert kept.version == 4
    path.write_text(path.read_text().replace("5", "NaN"))
    with pytest.raises(VocabularyError, match="must lie between"):
        VocabularyFile(path).read()


def test_what_a_killed_writer_left_behind_goes_with_the_next_change(tmp_path: Path) -> None:
    file = VocabularyFile(tmp_path / "vocabulary.json")
    (tmp_path / ".vocabulary.json-abc123").write_text('{"format": 1, "ver')
    assert file.read() == Vocabulary()
    file.change(lambda old: old.added(entry("one")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vocabulary.json", "vocabulary.lock"]


def _add(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        VocabularyFile(path).change(lambda old, number=number: old.added(entry(f"word{number}")))


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_add, args=(path, 100 * i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    kept = VocabularyFile(path).read()
    assert (len(kept.entries), kept.version) == (30, 30)
    assert json.loads(path.read_text())["format"] == 1
