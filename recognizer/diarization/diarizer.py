"""Samples of a mono call in, turns of its two speakers out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognizer.acoustic_model import AcousticModel
from recognizer.decodable import AcousticScorer
from recognizer.diarization.clustering import two_voices
from recognizer.diarization.resegmentation import TurnSettings, voices_by_row
from recognizer.diarization.speaker_network import ROW_S, SpeakerNetwork, stacked_features
from recognizer.diarization.speech_activity import ActivitySettings, speech_frames
from recognizer.diarization.turns import Turn
from recognizer.hmm_topology import HmmTopology
from recognizer.model_pack import DEFAULT_PACK, PackSources, read_manifest

Float32 = NDArray[np.float32]

_ROUNDS: Final = 2


@dataclass(frozen=True)
class DiarizerSettings:
    """How speakers are told apart.

    Attributes
    ----------
    window_s, hop_s : float
        Stretches that voices are found from.
    narrow_s : float
        Stretch around each row that the frame by frame decision listens to.
    least_speech_s : float
        With less speech in the recording there is one speaker, nothing to tell apart.
    one_voice_likeness : float
        When the two voices found are this much alike (cosine), they are one person's.
    join_s : float
        Turns of one speaker with a shorter pause between them are one.
    """

    window_s: float = 1.5
    hop_s: float = 0.3
    narrow_s: float = 0.9
    least_speech_s: float = 3.0
    one_voice_likeness: float = 0.8
    join_s: float = 0.3
    activity: ActivitySettings = field(default_factory=ActivitySettings)
    turns: TurnSettings = field(default_factory=TurnSettings)

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.window_s or self.narrow_s <= 0 or self.least_speech_s <= 0:
            raise ValueError("Windows of a diarization are positive, the hop no longer than its window.")


class Diarizer:
    """Tells two speakers of a mono recording apart; holds no state of a recording.

    Parameters
    ----------
    network
        Of voices.
    model, silence_pdfs
        The recogniser's network, for where anybody speaks at all.
    """

    def __init__(
        self,
        network: SpeakerNetwork,
        model: AcousticScorer,
        silence_pdfs: tuple[int, ...],
        settings: DiarizerSettings | None = None,
    ) -> None:
        self._network = network
        self._model = model
        self._silence_pdfs = silence_pdfs
        self._settings = settings or DiarizerSettings()

    @classmethod
    def of_pack(cls, folder: Path = DEFAULT_PACK, settings: DiarizerSettings | None = None) -> Diarizer:
        """Make the diarizer of a model pack and the shipped network of voices.

        Raises
        ------
        ModelPackError, AcousticModelError, SpeakerNetworkError
            One of them cannot be used, or the pack's model is of another kind than ours.
        """
        sources = PackSources.of(folder).with_own_network("To tell speakers apart")
        topology = HmmTopology.load(sources.acoustic, sources.phones)
        model = AcousticModel.load(sources.acoustic, float(read_manifest(folder)["acoustic_scale"]))
        return cls(SpeakerNetwork.load(), model, topology.silence_pdfs, settings)

    def turns(self, audio: Callable[[], Iterable[Float32]]) -> list[Turn]:
        """Return the turns in order of their start; speaker 0 is the one who speaks first.

        Parameters
        ----------
        audio : callable
            Gives the whole recording's samples, float32[n] at 8 kHz block by block, each time it is called.
        """
        blocks = [np.ascontiguousarray(block, np.float32) for block in audio()]
        speech = speech_frames(self._model, self._silence_pdfs, blocks, self._settings.activity)
        samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        return self.turns_of(samples, speech)

    def turns_of(self, samples: Float32, speech: NDArray[np.bool_]) -> list[Turn]:
        """Return the turns of `samples`, where it is known for each 30 ms whether anybody speaks."""
        s = self._settings
        features = stacked_features(samples)
        count = min(len(features), len(speech))
        features, speech = features[:count], speech[:count]
        if speech.sum() * ROW_S < s.least_speech_s:
            return _turns(np.where(speech, 0, -1), s.join_s)
        rows = self._network.rows(features)
        weights = speech.astype(np.float32)
        wide, spoken = self._windows(rows, weights, s.window_s, round(s.hop_s / ROW_S))
        voices = two_voices(wide[spoken > 0.5 * s.window_s / ROW_S], spoken[spoken > 0.5 * s.window_s / ROW_S])
        if float(voices[0] @ voices[1]) > s.one_voice_likeness:
            return _turns(np.where(speech, 0, -1), s.join_s)
        near, _ = self._windows(rows, weights, s.narrow_s, 1)
        who = voices_by_row(near @ voices.T, speech, ROW_S, s.turns)
        for _ in range(_ROUNDS):
            voices = self._voices_of(rows, who, voices)
            who = voices_by_row(near @ voices.T, speech, ROW_S, s.turns)
        return _turns(who, s.join_s)

    def _windows(self, rows: Float32, weights: Float32, length_s: float, hop: int) -> tuple[Float32, Float32]:
        """Embeddings of stretches around every `hop`-th row, and how many rows of speech are in each."""
        half = max(1, round(length_s / ROW_S / 2))
        centres = np.arange(0, len(rows), max(1, hop))
        first, last = np.maximum(centres - half, 0), np.minimum(centres + half + 1, len(rows))
        running = np.concatenate(([0], np.cumsum(weights)))
        found = self._network.embeddings(rows, weights, first, last)
        return found, (running[last] - running[first]).astype(np.float32)

    def _voices_of(self, rows: Float32, who: NDArray[Any], voices: Float32) -> Float32:
        """Return each voice from all that was given to it; what it was where nothing was."""
        again = []
        for voice in (0, 1):
            mine = (who == voice).astype(np.float32)
            again.append(self._network.voice(rows, mine) if mine.any() else voices[voice])
        return np.stack(again)


def _turns(who: NDArray[Any], join_s: float) -> list[Turn]:
    edges = np.flatnonzero(np.diff(who)) + 1
    starts, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(who)]))
    turns: list[Turn] = []
    names: dict[int, int] = {}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        voice = int(who[start]) if len(who) else -1
        if voice < 0:
            continue
        speaker = names.setdefault(voice, len(names))
        begin_s, end_s = round(start * ROW_S, 3), round(end * ROW_S, 3)
        if turns and turns[-1].speaker == speaker and begin_s - turns[-1].end_s < join_s:
            turns[-1] = Turn(speaker, turns[-1].start_s, end_s)
        else:
            turns.append(Turn(speaker, begin_s, end_s))
    return turns
