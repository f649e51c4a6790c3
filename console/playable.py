"""Kept recordings as the playback page asks for them."""

from __future__ import annotations

from compliance.recordings.reader import OpenedRecording, RecordingMissing, RecordingReader
from console.web.services import RecordingUnavailable
from events.errors import CallwardenError, KeyDestroyed
from events.identity import CallId


class _Playable:
    def __init__(self, opened: OpenedRecording) -> None:
        self._opened = opened

    @property
    def size(self) -> int:
        return self._opened.wav_length

    def read(self, offset: int, length: int) -> bytes:
        try:
            return self._opened.read(offset, offset + length - 1) if length else b""
        except CallwardenError:
            raise RecordingUnavailable("The recording of this call is damaged.") from None


class PlayableRecordings:
    """Answers `ConsoleServices.recordings` from the archive."""

    def __init__(self, reader: RecordingReader) -> None:
        self._reader = reader

    def open(self, call: CallId) -> _Playable:
        """Raises RecordingUnavailable."""
        try:
            return _Playable(self._reader.open(call))
        except KeyDestroyed:
            raise RecordingUnavailable("The recording of this call was erased.") from None
        except RecordingMissing as error:
            raise RecordingUnavailable(str(error)) from None
        except CallwardenError:
            raise RecordingUnavailable("The recording of this call is damaged.") from None
