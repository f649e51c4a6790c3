"""Dialogue with punctuation from public repositories, as tokens with marks and capitals.

A source is a git repository at a named commit, cloned (bare or not) into a folder that the caller names, as
``owner/name`` or ``owner+name``. Everything is read from git's objects, never from a work tree.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final


class TrainingTextError(ValueError):
    """A source is not there or cannot be read; the message is one whole sentence."""


@dataclass(frozen=True)
class Source:
    """Files of a repository: `pattern` for training, `held_out` for measuring, each matched in full."""

    name: str
    repository: str
    commit: str
    licence: str
    pattern: str
    held_out: str
    read: Callable[[str], Iterator[str]]
    every: int = 1
    """Only each so-many-th file: templated text must not outweigh the rest."""


@dataclass(frozen=True)
class MarkedToken:
    """A word as written, without its mark; `mark` is ``,``, ``.``, ``?`` or nothing."""

    text: str
    mark: str


def _turns(key: str, text_key: str) -> Callable[[str], Iterator[str]]:
    def read(text: str) -> Iterator[str]:
        for dialogue in json.loads(text):
            for turn in dialogue[key]:
                yield turn[text_key]

    return read


def _csv_text(text: str) -> Iterator[str]:
    for row in csv.DictReader(io.StringIO(text)):
        yield row["text"]


def _json_text(text: str) -> Iterator[str]:
    for item in json.loads(text):
        found: Any = item.get("userInput", item)
        yield found["text"]


def _meeting(text: str) -> Iterator[str]:
    for turn in json.loads(text)["meeting_transcripts"]:
        spoken = re.sub(r"\{[^}]*\}|<[^>]*>", " ", turn["content"])
        yield re.sub(r"\s+(?=[.,!?]|'(?:m|s|re|ve|ll|d|t)\b)|(?<=\w)_(?=\W|$)", "", spoken)


_POLYAI: Final = ("PolyAI-LDN/task-specific-datasets", "57ec275d8078af65b7731c2a98be812d844a6d6b", "CC-BY-4.0")
_QMSUM: Final = ("Yale-LILY/QMSum", "83d7768c1f2b4dfeb091385d3dc7e239b8e5bb7e", "MIT; AMI and ICSI: CC-BY-4.0")
SOURCES: Final = (
    Source(
        "customer service (SGD)", "google-research-datasets/dstc8-schema-guided-dialogue",
        "e852981ae34990f4358979625854259302feaa78", "CC-BY-SA-4.0",
        r"(?:train|dev)/dialogues_\d+\.json", r"test/dialogues_\d+\.json", _turns("turns", "utterance"), every=3,
    ),
    Source(
        "orders (Taskmaster TM-4)", "google-research-datasets/Taskmaster", "d92cb6af3005f1dc09c39e75e7daf4a04905e00b",
        "CC-BY-4.0", r"TM-4-2024/data/data_0[0-6]\.json", r"TM-4-2024/data/data_07\.json",
        _turns("utterances", "text"),
    ),
    Source("bank customers (Banking77)", *_POLYAI, r"banking_data/train\.csv", r"banking_data/test\.csv", _csv_text),
    Source(
        "bank and hotel customers (NLU++)", *_POLYAI, r"nlupp/data/\w+/fold(?:[0-9]|1[0-7])\.json",
        r"nlupp/data/\w+/fold1[89]\.json", _json_text,
    ),
    Source(
        "meetings (AMI)", *_QMSUM, r"data/Product/all/(?:ES|IS)\w+\.json", r"data/Product/all/TS\w+\.json", _meeting,
    ),
    Source(
        "meetings (ICSI)", *_QMSUM, r"data/Academic/all/B(?:ed|mr)\w+\.json", r"data/Academic/all/B(?:db|ro)\w+\.json",
        _meeting,
    ),
)  # fmt: skip


def texts(source: Source, repositories: Path, held_out: bool) -> Iterator[str]:
    """Yield the printed utterances of a source.

    Raises
    ------
    TrainingTextError
        If there is no clone, or it lacks the commit.
    """
    git = _git_directory(source.repository, repositories)
    rows = _git(source, git, "ls-tree", "-r", "-z", source.commit).decode("utf-8", "replace").split("\0")
    pattern = re.compile(source.held_out if held_out else source.pattern)
    blobs = [row.split()[2] for row in rows if pattern.fullmatch(row.partition("\t")[2])]
    for blob in blobs[:: 1 if held_out else source.every]:
        content = _run(git, "cat-file", "blob", blob)
        if content.returncode == 0:  # a partial clone lacks its largest files
            yield from source.read(content.stdout.decode("utf-8", "replace"))


_APOSTROPHES: Final = str.maketrans({"’": "'", "‘": "'", "`": "'"})
_DOTTED: Final = re.compile(
    r"(?:[a-zA-Z]\.)+[a-zA-Z]?\.?|(?:mr|mrs|ms|dr|st|etc|vs|no|jr|sr|ave|inc)\.", re.IGNORECASE
)
_HALF: Final = re.compile(r"(?P<hour>\d+(?::\d\d)?)\s*(?P<half>[ap])\.?\s?m\b\.?(?!\w)", re.IGNORECASE)
_NOT_WORDS: Final = re.compile(r"[\"“”()*\[\]{}]")
_MARK_OF: Final = {",": ",", ";": ",", ":": ",", ".": ".", "!": ".", "?": "?"}


def marked_tokens(text: str) -> list[MarkedToken]:
    """Split a printed utterance; empty where it has no marks, or other signs than speech has."""
    text = _NOT_WORDS.sub(" ", text.translate(_APOSTROPHES))
    text = re.sub(r"\s[-–—]+\s|—|\.\.\.+|…", " ", text)
    text = _HALF.sub(lambda found: f"{found['hour']} {found['half'].lower()}.m.", text)
    tokens: list[MarkedToken] = []
    for chunk in text.replace("/", " ").split():
        core = chunk.rstrip(".,?!;:")
        marks = chunk[len(core) :]
        if not core or not any(sign.isalnum() for sign in core):
            if tokens and marks and not tokens[-1].mark:
                tokens[-1] = MarkedToken(tokens[-1].text, _MARK_OF[marks[-1]])
            continue
        if marks.startswith(".") and _DOTTED.fullmatch(core + "."):
            core, marks = core + ".", marks[1:]
        mark = "?" if "?" in marks else _MARK_OF[marks[-1]] if marks else ""
        tokens.append(MarkedToken(core, mark))
    # An abbreviation's full stop at the end is the sentence's as well.
    if tokens and not tokens[-1].mark and tokens[-1].text.endswith("."):
        tokens[-1] = MarkedToken(tokens[-1].text, ".")
    properly = bool(tokens) and tokens[-1].mark in (".", "?") and tokens[0].text[:1] == tokens[0].text[:1].upper()
    return tokens if properly and len(tokens) <= 120 else []


def _git_directory(repository: str, repositories: Path) -> Path:
    for folder in (repositories / repository, repositories / repository.replace("/", "+")):
        for place in (folder / ".git", folder / "repo" / ".git", folder / "repo", folder):
            if (place / "HEAD").is_file() and (place / "objects").is_dir():
                return place
    raise TrainingTextError(f"There is no clone of github.com/{repository} in the folder of repositories.")


def _git(source: Source, git: Path, *arguments: str) -> bytes:
    done = _run(git, *arguments)
    if done.returncode:
        raise TrainingTextError(f"The clone of github.com/{source.repository} lacks the commit {source.commit}.")
    return done.stdout


def _run(git: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | {"GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    return subprocess.run(
        ["git", "--git-dir", str(git), *arguments],
        capture_output=True,
        check=False,
        env=environment,
    )
