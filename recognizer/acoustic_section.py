"""What a model pack's manifest says of its acoustic model: the section ``acoustic``.

It is written by whoever makes a pack, and lies beside a foreign ONNX file as ``model.json`` or inside of it as the
metadata entry ``callwarden``. Manifests of format 1 have no such section: they are of our own network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from recognizer.decodable import TELEPHONE_HZ

KINDS: Final = ("tdnnf", "onnx-hybrid", "onnx-ctc")
METADATA_KEY: Final = "callwarden"
_MOST_WINDOW_FRAMES: Final = 2000
_FRAME_MS: Final = 10
_RATES: Final = (8000, 16000)


class AcousticSectionError(ValueError):
    """The section cannot be understood, or its parts contradict each other; one sentence."""


class FeatureSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which features the network wants, one frame every 10 ms.

    Attributes
    ----------
    kind : str
        ``callwarden``: :mod:`recognizer.features`; ``kaldi-fbank``: :mod:`recognizer.kaldi_fbank`.
    bins : int
    low_hz, high_hz : float
        Edges of the mel filters of ``kaldi-fbank``; zero or less counts from half the rate downwards.
    amplitude : str
        ``unit``: samples in [-1, 1), as lhotse and icefall have them; ``int16``: 32,768 times that, as Kaldi has.
    """

    kind: Literal["callwarden", "kaldi-fbank"] = "callwarden"
    bins: int = 40
    low_hz: float = 20.0
    high_hz: float = -400.0
    amplitude: Literal["unit", "int16"] = "unit"


class AcousticSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An acoustic model and how it is run, chunk by chunk.

    Attributes
    ----------
    kind : str
        ``tdnnf``: our network, in numpy. ``onnx-hybrid``: one column per HMM output. ``onnx-ctc``: one per token.
    file : str
        Its file in the pack.
    sample_rate_hz : int
        8000, or 16000: then the leg is resampled, which adds nothing above 4 kHz.
    frame_shift_ms : int
        Between two rows of its output.
    scale : float
        Factor of the log likelihoods against graph costs.
    features : FeatureSection
    window_frames, shift_frames : int
        Feature frames given at once, and taken off before the next chunk.
    padding_frames : int
        How many frames lie before the leg's first one in the first chunk.
    padding : str
        What they hold: the first frame again (``repeat``), or what digital silence gives (``silence``). The end of
        the leg is padded likewise.
    delay_rows : int
        Rows by which the output lags behind the frames that are given with it, the padding apart.
    memory_chunks : int
        A run that begins this many chunks earlier, with empty state, gives the same as one that heard everything.
    restart_chunks : int
        For a state that never forgets (``memory_chunks`` is then only how long it warms up): every so many chunks it
        is replaced by one that began ``memory_chunks`` earlier. So a successor needs to hear a bounded past again.
    output : str
        What a row holds.
    tokens, units, blank : str
        ``onnx-ctc``: the token table, what a token is, and the blank's name.
    data : tuple of str
        Files beside an ONNX model that hold tensors of it ("external data").
    topology : str
        ``onnx-hybrid``: an ``.npz`` with ``leaf`` and ``self_loop``, and ``mean`` and ``std`` of our features.
    """

    kind: Literal["tdnnf", "onnx-hybrid", "onnx-ctc"]
    file: str
    sample_rate_hz: int = TELEPHONE_HZ
    frame_shift_ms: int = 30
    scale: float = 1.0
    features: FeatureSection = FeatureSection()
    window_frames: int = 12
    shift_frames: int = 12
    padding_frames: int = 0
    padding: Literal["repeat", "silence"] = "repeat"
    delay_rows: int = 0
    memory_chunks: int = 0
    restart_chunks: int = 0
    output: Literal["log-likelihoods", "log-probabilities", "probabilities"] = "log-likelihoods"
    tokens: str = "tokens.txt"
    units: Literal["phones", "pieces"] = "pieces"
    blank: str = "<blk>"
    topology: str = "hybrid.npz"
    data: tuple[str, ...] = ()

    @property
    def frames_per_row(self) -> int:
        """Feature frames per row of output."""
        return self.frame_shift_ms // _FRAME_MS

    @property
    def rows(self) -> int:
        """Rows per chunk."""
        return self.shift_frames // self.frames_per_row

    @property
    def own_files(self) -> tuple[str, ...]:
        """Names of the files it needs."""
        more = {"tdnnf": (), "onnx-hybrid": (self.topology,), "onnx-ctc": (self.tokens,)}
        return (self.file, *self.data, *more[self.kind])

    def __post_init__(self) -> None:
        shift, frames = self.frame_shift_ms, (self.window_frames, self.shift_frames)
        if self.sample_rate_hz not in _RATES:
            raise AcousticSectionError(
                f"The acoustic model is for {self.sample_rate_hz} samples a second; 8000 and 16000 can be served."
            )
        if shift < _FRAME_MS or shift % _FRAME_MS or shift > 200:
            raise AcousticSectionError(f"A frame shift of {shift} ms is no multiple of 10 ms up to 200 ms.")
        if not 0 < frames[1] <= frames[0] <= _MOST_WINDOW_FRAMES:
            raise AcousticSectionError(
                f"A chunk of {frames[0]} feature frames with a shift of {frames[1]} cannot be run."
            )
        if frames[1] % self.frames_per_row or self.padding_frames % self.frames_per_row:
            raise AcousticSectionError(
                f"Chunks of {frames[1]} feature frames do not hold whole rows of {shift} ms."
            )
        counts = (self.padding_frames, self.delay_rows, self.memory_chunks, self.restart_chunks)
        if min(counts) < 0 or max(counts) > 100_000 or 0 < self.restart_chunks <= self.memory_chunks:
            raise AcousticSectionError("The acoustic model's padding, delay, memory or restart cannot be.")
        if not 0 < self.scale < 100:
            raise AcousticSectionError("The acoustic scale must be a positive number below 100.")
        if not 1 <= self.features.bins <= 512:
            raise AcousticSectionError(f"Features of {self.features.bins} bins cannot be computed.")
        if self.features.kind == "callwarden" and (self.sample_rate_hz, self.features.bins) != (8000, 40):
            raise AcousticSectionError("Features of callwarden's kind have 40 bins at 8000 samples a second.")
        if not all(map(is_plain_name, self.own_files)):
            raise AcousticSectionError("The acoustic model names a file outside of its folder.")


def is_plain_name(name: object) -> bool:
    """Whether `name` names a file of the folder itself: a manifest may come from anybody."""
    return (
        isinstance(name, str) and 0 < len(name) < 200 and not name.startswith(".") and not set(name) & set("/\\\0")
    )


def section_of(manifest: Mapping[str, Any]) -> AcousticSection:
    """Return the section of a manifest of either format.

    Raises
    ------
    KeyError
        A manifest of format 1 lacks an entry.
    AcousticSectionError
        The section cannot be understood.
    """
    if "acoustic" not in manifest:
        return AcousticSection(
            "tdnnf",
            manifest["acoustic_model"],
            int(manifest["sample_rate_hz"]),
            int(manifest["frame_shift_ms"]),
            float(manifest["acoustic_scale"]),
        )
    return _converted(manifest["acoustic"])


def section_from_json(text: str | bytes, where: str) -> AcousticSection:
    """Return the section in `text`; `where` says in errors where it was found."""
    try:
        return _converted(json.loads(text))
    except AcousticSectionError as error:
        raise AcousticSectionError(f"{error} It stands in {where}.") from None
    except (ValueError, RecursionError):
        raise AcousticSectionError(f"The description of the model in {where} is not JSON.") from None


def _converted(entry: Any) -> AcousticSection:
    try:
        return msgspec.convert(entry, AcousticSection)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, AcousticSectionError):
            raise error.__cause__ from None
        raise AcousticSectionError(f"The description of the acoustic model is not valid: {error}.") from None
