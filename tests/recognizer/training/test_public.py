"""From public repositories to a training corpus: small repositories for every row of the table, and what is hostile."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.training.corpora.held_out import is_held_out
from recognizer.training.corpora.reading import read_corpus
from recognizer.training.corpora.recording import LeftOut, read_samples
from recognizer.training.corpora.spoken_form import spoken_words
from recognizer.training.public import transcripts
from recognizer.training.public.__main__ import fetch_commands, main
from recognizer.training.public.debian_package import DebianPackage
from recognizer.training.public.gather import Gathered, GatheringError, Row, check_splits, gather
from recognizer.training.public.git_mirror import AbsentFile, GitMirror, MirrorError
from recognizer.training.public.sound import (
    UnfitSound,
    big_endian_16k,
    check_sound,
    first_channel,
    mu_law_8k,
    wav_16_bit,
)
from recognizer.training.public.sources import COMMITS, SOURCES, Source
from recognizer.training.public.summary import summary
from recognizer.training.public.transcripts import Said

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs the program git: apt-get install git")

_AUTHOR = {
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **_AUTHOR}, capture_output=True, check=True, text=True
    )
    return done.stdout.strip()


def repository(mirrors: Path, name: str, files: Mapping[str, bytes], place: str = "") -> Path:
    """A repository with one commit, as ``owner+name``; returns its folder with the work tree."""
    folder = mirrors / name.replace("/", "+") / place
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", "--template=")
    commit(folder, files)
    return folder


def commit(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, contents in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(contents)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "files")


_hertz = iter(range(200, 100_000))


def tone(
    rate: int = 16000, kind: str = "WAV", channels: int = 1, seconds: float = 1.5, hertz: int | None = None
) -> bytes:
    """Audio that is like no other of the session unless `hertz` says so."""
    times = np.arange(round(seconds * rate)) / rate
    hertz = next(_hertz) if hertz is None else hertz
    samples = 0.3 * np.sin(2 * np.pi * (200 + hertz % 3000) * times) + 1e-4 * np.sin(2 * np.pi * hertz / 7 * times)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(samples[:, None], channels, axis=1), rate, format=kind)
    return file.getvalue()


def mu_law() -> bytes:
    file = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(tone(8000)))
    soundfile.write(file, samples, rate, format="RAW", subtype="ULAW")
    return file.getvalue()


def debian_package(path: Path, files: Mapping[str, bytes]) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as tar:
        for name, contents in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    members = {b"debian-binary": b"2.0\n", b"control.tar.xz": b"odd", b"data.tar.xz": data.getvalue()}
    packed = b"!<arch>\n"
    for member_name, contents in members.items():
        packed += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (member_name, 0, 0, 0, b"100644", len(contents))
        packed += contents + b"\n" * (len(contents) % 2)
    path.write_bytes(packed)


_LIBRI = "LibriSpeech/dev-clean"
_SAMPLES = "audio/LibriSpeechSamples/train-clean-100"
_CV_HEAD = "client_id\tpath\tsentence\tup_votes\tdown_votes\n"
_CV_FIRST = """filename,text,up_votes,down_votes,age
cv-valid-test/sample-000001.mp3,down below,4,1,
cv-valid-test/sample-000002.mp3,refused by listeners,1,1,
cv-valid-test/sample-000003.mp3,"in peace, at last",1,0,twenties
"""
_CV_COMMAS = f"""client_id,path,sentence,up_votes,down_votes,age
{"ef" * 64},common_voice_en_800.wav,"First, the ""wedding"".",2,1,twenties
{"ef" * 64},common_voice_en_801.wav,Refused by listeners.,1,1,
"""
_FORM = """Response_ID,file_name,Name,Number,Address
R_1ab,audio_data/Names/R_1ab.wav,Sam Fox,8885112930,48 Ridge Road 407
R_2cd,audio_data/Names/R_2cd.wav,Sam Fox 2,911,1 Hill Road
"""
_RAW = np.round(3000 * np.sin(np.arange(16000) / 9)).astype(">i2")


def command(number: int) -> str:
    return f"{number:08x}_nohash_0.wav"


def common_voice(folder: str, clips: str, first: int) -> dict[str, bytes]:
    rows = [
        f"{'ab' * 64}\tcommon_voice_en_{first}.mp3\tIt's the 3rd time.\t2\t0",
        f"{'cd' * 64}\tcommon_voice_en_{first + 1}\tRefused by listeners.\t1\t2",
        f"{'cd' * 64}\tcommon_voice_en_{first + 2}.mp3\tWithout its clip.\t2\t0",
        "a broken row",
    ]
    return {
        f"{folder}validated.tsv": (_CV_HEAD + "\n".join(rows)).encode(),
        f"{folder}{clips}common_voice_en_{first}.mp3": tone(kind="MP3"),
        f"{folder}{clips}common_voice_en_{first + 1}.mp3": tone(kind="MP3"),
        f"{folder}{clips}common_voice_en_{first + 9}.mp3": tone(kind="MP3"),
    }


def wake_up_json(*utterances: tuple[str, str]) -> str:
    entries = [
        {
            "sessionNumber": place[:5],
            "utteranceNumber": place[6:],
            "fileName": f"WUWII{place}.ulaw",
            "transcription": transcription,
        }
        for place, transcription in utterances
    ]
    return json.dumps({"entries": entries})


_CALLS = wake_up_json(
    ("00007_000", "{smack} Zora Quillfeather [beep]"),
    ("00007_001", "[click] Onword"),
    ("00007_006", "this is %uh ^Zora and I *gonna say Operator"),
    ("00007_007", "does ~IBM know _ThinkEngine_ ? {breath}"),
    ("00008_000", "((Zora)) Quillfeather"),
    ("00008_001", "-perator"),
    ("00008_002", "Thinkengine [/background talking]"),
    ("00008_003", "I gave ^Quillfeather an Onword"),
    ("00009_000", "zora quillfeather"),
    ("00009_005", "Voyager"),
)


def build_mirrors(mirrors: Path) -> None:
    """One small repository for each of the table, with held-out speakers wherever a name can hold them."""
    pieces = "data/x/{}.flac\t<↑> ▁THE ▁PI EC ES ' ▁END\n"
    call = [
        {"channel_index": 2, "offset_ms": 500, "duration_ms": 600, "human_transcript": "how can [noise] i help"},
        {"channel_index": 1, "offset_ms": 100, "duration_ms": 700, "human_transcript": "my <unk> card"},
        {"channel_index": 1, "offset_ms": 900, "duration_ms": 700, "human_transcript": "lost it"},
    ]
    contents: dict[str, dict[str, bytes]] = {
        "jimbozhang/speechocean762": {
            "WAVE/SPEAKER0001/000010001.WAV": tone(),
            "WAVE/SPEAKER0104/001040001.WAV": tone(),
            "WAVE/SPEAKER1030/010300001.WAV": tone(),
            "WAVE/SPEAKER1040/010400001.WAV": tone(),
            "WAVE/SPEAKER1040/010400002.WAV": tone(),
            "train/text": b"000010001\tMARK IS HERE\n001040001\tKATE TOO\n",
            "test/text": b"010300001\tA GROWN UP\n010400001\tA CHILD\n",
            "test/spk2age": b"1030\t27\n1040\t9\n",
        },
        "felixbastian/Speaker_partition_module": {
            f"data/{_LIBRI}/{speaker}/1/{speaker}-1-0000.wav": tone(kind="MP3")
            for speaker in (84, 251, 422, 777, 1462, 1919, 1993, 174)
        },
        "RomansWorks/AIND-VUI-Capstone-DS": {
            f"{_LIBRI}/{speaker}/1/{speaker}-1.trans.txt": f"{speaker}-1-0000 WORDS OF A BOOK\n".encode()
            for speaker in (84, 251, 422, 777, 1462, 1919, 1993, 174, 3752)
        },
        "carlosfranzreb/spkanon_eval": {
            f"tests/data/LibriSpeech/dev-clean-2/{speaker}/1/{speaker}-1-0000.flac": tone(kind="FLAC")
            for speaker in (84, 174, 3752)
        },
        "zhangrui0712/Voice-Age": {
            f"LibriSpeech/train-clean-5/{speaker}/1/{speaker}-1-{number:04d}.flac": tone(kind="FLAC")
            for speaker, number in ((19, 0), (32, 0), (84, 7))
        }
        | {
            f"LibriSpeech/train-clean-5/{speaker}/1/{speaker}-1.trans.txt": (
                f"{speaker}-1-0000 OF THE SMALL PART\n{speaker}-1-0007 NOT THIS\n".encode()
            )
            for speaker in (19, 32, 84)
        },
        "Walleclipse/Deep_Speaker-speaker_recognition_system": {
            f"{_SAMPLES}/{speaker}/1/{speaker}-1-{number:04d}.wav": tone()
            for speaker, number in ((19, 0), (19, 1), (422, 5), (84, 5))
        }
        | {f"{_SAMPLES}/19/1/19-1.trans.txt": b"19-1-0000 ONE MORE\n422-1-0005 NOT THIS\n84-1-0005 NOT THAT\n"},
        "resemble-ai/Resemblyzer": {
            f"audio_data/librispeech_train-clean-100/{name}.flac": tone(kind="FLAC", seconds=8)
            for name in ("19-1-0000", "26-2-0001", "777-2-0001", "103-1240-0000")
        }
        | {
            "audio_data/librispeech_test-other/367/367-1-0000.flac": tone(kind="FLAC"),
            "audio_data/other.mp3": tone(kind="MP3"),
        },
        "proger/flaky-librispeech": {
            "spin/a.query.txt.spin": (pieces.format("26-2-0001") + pieces.format("777-2-0001")).encode(),
            "spin/a.clean.txt.spin": pieces.format("19-1-0000").encode(),
        },
        "facebookresearch/fbai-speech": {
            "is21_deep_bias/ref/test-other.biasing_100.tsv": b'367-1-0000\tasked jean\t["jean"]\t["bells"]\n'
        },
        "Jakobovski/free-spoken-digit-dataset": {
            f"recordings/7_{who}_0.wav": tone(8000, seconds=0.2) for who in ("theo", "jackson")
        },
        "manashmandal/DeadSimpleSpeechRecognizer": {f"data/bed/{command(1)}": tone(hertz=1)},
        "vinsis/speech-commands-recognition": {
            f"speech_commands_v0.01/bed/{command(2)}": tone(hertz=1),
            f"speech_commands_v0.01/stop/{command(1)}": tone(),
        },
        "Picovoice/speech-to-intent-benchmark": {"data/speech/clean/ab-01.wav": tone()},
        "Picovoice/wake-word-benchmark": {"audio/hey pico/ab-02.flac": tone(kind="FLAC")},
        "sands-lab/SIDCo": {
            "data/an4/wav/an4_clstk/fash/an251-fash-b.raw": _RAW.tobytes(),
            "data/an4/wav/an4test_clstk/fcaw/an406-fcaw-b.raw": (_RAW // 2).astype(">i2").tobytes(),
            "data/an4/etc/an4_train.transcription": b"<s> YES </s> (an251-fash-b)\n",
            "data/an4/etc/an4_test.transcription": b"RUBOUT G (an406-fcaw-b)\n",
        },
        "rhasspy/dataset-voice-cathy": {
            "data/arctic_a0001_1.wav": tone(48000, channels=2),
            "data/arctic_a0001_1.txt": b"Author of the danger trail, etc.\n",
        },
        "shubhra-cv/17": common_voice("cv-corpus-20.0-delta-2024-12-06/en/", "validated_clips/", 100),
        "shubhra-cv/18": common_voice("cv-corpus-18.0-delta-2024-06-14/en/", "validated_clips/", 200),
        "shubhra-cv/19": common_voice("cv-corpus-19.0-delta-2024-09-13/en/", "validated_clips/", 300),
        "puri-gagan/speechdataset": common_voice("", "clips/", 400),
        "korliu/whisper": common_voice("dataset/", "clips/", 600),
        "Venkateshbhakthavat/Project-Discussion": {
            "cv-valid-test.csv": _CV_FIRST.encode(),
            "cv-valid-test/sample-000001.mp3": tone(kind="MP3"),
            "cv-valid-test/sample-000002.mp3": tone(kind="MP3"),
            "data/cv-valid-test/sample-000001.mp3": tone(kind="MP3"),
        },
        "chetan6361/Speaker-Identification-using-voice-recognition-and-age-prediction": {
            "cv-valid-test.csv": _CV_FIRST.encode(),
            "cv-valid-test/cv-valid-test/sample-000001.mp3": tone(kind="MP3"),
            "cv-valid-test/cv-valid-test/sample-000003.mp3": tone(kind="MP3", hertz=400),
        },
        "fsta-fo/voice-age-prediction": {"mp3_files/common_voice_en_700.mp3": tone(kind="MP3", hertz=500)},
        "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11": common_voice("en/", "clips/", 500),
        "rigved/rit-engl-682-spring-2021-project": {
            "validated.csv": _CV_COMMAS.encode(),
            "data/common_voice_en_800.wav": tone(),
            "data/common_voice_en_801.wav": tone(),
        },
        "PrernaSocity/lj_speech_dataset_part_1": {
            "LJSpeech-1.1/wavs/LJ001-0001.wav": tone(22050),
            "LJSpeech-1.1/metadata.csv": b"LJ001-0001|In 1455|in fourteen fifty-five\n",
        },
        "avgaydashenko/speech-recognition-hw": {
            "data/VCTK-Corpus/wav48/p239/p239_001.wav": tone(48000),
            "data/VCTK-Corpus/txt/p239/p239_001.txt": b"Please call Stella.\n",
        },
        "auspicious3000/autovc": {
            "wavs/p225/p225_003.wav": tone(),
            "wavs/p225/p225_999.wav": tone(),
        },
        "SamuelBroughton/StarGAN-Voice-Conversion-2": {
            "converted/p229_to_p232/p232_001.wav": tone(22050),
            "converted/p229_to_p232/p229_001-vcto-p232.wav": tone(22050),
        },
        "Harsha-2016/VCTK_corpus": {
            "transcripts.csv": (
                b"speaker,wav_file,transcript\n"
                b'p225,p225_003.wav,"Six spoons of fresh snow peas, five slabs."\n'
                b"p232,p232_001.wav,Please call Stella.\n"
            ),
        },
        "andabi/deep-voice-conversion": {
            f"datasets/arctic/{reader}/arctic_{prompt}.wav": tone()
            for reader in ("bdl", "slt") for prompt in ("a0001", "b0539")
        },
        "Uskur/Asterisk-TTS": {
            "core-sounds-en.txt": b";x\nagent-pass: Enter it.\nbeep: [a tone]\nletters/a: this is not a letter\n"
        },
        "cricketclub/gridspace-stanford-harper-valley": {
            "data/transcript/ab12.json": json.dumps(call).encode(),
            "data/metadata/ab12.json": b'{"agent": {"speaker_id": 7}, "caller": {"speaker_id": 8}}',
            "data/audio/agent/ab12.wav": tone(8000, seconds=2),
            "data/audio/caller/ab12.wav": tone(8000, seconds=2),
        },
        "wake-up-word/wuw-corpus-ii": {
            f"calls/{place[:5]}/WUWII{place}.ulaw": mu_law()
            for place in (
                "00007_000", "00007_001", "00007_001a", "00007_006", "00007_007", "00008_000", "00008_001",
                "00008_002", "00008_003", "00009_000", "00009_005",
            )
        }
        | {"data.json": _CALLS.encode()},
        "Sakshee5/alphanumeric-audio-dataset": {
            "metadata.csv": _FORM.encode(),
            "audio_data/Names/R_1ab.wav": tone(44100, channels=2, seconds=4),
            "audio_data/Names/R_2cd.wav": tone(),
            "audio_data/Numbers/R_1ab.wav": tone(48000, seconds=6),
            "audio_data/Numbers/R_2cd.wav": tone(),
            "audio_data/Addresses/R_2cd.wav": tone(24000, channels=2),
        },
        "soerenab/AudioMNIST": {"data/01/4_01_0.wav": tone(48000)},
    }  # fmt: skip
    for name, files in contents.items():
        repository(mirrors, name, files)
    sounds = "usr/share/asterisk/sounds/en_US_f_Allison"
    debian_package(
        mirrors / "asterisk-core-sounds-en-wav_1.6.1-1_all.deb",
        {f"{sounds}/{name}.wav": tone(8000) for name in ("agent-pass", "beep", "letters/a")},
    )


@pytest.fixture(scope="module")
def mirrors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirrors")
    build_mirrors(folder)
    return folder


@pytest.fixture(scope="module")
def whole(mirrors: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Gathered]:
    out = tmp_path_factory.mktemp("out")
    return out, gather(SOURCES, mirrors, out)


# -- the table


def test_every_row_of_the_table_gives_its_recordings(whole: tuple[Path, Gathered]) -> None:
    _, gathered = whole
    common_voice_row = ("commonvoice", "train", "commonvoice-abababababab", "it's the third time", 16000)
    expected = [
        ("speechocean762", "train", "speechocean762-0001", "mark is here", 16000),
        ("speechocean762", "dev", "speechocean762-0104", "kate too", 16000),
        ("speechocean762", "test", "speechocean762-1040", "a child", 16000),
        ("librispeech-dev-clean", "train", "librispeech-174", "words of a book", 16000),
        ("librispeech-dev-clean", "train", "librispeech-3752", "words of a book", 16000),
        ("librispeech-dev-clean", "dev", "librispeech-1993", "words of a book", 16000),
        ("librispeech-dev-clean", "test", "librispeech-422", "words of a book", 16000),
        ("librispeech-dev-clean", "test", "librispeech-777", "words of a book", 16000),
        ("librispeech-train-clean-100", "train", "librispeech-19", "one more", 16000),
        ("librispeech-train-clean-100-many", "train", "librispeech-26", "the pieces end", 16000),
        ("librispeech-train-clean-5", "train", "librispeech-32", "of the small part", 16000),
        ("librispeech-test-other", "test", "librispeech-367", "asked jean", 16000),
        ("fsdd", "train", "fsdd-jackson", "seven", 8000),
        ("fsdd", "test", "fsdd-theo", "seven", 8000),
        ("speechcommands", "train", "speechcommands-00000001", "bed", 16000),
        ("picovoice-intents", "untranscribed", "", "", 16000),
        ("picovoice-keywords", "train", "", "hey pico", 16000),
        ("an4", "train", "an4-fash", "yes", 16000),
        ("an4", "test", "an4-fcaw", "rubout g", 16000),
        ("cathy", "train", "rhasspy-cathy", "author of the danger trail et cetera", 48000),
        *[common_voice_row] * 6,
        ("commonvoice", "train", "commonvoice-efefefefefef", "first the wedding", 16000),
        ("commonvoice-first", "train", "", "down below", 16000),
        ("commonvoice-first", "train", "", "in peace at last", 16000),
        *[("commonvoice-untranscribed", "untranscribed", "", "", 16000)] * 3,
        ("ljspeech", "train", "ljspeech-lj", "in fourteen fifty five", 22050),
        ("vctk", "train", "vctk-p239", "please call stella", 48000),
        ("vctk-samples", "train", "vctk-p225", "six spoons of fresh snow peas five slabs", 16000),
        ("vctk-samples", "train", "vctk-p232", "please call stella", 22050),
        ("arctic", "train", "arctic-bdl-bdl", "author of the danger trail et cetera", 16000),
        ("arctic", "train", "arctic-slt-slt", "author of the danger trail et cetera", 16000),
        ("asterisk-en", "train", "asterisk-allison-smith", "enter it", 8000),
        ("speech-commands", "train", "speechcommands-00000001", "stop", 16000),
        ("harpervalley", "train", "harpervalley-7", "how can i help", 8000),
        ("harpervalley", "train", "harpervalley-8", "lost it", 8000),
        ("wuw-ii", "train", "wuw-00007", "onward", 8000),
        ("wuw-ii", "train", "wuw-00007", "does i b m know think engine", 8000),
        ("wuw-ii", "train", "wuw-00007", "voyager", 8000),
        ("wuw-ii", "train", "wuw-00008", "think engine", 8000),
        ("alphanumeric", "train", "alphanumeric-R_1ab", "s a m f o x", 44100),
        ("alphanumeric", "train", "alphanumeric-R_1ab",
         "eight eight eight five one one two nine three zero", 48000),
        ("alphanumeric", "untranscribed", "alphanumeric-R_2cd", "", 24000),
        ("audiomnist", "train", "audiomnist-01", "four", 48000),
    ]  # fmt: skip
    found = [(row.corpus, row.split, row.speaker, row.text, row.sample_rate) for row in gathered.rows]
    many = [row for row in found if row[2] == "librispeech-103"]
    assert len(many) == 1
    assert many[0][3].startswith("chapter one missus rachel lynde")
    assert sorted(row for row in found if row not in many) == sorted(expected)
    assert not [sentence for sentence in gathered.complaints if not sentence.startswith("Read ")]


def test_what_is_left_out_is_counted_with_its_reason(whole: tuple[Path, Gathered]) -> None:
    _, gathered = whole
    held_out = "a speaker of the test sets (held out)"
    assert gathered.left_out["librispeech-dev-clean", held_out] == 5
    assert gathered.left_out["librispeech-dev-clean", "a duplicate"] == 1
    assert gathered.left_out["librispeech-train-clean-5", held_out] == 1
    assert gathered.left_out["librispeech-train-clean-5", "a duplicate"] == 1
    assert gathered.left_out["librispeech-train-clean-100", held_out] == 2
    assert gathered.left_out["librispeech-train-clean-100-many", held_out] == 1
    assert gathered.left_out["speechocean762", held_out] == 1
    assert gathered.left_out["speechocean762", "no transcript"] == 1
    assert gathered.left_out["librispeech-train-clean-100", "no transcript"] == 1
    assert (
        gathered.left_out["librispeech-train-clean-100-many", "no transcript"] == 1
    )  # 19-1-0000: another file's mark
    assert gathered.left_out["speech-commands", "a duplicate"] == 1
    assert gathered.left_out["commonvoice", "no transcript"] == 13
    assert gathered.left_out["vctk-samples", "no transcript"] == 1
    assert gathered.left_out["arctic", "no transcript"] == 2
    assert gathered.left_out["wuw-ii", "no transcript"] == 3
    assert gathered.left_out["alphanumeric", "no transcript"] == 2
    assert gathered.left_out["commonvoice-first", "no transcript"] == 1
    assert gathered.left_out["commonvoice-first", "a duplicate"] == 1
    assert gathered.left_out["commonvoice-untranscribed", "a duplicate"] == 1
    assert gathered.left_out["asterisk-en", "no transcript"] == 2
    assert gathered.left_out["harpervalley", "a transcript with words that nobody understood"] == 1


def test_no_caller_can_be_known_by_name(whole: tuple[Path, Gathered]) -> None:
    out, _ = whole
    places = [str(path.relative_to(out)) for path in out.rglob("*")]
    told = "\n".join([(out / "audio.tsv").read_text("utf-8"), *places]).lower()
    assert "zora" not in told
    assert "quillfeather" not in told
    assert not any(hashlib.sha256(b"zora quillfeather").hexdigest()[:8] in place for place in told.split())
    assert not [place for place in places if "_000" in place or "_001a" in place]


def test_nobody_who_is_held_out_is_trained_or_tuned_on(whole: tuple[Path, Gathered]) -> None:
    out, _ = whole
    trained_on = list(read_corpus(out, LeftOut()))
    assert trained_on
    assert {recording.split for recording in trained_on} == {"train", "dev", "untranscribed"}
    everything = list(read_corpus(out, LeftOut(), held_out_too=True))
    tested = {recording.speaker for recording in everything if is_held_out(recording)}
    assert tested.isdisjoint(recording.speaker for recording in trained_on if recording.speaker)
    assert {recording.split for recording in everything if is_held_out(recording)} == {"test"}
    names = {path.name for path in (out / "audio").rglob("*") if path.is_file()}
    assert not [name for name in names if name.startswith(("84-", "251-", "1462-", "1919-", "01030"))]


@pytest.mark.parametrize("speaker", ["84", "251", "422", "777", "1462", "1919"])
def test_no_row_can_claim_a_held_out_speaker_for_training(tmp_path: Path, speaker: str) -> None:
    repository(tmp_path, "a/b", {f"x/{speaker}-1.wav": tone(), "x/26-1.wav": tone()})
    row = Source("new", "a/b", "CC0", "x/", r"(?P<label>(?P<speaker>\d+)-1)\.wav", "librispeech", labels={})
    for split in ("train", "dev", "untranscribed"):
        claimed = replace(row, split=split, labels={f"{speaker}-1": "yes", "26-1": "no"}, dev=frozenset({speaker}))
        gathered = gather([claimed], tmp_path, tmp_path / "out", {})
        assert [found.speaker for found in gathered.rows] == ["librispeech-26"]


def test_a_test_set_without_its_list_of_speakers_is_not_used_at_all(tmp_path: Path) -> None:
    repository(tmp_path, SOURCES[0].archive, {"WAVE/SPEAKER0001/1.WAV": tone(), "train/text": b"1 YES\n"})
    repository(tmp_path, "a/b", {"x.wav": tone()})
    other = Source("other", "a/b", "CC0", "", r"(?P<label>x)\.wav", "other")
    gathered = gather([SOURCES[0], other], tmp_path, tmp_path / "out", {})
    assert [row.corpus for row in gathered.rows] == ["other"]
    assert gathered.complaints == [
        "Left out speechocean762: The list test/spk2age is absent or damaged, so that nobody knows who is tested with."
    ]


def test_a_speaker_in_two_splits_is_refused() -> None:
    row = Row("a", "train", "a-1", "x", 1.0, 8000, "yes", "label", "CC0")
    check_splits([row, replace(row, split="untranscribed"), replace(row, speaker="", split="test")])
    with pytest.raises(GatheringError, match=r"^The speaker a-1 would be in more than one split: test, train\.$"):
        check_splits([row, replace(row, split="test")])


def test_the_same_mirrors_give_the_same_bytes(whole: tuple[Path, Gathered], mirrors: Path, tmp_path: Path) -> None:
    out, first = whole
    second = gather(SOURCES, mirrors, tmp_path)

    def contents(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert contents(out) == contents(tmp_path)
    assert summary(first) == summary(second)


def test_the_summary_names_hours_licences_states_and_what_was_left_out(whole: tuple[Path, Gathered]) -> None:
    page = summary(whole[1])
    assert "| an4 | test | 1 | 0.00 | 1 | 2 | verbatim | 16000 | BSD-style (CMU AN4) |" in page
    assert "| librispeech-dev-clean | a speaker of the test sets (held out) | 5 |" in page
    state = whole[1].states["sands-lab/SIDCo"]
    assert f"| sands-lab/SIDCo | {state} | the table was made for {COMMITS['sands-lab/SIDCo']} |" in page


def test_every_source_has_a_state_and_a_command_that_fetches_it() -> None:
    commands = fetch_commands(SOURCES)
    assert len(commands) == len(COMMITS)
    assert "apt-get download asterisk-core-sounds-en-wav" in commands


def test_raw_and_cut_audio_keep_their_samples(whole: tuple[Path, Gathered], mirrors: Path) -> None:
    out, _ = whole
    pcm, rate = soundfile.read(out / "audio/an4/fash/an251-fash-b.wav", dtype="int16")
    assert rate == 16000
    assert np.array_equal(pcm, _RAW.astype(np.int16))
    assert check_sound(big_endian_16k(b"\x01\x00" * 8000 + b"\x01")).seconds == 0.5
    piece, _ = soundfile.read(out / "audio/harpervalley/agent/ab12-0000350.wav", dtype="int16")
    folder = mirrors / "cricketclub+gridspace-stanford-harper-valley"
    call, _ = soundfile.read(folder / "data/audio/agent/ab12.wav", dtype="int16")
    assert np.array_equal(piece, call[2800:10000])  # 0.5 to 1.1 s, and 0.15 s on both sides


def test_mp3_named_wav_is_named_what_it_is(whole: tuple[Path, Gathered]) -> None:
    out, _ = whole
    recording = next(r for r in read_corpus(out, LeftOut()) if r.speaker == "librispeech-174")
    assert recording.path.suffix == ".mp3"
    assert read_samples(recording)[1] == 8000


# -- mirrors


_ONE = Source("one", "a/b", "CC0", "", r"(?P<label>[a-z]+)\.wav", "one")


def loose_object(folder: Path, path: str) -> Path:
    name = git(folder, "rev-parse", f"HEAD:{path}")
    return folder / ".git" / "objects" / name[:2] / name[2:]


def test_damaged_absent_and_pointer_files_are_counted_and_the_next_is_read(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    folder = repository(
        tmp_path, "a/b", {f"{name}.wav": tone() for name in ("absent", "broken", "forged", "whole")}
        | {"lfs.wav": pointer, "noise.wav": b"\x93" * 900, "quiet.wav": wav_16_bit(np.zeros(9000, np.int16), 8000),
           "long.wav": tone(8000, seconds=36), "stereo.wav": tone(channels=2)},
    )  # fmt: skip
    loose_object(folder, "absent.wav").unlink()
    broken = loose_object(folder, "broken.wav")
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:200])
    forged = loose_object(folder, "forged.wav")
    forged.unlink()
    shutil.copy(loose_object(folder, "whole.wav"), forged)
    gathered = gather([_ONE], tmp_path, tmp_path / "out", {})
    assert [row.text for row in gathered.rows] == ["whole"]
    assert {reason: count for (_, reason), count in gathered.left_out.items()} == {
        "absent from the mirror": 1,
        "damaged in the mirror": 2,
        "a pointer to Git LFS instead of audio": 1,
        "unreadable audio": 1,
        "digital silence": 1,
        "too short or too long a recording": 1,
        "another number of channels": 1,
    }


def test_absent_damaged_and_empty_mirrors_are_named_in_one_sentence(tmp_path: Path) -> None:
    repository(tmp_path, "a/b", {"yes.wav": tone()})
    repository(tmp_path, "c/d", {"README": b""})
    damaged = repository(tmp_path, "e/f", {"yes.wav": tone()})
    (damaged / ".git" / "refs" / "heads" / "main").write_text("nothing of the kind")
    (tmp_path / "asterisk-core-sounds-en-wav_1_all.deb").write_bytes(b"!<arch>\nand nothing more")
    names = {
        "g": "no/where",
        "e": "e/f",
        "c": "c/d",
        "p": "debian/none",
        "d": "debian/asterisk-core-sounds-en-wav",
    }
    rows = [replace(_ONE, corpus=corpus, archive=archive) for corpus, archive in names.items()]
    gathered = gather([*rows, _ONE], tmp_path, tmp_path / "out", {})
    assert gathered.complaints == [
        "Left out g: There is no mirror of github.com/no/where: git clone --bare https://github.com/no/where no+where",
        "Left out e: The mirror of github.com/e/f is damaged: git cannot list its newest commit.",
        "c: c/d holds no recordings where they are expected.",
        "Left out p: There is no package none_*.deb among the mirrors: apt-get download none",
        "Left out d: The package asterisk-core-sounds-en-wav_1_all.deb is damaged: "
        "no tar of files could be read from it.",
    ]
    assert len(gathered.rows) == 1


def test_absent_transcripts_are_named(tmp_path: Path) -> None:
    folder = repository(tmp_path, "a/b", {"yes.wav": tone(), "no.wav": tone(), "yes.txt": b"yes", "no.txt": b"no"})
    loose_object(folder, "no.txt").unlink()
    row = replace(
        _ONE, audio=r"(?P<utterance>\w+)\.wav",
        transcripts=(transcripts.Transcripts(r"\w+\.txt", transcripts.file_per_recording),),
    )  # fmt: skip
    gathered = gather([row], tmp_path, tmp_path / "out", {})
    assert [found.text for found in gathered.rows] == ["yes"]
    assert gathered.complaints == ["one: 1 of 2 files with transcripts are absent from the mirror of a/b."]


@pytest.mark.parametrize("place", ["", "repo", "bare", "repo-bare"])
def test_mirrors_are_found_bare_or_not(tmp_path: Path, place: str) -> None:
    if place in ("", "repo"):
        repository(tmp_path, "a/b", {"yes.wav": tone()}, place)
    else:
        made = repository(tmp_path / "elsewhere", "a/b", {"yes.wav": tone()})
        target = tmp_path / "a+b" / place.removeprefix("bare").removesuffix("-bare")
        git(tmp_path, "clone", "-q", "--bare", str(made), str(target))
    assert len(gather([_ONE], tmp_path, tmp_path / "out", {}).rows) == 1


def test_the_commit_of_the_table_is_read_even_off_every_branch(tmp_path: Path) -> None:
    folder = repository(tmp_path, "a/b", {"old.wav": tone()})
    old = git(folder, "rev-parse", "HEAD")
    git(folder, "rm", "-q", "old.wav")
    commit(folder, {"new.wav": tone()})
    new = git(folder, "rev-parse", "HEAD")
    git(folder, "update-ref", "refs/heads/other", old)
    at_old = gather([_ONE], tmp_path, tmp_path / "out", {"a/b": old})
    assert ([row.text for row in at_old.rows], at_old.complaints) == (["old"], [])
    unknown = gather([_ONE], tmp_path, tmp_path / "out", {"a/b": "0" * 40})
    assert [row.text for row in unknown.rows] == ["new"]
    assert unknown.complaints == [f"Read a/b as of {new[:12]}, which is not the state the table was made for."]


def test_a_partial_clone_does_not_fetch_what_it_lacks(tmp_path: Path) -> None:
    made = repository(tmp_path / "elsewhere", "a/b", {"yes.wav": tone()})
    git(made, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{made}", "a+b")
    mirror = GitMirror("a/b", tmp_path / "a+b")
    before = sorted((tmp_path / "a+b" / "objects").rglob("*"))
    with pytest.raises(AbsentFile, match="absent from the mirror"):
        mirror.read("yes.wav")
    mirror.close()
    assert sorted((tmp_path / "a+b" / "objects").rglob("*")) == before


def test_links_and_paths_that_lead_elsewhere_are_no_files(tmp_path: Path) -> None:
    folder = repository(tmp_path, "a/b", {"yes.wav": tone()})
    (folder / "link.wav").symlink_to("/etc/passwd")
    (folder / "tab\there.wav").write_bytes(b"")
    commit(folder, {})
    mirror = GitMirror("a/b", folder / ".git")
    assert [path for path, _ in mirror.matching(r".*")] == ["yes.wav"]
    mirror.close()


# -- the command line


def test_the_command_writes_the_folder_and_tells_it_in_markdown(
    mirrors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--mirrors", str(mirrors), "--out", str(tmp_path / "out"), "--only", "an4", "fsdd"]) == 0
    with (tmp_path / "out" / "audio.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert {row["corpus"] for row in rows} == {"an4", "fsdd"}
    page = capsys.readouterr().out
    assert page.startswith("# Public speech\n")
    assert (tmp_path / "out" / "SUMMARY.md").read_text("utf-8") == page


def test_the_command_says_in_one_sentence_why_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["--mirrors", str(tmp_path / "none"), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"There is no folder {tmp_path / 'none'}.\n"
    assert main(["--mirrors", str(tmp_path), "--out", str(out), "--only", "an4"]) == 1
    assert "No recording could be gathered from the folder of mirrors." in capsys.readouterr().err
    assert not (out / "audio.tsv").exists()
    assert main(["--list", "--only", "vctk"]) == 0
    listed = capsys.readouterr().out
    name = "avgaydashenko/speech-recognition-hw"
    assert listed == f"git clone --bare https://github.com/{name} {name.replace('/', '+')}\n"


# -- what comes from files


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_sound_or_refused(contents: bytes, with_head: bool) -> None:
    head = tone(8000, seconds=0.2, hertz=5)[:60] if with_head else b""
    with suppress(UnfitSound):
        sound = check_sound(head + contents)
        assert sound.seconds > 0
        assert sound.suffix.startswith(".")


@settings(max_examples=40)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"!<arch>\n", b"!<arch>\n" + b"%-48s%-10d`\n" % (b"data.tar", 90)]),
)
def test_any_bytes_are_a_package_or_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any_1_all.deb"
    path.write_bytes(head + tail)
    with pytest.raises(MirrorError, match="is damaged"):
        DebianPackage("debian/any", path)


_READERS = (
    transcripts.keyed_lines, transcripts.lines_with_key_behind, transcripts.file_per_recording, transcripts.bars,
    transcripts.common_voice_rows, transcripts.common_voice_first_rows, transcripts.sentence_pieces,
    transcripts.prompt_list, transcripts.common_voice_commas, transcripts.comma_table, transcripts.file_per_prompt,
    transcripts.wake_up_words, transcripts.spelled_and_dialled,
)  # fmt: skip


_HEADS = ("", _CV_HEAD, _CV_FIRST, _CV_COMMAS, _FORM, "x/1-2.flac\t<↑> ", "a|b|c\n", "a: b\n", '{"entries": [')


@settings(max_examples=60)
@given(st.text(max_size=200), st.sampled_from(_HEADS))
def test_any_text_is_transcripts_or_nothing(text: str, head: str) -> None:
    for read in _READERS:
        assert all(isinstance(key, str) and isinstance(said, Said) for key, said in read("a/b.txt", head + text))


@given(
    st.lists(st.text("ABC'", min_size=1, max_size=9), min_size=1, max_size=9), st.randoms(use_true_random=False)
)
def test_words_cut_into_pieces_are_joined_again(words: list[str], random: object) -> None:
    cut = []
    for word in words:
        at = random.randint(0, len(word) - 1)  # type: ignore[attr-defined]
        cut += [f"▁{word[:at]}", word[at:]]
    line = f"data/LibriSpeech/1-2-3.flac\t<↑> {' '.join(cut)}"
    assert [(key, said.text.split()) for key, said in transcripts.sentence_pieces("", line)] == [("1-2-3", words)]


# -- calls of the wake-up word corpus


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ("[click] Onword [/click]", "onward"),
        ("[static\\] hi Operator [\\static]", "hi operator"),
        ("[((static))/] Voyager", ""),
        ("[[skip]] Voyager {lip smack}", "voyager"),
        ("<as> what am I supposed to say </as>", "what am i supposed to say"),
        ("<language text>", ""),
        ("~IT and ~TV", "i t and t v"),
        ("^Star +Trek+ *gonna %um @home", "star trek gonna um home"),
        ("use_THINKENGINE_now", "use think engine now"),
        ("(( )) Wildfire", ""),
        ("((guessed)) Wildfire", ""),
        ("this is ger- Wildfire", ""),
        ("-perator", ""),
        ("home from work -nkEngine", ""),
        ("a four-wheel drive - yes", "a four wheel drive yes"),
        ("room 105 Operator", ""),
        ("[noise", ""),
        ("{breath} [noise]", ""),
    ],
)
def test_marks_of_calls_are_read_as_they_are_meant(marked: str, text: str) -> None:
    [(key, said)] = transcripts.wake_up_words("data.json", wake_up_json(("00001_006", marked)))
    assert key == "WUWII00001_006"
    assert " ".join(spoken_words(said.text)) == text
    assert said.speaker == "00001"


def test_callers_are_called_after_the_first_of_their_calls() -> None:
    told = wake_up_json(
        ("00003_000", "{breath} Ann  Umbridge"), ("00003_001", "a"), ("00005_000", "ann umbridge [beep]"),
        ("00005_001", "b"), ("00006_000", "((Ann)) Umbridge"), ("00006_001", "c"), ("00007_000", "[noise]"),
        ("00007_001", "d"), ("00008_001", "e"),
    )  # fmt: skip
    speakers = {said.text: said.speaker for key, said in transcripts.wake_up_words("", told) if "_000" not in key}
    assert speakers == {"a": "00003", "b": "00003", "c": "00006", "d": "00007", "e": "00008"}


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        ("hi John it's Ann", False),
        ("Umbridge's calls", False),
        ("ann-marie", False),
        ("^UMBRIDGE Operator", False),
        ("hi Ted O'Donnell", False),  # another caller's family name
        ("hi Ted", True),  # a first name alone is told by a third of the sentences that were read out
        ("a ten oxen annual", True),
    ],
)
def test_what_gives_a_callers_name_away_has_no_text(said: str, stays: bool) -> None:
    told = wake_up_json(("00001_000", "Ann Umbridge"), ("00001_006", said), ("00002_000", "((Ted)) O'Donnell"))
    texts = {key: found.text for key, found in transcripts.wake_up_words("", told)}
    assert bool(texts["WUWII00001_006"]) == stays


_WHOLE_ENTRY = json.loads(wake_up_json(("00001_001", "yes")))["entries"][0]


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "7", "[]", "{}",
        '{"entries": null}', '{"entries": {"a": 1}}', '{"entries": [null, 1, "a", []]}',
        "[" * 100_000, '{"entries": [' * 50_000, '{"entries": ' + "9" * 5000 + "}",
        *(json.dumps({"entries": [{**_WHOLE_ENTRY, name: odd}]}) for name in _WHOLE_ENTRY for odd in (None, 1, ["a"])),
        *(
            json.dumps({"entries": [{each: cell for each, cell in _WHOLE_ENTRY.items() if each != name}]})
            for name in _WHOLE_ENTRY
        ),
        json.dumps({"entries": [{**_WHOLE_ENTRY, "transcription": "[" * 200_000}]}),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_broken_list_of_calls_says_nothing(text: str) -> None:
    assert list(transcripts.wake_up_words("data.json", text)) == []


def test_a_broken_entry_costs_no_other() -> None:
    contents = json.loads(wake_up_json(("00001_001", "yes"), ("00001_002", "no")))
    contents["entries"][0]["transcription"] = None
    assert [key for key, _ in transcripts.wake_up_words("", json.dumps(contents))] == ["WUWII00001_002"]


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aZ[]{}<>()~^_- 1\ud800", max_size=20),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {"entries": st.lists(st.fixed_dictionaries(dict.fromkeys(_WHOLE_ENTRY, _ANY_JSON)), max_size=3)}
    )
)
def test_any_list_of_calls_is_transcripts_or_nothing(contents: object) -> None:
    for key, said in transcripts.wake_up_words("", json.dumps(contents)):
        assert isinstance(key, str)
        assert isinstance(said, Said)


# -- tables with commas and tabs


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("ab,common_voice_en_1.wav,A sentence.,2,1", "A sentence."),
        ("ab,common_voice_en_1.mp3,A sentence.,2,1", "A sentence."),
        ('ab,common_voice_en_1,"A, ""quoted"" one.",2,1', 'A, "quoted" one.'),
        ("ab,common_voice_en_1,A sentence.,2,2", ""),
        ("ab,common_voice_en_1,A sentence.,,", ""),
        ("ab,common_voice_en_1,A sentence.,2,1,more,and more", "A sentence."),
        (",common_voice_en_1,A sentence.,2,1", None),
        ("ab,,A sentence.,2,1", None),
        ("ab,common_voice_en_1,,2,1", None),
        ("ab,common_voice_en_1", None),
        ("ab,common_voice_en_1,A sentence.,many,1", None),
        ("ab,common_voice_en_1,A sentence.,-1,-2", None),
        (f"ab,common_voice_en_1,A sentence.,{'9' * 5000},1", None),
        ('ab,common_voice_en_1,"A sentence.,2,1', ""),  # the quotation never ends: no votes
        (f'ab,common_voice_en_1,"{"a" * 2_000_000}",2,1', None),
    ],
    ids=lambda cell: str(cell)[:40],
)
def test_rows_of_the_comma_table_are_taken_or_left(row: str, text: str | None) -> None:
    table = f"client_id,path,sentence,up_votes,down_votes\n{row}\n"
    found = {key: said.text.strip() for key, said in transcripts.common_voice_commas("", table)}
    if text is None:
        assert found == {}
    else:
        assert list(found) == ["common_voice_en_1"]
        assert found["common_voice_en_1"].split(",2,1")[0] == text or text == ""


def test_spelled_names_and_dialled_numbers_are_letters_and_digits() -> None:
    assert dict(transcripts.spelled_and_dialled("metadata.csv", _FORM)) == {
        "Names/R_1ab": Said("S a m F o x"),
        "Numbers/R_1ab": Said("8 8 8 5 1 1 2 9 3 0"),
    }


def test_files_of_a_prompt_and_tables_of_files_name_recordings_by_their_stems() -> None:
    assert dict(transcripts.file_per_prompt("data/arctic_a0001_1593.txt", "Author.")) == {
        "arctic_a0001": Said("Author.")
    }
    table = "speaker,wav_file,transcript\np225,a/p225_001.wav,Please.\np225,,Call.\np225,p225_003.wav\n"
    assert dict(transcripts.comma_table("transcripts.csv", table)) == {"p225_001": Said("Please.")}


_TABLES = (
    (transcripts.common_voice_rows, "client_id\tpath\tsentence\n"),
    (transcripts.common_voice_commas, "client_id,path,sentence\n"),
    (transcripts.common_voice_first_rows, "filename,text\n"),
    (transcripts.comma_table, "wav_file,transcript\n"),
    (transcripts.spelled_and_dialled, "Response_ID,Name,Number\n"),
)  # fmt: skip


@pytest.mark.parametrize(("read", "head"), _TABLES)
def test_broken_tables_say_nothing(read: Callable[[str, str], transcripts.Lines], head: str) -> None:
    separator = "\t" if "\t" in head else ","
    row = separator.join(["yes"] * head.count(separator) + ["yes\n"])
    names = head.strip().split(separator)
    assert list(read("", f"{head}{row}"))
    hostile = [
        "", "\n\n", head, row, "\0" * 9, f"{head}{'a' * 2_000_000}{separator}{row}",
        f"{head}yes\ryes{separator}yes{separator}yes\n",
        *(f"{head.replace(name, 'other')}{row}" for name in names if name not in ("Name", "Number")),
    ]  # fmt: skip
    for text in hostile:
        assert list(read("", text)) == []


@pytest.mark.parametrize(
    ("name", "read", "damaged"),
    [
        ("data.json", transcripts.wake_up_words, b'{"entries": [{'),
        ("data.json", transcripts.wake_up_words, b"version https://git-lfs.github.com/spec/v1\n"),
        ("data.json", transcripts.wake_up_words, b"[" * 100_000),
        ("data.json", transcripts.wake_up_words, bytes(range(256))),
        ("metadata.csv", transcripts.spelled_and_dialled, b"Other,Columns\nR_1,yes\n"),
        ("validated.csv", transcripts.common_voice_commas, b"client_id,path\nab,yes\n"),
        (
            "validated.csv",
            transcripts.common_voice_commas,
            b'client_id,path,sentence\nab,yes,"' + b"a" * 2_000_000,
        ),
        ("transcripts.csv", transcripts.comma_table, b"wav_file\nyes.wav\n"),
    ],
)
def test_a_damaged_table_is_named_in_one_sentence(
    tmp_path: Path, name: str, read: Callable[[str, str], transcripts.Lines], damaged: bytes
) -> None:
    repository(tmp_path, "a/b", {"yes.wav": tone(), "no.wav": tone(), name: damaged})
    row = replace(
        _ONE, audio=r"(?P<utterance>yes)\.wav", transcripts=(transcripts.Transcripts(re.escape(name), read),)
    )
    other = replace(_ONE, corpus="other", audio=r"(?P<label>no)\.wav")
    gathered = gather([row, other], tmp_path, tmp_path / "out", {})
    assert [found.text for found in gathered.rows] == ["no"]
    assert gathered.left_out == {("one", "no transcript"): 1}
    assert gathered.complaints == ["one: 1 of 1 files with transcripts of a/b are empty or damaged."]


@pytest.mark.parametrize("client", ["a\tb", "a\nb", "../../a", "ab cd", "\ud800", "名"])
def test_what_would_break_the_manifest_is_nobodys_name(tmp_path: Path, client: str) -> None:
    call = {**_WHOLE_ENTRY, "sessionNumber": client, "fileName": "yes.ulaw"}
    calls = json.dumps({"entries": [call]}).encode()
    table = f'client_id,path,sentence,up_votes,down_votes\n"{client}",yes.wav,Yes.,1,0\n'.encode(
        "utf-8", "replace"
    )
    repository(tmp_path, "a/b", {"yes.wav": tone(), "no.wav": tone(), "data.json": calls, "validated.csv": table})
    row = replace(_ONE, audio=r"(?P<utterance>yes)\.wav")
    rows = [
        replace(row, transcripts=(transcripts.Transcripts(r"data\.json", transcripts.wake_up_words),)),
        replace(row, transcripts=(transcripts.Transcripts(r"validated\.csv", transcripts.common_voice_commas),)),
        replace(row, audio=r"(?P<label>no)\.wav"),
    ]
    gathered = gather(rows, tmp_path, tmp_path / "out", {})
    assert [found.text for found in gathered.rows] == ["no"]


def test_absurdly_long_texts_are_none(tmp_path: Path) -> None:
    repository(tmp_path, "a/b", {"yes.wav": tone(), "no.wav": tone(), "yes.txt": b"$" + b"9" * 5000})
    row = replace(
        _ONE, audio=r"(?P<utterance>yes)\.wav",
        transcripts=(transcripts.Transcripts(r"\w+\.txt", transcripts.file_per_recording),),
    )  # fmt: skip
    gathered = gather([row, replace(_ONE, audio=r"(?P<label>no)\.wav")], tmp_path, tmp_path / "out", {})
    assert gathered.left_out == {("one", "no transcript"): 1}


# -- sound from other forms


def test_mu_law_of_a_line_has_the_levels_that_sox_gives() -> None:
    codes = np.arange(256, dtype=np.uint8)
    golden = np.fromfile(Path(__file__).parents[2] / "golden" / "g711" / "mu_law_sox.s16", "<i2")
    samples, rate = soundfile.read(io.BytesIO(mu_law_8k(codes.tobytes())), dtype="int16")
    assert rate == 8000
    assert np.array_equal(samples, golden)


@given(st.binary(max_size=300).filter(lambda contents: not contents.startswith(b"version")))
def test_any_bytes_are_mu_law(contents: bytes) -> None:
    with soundfile.SoundFile(io.BytesIO(mu_law_8k(contents))) as file:
        assert (file.frames, file.channels) == (len(contents), 1)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_the_first_channel_keeps_its_samples(channels: int) -> None:
    pcm = np.stack([np.arange(-32768, 32768, 9) // (1 + channel) for channel in range(channels)], axis=1)
    file = io.BytesIO()
    soundfile.write(file, pcm.astype(np.int16), 44100, format="WAV", subtype="PCM_16")
    first, rate = soundfile.read(io.BytesIO(first_channel(file.getvalue())), dtype="int16", always_2d=True)
    assert rate == 44100
    assert np.array_equal(first, pcm[:, :1])


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24", "PCM_U8"])
def test_the_first_channel_of_other_widths_is_as_loud(subtype: str) -> None:
    samples = 0.5 * np.sin(np.arange(8000) / 9)
    file = io.BytesIO()
    soundfile.write(file, np.stack([samples, 0 * samples], axis=1), 8000, format="WAV", subtype=subtype)
    first, _ = soundfile.read(io.BytesIO(first_channel(file.getvalue())))
    assert np.abs(first - samples).max() < 0.01


def forged_flac(samples: int) -> bytes:
    """A FLAC file whose STREAMINFO promises so many samples (36 bits, RFC 9639)."""
    contents = bytearray(tone(kind="FLAC"))
    fields = int.from_bytes(contents[18:26], "big") >> 36 << 36
    contents[18:26] = (fields | samples).to_bytes(8, "big")
    return bytes(contents)


def forged_wav(rate: int = 16000, channels: int = 1) -> bytes:
    contents = bytearray(tone())
    contents[22:28] = channels.to_bytes(2, "little") + rate.to_bytes(4, "little")
    return bytes(contents)


_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "unreadable audio"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", "unreadable audio"),
        (_POINTER, "a pointer to Git LFS instead of audio"),
        (forged_flac(2**36 - 1), "too short or too long a recording"),
        (forged_flac(30 * 16000), "unreadable audio"),
        (forged_wav(rate=2**31 - 1), "unreadable audio"),
        (forged_wav(channels=255), "another number of channels"),
        (tone(8000, seconds=36), "too short or too long a recording"),
        (tone(kind="FLAC")[:6000], "unreadable audio"),
    ],
    ids=["empty", "head", "pointer", "endless", "promises more", "rate", "channels", "long", "cut off"],
)
def test_what_a_header_promises_is_not_believed(contents: bytes, reason: str) -> None:
    for look in (check_sound, first_channel):
        with pytest.raises(UnfitSound, match=f"^{reason}$"):
            look(contents)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_have_a_first_channel_or_are_refused(contents: bytes, with_head: bool) -> None:
    head = tone(8000, seconds=0.2, hertz=5)[:60] if with_head else b""
    with suppress(UnfitSound):
        assert first_channel(head + contents).startswith(b"RIFF")


@pytest.mark.parametrize("convert", [big_endian_16k, mu_law_8k])
def test_a_pointer_is_no_headerless_audio(convert: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UnfitSound, match=r"^a pointer to Git LFS instead of audio$"):
        convert(_POINTER)
