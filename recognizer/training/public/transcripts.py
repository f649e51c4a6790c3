"""What was said, as public corpora write it down: one function per form, from a file's path and text to its lines."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

from recognizer.training.public.git_mirror import AbsentFile, Archive


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
    """Return what was said by key (the first text of a key counts), and sentences about files that cannot be read.

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
        unread = 0
        for path, _ in found:
            try:
                text = archive.read(path).decode("utf-8", "replace")
            except AbsentFile:
                unread += 1
                continue
            for key, line in each.read(path, text):
                said.setdefault(key, line)
        if unread or not found:
            of_all = f"{unread:,} of {len(found):,}" if found else "All"
            complaints.append(f"{of_all} files with transcripts are absent from the mirror of {archive.name}.")
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
    """A table with a header and the columns ``wav_file`` and ``transcript``."""
    for row in csv.DictReader(io.StringIO(text)):
        name, words = row.get("wav_file"), row.get("transcript")
        if name and words:
            yield PurePosixPath(name).stem, Said(words)


_CLIENT_LETTERS: Final = 12
"""As the reader of whole releases names them: one person has one name."""


def common_voice_rows(path: str, text: str) -> Lines:
    """Mozilla Common Voice's tables; what more listeners refused than accepted, or as many, has no text."""
    return _common_voice(text, "\t", csv.QUOTE_NONE)


def common_voice_commas(path: str, text: str) -> Lines:
    """The same tables with commas for tabs, as others save them."""
    return _common_voice(text, ",", csv.QUOTE_MINIMAL)


def _common_voice(text: str, delimiter: str, quoting: Literal[0, 3]) -> Lines:
    csv.field_size_limit(1 << 20)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter, quoting=quoting))
    except csv.Error:
        return
    for row in rows:
        name, sentence, client = row.get("path"), row.get("sentence"), row.get("client_id")
        up, down = row.get("up_votes") or "0", row.get("down_votes") or "0"
        if name and sentence and client and up.isdecimal() and down.isdecimal():
            accepted = int(up) > int(down)
            key = name.removesuffix(".mp3").removesuffix(".wav")
            yield key, Said(sentence if accepted else "", client[:_CLIENT_LETTERS])


def common_voice_first_rows(path: str, text: str) -> Lines:
    """The tables of Common Voice's first release (2017), which name no speakers; the votes count as above."""
    csv.field_size_limit(1 << 20)
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
    except csv.Error:
        return
    for row in rows:
        name, sentence = row.get("filename"), row.get("text")
        up, down = row.get("up_votes") or "0", row.get("down_votes") or "0"
        if name and sentence and up.isdecimal() and down.isdecimal():
            yield name.removesuffix(".mp3"), Said(sentence if int(up) > int(down) else "")


_NOISES: Final = re.compile(r"\[+[^\[\]()]*\]+|\{[^{}]*\}|</?as>")
_ACRONYM: Final = re.compile(r"~(\w+)")
_UNSURE: Final = re.compile(r"[()\[\]{}<>\d/\\]|\w-(?!\w)")
"""Guessed or unintelligible speech, broken marks, numerals (it is not told how they were read), cut-off words."""
_KEYWORDS: Final = {"thinkengine": "think engine", "onword": "onward"}
_NAME: Final = "000"
_HASH_LETTERS: Final = 8


def wake_up_words(path: str, text: str) -> Lines:
    """The WUW corpus's ``data.json``, with LDC's marks; callers are told apart by the names they say first."""
    entries = json.loads(text)["entries"]
    callers = {}
    for entry in entries:
        if entry["utteranceNumber"] == _NAME:
            name = " ".join(re.findall(r"[a-z]+", _NOISES.sub(" ", entry["transcription"]).lower()))
            if name and "((" not in entry["transcription"]:
                callers[entry["sessionNumber"]] = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LETTERS]
    for entry in entries:
        call = entry["sessionNumber"]
        words = _ACRONYM.sub(lambda found: " ".join(found[1]), _NOISES.sub(" ", entry["transcription"]))
        words = re.sub(r"[\^*+%@_]", " ", words)
        for keyword, spoken in _KEYWORDS.items():
            words = re.sub(rf"\b{keyword}\b", spoken, words, flags=re.IGNORECASE)
        text = "" if _UNSURE.search(words) else words
        yield entry["fileName"].removesuffix(".ulaw"), Said(text, callers.get(call, f"call{call}"))


_FEWEST_DIGITS: Final = 7


def spelled_and_dialled(path: str, text: str) -> Lines:
    """The form of the alphanumeric audio dataset: a name, which is spelled out, and a number, digit by digit.

    Addresses have no text: nobody wrote down how their numbers were read.
    """
    for row in csv.DictReader(io.StringIO(text)):
        speaker, name, digits = row.get("Response_ID"), row.get("Name") or "", row.get("Number") or ""
        if speaker and name.replace(" ", "").isalpha():
            yield f"Names/{speaker}", Said(" ".join(name.replace(" ", "")))
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
