"""The evaluation command on small sets: tables, recordings of any kind, damaged ones, and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dsp.g711 import encode_mu_law
from recognizer.evaluation.__main__ import main
from recognizer.evaluation.audio_file import AudioFileError, read_audio, to_telephone_rate
from recognizer.evaluation.measurement import measure
from recognizer.evaluation.telephone_channel import LABEL, telephone_speech
from recognizer.evaluation.test_set import Recording, TestSetError, read_test_set

soundfile = pytest.importorskip("soundfile")

GOLDEN = Path(__file__).parent.parent / "golden" / "speech"


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


class Says:
    """A recogniser that hears only how long the audio is."""

    name = "says"

    def __init__(self, *texts: str) -> None:
        self.texts, self.heard = list(texts), []  # type: ignore[var-annotated]

    def recognise(self, samples: np.ndarray) -> str:
        self.heard.append(len(samples))
        return self.texts.pop(0)


def test_a_set_names_recordings_relative_to_itself_or_absolutely(tmp_path: Path) -> None:
    table = tmp_path / "set.tsv"
    table.write_text(f"speaker\taudio\ttext\nx\ta b.wav\tHello, you\n\ny\t{tmp_path}/c.flac\t\n")
    assert read_test_set(table) == [
        Recording(tmp_path / "a b.wav", "Hello, you"),
        Recording(tmp_path / "c.flac", ""),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("audio\n a.wav\n", "has no column named 'text' in its first line."),
        ("", "has no column named 'audio' in its first line."),
        ("audio\ttext\n", "names no recordings."),
        ("audio\ttext\na.wav\thello\nb.wav\n", "does not have 2 fields."),
    ],
)
def test_a_broken_set_is_told_in_one_sentence(tmp_path: Path, content: str, complaint: str) -> None:
    table = tmp_path / "set.tsv"
    table.write_text(content)
    with pytest.raises(TestSetError, match=complaint):
        read_test_set(table)
    assert main(["--set", f"broken={table}"]) == 2


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 12000, 7350, 22254, 96000])
def test_recordings_of_any_rate_come_out_at_8_khz_in_tune(rate: int) -> None:
    heard = to_telephone_rate(tone(440, rate), rate)
    assert abs(len(heard) - 4000) <= 1
    middle = slice(400, 3600)
    assert np.abs(heard[:4000] - tone(440, 8000)[: len(heard)])[middle].max() < 2e-3


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "ULAW"), ("wav", "FLOAT"), ("flac", "PCM_24"), ("ogg", "VORBIS")]
)
def test_recordings_of_any_format_are_read_and_averaged(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"audio.{suffix}"
    both = np.stack([tone(300, 16000), np.zeros(8000, np.float32)], axis=1)
    soundfile.write(path, both, 16000, subtype=subtype)
    heard = read_audio(path)
    assert len(heard) == 4000
    assert np.sqrt((heard[400:3600] ** 2).mean()) == pytest.approx(0.25 / np.sqrt(2), rel=0.03)


def test_unreadable_recordings_are_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF\x00\x01")
    soundfile.write(tmp_path / "empty.wav", np.empty(0, np.float32), 8000)
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan, np.float32), 8000, subtype="FLOAT")
    for name, complaint in [
        ("broken.wav", "it is damaged or of an unknown format"),
        ("absent.wav", "it does not exist"),
        ("empty.wav", "is empty"),
        ("nan.wav", "holds values that are no numbers"),
    ]:
        with pytest.raises(AudioFileError, match=complaint):
            read_audio(tmp_path / name)


def test_the_channel_passes_the_telephone_band_only() -> None:
    def gain_db(hertz: float) -> float:
        given = tone(hertz, 8000)
        heard = telephone_speech(given)
        assert len(heard) == len(given)
        return float(20 * np.log10(np.sqrt((heard[400:-400] ** 2).mean() / (given[400:-400] ** 2).mean())))

    assert abs(gain_db(1000)) < 0.3
    assert abs(gain_db(3200)) < 0.3
    assert gain_db(150) < -30
    assert gain_db(3700) < -30


def test_what_leaves_the_channel_is_mu_law() -> None:
    heard = telephone_speech(tone(700, 8000))
    levels = np.rint(heard * 32768).astype(np.int16)
    from dsp.g711 import decode_mu_law

    assert (decode_mu_law(encode_mu_law(levels)) == levels).all()


def test_counts_go_on_behind_a_recording_that_cannot_be_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(300, 8000), 8000)
    soundfile.write(tmp_path / "b.wav", tone(300, 16000), 16000)
    recordings = [
        Recording(tmp_path / "a.wav", "One two"),
        Recording(tmp_path / "missing.wav", "lost"),
        Recording(tmp_path / "b.wav", "three"),
    ]
    complaints: list[str] = []
    system = Says("one too", "three four")
    result = measure("set", recordings, system, None, complaints.append)
    assert system.heard == [4000, 4000]
    assert (result.recordings, result.unreadable, result.audio_s) == (2, 1, 1.0)
    assert (result.errors.words, result.errors.substitutions, result.errors.insertions) == (3, 1, 1)
    assert complaints == [f"The recording {tmp_path}/missing.wav cannot be read: it does not exist."]


def test_the_command_measures_real_speech_and_labels_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (GOLDEN / "librispeech-dev.tsv").read_text().splitlines()[1:3]
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    rows = [f"{GOLDEN}/{line}" for line in lines] + ["broken.wav\twords"]
    (tmp_path / "set.tsv").write_text("\n".join(["audio\ttext", *rows]))
    out = tmp_path / "new" / "out.json"
    texts = tmp_path / "texts.tsv"
    arguments = [
        "--set",
        f"two={tmp_path}/set.tsv",
        "--channel",
        "telephone",
        "--json",
        str(out),
        "--texts",
        str(texts),
    ]
    assert main(arguments) == 0
    figures = json.loads(out.read_text())["sets"]["two"]
    assert figures["condition"] == LABEL
    assert figures["unreadable"] == 1
    assert figures["words"] == sum(len(line.split("\t")[1].split()) for line in lines)
    errors = figures["substitutions"] + figures["deletions"] + figures["insertions"]
    assert figures["wer"] == pytest.approx(errors / figures["words"], abs=1e-5)
    assert figures["real_time_factor"] > 0
    printed = capsys.readouterr()
    assert LABEL in printed.out
    assert "broken.wav cannot be read" in printed.err
    assert len(texts.read_text().splitlines()) == 3


def test_the_command_fails_if_a_set_could_not_be_measured(tmp_path: Path) -> None:
    (tmp_path / "set.tsv").write_text("audio\ttext\nmissing.wav\twords\n")
    assert main(["--set", f"none={tmp_path}/set.tsv"]) == 1
