"""Listens along while a mono recording is imported, and adds to its call who of the two speakers spoke when.

It hears what the recogniser hears: the blocks themselves, through the front end. The turns go into the log before the
call's end does, so that a call that has ended has them, and one whose import broke off gets them when the import is
made up for. Finding them can fail; the import does not fail with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.front_end import AudioChunk, FrontEnd
from dsp.resample import TELEPHONE_RATE
from events.audio import AudioBlock, CallAudioEnded
from events.identity import CallId, Role
from events.lifecycle import CallStarted, LegAdded
from events.metrics import IMPORT_SPEAKERS, count
from events.speaker_turns import SpeakerTurn, SpeakerTurns
from recognizer.diarization.diarizer import Diarizer
from recognizer.diarization.turns import Turn
from telephony.source import AudioSink, SourceRecord

_log = logging.getLogger(__name__)

_FULL_SCALE: Final = 32768
_BLOCK: Final = 10 * TELEPHONE_RATE

Find = Callable[[Callable[[], Iterable[NDArray[np.float32]]]], Sequence[Turn]]
"""What `Diarizer.turns` does."""


@dataclass(frozen=True, slots=True)
class SpeakersSettings:
    tell_apart: bool = True
    """Tell the two speakers of imported mono recordings apart by their voices."""
    longest_minutes: float = 120.0
    """Longer recordings stay as they are: telling speakers apart takes about 13 MB of memory a minute."""

    def __post_init__(self) -> None:
        if not self.longest_minutes > 0:
            raise ValueError("longest_minutes of telling speakers apart is positive.")


@dataclass(slots=True)
class _Listening:
    """What was heard so far of the one leg of a call."""

    call: CallId
    leg: int
    front_end: FrontEnd = field(default_factory=FrontEnd)
    heard: list[NDArray[np.int16]] = field(default_factory=list)
    samples: int = 0

    def take(self, chunks: list[AudioChunk]) -> None:
        for chunk in chunks:
            self.heard.append(np.rint(chunk.samples * _FULL_SCALE).clip(-_FULL_SCALE, 32767).astype(np.int16))
            self.samples += chunk.samples.size

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        whole = np.concatenate(self.heard) if self.heard else np.zeros(0, np.int16)
        for first in range(0, whole.size, _BLOCK):
            yield np.multiply(whole[first : first + _BLOCK], 1 / _FULL_SCALE, dtype=np.float32)


class SpeakerTurnsSink:
    """An `AudioSink` in front of another one, for calls that come one after the other.

    Parameters
    ----------
    sink
        Gets every record, and before the end of the audio of a call with a single, mixed leg its `SpeakerTurns`.
    find
        Finds turns in the samples of a recording; None for the shipped `Diarizer`, which is read when it is needed.
    """

    def __init__(
        self, sink: AudioSink, settings: SpeakersSettings | None = None, find: Find | None = None
    ) -> None:
        self._sink = sink
        self._settings = settings or SpeakersSettings()
        self._find = find
        self._listening: _Listening | None = None

    def write(self, records: Sequence[SourceRecord]) -> None:
        if not self._settings.tell_apart:
            self._sink.write(records)
            return
        if any(isinstance(record, CallAudioEnded) for record in records):
            records = [*self._found(), *records]
        self._sink.write(records)
        # Only what the sink took is listened to: a call that was processed before is refused by it.
        for record in records:
            self._hear(record)

    def _hear(self, record: SourceRecord) -> None:
        match record:
            case CallStarted() | CallAudioEnded():
                self._listening = None
            case LegAdded():
                alone = record.leg == 0 and record.role is Role.MIXED
                self._listening = _Listening(record.call, record.leg) if alone else None
            case AudioBlock() if self._listening is not None:
                try:
                    self._listening.take(self._listening.front_end.push(record))
                except Exception as error:
                    self._give_up(error)
                    return
                if self._listening.samples > self._settings.longest_minutes * 60 * TELEPHONE_RATE:
                    self._listening = None
                    count(IMPORT_SPEAKERS, outcome="too_long")

    def _found(self) -> list[SpeakerTurns]:
        """Return the turns of the call that ends now, nothing where there are none to tell."""
        listening, self._listening = self._listening, None
        if listening is None:
            return []
        try:
            listening.take(listening.front_end.end_call())
            if self._find is None:
                self._find = Diarizer.of_pack().turns
            turns = self._find(listening.blocks)
        except Exception as error:
            self._give_up(error)
            return []
        speakers = len({turn.speaker for turn in turns})
        if speakers != 2:
            count(IMPORT_SPEAKERS, outcome="one_speaker" if speakers else "no_speech")
            return []
        count(IMPORT_SPEAKERS, outcome="two_speakers")
        return [SpeakerTurns(listening.call, listening.leg, tuple(_turn_of(turn) for turn in turns))]

    def _give_up(self, error: Exception) -> None:
        """Whatever went wrong, the call itself is whole."""
        self._listening = None
        _log.warning("The speakers of an imported recording could not be told apart (%s).", type(error).__name__)
        count(IMPORT_SPEAKERS, outcome="failed")


def _turn_of(turn: Turn) -> SpeakerTurn:
    return SpeakerTurn(turn.speaker, round(turn.start_s * 1000), round(turn.end_s * 1000))
