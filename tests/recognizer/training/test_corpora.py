"""Readers of corpora: each layout as a small made folder, and what is hostile in it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from recognizer.training.corpora.held_out import is_held_out
from recognizer.training.corpora.reading import CorpusError, layout_of, read_corpus
from recognizer.training.corpora.recording import LeftOut, Recording, TranscriptKind, read_samples, with_samples
from recognizer.training.corpora.site_calls import read_site_calls
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

COLUMNS = "corpus\tsplit\tspeaker\tpath\tseconds\tsample_rate\ttext\ttranscript_kind\tlicence"


def tone(path: Path, seconds: float = 0.5, rate: int = 16000, hertz: tuple[float, ...] = (440.0,)) -> Path:
    """One channel per frequency."""
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * np.outer(times, hertz)).astype(np.float32), rate)
    return path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def pitch(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 8000 / samples.size)


def read(folder: Path, **options: object) -> tuple[list[Recording], LeftOut]:
    left_out = LeftOut()
    return list(read_corpus(folder, left_out, **options)), left_out  # type: ignore[arg-type]


# -- manifest


def manifest_line(
    path: str, corpus: str = "c", split: str = "train", speaker: str = "c-1", text: str = "hello"
) -> str:
    return f"{corpus}\t{split}\t{speaker}\t{path}\t0.5\t16000\t{text}\tverbatim\tCC0"


def test_manifest(tmp_path: Path) -> None:
    tone(tmp_path / "a" / "1.wav")
    written(tmp_path / "a" / "2.wav", "no audio at all")
    lines = [
        manifest_line("a/1.wav", text="Hello, 3 men"),
        manifest_line("a/2.wav"),
        manifest_line("a/none.wav"),
        manifest_line("a/1.wav", text=""),
        manifest_line("a/1.wav", text="1/2"),
        "only\tthree\tfields",
        manifest_line("a/1.wav").replace("verbatim", "sworn"),
        manifest_line("a/1.wav").replace("verbatim", "none").replace("hello", ""),
    ]
    written(tmp_path / "audio.tsv", "\n".join([COLUMNS, *lines]) + "\n")
    found, left_out = read(tmp_path)
    assert [(r.words, r.kind) for r in found] == [
        (("hello", "three", "men"), TranscriptKind.VERBATIM),
        ((), TranscriptKind.NONE),
    ]
    assert found[0].path == tmp_path / "a" / "1.wav"
    assert found[0].seconds == 0.5
    assert sum(left_out.reasons.values()) == 6
    assert left_out.sentence() == (
        "6 recordings were left out: 2 for unreadable audio, 1 for no transcript, 1 for a transcript without a single "
        "spoken form, 1 for a manifest line without all columns, 1 for a manifest line with a wrong value."
    )


def test_a_manifest_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "audio.tsv").write_bytes(b"\xff\xfe\x00" * 50)
    found, left_out = read(tmp_path)
    assert found == []
    assert left_out.sentence() == "1 recording was left out: 1 for a manifest that is no tab-separated UTF-8 text."


# -- held out


@pytest.mark.parametrize(
    ("corpus", "split", "speaker"),
    [
        ("speechocean762", "test", "speechocean762-0003"),
        ("librispeech-dev-clean", "train", "librispeech-84"),
        ("librispeech-dev-clean", "train", "librispeech-422"),
        ("anything", "train", "librispeech-1919"),
        ("librispeech-test-other", "train", "librispeech-1688"),
        ("librispeech-dev-other", "dev", "librispeech-116"),
        ("fsdd", "train", "fsdd-theo"),
        ("commonvoice", "test", "commonvoice-12"),
        ("c", "reserved", "c-1"),
    ],
)
def test_held_out_is_refused_whatever_the_manifest_claims(
    tmp_path: Path, corpus: str, split: str, speaker: str
) -> None:
    tone(tmp_path / "1.wav")
    line = manifest_line("1.wav", corpus, split, speaker)
    written(tmp_path / "audio.tsv", f"{COLUMNS}\n{line}\n{manifest_line('1.wav')}\n")
    found, left_out = read(tmp_path)
    assert [r.corpus for r in found] == ["c"]
    assert left_out.reasons == {"the test sets (held out)": 1}
    assert len(read(tmp_path, held_out_too=True)[0]) == 2


# -- LibriSpeech


def librispeech(folder: Path, subset: str, speaker: str, text: str = "IT WAS MISTER BROWN") -> None:
    chapter = folder / "LibriSpeech" / subset / speaker / "100"
    name = f"{speaker}-100-0000"
    tone(chapter / f"{name}.flac")
    written(chapter / f"{speaker}-100.trans.txt", f"{name} {text}\n{speaker}-100-0001 A FILE THAT IS MISSING\n")


def test_librispeech(tmp_path: Path) -> None:
    for subset, speaker in (
        ("train-clean-100", "103"),
        ("dev-clean", "1272"),
        ("dev-clean", "1993"),
        ("dev-clean", "84"),
        ("dev-other", "116"),
        ("test-clean", "61"),
        ("train-other-500", "20"),
    ):
        librispeech(tmp_path, subset, speaker)
    found, left_out = read(tmp_path)
    assert [(r.corpus, r.speaker, r.split) for r in found] == [
        ("librispeech-dev-clean", "librispeech-1272", "train"),
        ("librispeech-dev-clean", "librispeech-1993", "dev"),
        ("librispeech-train-clean-100", "librispeech-103", "train"),
        ("librispeech-train-other-500", "librispeech-20", "train"),
    ]
    assert found[0].words == ("it", "was", "mister", "brown")
    assert left_out.reasons == {"unreadable audio": 7, "the test sets (held out)": 3}
    alone, _ = read(tmp_path / "LibriSpeech" / "train-clean-100")
    assert [r.speaker for r in alone] == ["librispeech-103"]


def test_librispeech_never_leaves_its_chapter(tmp_path: Path) -> None:
    tone(tmp_path / "train-clean-100" / "1" / "x.flac")
    written(tmp_path / "train-clean-100" / "1" / "2" / "1-2.trans.txt", "../x HELLO\n")
    found, left_out = read(tmp_path)
    assert found == []
    assert left_out.reasons == {"a transcript that names a file elsewhere": 1}


# -- Common Voice


def test_common_voice(tmp_path: Path) -> None:
    header = "client_id\tpath\tsentence\tup_votes"
    for name in ("one", "two", "three"):
        tone(tmp_path / "clips" / f"{name}.mp3", rate=32000)
    who = "ab" * 64
    written(
        tmp_path / "train.tsv",
        f'{header}\n{who}\tone.mp3\t"Well," he said.\t2\n{who}\tmissing.mp3\tHello\t2\n{who}\t../x.mp3\tHello\t2\n',
    )
    written(tmp_path / "dev.tsv", f"{header}\n{who}\ttwo\tGood-bye!\t2\n")
    written(tmp_path / "test.tsv", f"{header}\n{who}\tthree.mp3\tNever\t2\n")
    found, left_out = read(tmp_path)
    assert [(r.words, r.split, r.speaker) for r in found] == [
        (("well", "he", "said"), "train", "commonvoice-abababababab"),
        (("good", "bye"), "dev", "commonvoice-abababababab"),
    ]
    assert left_out.reasons == {
        "unreadable audio": 1,
        "a table line without a clip": 1,
        "the test sets (held out)": 1,
    }
    samples, rate = read_samples(found[0])
    assert rate == 8000
    assert pitch(samples) == pytest.approx(440, abs=5)


# -- HarperValleyBank


def harper_segment(channel: int, offset_ms: int, text: str, **other: object) -> dict[str, object]:
    return {
        "channel_index": channel,
        "speaker_role": "caller" if channel == 1 else "agent",
        "offset_ms": offset_ms,
        "start_ms": max(0, offset_ms - 2050),
        "duration_ms": 400,
        "human_transcript": text,
        "transcript": "a machine's guess",
        **other,
    }


def test_harper_valley(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for role, hertz in (("agent", 300.0), ("caller", 900.0)):
        tone(data / "audio" / role / "ab12.wav", 3.0, 8000, (hertz,))
    segments = [
        harper_segment(2, 1000, "hello this is [laughter] harper valley"),
        harper_segment(1, 2000, "<unk> my name"),
        harper_segment(1, 2000, "[noise]"),
        harper_segment(1, 2500, "a debit card"),
        harper_segment(1, 9000, "behind the end"),
        harper_segment(3, 0, "no such channel"),
        {"channel_index": 1},
        "no segment",
    ]
    written(data / "transcript" / "ab12.json", json.dumps(segments))
    written(data / "metadata" / "ab12.json", json.dumps({"agent": {"speaker_id": 46}, "caller": {}}))
    written(data / "transcript" / "cd34.json", '{"not": "a list"}')
    written(data / "transcript" / "ef56.json", "[" * 100_000)
    found, left_out = read(tmp_path)
    assert [(r.path.parent.name, r.words, r.speaker) for r in found] == [
        ("agent", ("hello", "this", "is", "harper", "valley"), "harpervalley-46"),
        ("caller", ("a", "debit", "card"), "harpervalley-ab12-caller"),
    ]
    assert (found[0].start_s, found[0].end_s) == pytest.approx((0.85, 1.55)), "cut by offset_ms, with some room"
    assert pitch(read_samples(found[1])[0]) == pytest.approx(900, abs=5)
    assert left_out.reasons == {
        "a segment with a missing or wrong field": 3,
        "a transcript that is no JSON list": 2,
        "a transcript with words that nobody understood": 1,
        "no words": 1,
        "a segment behind the end of its audio": 1,
    }


# -- a site's own calls


def site(tmp_path: Path) -> tuple[list[Recording], LeftOut]:
    left_out = LeftOut()
    return list(read_site_calls(tmp_path, left_out)), left_out


def test_site_calls_with_whole_texts(tmp_path: Path) -> None:
    tone(tmp_path / "2026" / "call.wav", 2.0, 8000, (300.0, 900.0))
    written(tmp_path / "2026" / "call.0.txt", "Good morning.")
    written(tmp_path / "2026" / "call.1.txt", "I need 2 cards")
    tone(tmp_path / "mono.wav")
    written(tmp_path / "mono.txt", "\ufeffYes")
    tone(tmp_path / "silent.wav")
    found, left_out = site(tmp_path)
    assert [(r.channel, r.words, r.start_s, r.end_s) for r in found] == [
        (0, ("good", "morning"), 0.0, 2.0),
        (1, ("i", "need", "two", "cards"), 0.0, 2.0),
        (0, ("yes",), 0.0, 0.5),
    ]
    assert pitch(read_samples(found[0])[0]) == pytest.approx(300, abs=5)
    assert pitch(read_samples(found[1])[0]) == pytest.approx(900, abs=5)
    assert len({r.speaker for r in found}) == 3
    assert not any("call" in r.speaker or "2026" in r.speaker for r in found), "names of files stay out of it"
    assert left_out.reasons == {"no transcript": 1}


SEGMENTS = [(0, 0.25, 0.75, "Good morning"), (1, 1.0, 1.5, "Hello, yes")]
STM = "call 1 a 0.25 0.75 <o,f0,male> Good morning\n;; a remark\ncall B b 1.0 1.5 Hello, yes\nother 1 x 0 1 no\n"
CTM = "call A 0.25 0.2 good\ncall A 0.5 0.25 morning .9\ncall 2 1.0 0.2 hello\ncall 2 1.25 0.25 yes\n"
FORMS = {
    "json": json.dumps([{"channel": c, "start_s": s, "end_s": e, "text": t} for c, s, e, t in SEGMENTS]),
    "stm": STM,
    "ctm": CTM,
    "tsv": "start_ms\tend_ms\tchannel\ttext\n"
    + "".join(f"{s * 1e3}\t{e * 1e3}\t{c}\t{t}\n" for c, s, e, t in SEGMENTS),
}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_site_calls_in_segments(tmp_path: Path, form: str) -> None:
    tone(tmp_path / "call.wav", 2.0, 8000, (300.0, 900.0))
    written(tmp_path / f"call.{form}", FORMS[form])
    found, left_out = site(tmp_path)
    assert [(r.channel, r.start_s, r.end_s, " ".join(r.words)) for r in found] == [
        (0, 0.25, 0.75, "good morning"),
        (1, 1.0, 1.5, "hello yes"),
    ]
    assert not left_out.reasons


def test_json_segments_within_an_object(tmp_path: Path) -> None:
    tone(tmp_path / "call.wav", 2.0, 8000)
    written(tmp_path / "call.json", '{"segments": [{"start_ms": 500, "end_ms": 1e9, "text": "yes"}]}')
    found, _ = site(tmp_path)
    assert [(r.start_s, r.end_s) for r in found] == [(0.5, 2.0)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("call.json", "{"),
        ("call.json", '{"segments": 4}'),
        ("call.json", '[{"text": "yes", "start": 0}]'),
        ("call.json", '[{"text": 5, "start": 0, "end": 1}]'),
        ("call.json", '[{"text": "yes", "start": "soon", "end": 1}]'),
        ("call.json", '[{"text": "yes", "start": 0, "end": 1, "channel": [0]}]'),
        ("call.json", "[" * 50_000),
        ("call.tsv", "start_s\ttext\n0\tyes\n"),
        ("call.stm", "call 1 a soon 1 yes"),
        ("call.stm", "call Z a 0 1 yes"),
        ("call.ctm", "call 1 0"),
    ],
)
def test_a_broken_transcript_is_counted_and_the_next_call_is_read(tmp_path: Path, name: str, text: str) -> None:
    tone(tmp_path / "call.wav")
    written(tmp_path / name, text)
    tone(tmp_path / "good.wav")
    written(tmp_path / "good.txt", "yes")
    found, left_out = site(tmp_path)
    assert [r.path.name for r in found] == ["good.wav"]
    assert left_out.sentence() == (
        "1 recording was left out: 1 for a transcript that is damaged or lacks a field."
    )
    assert left_out.first["a transcript that is damaged or lacks a field"].name == "call.wav"


def test_segments_outside_of_the_audio_are_counted(tmp_path: Path) -> None:
    tone(tmp_path / "call.wav", 1.0)
    rows = [
        {"start": start, "end": end, "channel": channel, "text": "yes"}
        for start, end, channel in (
            (2, 3, 0),
            (0.5, 0.2, 0),
            (0, 1, 1),
            (-1, 1, 0),
            (float("nan"), 1, 0),
            (0, 1, -1),
        )
    ]
    written(tmp_path / "call.json", json.dumps(rows))
    found, left_out = site(tmp_path)
    assert found == []
    assert left_out.reasons == {"a segment outside of its audio": 6}


def test_the_split_of_a_site_goes_by_call_and_stays_when_the_folder_grows(tmp_path: Path) -> None:
    for i in range(60):
        tone(tmp_path / f"{i}.wav", 0.1, 8000, (300.0, 400.0))
        written(tmp_path / f"{i}.0.txt", "yes")
        written(tmp_path / f"{i}.1.txt", "no")
    before = {(r.path.name, r.channel): r.split for r in site(tmp_path)[0]}
    assert set(before.values()) == {"train", "dev"}
    assert all(before[f"{i}.wav", 0] == before[f"{i}.wav", 1] for i in range(60))
    tone(tmp_path / "aa.wav", 0.1, 8000)
    written(tmp_path / "aa.txt", "yes")
    after = {(r.path.name, r.channel): r.split for r in site(tmp_path)[0]}
    assert before.items() <= after.items()


# -- samples


def test_samples_that_break_off_are_counted(tmp_path: Path) -> None:
    good, bad = tone(tmp_path / "good.flac", 2.0), tone(tmp_path / "bad.flac", 2.0)
    bad.write_bytes(bad.read_bytes()[:3000])
    gone = Recording(tmp_path / "gone.wav", 0, 0, 1, ("yes",), "", "site", "train", "", TranscriptKind.VERBATIM)
    recordings = [
        Recording(path, 0, 0.5, 1.5, ("yes",), "", "site", "train", "", TranscriptKind.VERBATIM)
        for path in (good, bad)
    ]
    left_out = LeftOut()
    read_ones = list(with_samples([*recordings, gone], left_out))
    assert [r.path.name for r, _ in read_ones] == ["good.flac"]
    assert read_ones[0][1].size == 8000
    assert left_out.reasons == {"unreadable audio": 2}


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed (Debian: apt-get install flite)")
def test_speech_made_by_flite_is_read_as_a_site_would_leave_it(tmp_path: Path) -> None:
    said = "the quick brown fox"
    subprocess.run(["flite", "-voice", "rms", "-t", said, "-o", str(tmp_path / "call.wav")], check=True)
    written(tmp_path / "call.txt", said)
    found, left_out = site(tmp_path)
    ((recording, samples),) = with_samples(found, left_out)
    assert recording.words == tuple(said.split())
    assert samples.size == pytest.approx(recording.seconds * 8000, abs=8)
    assert np.sqrt(np.mean(samples**2)) > 0.01


# -- layouts


def test_what_is_no_corpus_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"^There is no folder .*nowhere\.$"):
        layout_of(tmp_path / "nowhere")
    with pytest.raises(CorpusError, match="none of the known layouts"):
        layout_of(tmp_path)
    with pytest.raises(CorpusError, match="There is no layout called 'timit'"):
        layout_of(tmp_path, "timit")


# -- spoken form

KNOWN = {f"{letter}." for letter in "abcdefghijklmnopqrstuvwxyz"} | {"co-workers", "tv", "a", "i", "mrs", "u"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, world!", "hello world"),
        ("IT'S MISTER BROWN'S", "it's mister brown's"),
        ("Mr. O’Brien and Mrs. Day", "mister o'brien and mrs day"),
        ("well-known co-workers -- left", "well known co-workers left"),
        ("call 555-123-4567", "call five five five one two three four five six seven"),
        ("account 0042 and 12345678", "account zero zero four two and one two three four five six seven eight"),
        ("$1,234.50", "one thousand two hundred thirty four dollars and fifty cents"),
        ("$3.5 million", "three point five million dollars"),
        ("£1.01", "one pound and one penny"),
        ("at 3:05, 4:00 and 5:30 p.m.", "at three oh five four o'clock and five thirty p. m."),
        ("3 PM or 3:00 am", "three p. m. or three a. m."),
        ("the 21st of May, 1999", "the twenty first of may nineteen ninety nine"),
        ("the 1990s", "the nineteen nineties"),
        ("2.05% of 1,000,000", "two point zero five percent of one million"),
        ("the U.S. and IBM's TV", "the u. s. and i. b. m.'s tv"),
        ("A B and a C", "a b. and a c."),
        ("it's, 'quoted' and 'em", "it's quoted and 'em"),
        ("I said [noise] yes <laughter>", "i said yes"),
        ("naïve café", "naive cafe"),
        ("salt & pepper", "salt and pepper"),
        ("...", ""),
    ],
)
def test_spoken_form(text: str, said: str) -> None:
    assert " ".join(spoken_words(text, KNOWN)) == said


@pytest.mark.parametrize(
    "text",
    [
        "on 3/4/2020",
        "5-10 people",
        "see www.a.com 4",
        "me@home.com",
        "<unk> yes",
        "r2d2",
        "Ünïcode 漢字",
        "9" * 400,
    ],
)
def test_what_has_no_single_spoken_form_is_refused_without_quoting_it(text: str) -> None:
    if text == "9" * 400:
        assert len(spoken_words(text)) == 400, "a long number is read digit by digit"
        return
    with pytest.raises(NoSpokenForm) as refused:
        spoken_words(text)
    assert not any(word in str(refused.value) for word in text.split() if len(word) > 3)


def test_tags_can_be_mapped() -> None:
    assert spoken_words("yes [Noise] no", tags={"[noise]": "<noise>"}) == ("yes", "<noise>", "no")


@given(st.text(max_size=80))
def test_any_text_gives_words_or_a_refusal(text: str) -> None:
    try:
        words = spoken_words(text, KNOWN)
    except NoSpokenForm:
        return
    assert all(word and set(word) <= set("abcdefghijklmnopqrstuvwxyz'-.") for word in words)
    assert spoken_words(" ".join(words), KNOWN) == words, "the spoken form of a spoken form is itself"


def test_held_out_names_need_no_corpus() -> None:
    recording = Recording(Path("x"), 0, 0, 1, (), "librispeech-777", "site", "train", "", TranscriptKind.NONE)
    assert is_held_out(recording)
