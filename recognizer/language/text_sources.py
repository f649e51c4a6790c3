"""The public texts that the shipped language model is trained on, and how each is read.

A source is a git repository at a named commit (a clone, bare or not, in a folder that the caller names), so that a
model can be made again. Nothing is read from a work tree: a changed file cannot slip in.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path, PurePosixPath

from recognizer.language.spoken_text import sentences


class TextSourceError(ValueError):
    """A source of text is not there or cannot be read; the message is one whole sentence."""


@dataclass(frozen=True)
class Document:
    """One book, dialogue or file: its name and its sentences as spoken words (None: no spoken form)."""

    name: str
    sentences: list[str | None]


@dataclass(frozen=True)
class TextSource:
    """A part of a public repository.

    Attributes
    ----------
    name : str
        Name of the text file made from it; several sources may share one.
    repository : str
        ``owner/name`` at github.com.
    commit : str
        Forty hexadecimal digits.
    licence : str
        As the repository or its data states it.
    pattern : str
        Regular expression that a path must match in full.
    read : callable
        From the text of a file to its printed texts, each normalised by itself.
    apart : bool
        Each text of a file is a document of its own (utterances of many books in one list).
    """

    name: str
    repository: str
    commit: str
    licence: str
    pattern: str
    read: Callable[[str], Iterator[str]]
    apart: bool = False


def _gutenberg_plain(text: str) -> Iterator[str]:
    """Plain text of a book without Project Gutenberg's own words before and after it."""
    start = re.search(r"\*\*\* ?START OF TH[^\n]*\n", text)
    end = re.search(r"\*\*\* ?END OF TH|End of (?:the )?Project Gutenberg", text)
    yield text[start.end() if start else 0 : end.start() if end else len(text)]


def _line_per_paragraph(text: str) -> Iterator[str]:
    yield text.replace("\n", "\n\n")


def _markdown(text: str) -> Iterator[str]:
    head, _, body = text.partition("\n-------\n")
    yield re.sub(r"^#+ *(.*?) *$", r"\1.\n", body or head, flags=re.MULTILINE)


def _tei(text: str) -> Iterator[str]:
    body = text[text.find("<body") :]
    for part in re.findall(r"<(?:p|head|l|said)\b[^>]*>(.*?)</(?:p|head|l|said)>", body, flags=re.DOTALL):
        yield unescape(re.sub(r"<[^>]+>", " ", part))


def _meeting(text: str) -> Iterator[str]:
    for turn in json.loads(text)["meeting_transcripts"]:
        yield re.sub(r"\s+(?=[.,!?]|'(?:m|s|re|ve|ll|d|t)\b)|(?<=\w)_(?=\W|$)", "", turn["content"])


_UNMARKED = {
    "dont": "don't", "didnt": "didn't", "cant": "can't", "wont": "won't", "isnt": "isn't", "doesnt": "doesn't",
    "couldnt": "couldn't", "wouldnt": "wouldn't", "havent": "haven't", "hasnt": "hasn't", "wasnt": "wasn't",
    "thats": "that's", "whats": "what's", "im": "i'm", "ive": "i've", "youre": "you're", "theres": "there's",
}  # fmt: skip
_TYPED = re.compile(rf"(?i)\b({'|'.join(_UNMARKED)})\b")


def _typed(text: str) -> str:
    """Typed chat with the apostrophes that people leave out."""
    return _TYPED.sub(lambda match: _UNMARKED[match[0].lower()], text)


def _goal_turns(text: str) -> Iterator[str]:
    for line in text.splitlines()[1:]:
        fields = line.split("\t")
        if len(fields) > 3:
            yield _typed(fields[3].strip('"'))


def _scheduled_turns(text: str) -> Iterator[str]:
    for dialogue in json.loads(text):
        for turn in dialogue["turns"]:
            yield turn["utterance"]


def _order_turns(text: str) -> Iterator[str]:
    for conversation in json.loads(text):
        for turn in conversation["utterances"]:
            if turn["speaker"] in ("user", "assistant"):
                yield turn["text"]


def _first_column(text: str) -> Iterator[str]:
    for row in list(csv.reader(io.StringIO(text)))[1:]:
        yield _typed(row[0])


def _user_inputs(text: str) -> Iterator[str]:
    for item in json.loads(text):
        yield _typed(item["userInput"]["text"])


def _texts(text: str) -> Iterator[str]:
    for item in json.loads(text):
        yield _typed(item["text"])


def _translated(text: str) -> Iterator[str]:
    yield from dict.fromkeys(line.partition("\t")[0] for line in text.splitlines())


def _utterance_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield json.loads(line)["utterance"]


def _sentence_pieces(text: str) -> Iterator[str]:
    for line in text.splitlines():
        pieces = line.partition("\t")[2].partition("<↑>")[2].replace(" ", "").replace("▁", " ")
        yield pieces.strip().lower()


SOURCES = (
    TextSource(
        "books", "mlschmitt/classic-books-markdown", "944882722e9a96fa6cf2739dc2ea757e101f412f", "public domain",
        r"[^/]+/.+\.md", _markdown,
    ),
    TextSource(
        "books", "computationalstylistics/100_english_novels", "143e601875d70e195f2cc5ebd8b034609271194d",
        "public domain", r"corpus/.+\.txt", _line_per_paragraph,
    ),
    TextSource(
        "books", "COST-ELTeC/ELTeC-eng", "3db3b6738a836f0e1b276b6c9703e42f4297f978", "CC-BY-4.0",
        r"level1/.+\.xml", _tei,
    ),
    TextSource(
        "books", "dbamman/litbank", "3e50db0ffc033d7ccbb94f4d88f6b99210328ed8", "public domain (texts)",
        r"original/.+\.txt", _gutenberg_plain,
    ),
    TextSource(
        "librispeech", "proger/flaky-librispeech", "1a9c1e96eb83e8de856c10b72d982982612e11b0", "CC-BY-4.0",
        r"spin/.+\.query\.txt\.spin", _sentence_pieces, apart=True,
    ),
    TextSource(
        "meetings", "Yale-LILY/QMSum", "83d7768c1f2b4dfeb091385d3dc7e239b8e5bb7e", "MIT; AMI and ICSI: CC-BY-4.0",
        r"data/(?:Academic|Product)/all/.+\.json", _meeting,
    ),
    TextSource(
        "committees", "Yale-LILY/QMSum", "83d7768c1f2b4dfeb091385d3dc7e239b8e5bb7e", "MIT",
        r"data/Committee/all/.+\.json", _meeting,
    ),
    TextSource(
        "customers", "awslabs/multi-domain-goal-oriented-dialogues-dataset",
        "baa30639c4b271f394b81443c842193407cdf26d", "CDLA-Permissive-1.0",
        r"data/paper_splits/splits_annotated_at_turn_level/\w+/train\.tsv", _goal_turns,
    ),
    TextSource(
        "callers", "PolyAI-LDN/task-specific-datasets", "57ec275d8078af65b7731c2a98be812d844a6d6b", "CC-BY-4.0",
        r"banking_data/train\.csv", _first_column,
    ),
    TextSource(
        "callers", "PolyAI-LDN/task-specific-datasets", "57ec275d8078af65b7731c2a98be812d844a6d6b", "CC-BY-4.0",
        r"nlupp/data/\w+/fold\d+\.json", _texts,
    ),
    TextSource(
        "orders", "PolyAI-LDN/task-specific-datasets", "57ec275d8078af65b7731c2a98be812d844a6d6b", "CC-BY-4.0",
        r"span_extraction/restaurant8k/train_0\.json", _user_inputs,
    ),
    TextSource(
        "orders", "google-research-datasets/Taskmaster", "d92cb6af3005f1dc09c39e75e7daf4a04905e00b", "CC-BY-4.0",
        r"TM-4-2024/data/data_\d+\.json", _order_turns,
    ),
    TextSource(
        "schedules", "google-research-datasets/dstc8-schema-guided-dialogue",
        "e852981ae34990f4358979625854259302feaa78", "CC-BY-SA-4.0",
        r"(?:train|dev)/dialogues_\d+\.json", _scheduled_turns,
    ),
    TextSource(
        "everyday", "Soubhagya264/Language_Translator-Encoder-Decoder-", "f6c89651306aa93d2f0f0447ce15b553a530abb0",
        "CC-BY-2.0-FR (Tatoeba)", r"fra\.txt", _translated,
    ),
    TextSource(
        "callers", "amazon-science/dstc11-track2-intent-induction", "969b95a0d7365fbc6cd0e05989f1be6b44e6680c",
        "CDLA-Permissive-2.0", r"dstc11/[\w-]+/test-utterances\.jsonl", _utterance_lines,
    ),
)  # fmt: skip


def documents(source: TextSource, repositories: Path) -> Iterator[Document]:
    """Yield every readable file of a source as a document.

    Parameters
    ----------
    source : TextSource
    repositories : Path
        Holds clones as ``owner/name`` or ``owner+name``.

    Raises
    ------
    TextSourceError
        If there is no clone, or it lacks the commit.
    """
    git = _git_directory(source.repository, repositories)
    listing = _git(source, git, "ls-tree", "-r", "-z", source.commit).decode("utf-8", "replace")
    matches = re.compile(source.pattern)
    for row in listing.split("\0"):
        head, _, path = row.partition("\t")
        if path and matches.fullmatch(path):
            content = subprocess.run(
                ["git", "--git-dir", str(git), "cat-file", "blob", head.split()[2]],
                capture_output=True,
                check=False,
            )
            if content.returncode == 0:  # a partial clone lacks its largest files
                text = content.stdout.decode("utf-8", "replace").replace("\r\n", "\n")
                name = f"{source.repository}/{PurePosixPath(path)}"
                texts = (list(sentences(part)) for part in source.read(text))
                if source.apart:
                    yield from (Document(name, spoken) for spoken in texts)
                else:
                    yield Document(name, [words for spoken in texts for words in spoken])


def _git_directory(repository: str, repositories: Path) -> Path:
    for folder in (repositories / repository, repositories / repository.replace("/", "+")):
        for place in (folder / ".git", folder / "repo" / ".git", folder / "repo", folder):
            if (place / "HEAD").is_file() and (place / "objects").is_dir():
                return place
    raise TextSourceError(f"There is no clone of github.com/{repository} in the folder of repositories.")


def _git(source: TextSource, git: Path, *arguments: str) -> bytes:
    done = subprocess.run(["git", "--git-dir", str(git), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise TextSourceError(f"The clone of github.com/{source.repository} lacks the commit {source.commit}.")
    return done.stdout
