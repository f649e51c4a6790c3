"""Words for recordings without: heard by the shipped pack in synthetic speech, kept by confidence, gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recognizer.model_pack import DEFAULT_PACK
from recognizer.training.__main__ import main
from recognizer.training.corpora.recording import Recording, TranscriptKind
from recognizer.training.machine_transcripts import write_machine_transcripts
from recognizer.training.transcripts import with_transcripts

SENTENCE = "please tell me the number of the account"


def recording(path: Path, split: str = "untranscribed", kind: TranscriptKind = TranscriptKind.NONE) -> Recording:
    words = () if kind is TranscriptKind.NONE else ("one",)
    seconds = soundfile.info(path).duration
    return Recording(path, 0, 0.0, seconds, words, "", "made", split, "CC0-1.0", kind)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a spoken sentence, noise, and a file that is no audio."""
    if shutil.which("flite") is None:
        pytest.skip("needs the program flite: apt-get install flite")
    folder = tmp_path_factory.mktemp("speech")
    subprocess.run(["flite", "-voice", "rms", "-t", SENTENCE, "-o", folder / "said.wav"], check=True)
    noise = 0.1 * np.random.default_rng(1).standard_normal(16000)
    soundfile.write(folder / "noise.wav", noise, 8000)
    return folder


def test_keeps_what_is_heard_with_confidence(speech: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    untold = [recording(speech / "said.wav"), recording(speech / "noise.wav")]
    told = [
        recording(speech / "said.wav", "train", TranscriptKind.VERBATIM),
        recording(speech / "said.wav", "test"),
    ]
    seen = []
    count = write_machine_transcripts(
        table, untold + told, DEFAULT_PACK, jobs=1, progress=lambda done, total: seen.append((done, total))
    )
    assert count == 1
    assert table.read_text() == f"said {SENTENCE}\n"
    assert seen == [(0, 2), (2, 2)]

    taken = with_transcripts(untold, table)
    assert [(each.words, each.split) for each in taken] == [
        (tuple(SENTENCE.split()), "train"),
        ((), "untranscribed"),
    ]


def test_goes_on_after_a_broken_line_and_hears_nothing_twice(speech: Path, tmp_path: Path) -> None:
    table, journal = tmp_path / "table.txt", tmp_path / "table.txt.heard"
    # What was heard before is believed, so words that nobody said show that it was not heard again.
    journal.write_text(json.dumps(["said", 0.8, "heard", "in", "another", "run"]) + '\n["noi')
    untold = [recording(speech / "said.wav"), recording(speech / "noise.wav")]
    assert write_machine_transcripts(table, untold, DEFAULT_PACK, jobs=1) == 1
    assert table.read_text() == "said heard in another run\n"
    assert [json.loads(line)[0] for line in journal.read_text().splitlines()] == ["said", "noise"]
    assert write_machine_transcripts(table, untold, DEFAULT_PACK, least_confidence=0.81, jobs=1) == 0
    assert table.read_text() == ""


def test_damaged_audio_gets_no_words(speech: Path, tmp_path: Path) -> None:
    damaged = recording(speech / "said.wav")
    (tmp_path / "gone.wav").write_bytes(b"RIFF")
    gone = Recording(
        tmp_path / "gone.wav", 0, 0.0, 1.0, (), "", "made", "untranscribed", "CC0-1.0", TranscriptKind.NONE
    )
    assert write_machine_transcripts(tmp_path / "table.txt", [gone, damaged], DEFAULT_PACK, jobs=1) == 1


def test_command_line_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["transcribe", "--corpus", str(tmp_path)])
    assert "give --transcripts" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--name", "a"])
    assert "give --work" in capsys.readouterr().err
    assert main(["transcribe", "--transcripts", str(tmp_path / "table.txt")]) == 1
    assert "name a folder with --corpus" in capsys.readouterr().err
