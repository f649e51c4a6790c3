"""Token tables: read strictly, and words spelled with as few pieces as can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.ctc_tokens import PieceSpeller, TokenTable, TokenTableError, pronounce_words, spell_words


def table(*tokens: str) -> TokenTable:
    return TokenTable(("<blk>", *tokens), 0)


def written(folder: Path, text: str) -> Path:
    path = folder / "tokens.txt"
    path.write_text(text, "utf-8")
    return path


def test_a_table_of_icefall_is_read(tmp_path: Path) -> None:
    read = TokenTable.read(written(tmp_path, "<blk> 0\n<sos/eos> 1\n<unk> 2\n▁THE 3\nS 4\n#0 5\n#1 6\n"), "<blk>")
    assert read == TokenTable(("<blk>", "<sos/eos>", "<unk>", "▁THE", "S"), 0)
    assert read.phones() == {"▁THE": 3, "S": 4}


def test_a_blank_may_stand_anywhere_and_a_space_may_be_a_token(tmp_path: Path) -> None:
    read = TokenTable.read(written(tmp_path, "A 0\n  1\nε 2\n"), "ε")
    assert read == TokenTable(("A", " ", "ε"), 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The token table names no token for column 0."),
        ("<blk> 0\nA 2\n", "The token table names no token for column 1."),
        ("<blk> 0\nA 0\n", "Line 2 of the token table names column 0 once more."),
        ("<blk> 0\nA\n", "Line 2 of the token table is not TOKEN NUMBER."),
        ("<blk> 0\nA -1\n", "Line 2 of the token table is not TOKEN NUMBER."),
        ("<blk> 0\nA 99999999999999999999\n", "Line 2 of the token table is not TOKEN NUMBER."),
        ("A 0\nB 1\n", "The token table has no single blank named '<blk>'."),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(TokenTableError) as refused:
        TokenTable.read(written(tmp_path, text), "<blk>")
    assert str(refused.value) == sentence


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TokenTableError, match=r"^The token table tokens\.txt cannot be read as UTF-8 text\.$"):
        TokenTable.read(tmp_path / "tokens.txt", "<blk>")


def test_pieces_are_as_few_and_as_long_as_can_be() -> None:
    speller = PieceSpeller(table("▁", "▁c", "▁ca", "a", "b", "t", "at", "ts", "s", "cats"))
    assert speller.spell("cat") == (3, 6)  # ▁ca t rather than ▁c at: the longer first
    assert speller.spell("cats") == (3, 8)  # ▁ca ts rather than ▁ cats
    assert speller.spell("ab") == (1, 4, 5)
    assert speller.spell("dog") is None
    assert speller.spell("a" * 200) is None


def test_longest_pieces_that_lead_nowhere_are_not_taken() -> None:
    assert PieceSpeller(table("▁ab", "▁a", "bc", "d")).spell("abcd") == (2, 3, 4)


def test_a_table_of_capitals_spells_small_letters() -> None:
    assert PieceSpeller(table("▁THE", "S")).spell("thes") == (1, 2)


def test_a_table_without_word_beginnings_is_no_table_of_pieces() -> None:
    with pytest.raises(TokenTableError, match=r"No token of the table begins a word with ▁"):
        PieceSpeller(table("AH", "B"))


@given(
    pieces=st.sets(st.text("ab", min_size=1, max_size=3), max_size=6), word=st.text("ab", min_size=1, max_size=6)
)
def test_a_spelling_is_found_wherever_there_is_one_and_is_shortest(pieces: set[str], word: str) -> None:
    tokens = ["▁", *sorted(pieces)]
    spelled = PieceSpeller(table(*tokens)).spell(word)

    def ways(rest: str) -> Iterator[tuple[str, ...]]:
        if not rest:
            yield ()
        for token in tokens:
            if rest.startswith(token):
                yield from ((token, *more) for more in ways(rest[len(token) :]))

    found = list(ways(f"▁{word}"))
    if not found:
        assert spelled is None
        return
    assert spelled is not None
    chosen = tuple(tokens[column - 1] for column in spelled)
    assert chosen in found
    assert len(chosen) == min(map(len, found))


def test_known_segmentations_go_before_our_own() -> None:
    found = spell_words(["ab", "a", "x"], table("▁a", "▁ab", "b"), {"ab": [("▁a", "b")]})
    assert found == {"ab": [(1, 3)], "a": [(1,)]}


def test_a_phone_that_the_table_lacks_is_named() -> None:
    lexicon = {"tea": [("T", "IY")]}
    assert pronounce_words(["tea", "x"], table("T", "IY"), lexicon) == {"tea": [(1, 2)]}
    with pytest.raises(TokenTableError) as refused:
        pronounce_words(["tea"], table("T"), lexicon)
    assert str(refused.value) == "The token table lacks the phone 'IY', which the dictionary has."
