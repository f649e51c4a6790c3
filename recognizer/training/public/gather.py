"""From the table of sources and a folder of mirrors to a folder in the manifest's layout.

The same mirrors give the same bytes: sources come in the table's order, recordings in the order of their paths.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from recognizer.training.corpora.held_out import is_held_out
from recognizer.training.corpora.manifest import NAME
from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words
from recognizer.training.public.call_segments import call_segments
from recognizer.training.public.debian_package import PREFIX, DebianPackage, package_file
from recognizer.training.public.git_mirror import AbsentFile, Archive, GitMirror, MirrorError, git_directory
from recognizer.training.public.sound import UnfitSound, check_pace, check_sound
from recognizer.training.public.sources import COMMITS, Source
from recognizer.training.public.transcripts import Said, read_transcripts

ADULT_AGE: Final = 16
"""Adults of a test set that is given with ages are kept for the last comparison: not even written."""


class GatheringError(ValueError):
    """Nothing may be written; the message is one sentence."""


class Unfit(ValueError):
    """A recording is left out; the message is a noun phrase that says why, to be counted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the manifest."""

    corpus: str
    split: str
    speaker: str
    path: str
    seconds: float
    sample_rate: int
    text: str
    transcript_kind: str
    licence: str


@dataclass
class Gathered:
    """What came of it.

    Attributes
    ----------
    rows : list of Row
    left_out : Counter
        Recordings by (corpus, reason).
    states : dict
        Archive to the state that was read.
    complaints : list of str
        Sentences about what was expected and is not there.
    taken : set of str
        Names and checksums of the recordings taken, by which duplicates are known.
    """

    rows: list[Row] = field(default_factory=list)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    states: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)


class Archives(Mapping[str, Archive]):
    """All archives below one folder, opened when first asked for; raises MirrorError for what is not there."""

    def __init__(self, mirrors: Path, commits: Mapping[str, str] = COMMITS) -> None:
        self._mirrors = mirrors
        self._commits = commits
        self._open: dict[str, Archive] = {}

    def __getitem__(self, name: str) -> Archive:
        if name not in self._open:
            if name.startswith(PREFIX):
                self._open[name] = DebianPackage(name, package_file(name, self._mirrors))
            else:
                self._open[name] = GitMirror(name, git_directory(name, self._mirrors), self._commits.get(name, ""))
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def close(self) -> None:
        """Close what was opened."""
        for archive in self._open.values():
            archive.close()


def gather(
    sources: Sequence[Source],
    mirrors: Path,
    out: Path,
    commits: Mapping[str, str] = COMMITS,
    shown: Callable[[str, int], Callable[[], None]] = lambda corpus, total: lambda: None,
) -> Gathered:
    """Write the recordings of `sources` below ``out/audio`` and, when all are there, ``out/audio.tsv``.

    Parameters
    ----------
    sources : sequence of Source
    mirrors : Path
        Holds repositories in folders ``owner+name`` and Debian packages.
    out : Path
    commits : mapping
        Repository to the commit to be read.
    shown : callable
        Is given a corpus and how many files will be looked at; what it returns is called after each.

    Raises
    ------
    GatheringError
        Not one recording was found, or a speaker is both trained on and tested with.
    OSError
        `out` cannot be written to.
    """
    gathered = Gathered()
    archives = Archives(mirrors, commits)
    try:
        for source in sources:
            try:
                _gather_source(source, archives, out, gathered, shown)
            except MirrorError as error:
                gathered.complaints.append(f"Left out {source.corpus}: {error}")
        gathered.states = {name: archives[name].state for name in sorted(archives)}
    finally:
        archives.close()
    if not gathered.rows:
        raise GatheringError("No recording could be gathered from the folder of mirrors.")
    check_splits(gathered.rows)
    for name, state in gathered.states.items():
        if commits.get(name) and commits[name] != state:
            gathered.complaints.append(
                f"Read {name} as of {state[:12]}, which is not the state the table was made for."
            )
    _write(out / NAME, manifest(gathered.rows))
    return gathered


def check_splits(rows: Iterable[Row]) -> None:
    """Raise GatheringError when a speaker is in more than one of training, tuning and testing."""
    splits: dict[str, set[str]] = {}
    for row in rows:
        if row.speaker:
            splits.setdefault(row.speaker, set()).add("train" if row.split == "untranscribed" else row.split)
    for speaker, found in sorted(splits.items()):
        if len(found) > 1:
            raise GatheringError(
                f"The speaker {speaker} would be in more than one split: {', '.join(sorted(found))}."
            )


def manifest(rows: Iterable[Row]) -> bytes:
    """Return ``audio.tsv``, UTF-8 with a header."""
    text = io.StringIO()
    names = [column.name for column in fields(Row)]
    table = csv.DictWriter(
        text, names, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
    )
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue().encode()


@dataclass(frozen=True, slots=True)
class _Utterance:
    """A recording before it is looked at: `place` is its path in the corpus's folder without the ending."""

    place: str
    key: str
    identity: str
    speaker: str
    text: str | None
    contents: Callable[[], bytes]


def _gather_source(
    source: Source,
    archives: Archives,
    out: Path,
    gathered: Gathered,
    shown: Callable[[str, int], Callable[[], None]],
) -> None:
    archive = archives[source.archive]
    texts, complaints = read_transcripts(source.transcripts, archives, source.archive)
    gathered.complaints += (f"{source.corpus}: {sentence}" for sentence in complaints)
    ages = _test_ages(source, archive)
    source = replace(source, test=source.test | ages.keys())
    kept_back = frozenset(speaker for speaker, age in ages.items() if age >= ADULT_AGE)
    found = archive.matching(f"{source.root}(?:{source.audio})")
    if not found:
        gathered.complaints.append(f"{source.corpus}: {archive.name} holds no recordings where they are expected.")
    advance = shown(source.corpus, len(found))
    for path, match in found:
        utterances = (
            _of_call(match["utterance"], archive, source, gathered)
            if source.calls
            else [
                _of_file(
                    path, {name: text or "" for name, text in match.groupdict().items()}, archive, source, texts
                )
            ]
        )
        for utterance in utterances:
            try:
                gathered.rows.append(_take(utterance, source, kept_back, out, gathered.taken))
            except (Unfit, UnfitSound, AbsentFile) as reason:
                gathered.left_out[source.corpus, str(reason)] += 1
        advance()


def _test_ages(source: Source, archive: Archive) -> dict[str, int]:
    if not source.test_ages:
        return {}
    try:
        lines = archive.read(source.test_ages).decode().splitlines()
        ages = {speaker: int(age) for speaker, age in (line.split() for line in lines if line.strip())}
    except (AbsentFile, ValueError):
        ages = {}
    if not ages:
        raise MirrorError(
            f"The list {source.test_ages} is absent or damaged, so that nobody knows who is tested with."
        )
    return ages


def _of_file(
    path: str, groups: Mapping[str, str], archive: Archive, source: Source, texts: Mapping[str, Said]
) -> _Utterance:
    below = path.removeprefix(source.root)
    key = groups.get("utterance") or below
    said = texts.get(key)
    label = groups.get("label")
    text = source.labels.get(label, label) if label else said.text if said else source.texts.get(key)
    speaker = groups.get("speaker") or (said.speaker if said else "") or source.speaker

    def contents() -> bytes:
        blob = archive.read(path)
        return source.convert(blob) if source.convert else blob

    place = str(PurePosixPath(below).with_suffix("")).replace(" ", "_")
    return _Utterance(place, key, archive.identity(path), speaker, text, contents)


def _of_call(call: str, archive: Archive, source: Source, gathered: Gathered) -> Iterator[_Utterance]:
    left_out = LeftOut()
    for place, recording, wav in call_segments(call, archive, left_out):
        speaker = recording.speaker.removeprefix(f"{source.family}-")
        yield _Utterance(place, place, "", speaker, " ".join(recording.words), partial(bytes, wav))
    for reason, count in left_out.reasons.items():
        gathered.left_out[source.corpus, reason] += count


def _take(utterance: _Utterance, source: Source, kept_back: frozenset[str], out: Path, taken: set[str]) -> Row:
    """Write one recording and describe it; raise Unfit, UnfitSound or AbsentFile when it is to be left out."""
    speaker = utterance.speaker
    split = "test" if speaker in source.test else "dev" if speaker in source.dev else source.split
    kind = source.kind
    name = f"{source.family}-{speaker}" if speaker else ""
    claimed = Recording(Path(), 0, 0, 0, (), name, source.corpus, split, source.licence, kind)
    if speaker in kept_back or (split != "test" and is_held_out(claimed)):
        raise Unfit("a speaker of the test sets (held out)")
    words = _words(utterance.text) if kind is not TranscriptKind.NONE else ()
    if kind is not TranscriptKind.NONE and not words:
        raise Unfit("no transcript")
    marks = {f"{source.family}/{utterance.key}", utterance.identity} - {""}
    if not taken.isdisjoint(marks):
        raise Unfit("a duplicate")
    contents = utterance.contents()
    sound = check_sound(contents, source.channels)
    text = " ".join(words)
    check_pace(text, sound.seconds)
    # The container gives the ending: one repository names MP3 files .wav.
    place = PurePosixPath("audio") / source.corpus / f"{utterance.place}{sound.suffix}"
    _write(out / place, contents)
    taken |= marks
    return Row(
        source.corpus, split, name, str(place), round(sound.seconds, 3), sound.sample_rate, text, kind.value,
        source.licence,
    )  # fmt: skip


def _words(text: str | None) -> tuple[str, ...]:
    try:
        return spoken_words(text or "")
    except NoSpokenForm as error:
        raise Unfit("a transcript without a single spoken form") from error


def _write(path: Path, contents: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(contents)
    part.replace(path)
