"""What was said, as public corpora write it down: one function per form, from a file's path and text to its lines."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from recognizer.training.public.git_mirror import AbsentFile, Archive

MOST_LETTERS: Final = 4000
"""Of a text with its marks, far more than the longest recording has: more is no text."""
_SPEAKER: Final = re.compile(r"[\w-]*", re.ASCII)
"""What a table calls a speaker goes into the manifest as it stands."""


@dataclass(frozen=True, slots=True)
class Said:
    """The text of one recording, as printed, and who said it where the table tells."""

    text: str
    speaker: str = ""


Lines = Iterator[tuple[str, Said]]


@dataclass(frozen=True, slots=True)
class Transcripts:
    """Files with texts.

    Attributes
    ----------
    repository : str
        ``owner/name``; empty for the repository of the audio.
    files : str
        Regular expression that a path must match in full.
    read : callable
        From path and text of a file to pairs of a recording's key and what was said in it.
    """

    files: str
    read: Callable[[str, str], Lines]
    repository: str = ""


def read_transcripts(
    transcripts: Sequence[Transcripts], archives: Mapping[str, Archive], own: str
) -> tuple[dict[str, Said], list[str]]:
    """Return what was said by key (the first text of a key counts), and sentences about files that say nothing.

    Raises
    ------
    MirrorError
        A repository is absent.
    """
    said: dict[str, Said] = {}
    complaints = []
    for each in transcripts:
        archive = archives[each.repository or own]
        found = archive.matching(each.files)
        unread = unsaid = 0
        for path, _ in found:
            try:
                text = archive.read(path).decode("utf-8", "replace")
            except AbsentFile:
                unread += 1
                continue
            lines = list(each.read(path, text))
            unsaid += not lines
            for key, line in lines:
                if len(line.text) <= MOST_LETTERS and _SPEAKER.fullmatch(line.speaker):
                    said.setdefault(key, line)
        if unread or not found:
            of_all = f"{unread:,} of {len(found):,}" if found else "All"
            complaints.append(f"{of_all} files with transcripts are absent from the mirror of {archive.name}.")
        if unsaid:
            complaints.append(
                f"{unsaid:,} of {len(found):,} files with transcripts of {archive.name} are empty or damaged."
            )
    return said, complaints


def keyed_lines(path: str, text: str) -> Lines:
    """``KEY words`` (Kaldi's ``text``, LibriSpeech's ``trans.txt``); what follows a tab after the words is no text."""
    for line in text.splitlines():
        key, _, rest = line.replace("\t", " ", 1).partition(" ")
        yield key, Said(rest.partition("\t")[0])


def lines_with_key_behind(path: str, text: str) -> Lines:
    """``<s> WORDS </s> (KEY)``: CMU Sphinx."""
    for line in text.splitlines():
        if found := re.fullmatch(r"(.*)\(([^()\s]+)\)\s*", line):
            yield found[2], Said(found[1].replace("<s>", " ").replace("</s>", " "))


def file_per_recording(path: str, text: str) -> Lines:
    """A text file beside each recording, of the same name."""
    yield PurePosixPath(path).stem, Said(text)


def file_per_prompt(path: str, text: str) -> Lines:
    """A text file ``PROMPT_TIME.txt``, for whoever else read that prompt."""
    yield PurePosixPath(path).stem.rpartition("_")[0], Said(text)


def bars(path: str, text: str) -> Lines:
    """``KEY|as printed|as read``: LJSpeech's ``metadata.csv``."""
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 3:
            yield fields[0], Said(fields[2])


def comma_table(path: str, text: str) -> Lines:
    """A table with the columns ``wav_file`` and ``transcript``."""
    for row in _table(text):
        if row.keys() >= {"wav_file", "transcript"}:
            yield PurePosixPath(row["wav_file"]).stem, Said(row["transcript"])


def _table(text: str, delimiter: str = ",", quoting: Literal[0, 3] = csv.QUOTE_MINIMAL) -> list[dict[str, str]]:
    """Return the filled cells of a table with a header by column; no rows when the table is broken."""
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter, quoting=quoting))
    except csv.Error:
        return []
    # DictReader gives what a row has too many as a list, and None for what it has too few.
    return [{column: cell for column, cell in row.items() if cell and isinstance(cell, str)} for row in rows]


_CLIENT_LETTERS: Final = 12
"""As the reader of whole releases names them: one person has one name."""
_VOTES: Final = re.compile(r"\d{1,9}")


def common_voice_rows(path: str, text: str) -> Lines:
    """Mozilla Common Voice's tables; what more listeners refused than accepted, or as many, has no text."""
    return _common_voice(_table(text, "\t", csv.QUOTE_NONE), "path", "sentence", "client_id")


def common_voice_commas(path: str, text: str) -> Lines:
    """The same tables with commas for tabs, as others save them."""
    return _common_voice(_table(text), "path", "sentence", "client_id")


def common_voice_first_rows(path: str, text: str) -> Lines:
    """The tables of Common Voice's first release (2017), which name no speakers; the votes count as above."""
    return _common_voice(_table(text), "filename", "text")


def _common_voice(rows: Sequence[Mapping[str, str]], name: str, sentence: str, client: str = "") -> Lines:
    needed = {name, sentence, client} - {""}
    for row in rows:
        up, down = row.get("up_votes", "0"), row.get("down_votes", "0")
        if row.keys() >= needed and _VOTES.fullmatch(up) and _VOTES.fullmatch(down):
            accepted = int(up) > int(down)
            key = row[name].removesuffix(".mp3").removesuffix(".wav")
            yield key, Said(row[sentence] if accepted else "", row.get(client, "")[:_CLIENT_LETTERS])


_NOISES: Final = re.compile(r"\[+[^\[\]()]*\]+|\{[^{}]*\}|</?as>")
_ACRONYM: Final = re.compile(r"~(\w+)")
_WORD_MARKS: Final = re.compile(r"[\^*+%@_]")
"""Before names, words of no dictionary, mispronounced words and fillers, and around words run together."""
_UNSURE: Final = re.compile(r"[()\[\]{}<>\d/\\]|\w-(?!\w)|(?<!\w)-\w")
"""Guessed or unintelligible speech, broken marks, numerals (it is not told how they were read), cut-off words."""
_KEYWORDS: Final = {"thinkengine": "think engine", "onword": "onward"}
_NAME: Final = "000"
_FEWEST_LETTERS_OF_A_NAME: Final = 3


def wake_up_words(path: str, text: str) -> Lines:
    """The WUW corpus's ``data.json``, with LDC's marks.

    Callers are told apart by the names they say first, and called after the first of their calls. No text may give
    a name away: what holds a part of the caller's own, or anybody's family name, has none.
    """
    utterances = _utterances(text)
    own: dict[str, set[str]] = {}
    family: set[str] = set()
    first_calls: dict[tuple[str, ...], str] = {}
    callers: dict[str, str] = {}
    for utterance in utterances:
        if utterance["utteranceNumber"] == _NAME:
            call, said = utterance["sessionNumber"], utterance["transcription"]
            name = _bare_words(said)
            own.setdefault(call, set()).update(part for part in name if len(part) >= _FEWEST_LETTERS_OF_A_NAME)
            family.update(name[1:][-1:])
            if name and "((" not in said:
                callers[call] = first_calls.setdefault(name, call)
    for utterance in utterances:
        call, said = utterance["sessionNumber"], utterance["transcription"]
        words = _ACRONYM.sub(lambda found: " ".join(found[1]), _NOISES.sub(" ", said))
        words = _WORD_MARKS.sub(" ", words)
        for keyword, spoken in _KEYWORDS.items():
            words = re.sub(rf"\b{keyword}\b", spoken, words, flags=re.IGNORECASE)
        unfit = _UNSURE.search(words) or not (own.get(call, set()) | family).isdisjoint(_bare_words(said))
        key = utterance["fileName"].removesuffix(".ulaw")
        yield key, Said("" if unfit else words, callers.get(call, call))


def _bare_words(marked: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z]+", _NOISES.sub(" ", marked).lower()))


def _utterances(text: str) -> list[dict[str, str]]:
    """Return what ``data.json`` tells of each utterance; those of which it lacks something are left out."""
    needed = {"sessionNumber", "utteranceNumber", "fileName", "transcription"}
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError):
        return []
    entries = contents.get("entries") if isinstance(contents, dict) else None
    if not isinstance(entries, list):
        return []
    # The search for marks takes time by the square of a text's length.
    found = [
        {name: cell for name, cell in entry.items() if isinstance(cell, str) and len(cell) <= MOST_LETTERS}
        for entry in entries
        if isinstance(entry, dict)
    ]
    return [each for each in found if each.keys() >= needed]


_FEWEST_DIGITS: Final = 7


def spelled_and_dialled(path: str, text: str) -> Lines:
    """The form of the alphanumeric audio dataset: a made-up name, to be spelled, and a number, digit by digit.

    Addresses have no text: nobody wrote down how their numbers were read.
    """
    for row in _table(text):
        speaker, digits = row.get("Response_ID"), row.get("Number", "")
        letters = row.get("Name", "").replace(" ", "")
        if speaker and letters.isalpha():
            yield f"Names/{speaker}", Said(" ".join(letters))
        if speaker and digits.isdecimal() and len(digits) >= _FEWEST_DIGITS:
            yield f"Numbers/{speaker}", Said(" ".join(digits))


def sentence_pieces(path: str, text: str) -> Lines:
    """``PATH<tab><up arrow> pieces``: lines so marked hold the reference, as sentence pieces."""
    for line in text.splitlines():
        place, _, pieces = line.partition("\t")
        before, mark, marked = pieces.partition("<↑>")
        if mark and not before.strip():
            yield PurePosixPath(place).stem, Said(marked.replace(" ", "").replace("▁", " "))


_NO_WORDS: Final = re.compile(r"[\[\]()*#|/<>{}]|\.\.\.")
_MOST_WORDS_OF_A_LETTER: Final = 3


def prompt_list(path: str, text: str) -> Lines:
    """``name: words``: Asterisk's list of prompts, without those that hold tones, gaps or remarks."""
    for line in text.splitlines():
        key, colon, words = line.partition(":")
        if not colon or line.startswith(";") or _NO_WORDS.search(words):
            continue
        if key.startswith(("letters/", "phonetic/")) and len(words.split()) > _MOST_WORDS_OF_A_LETTER:
            continue
        yield key.strip(), Said(words)
