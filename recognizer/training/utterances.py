"""From corpora to what training reads: aligned utterances, and copies of their features through simulated lines.

A working folder holds, each written under another name first so that a run that was broken off goes on where it was:

    utterances.json            what was said by whom, where the audio lies, how long it is
    alignment.npz              phones and times of all utterances, one after the other
    copy-NN.npy, copy-NN.npz   features (float16[frames, 40]) of copy NN, and whose they are at which speed
    statistics.npz             mean and deviation of copy 00's energies

Copy 00 has the log-mel energies in the reference channel; the others, already normalised, differ in speed, voice,
room, noise, line and codec (:mod:`recognizer.training.channel`), each with a seed of its own. A quarter of them stay
on a clean line: most calls come from a headset over G.711, with nothing wrong but the band.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognizer.evaluation.audio_file import AudioFileError
from recognizer.features import FeatureStatistics, MeanNormaliser
from recognizer.forced_alignment import AlignmentSettings, ForcedAligner
from recognizer.log_mel import BINS, log_mel
from recognizer.training.alignment import PhoneSegments, align
from recognizer.training.channel import ChannelSettings, perturb_speed, reference_channel, simulate
from recognizer.training.corpora.recording import Recording, TranscriptKind, read_samples

Float32 = NDArray[np.float32]
Progress = Callable[[int], None]

_BLOCK = 64
_MOST_SECONDS = 30.0
_OTHERS = 15
_CLEAN_SHARE = 0.25
_HEARD_BEFORE_SHARE = 0.4
_HEARD_BEFORE_FRAMES = (50, 400)
_STATISTICS_STRIDE = 8


@dataclass(frozen=True)
class Utterance:
    """One line of ``utterances.json``."""

    path: str
    channel: int
    start_s: float
    end_s: float
    words: tuple[str, ...]
    speaker: str
    corpus: str
    split: str
    licence: str

    @classmethod
    def of(cls, recording: Recording) -> Utterance:
        """Take over what training needs of `recording`."""
        return cls(
            str(recording.path),
            recording.channel,
            recording.start_s,
            recording.end_s,
            recording.words,
            recording.speaker,
            recording.corpus,
            recording.split,
            recording.licence,
        )

    def samples(self) -> Float32:
        """Read float32[n] at 8 kHz; raises AudioFileError."""
        where = Recording(
            Path(self.path), self.channel, self.start_s, self.end_s, self.words, self.speaker, self.corpus,
            self.split, self.licence, TranscriptKind.VERBATIM,
        )  # fmt: skip
        samples, _ = read_samples(where)
        return samples


@dataclass(frozen=True)
class PreparationSettings:
    """How the working folder is filled.

    Attributes
    ----------
    copies : int
        Simulated copies besides the reference channel.
    shares : dict
        By corpus, how many versions of an utterance a copy has on average (1 if not named): more where few
        utterances stand for many speakers, fewer where one speaker has hours.
    most : dict
        By corpus, how many utterances are taken at most.
    least_score : float
        Utterances that align worse (mean over the frames of what the aligned states score below the best ones) are
        left out: their transcripts are wrong.
    seed : int
    jobs : int
    """

    copies: int = 8
    shares: tuple[tuple[str, float], ...] = ()
    most: tuple[tuple[str, int], ...] = ()
    least_score: float = -6.0
    seed: int = 1
    jobs: int = 2


class Prepared:
    """A working folder that is ready: utterances, alignments and copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.utterances = read_utterances(folder)
        with np.load(folder / "alignment.npz") as arrays:
            self._first = arrays["first"]
            self._rows = arrays["rows"]
            self._score = arrays["score"]

    def segments(self, utterance: int) -> PhoneSegments | None:
        """Return the alignment of an utterance; None if it has none."""
        rows = self._rows[self._first[utterance] : self._first[utterance + 1]]
        if not len(rows):
            return None
        return PhoneSegments(rows[:, 0].astype(np.int16), rows[:, 1], rows[:, 2])

    @property
    def copies(self) -> int:
        """How many copies there are, the reference channel included."""
        return len(list(self.folder.glob("copy-??.npz")))

    def energies(self, copy: int) -> Iterator[tuple[int, float, NDArray[np.float16]]]:
        """Yield utterance, speed and float16[frames, 40] of each entry of a copy, mapped from disk."""
        frames = np.load(self.folder / f"copy-{copy:02}.npy", mmap_mode="r")
        with np.load(self.folder / f"copy-{copy:02}.npz") as index:
            at = 0
            for utterance, count, speed in zip(index["utterance"], index["frames"], index["speed"], strict=True):
                yield int(utterance), float(speed), frames[at : at + count]
                at += int(count)


def read_utterances(folder: Path) -> list[Utterance]:
    """Read ``utterances.json``."""
    rows = json.loads((folder / "utterances.json").read_text("utf-8"))
    return [Utterance(**{**row, "words": tuple(row["words"])}) for row in rows]


def write_utterances(folder: Path, recordings: Sequence[Recording], settings: PreparationSettings) -> int:
    """Choose among `recordings` and write ``utterances.json``; returns how many were chosen."""
    most = dict(settings.most)
    taken: dict[str, int] = {}
    rng = np.random.default_rng(settings.seed)
    chosen = []
    for place in rng.permutation(len(recordings)):
        recording = recordings[place]
        if not recording.words or recording.seconds > _MOST_SECONDS or recording.split not in ("train", "dev"):
            continue
        taken[recording.corpus] = taken.get(recording.corpus, 0) + 1
        if recording.split == "train" and taken[recording.corpus] > most.get(recording.corpus, 1 << 60):
            continue
        chosen.append(recording)
    chosen.sort(key=lambda r: (r.corpus, r.speaker, str(r.path), r.channel, r.start_s))
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "utterances.json", json.dumps([asdict(Utterance.of(r)) for r in chosen]).encode())
    return len(chosen)


def write_alignment(folder: Path, pack: Path, settings: PreparationSettings, progress: Progress) -> None:
    """Align all utterances with the network of `pack`; calls `progress` with how many more are done."""
    if (folder / "alignment.npz").exists():
        return
    count = len(read_utterances(folder))
    found: list[tuple[PhoneSegments, float] | None] = []
    with _workers(settings.jobs) as pool:
        for block in pool.map(_align_block, _blocks(count, folder, pack)):
            found += block
            progress(len(block))
    sizes, rows, scores = [0], [], []
    for one in found:
        fits = one is not None and one[1] >= settings.least_score
        if one is not None and fits:
            rows.append(np.stack([one[0].phone.astype(np.float32), one[0].start, one[0].end], axis=1))
        sizes.append(len(rows[-1]) if fits else 0)
        scores.append(one[1] if one is not None else -np.inf)
    with (folder / "alignment.new.npz").open("wb") as target:
        np.savez(
            target,
            first=np.cumsum(sizes),
            rows=np.concatenate(rows) if rows else np.zeros((0, 3), np.float32),
            score=np.array(scores, np.float32),
        )
    (folder / "alignment.new.npz").replace(folder / "alignment.npz")


def write_copy(folder: Path, copy: int, settings: PreparationSettings, progress: Progress) -> None:
    """Compute one copy; calls `progress` with how many more utterances are done."""
    if (folder / f"copy-{copy:02}.npz").exists():
        return
    count = len(read_utterances(folder))
    blocks = _blocks(count, folder, copy, settings)
    entries: list[tuple[int, int, float]] = []
    with _workers(settings.jobs) as pool, (folder / "copy.new").open("wb") as target:
        for done, (rows, energies) in enumerate(pool.map(_copy_block, blocks)):
            entries += rows
            energies.tofile(target)
            progress(min(_BLOCK, count - done * _BLOCK))
    frames = sum(row[1] for row in entries)
    mapped = np.memmap(folder / "copy.new", np.float16, "r", shape=(frames, BINS))
    np.save(folder / f"copy-{copy:02}.npy", mapped)
    del mapped
    (folder / "copy.new").unlink()
    columns = list(zip(*entries, strict=True)) or [(), (), ()]
    index = {
        "utterance": np.array(columns[0], np.int32),
        "frames": np.array(columns[1], np.int32),
        "speed": np.array(columns[2], np.float32),
    }
    with (folder / "index.new.npz").open("wb") as target:
        np.savez(target, **index)  # type: ignore[arg-type]
    (folder / "index.new.npz").replace(folder / f"copy-{copy:02}.npz")


def write_statistics(folder: Path) -> None:
    """Compute mean and deviation of the training part of copy 00."""
    if (folder / "statistics.npz").exists():
        return
    prepared = Prepared(folder)
    parts = [
        energies.astype(np.float64)
        for place, _, energies in prepared.energies(0)
        if prepared.utterances[place].split == "train"
    ][::_STATISTICS_STRIDE]
    frames = np.concatenate(parts)
    mean, deviation = frames.mean(0).astype(np.float32), frames.std(0).astype(np.float32)
    with (folder / "statistics.new.npz").open("wb") as target:
        np.savez(target, mean=mean, std=deviation)
    (folder / "statistics.new.npz").replace(folder / "statistics.npz")


def read_statistics(folder: Path) -> FeatureStatistics:
    """Read ``statistics.npz``."""
    with np.load(folder / "statistics.npz") as arrays:
        return FeatureStatistics(arrays["mean"], arrays["std"])


def normalised(
    energies: Float32, statistics: FeatureStatistics, rng: np.random.Generator | None = None
) -> Float32:
    """Return `energies` as the network gets them.

    With `rng`, now and then as in the middle of a leg: the window of the mean holds frames heard before.
    """
    normaliser = MeanNormaliser(statistics)
    if rng is not None and rng.random() < _HEARD_BEFORE_SHARE:
        count = int(rng.integers(*_HEARD_BEFORE_FRAMES))
        normaliser.accept(np.ascontiguousarray(energies[rng.permutation(len(energies))[:count]]))
    return normaliser.accept(np.ascontiguousarray(energies))


def _blocks(count: int, *arguments: Any) -> list[tuple[Any, ...]]:
    return [(first, min(first + _BLOCK, count), *arguments) for first in range(0, count, _BLOCK)]


def _workers(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


_aligners: dict[Path, ForcedAligner] = {}


def _align_block(block: tuple[int, int, Path, Path]) -> list[tuple[PhoneSegments, float] | None]:
    first, last, folder, pack = block
    if pack not in _aligners:
        _aligners[pack] = ForcedAligner.of_pack(pack, AlignmentSettings(unwritten=False), pronounce=_pronounce())
    aligner = _aligners[pack]
    phones = aligner.topology.phones
    found: list[tuple[PhoneSegments, float] | None] = []
    for utterance in read_utterances(folder)[first:last]:
        try:
            samples = reference_channel(utterance.samples(), 8000)
        except AudioFileError:
            found.append(None)
            continue
        found.append(align(aligner, utterance.words, samples, phones))
    return found


def _pronounce() -> Callable[[str], Sequence[tuple[str, ...]]]:
    from recognizer.grapheme_to_phoneme import GraphemeToPhoneme

    model = GraphemeToPhoneme.load()
    return lambda word: [found.phones for found in model.pronounce(word, most=2)]


def _copy_block(
    block: tuple[int, int, Path, int, PreparationSettings],
) -> tuple[list[tuple[int, int, float]], NDArray[np.float16]]:
    first, last, folder, copy, settings = block
    utterances = read_utterances(folder)
    rng = np.random.default_rng((settings.seed, copy, first))
    line = ChannelSettings()
    shares = dict(settings.shares)
    others = _others(utterances, rng) if copy else []
    statistics = read_statistics(folder) if copy else None
    entries: list[tuple[int, int, float]] = []
    energies = [np.empty((0, BINS), np.float16)]
    for place in range(first, last):
        utterance = utterances[place]
        if copy and utterance.split != "train":
            continue
        try:
            samples = utterance.samples()
        except AudioFileError:
            continue
        share = shares.get(utterance.corpus, 1.0)
        versions = int(share) + int(rng.random() < share % 1) if copy else 1
        for _ in range(versions):
            clean = statistics is None or rng.random() < _CLEAN_SHARE
            faster, speed = (samples, 1.0) if statistics is None else perturb_speed(samples, rng, line)
            on_the_line = reference_channel(faster, 8000) if clean else simulate(faster, rng, line, (), others)
            heard = log_mel(on_the_line)
            if statistics is not None and len(heard):
                heard = normalised(heard, statistics, rng)
            entries.append((place, len(heard), speed))
            energies.append(heard.astype(np.float16))
    return entries, np.concatenate(energies)


def _others(utterances: Sequence[Utterance], rng: np.random.Generator) -> list[Float32]:
    """Other people's speech, for babble and crosstalk."""
    found: list[Float32] = []
    long = [u for u in utterances if u.split == "train" and u.end_s - u.start_s > 2]
    for place in rng.choice(len(long), min(len(long), _OTHERS), replace=False) if long else ():
        try:
            found.append(long[place].samples())
        except AudioFileError:
            continue
    return found


def _replace(path: Path, data: bytes) -> None:
    growing = path.with_suffix(".new")
    with growing.open("wb") as target:
        target.write(data)
        target.flush()
        os.fsync(target.fileno())
    growing.replace(path)
