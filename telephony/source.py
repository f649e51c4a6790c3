"""Where calls come from and where their records go: the two protocols of this package."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from events.audio import AudioBlock, AudioRecord, CallAudioEnded, LegAudioEnded
from events.lifecycle import LifecycleRecord
from events.speaker_turns import SpeakerTurns
from events.topics import CALL_AUDIO, CALL_LIFECYCLE, Topic

SourceRecord = LifecycleRecord | AudioRecord | SpeakerTurns
"""What a call source makes: what happened to a call, its audio, and who spoke when on a leg that carries two."""


class AudioSink(Protocol):
    """Takes the records of calls, in order.

    Laws: a call's first record is its `CallStarted`; blocks of a leg follow each other without overlap or hole;
    every leg ends with `LegAudioEnded`, the call's audio with `CallAudioEnded`, its lifecycle with `CallEnded`.
    """

    def write(self, records: Sequence[SourceRecord]) -> None:
        """Take `records`, all or in order up to the failure; on return the sink answers for them.

        Raises
        ------
        events.errors.LogUnavailable
            The sink cannot take records now. Writing the same records again does no harm: their ids tell.
        """
        ...


class CallSource(Protocol):
    """The SIP endpoint, recorded files, ..."""

    def run(self, sink: AudioSink, stop: threading.Event) -> None:
        """Write calls to `sink` until there are no more or `stop` is set."""
        ...


def topic_of(record: SourceRecord) -> Topic:
    """Return the topic in which `record` travels."""
    return CALL_AUDIO if isinstance(record, AudioBlock | LegAudioEnded | CallAudioEnded) else CALL_LIFECYCLE
