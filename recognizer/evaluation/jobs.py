"""Many recordings on several processes: each has its own systems, results come in the sets' order."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import msgspec

from recognizer.evaluation.audio_file import AudioFileError
from recognizer.evaluation.measurement import Outcome, SetResult, recognise_recording
from recognizer.evaluation.systems import Callwarden, PocketSphinx, System
from recognizer.evaluation.telephone_channel import telephone_speech
from recognizer.evaluation.test_set import Recording
from recognizer.model_pack import read_manifest
from recognizer.recogniser import RecogniserSettings


@dataclass(frozen=True)
class SystemChoice:
    """A system to be made in every process: our recogniser with the pack in a folder, or a peer."""

    pack: Path | None = None
    changes: tuple[tuple[str, str], ...] = ()
    """Settings that differ from the recogniser's own: (``search.beam``, ``15``)."""
    lattices: bool = False

    def make(self) -> System:
        """Raises ModelPackError or SecondRecogniserError if something cannot be used, ImportError without the peer."""
        if self.pack is None:
            return PocketSphinx()
        return Callwarden(self.pack, changed_settings(self.changes), self.lattices)

    def name(self) -> str:
        """What :attr:`System.name` will be, without loading anything big."""
        if self.pack is None:
            return PocketSphinx.called()
        changes = "".join(f" {name}={value}" for name, value in self.changes)
        return Callwarden.called(read_manifest(self.pack)["name"]) + changes


class VariantError(ValueError):
    """A changed setting does not exist or has no such value; the message is one sentence."""


def changed_settings(changes: Sequence[tuple[str, str]]) -> RecogniserSettings:
    """Return the recogniser's settings with some of them changed.

    Raises
    ------
    VariantError
        If there is no such setting, or the value does not fit.
    """
    settings = RecogniserSettings()
    sections: dict[str, dict[str, Any]] = {}
    for path, text in changes:
        section, _, name = path.rpartition(".")
        holder: Any = getattr(settings, section, None) if section else settings
        kind = get_type_hints(type(holder)).get(name) if dataclasses.is_dataclass(holder) else None
        sections.setdefault(section, {})[name] = _value(path, text, kind)
    for section, values in sections.items():
        # Together: what fits one another may not fit what was before.
        try:
            if section:
                values = {section: dataclasses.replace(getattr(settings, section), **values)}
            settings = dataclasses.replace(settings, **values)
        except ValueError as error:
            given = " and ".join(f"{path} cannot be {text}" for path, text in changes if _within(path, section))
            raise VariantError(f"The setting {given}: {error}") from None
    return settings


def _within(path: str, section: str) -> bool:
    return path.rpartition(".")[0] == section


def _value(path: str, text: str, kind: Any) -> Any:
    """Return what `text` stands for in a setting of the type `kind`."""
    if kind == Path | None:
        return Path(text)
    if kind not in (int, float, str) and get_origin(kind) is not Literal:
        raise VariantError(f"The recogniser has no number or name called {path} among its settings.")
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise VariantError(f"The setting {path} cannot be {text}: {error}.") from None


@dataclass(frozen=True)
class _Task:
    system: int
    place: int
    recording: Recording


_made: list[System] = []
_simulated = False


def run_all(
    sets: Sequence[tuple[str, Sequence[Recording]]],
    choices: Sequence[SystemChoice],
    names: Sequence[str],
    simulate: bool,
    processes: int = 1,
    done: Callable[[], None] = lambda: None,
    complain: Callable[[str], None] = lambda sentence: None,
) -> list[SetResult]:
    """Measure every system on every set, the first system first within each set.

    Parameters
    ----------
    sets : sequence of (name, recordings)
    choices, names : sequences, equally long
        Systems and what they are called in the results.
    simulate : bool
        Bring the audio through the simulated telephone first.
    processes : int
    done : callable
        Called after each recording and system.
    complain : callable
        Called with one sentence per recording that cannot be read (once, not once a system).

    Raises
    ------
    ModelPackError, SecondRecogniserError, ImportError
        If a system cannot be made.
    """
    results = []
    plan = [(s, name, recordings) for name, recordings in sets for s in range(len(choices))]
    tasks = [
        _Task(system, place, recording)
        for system, _, recordings in plan
        for place, recording in enumerate(recordings)
    ]
    _begin(choices, simulate)  # here too: what cannot be made is told, and kernels are compiled once for all
    outcomes = _run(tasks, choices, simulate, processes)
    for system, name, recordings in plan:
        kept, unreadable = [], 0
        for _ in recordings:
            outcome = next(outcomes)
            done()
            if isinstance(outcome, Outcome):
                kept.append(outcome)
                continue
            unreadable += 1
            if system == 0:
                complain(outcome)
        results.append(SetResult(name, names[system], tuple(kept), unreadable))
    return results


def _run(
    tasks: Sequence[_Task], choices: Sequence[SystemChoice], simulate: bool, processes: int
) -> Iterator[Outcome | str]:
    if processes == 1:
        yield from map(_recognise, tasks)
        return
    # Spawned, not forked: numba's and a network library's threads do not survive a fork.
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _begin, (tuple(choices), simulate)
    ) as pool:
        yield from pool.map(_recognise, tasks, chunksize=4)


def _begin(choices: Sequence[SystemChoice], simulate: bool) -> None:
    global _made, _simulated
    _made = [choice.make() for choice in choices]
    _simulated = simulate


def _recognise(task: _Task) -> Outcome | str:
    """Return the outcome, or the sentence that says why there is none."""
    try:
        return recognise_recording(task.recording, _made[task.system], telephone_speech if _simulated else None)
    except AudioFileError as error:
        return str(error)


def names_of(choices: Sequence[SystemChoice]) -> list[str]:
    """Return what the systems are called; packs of the same name are told apart by their folders.

    Raises
    ------
    ModelPackError, ImportError
        If a pack has no readable manifest, or the peer is not installed.
    """
    names = [choice.name() for choice in choices]
    return [
        name if names.count(name) == 1 or choice.pack is None else f"{name} ({choice.pack})"
        for name, choice in zip(names, choices, strict=True)
    ]
