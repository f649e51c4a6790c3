"""Takes recorded calls through the engine: into the log, then until each is complete in the index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from console.data_folder import DataFolderInUse, EngineLock
from console.engine import Engine
from console.speaker_turns_sink import SpeakerTurnsSink
from console.wiring import Wiring
from events.call_document import CallDocument, CallState
from events.errors import CallwardenError
from events.identity import CallId
from telephony.recorded_source import ImportStopped, import_recording
from telephony.recorded_wav import RecordingRefused
from telephony.sink import LogSink

AUDIO_SUFFIXES: Final = frozenset(
    {".wav", ".wave", ".mp3", ".ogg", ".oga", ".opus", ".flac", ".m4a", ".amr", ".au"}
)
_LOOK_EVERY_S: Final = 0.2


class NothingToImport(CallwardenError):
    """No file was named that could be imported."""


@dataclass(frozen=True, slots=True)
class Imported:
    """How the import of one file ended."""

    path: Path
    call: CallId | None
    document: CallDocument | None
    refused: str = ""
    already_there: bool = False


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files to import: those named, and audio files of folders named, in order of path.

    Raises
    ------
    NothingToImport
        A path does not exist, or there is no audio file at all.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in AUDIO_SUFFIXES
            )
        elif path.exists():
            found.append(path)
        else:
            raise NothingToImport(f"There is no file or folder {path}.")
    if not found:
        raise NothingToImport("There is no audio file in what was named.")
    return list(dict.fromkeys(found))


@contextmanager
def consumers_at_work(wiring: Wiring, config: Path | None) -> Iterator[bool]:
    """Start the consuming stages unless an engine runs on this data folder; yield whether they were started."""
    if EngineLock(wiring.folder).is_held():
        yield False
        return
    try:
        engine = Engine(wiring.folder, wiring.settings, config, consumers_only=True)
    except DataFolderInUse:
        yield False  # one came up between the look and the start
        return
    thread = threading.Thread(target=engine.run, args=(lambda: None,), name="engine")
    thread.start()
    try:
        yield True
    finally:
        engine.stop()
        thread.join()


def import_files(
    wiring: Wiring,
    files: Sequence[Path],
    on_progress: Callable[[Path, float], None],
    stop: threading.Event,
) -> Iterator[Imported]:
    """Write every file into the log, then yield each as soon as its call is complete in the index.

    Parameters
    ----------
    on_progress
        Called with a file and the share of it, from 0 to 1, that has been transcribed.
    """
    log_sink = LogSink(wiring.log, wiring.sealer, wiring.keys)
    sink = SpeakerTurnsSink(log_sink, wiring.settings.speakers)
    waiting: dict[CallId, Path] = {}
    for path in files:
        if stop.is_set():
            return
        try:
            written = import_recording(path, sink, wiring.settings.recorded, stop=stop)
        except RecordingRefused as error:
            on_progress(path, 1.0)
            yield Imported(path, None, None, refused=str(error))
            continue
        except ImportStopped:
            return
        document = wiring.index.get(written.call) if written.known_before else None
        if document is not None and document.state is CallState.COMPLETE:
            on_progress(path, 1.0)
            yield Imported(path, written.call, document, already_there=True)
        elif written.known_before and document is None:
            on_progress(path, 1.0)
            yield Imported(
                path, written.call, None, refused="The call was imported before and has been erased since."
            )
        else:
            waiting[written.call] = path
        yield from _completed(wiring, waiting, on_progress)
    while waiting and not stop.is_set():
        yield from _completed(wiring, waiting, on_progress)
        stop.wait(_LOOK_EVERY_S)


def _completed(
    wiring: Wiring, waiting: dict[CallId, Path], on_progress: Callable[[Path, float], None]
) -> Iterator[Imported]:
    for call, path in list(waiting.items()):
        document = wiring.index.get(call)
        if document is None:
            continue
        if document.state is CallState.COMPLETE:
            del waiting[call]
            on_progress(path, 1.0)
            yield Imported(path, call, document)
        elif document.duration_ms and document.legs:
            done = sum(leg.transcribed_to_ms for leg in document.legs)
            on_progress(path, min(0.99, done / (document.duration_ms * len(document.legs))))
