"""Spelled letters, codes of letters and digits, and titles before names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from recognizer.reading_text.number_grammar import UNITS, ZEROS
from recognizer.reading_text.reading_token import is_placeholder
from recognizer.reading_text.rule import Written, word_at, word_set, words_at

_LETTER: Final = re.compile(r"[a-z]\.?")
_WORDS_TOO: Final = word_set("a i o")
_TITLES: Final = {"mister": "Mr.", "missus": "Mrs.", "miss": "Miss", "doctor": "Dr.", "professor": "Prof."}
_SHORT: Final = {("et", "cetera"): "etc.", ("etcetera",): "etc.", ("versus",): "vs."}
_KNOWN: Final = word_set(
    "id it ac ai io pi ar ir ok apr aprs apy atm atms api aaa abc aig amc aol ach ada aka asap att ibm irs ira iras "
    "ipo isp ios ids iban icu cia nba mba usa dna fda rsa cpa hoa faa epa gpa ria roi ui ppo hmo ceo cfo"
)
"""Abbreviations that begin or end with a letter that is a word as well."""
LONGEST_ACRONYM: Final = 4


def spelled(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``a p r`` -> ``APR``, ``s m i t h`` -> ``S-M-I-T-H``, ``a b three seven x`` -> ``AB37X``."""
    if _LETTER.fullmatch(word_at(words, at - 1)):
        return ()  # the run was looked at as a whole
    end = at
    while _LETTER.fullmatch(word_at(words, end)):
        end += 1
    letters = "".join(words[i][0] for i in range(at, end))
    code_end, code = end, letters.upper()
    while letters and (word := word_at(words, code_end)):
        if word in UNITS or (word in ZEROS and code_end > end):
            code += str(UNITS.get(word, 0))
        elif _LETTER.fullmatch(word) and code_end > end and word not in _WORDS_TOO:
            code += word[0].upper()
        else:
            break
        code_end += 1
    if (
        sum(sign.isdigit() for sign in code) >= 2
        and len(code) >= 4
        and (words[at] not in _WORDS_TOO or letters[1:2])
    ):
        return (Written(code, at, code_end),)
    first, last = at, end
    if letters not in _KNOWN and len(letters) <= LONGEST_ACRONYM:
        # "was a d v d", "my p i n i": what is a word by itself does not begin or end what is spelled.
        while first < last and letters[first - at] in _WORDS_TOO:
            first += 1
        while last > first and letters[last - 1 - at] in _WORDS_TOO:
            last -= 1
    text = letters[first - at : last - at].upper()
    if len(text) < 2:
        return ()
    shown = text if len(text) <= LONGEST_ACRONYM else "-".join(text)
    return *(Written(words[i], i, i + 1) for i in range(at, first)), Written(shown, first, last)


def title(words: Sequence[str], at: int) -> tuple[Written, ...]:
    """``mister`` before a name that was hidden -> ``Mr.``; ``et cetera`` -> ``etc.``."""
    for said, short in _SHORT.items():
        if words_at(words, at, said):
            return (Written(short, at, at + len(said)),)
    if words[at] not in _TITLES:
        return ()
    follows = word_at(words, at + 1)
    told = is_placeholder(follows) or (words[at] in ("mister", "missus") and follows != "")
    return (Written(_TITLES[words[at]], at, at + 1),) if told else ()
