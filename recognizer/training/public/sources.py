"""The table of public speech: repository and commit, licence, what a path tells, who is tested with.

A row is a :class:`Source`; a corpus may have several. To add one, add a row and its repository's commit. Whom
held_out.py names is left out unless a row makes it a test set, so no row can put anybody of them into the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from recognizer.training.corpora.held_out import FSDD_SPEAKERS, LIBRISPEECH_DEV_SPEAKERS
from recognizer.training.corpora.recording import TranscriptKind
from recognizer.training.public import transcripts as said
from recognizer.training.public.sound import big_endian_16k, first_channel, mu_law_8k
from recognizer.training.public.transcripts import Transcripts

_NOBODY: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Source:
    """Recordings in one repository or package.

    Attributes
    ----------
    corpus : str
    archive : str
        ``owner/name`` at github.com, or ``debian/package``.
    licence : str
        As the repository or the corpus states it.
    root : str
        Folder of the recordings; the path below it is kept.
    audio : str
        Regular expression that a path below `root` must match in full. Named groups: ``speaker``, ``utterance``
        (its key in the transcripts and among duplicates; else the path below `root`), ``label`` (the words).
    family : str
        Speakers are ``<family>-<id>``; one person in two corpora of a family is one speaker.
    kind : TranscriptKind
    split : str
        Of speakers that `dev` and `test` do not name.
    transcripts : tuple of Transcripts
    texts : mapping
        Texts of single recordings that no transcript holds, by key.
    labels : mapping
        Words for labels that are not themselves the words.
    speaker : str
        The only one, or for a corpus whose paths do not tell.
    dev, test : frozenset of str
        Speakers.
    test_ages : str
        A file of lines ``speaker age``: these speakers are the test set; without the file nothing may be used.
    convert : callable, optional
        From the file's bytes to audio that libsndfile decodes.
    channels : int
    calls : bool
        Paths are of whole calls, to be cut (:mod:`recognizer.training.public.call_segments`).
    """

    corpus: str
    archive: str
    licence: str
    root: str
    audio: str
    family: str
    kind: TranscriptKind = TranscriptKind.VERBATIM
    split: str = "train"
    transcripts: tuple[Transcripts, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    speaker: str = ""
    dev: frozenset[str] = _NOBODY
    test: frozenset[str] = _NOBODY
    test_ages: str = ""
    convert: Callable[[bytes], bytes] | None = None
    channels: int = 1
    calls: bool = False


COMMITS: Final[Mapping[str, str]] = {
    "Harsha-2016/VCTK_corpus": "e8b222c0d8835cafb6a890f0eb68ba4337696ed9",
    "Jakobovski/free-spoken-digit-dataset": "26eb9aaf76e81b692f806f9140c2d2777410d7a1",
    "Picovoice/speech-to-intent-benchmark": "47b1ca63afe4f08cb83e1f70fec16764879bd130",
    "Picovoice/wake-word-benchmark": "84919190fb1891bf0936dcb577d9268e467f876f",
    "PrernaSocity/lj_speech_dataset_part_1": "328134a60409b5d1060f411fde6fa0eb20b22150",
    "RomansWorks/AIND-VUI-Capstone-DS": "81dd7b925d0c8643e68e76018187115b8d32af0f",
    "Sakshee5/alphanumeric-audio-dataset": "6c9a38ed7e590a45410fdc33a548005a30f03552",
    "SamuelBroughton/StarGAN-Voice-Conversion-2": "233cac6d0b42c79787e4e3608a0f100fa5d8fedb",
    "Uskur/Asterisk-TTS": "88017a73da0ab37db9573260f072a439502c9906",
    "Venkateshbhakthavat/Project-Discussion": "79e7b2c9a86d7c3c8aeeb12d5335661b4a848d4f",
    "Walleclipse/Deep_Speaker-speaker_recognition_system": "b975516d368eeac745e8f5270740ef277b88a8af",
    "andabi/deep-voice-conversion": "983c275d669e8f6c935b08582063f8aaaecff48e",
    "auspicious3000/autovc": "c1827a60e83e6d26030b8953843b2f7cf2bd36db",
    # Branch ctc; the branch that a clone checks out never held the recordings.
    "avgaydashenko/speech-recognition-hw": "68ae13611fe455889a813d130847129024c44f2b",
    "carlosfranzreb/spkanon_eval": "dd0c89909b4d2f4a68192a4928d65b1996fd1018",
    "chetan6361/Speaker-Identification-using-voice-recognition-and-age-prediction": (
        "eae703abce04d7c63ed836d252e9086791ca0ab5"
    ),
    "cricketclub/gridspace-stanford-harper-valley": "",
    "facebookresearch/fbai-speech": "43cdb3ca9644a755d5c6cc55cbcc91132f85ed44",
    "felixbastian/Speaker_partition_module": "c2c3a432e784513db56389a2c0a9983953a5f572",
    "fsta-fo/voice-age-prediction": "566ecc904ed2a057f906d58606703c59ce1ad858",
    "jimbozhang/speechocean762": "613968e3b0b789fc33936fb5eba1973176ba7d11",
    "korliu/whisper": "d03c14561ed7e5e354d76259a7606df7b6e68b0c",
    "manashmandal/DeadSimpleSpeechRecognizer": "881b36a63bc9d449f60bc83ebcd2e7c5209a4761",
    "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11": "6785f863fec9770151abfe50a5e3e3787fd20ba2",
    "proger/flaky-librispeech": "1a9c1e96eb83e8de856c10b72d982982612e11b0",
    "puri-gagan/speechdataset": "4b7ec8a6084853c3d73b69a418a4394b64c8d988",
    "resemble-ai/Resemblyzer": "15d828edebe06bc72b9cabc8ef8ca5ab2cb457ce",
    "rhasspy/dataset-voice-cathy": "c51cb971036a127359b43c621f26ca5081eab13e",
    "rigved/rit-engl-682-spring-2021-project": "637c494f0bff9f6e251b92beb2838c2c93819b9a",
    "sands-lab/SIDCo": "197f3c3fc992b70b88e17bb8feaf38f2d2136e9a",
    "shubhra-cv/17": "c6eb4f89ac49c509366afc829ba503cc93aad8a2",
    "shubhra-cv/18": "4ca775acc03a0f21aed07c3d2570fcb3e39fabab",
    "shubhra-cv/19": "497ac20ecec581d1bbb9c700b99ad2750db7aa67",
    "soerenab/AudioMNIST": "",
    "vinsis/speech-commands-recognition": "53317d51bc2c75de6118ede48b0da06a412a1341",
    "zhangrui0712/Voice-Age": "c13f844098b754edb9c60b8deb1aa586bc461d8a",
    "wake-up-word/wuw-corpus-ii": "edd16fe0e8c861daef05e6778016764e20b3d628",
    # A package's state is its SHA-256; this is 1.6.1-1.
    "debian/asterisk-core-sounds-en-wav": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
}
"""The states that the rows were made for; empty: made from the corpus's description, no state of it was read."""

_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT_LABELS: Final = {str(digit): word for digit, word in enumerate(_DIGITS)}
_LIBRI_UTTERANCE: Final = r"(?P<utterance>(?P<speaker>\d+)-\d+-\d+)"
_LIBRI_TEST: Final = frozenset({"422", "777"})
_OCEAN_DEV: Final = frozenset({"0104", "3068", "6401", "0739", "2251", "1064"})  # three children, three adults
_COMMAND: Final = r"(?P<label>[a-z]+)/(?P<speaker>[0-9a-f]{8})_nohash_\d+\.wav"
_CLIP: Final = r"(?P<utterance>common_voice_en_\d+)\.mp3"

OCEAN: Final = "jimbozhang/speechocean762"
DEEP_SPEAKER: Final = "Walleclipse/Deep_Speaker-speaker_recognition_system"
DEEP_SPEAKER_ROOT: Final = "audio/LibriSpeechSamples/train-clean-100/"


def _vctk_samples(archive: str, root: str, folder: str) -> Source:
    """Return the row of some utterances of VCTK without their texts, which stand in another repository's table."""
    return Source(
        "vctk-samples", archive, "ODC-By-1.0", root, rf"{folder}/(?P<utterance>(?P<speaker>p\d+)_\d+)\.wav", "vctk",
        transcripts=(Transcripts(r"transcripts\.csv", said.comma_table, "Harsha-2016/VCTK_corpus"),),
    )  # fmt: skip


def _arctic(reader: str) -> Source:
    """Return the row of one reader of CMU ARCTIC; all of them read the same prompts, so each is a family."""
    return Source(
        "arctic", "andabi/deep-voice-conversion", "free software (CMU-LTI-03-177)",
        "datasets/arctic/", rf"{reader}/(?P<utterance>arctic_[ab]\d{{4}})\.wav", f"arctic-{reader}", speaker=reader,
        # Texts of another reader of these prompts; her files' names end in the time of recording.
        transcripts=(
            Transcripts(r"data/arctic_[ab]\d{4}_\d+\.txt", said.file_per_prompt, "rhasspy/dataset-voice-cathy"),
        ),
    )  # fmt: skip


def _common_voice(archive: str, folder: str, clips: str) -> Source:
    """Return the row of a slice of Common Voice whose table of accepted clips is at hand."""
    return Source(
        "commonvoice", archive, "CC0-1.0", f"{folder}{clips}", _CLIP, "commonvoice",
        transcripts=(Transcripts(f"{folder}validated\\.tsv", said.common_voice_rows),),
    )  # fmt: skip


def _common_voice_first(archive: str, folder: str) -> Source:
    """Return the row of clips of Common Voice's first release (2017); `folder` is a regular expression."""
    return Source(
        "commonvoice-first", archive, "CC0-1.0", "", rf"{folder}(?P<utterance>cv-valid-test/sample-\d+)\.mp3",
        "commonvoice",
        transcripts=(Transcripts(r"cv-valid-test\.csv", said.common_voice_first_rows),),
    )  # fmt: skip


SOURCES: Final = (
    Source(
        "speechocean762", OCEAN, "free for commercial use (README; OpenSLR 101)",
        "WAVE/", r"SPEAKER(?P<speaker>\d+)/(?P<utterance>\d+)\.WAV", "speechocean762",
        transcripts=(Transcripts(r"(train|test)/text", said.keyed_lines),), dev=_OCEAN_DEV, test_ages="test/spk2age",
    ),
    Source(
        "librispeech-dev-clean", "felixbastian/Speaker_partition_module", "CC-BY-4.0",
        "data/LibriSpeech/dev-clean/", rf"\d+/\d+/{_LIBRI_UTTERANCE}\.wav", "librispeech",
        transcripts=(
            Transcripts(
                r"LibriSpeech/dev-clean/\d+/\d+/[\d-]+\.trans\.txt", said.keyed_lines,
                "RomansWorks/AIND-VUI-Capstone-DS",
            ),
        ),
        dev=LIBRISPEECH_DEV_SPEAKERS, test=_LIBRI_TEST,
    ),
    Source(
        "librispeech-dev-clean", "carlosfranzreb/spkanon_eval", "CC-BY-4.0",
        "tests/data/LibriSpeech/dev-clean-2/", rf"\d+/\d+/{_LIBRI_UTTERANCE}\.flac", "librispeech",
        transcripts=(
            Transcripts(
                r"LibriSpeech/dev-clean/\d+/\d+/[\d-]+\.trans\.txt", said.keyed_lines,
                "RomansWorks/AIND-VUI-Capstone-DS",
            ),
        ),
        dev=LIBRISPEECH_DEV_SPEAKERS, test=_LIBRI_TEST,
    ),
    Source(
        "librispeech-train-clean-100", DEEP_SPEAKER, "CC-BY-4.0",
        DEEP_SPEAKER_ROOT, rf"\d+/\d+/{_LIBRI_UTTERANCE}\.wav", "librispeech",
        transcripts=(Transcripts(rf"{DEEP_SPEAKER_ROOT}\d+/\d+/[\d-]+\.trans\.txt", said.keyed_lines),),
    ),
    Source(
        "librispeech-train-clean-100-many", "resemble-ai/Resemblyzer", "CC-BY-4.0",
        "audio_data/librispeech_train-clean-100/", rf"{_LIBRI_UTTERANCE}\.flac", "librispeech",
        transcripts=(Transcripts(r"spin/.+\.query\.txt\.spin", said.sentence_pieces, "proger/flaky-librispeech"),),
        texts={
            # The one utterance of the set that the sentence pieces lack (L. M. Montgomery, 1908).
            "103-1240-0000": "chapter one missus rachel lynde is surprised missus rachel lynde lived just where the"
            " avonlea main road dipped down into a little hollow fringed with alders and ladies eardrops and"
            " traversed by a brook",
        },
    ),
    Source(
        "librispeech-train-clean-5", "zhangrui0712/Voice-Age", "CC-BY-4.0",
        "LibriSpeech/train-clean-5/", rf"\d+/\d+/{_LIBRI_UTTERANCE}\.flac", "librispeech",
        transcripts=(Transcripts(r"LibriSpeech/train-clean-5/\d+/\d+/[\d-]+\.trans\.txt", said.keyed_lines),),
    ),
    Source(
        "librispeech-test-other", "resemble-ai/Resemblyzer", "CC-BY-4.0",
        "audio_data/librispeech_test-other/", rf"\d+/{_LIBRI_UTTERANCE}\.flac", "librispeech", split="test",
        transcripts=(
            Transcripts(
                r"is21_deep_bias/ref/test-other\.biasing_100\.tsv", said.keyed_lines, "facebookresearch/fbai-speech"
            ),
        ),
    ),
    Source(
        "fsdd", "Jakobovski/free-spoken-digit-dataset", "CC-BY-SA-4.0",
        "recordings/", r"(?P<label>\d)_(?P<speaker>[a-z]+)_\d+\.wav", "fsdd", TranscriptKind.LABEL,
        labels=_DIGIT_LABELS, test=FSDD_SPEAKERS,
    ),
    Source(
        "speechcommands", "manashmandal/DeadSimpleSpeechRecognizer", "CC-BY-4.0",
        "data/", _COMMAND, "speechcommands", TranscriptKind.LABEL,
    ),
    Source(
        "picovoice-intents", "Picovoice/speech-to-intent-benchmark", "Apache-2.0",
        "data/speech/clean/", r"[0-9a-f-]+\.wav", "picovoice", TranscriptKind.NONE, split="untranscribed",
    ),
    Source(
        "picovoice-keywords", "Picovoice/wake-word-benchmark", "Apache-2.0",
        "audio/", r"(?P<label>[a-z ]+)/[0-9a-f-]+\.(wav|flac)", "picovoice", TranscriptKind.LABEL,
    ),
    Source(
        "an4", "sands-lab/SIDCo", "BSD-style (CMU AN4)",
        "data/an4/wav/an4_clstk/", r"(?P<speaker>\w+)/(?P<utterance>[\w-]+)\.raw", "an4",
        transcripts=(Transcripts(r"data/an4/etc/an4_train\.transcription", said.lines_with_key_behind),),
        convert=big_endian_16k,
    ),
    Source(
        "an4", "sands-lab/SIDCo", "BSD-style (CMU AN4)",
        "data/an4/wav/an4test_clstk/", r"(?P<speaker>\w+)/(?P<utterance>[\w-]+)\.raw", "an4", split="test",
        transcripts=(Transcripts(r"data/an4/etc/an4_test\.transcription", said.lines_with_key_behind),),
        convert=big_endian_16k,
    ),
    Source(
        "cathy", "rhasspy/dataset-voice-cathy", "CC0-1.0",
        "data/", r"(?P<utterance>\w+)\.wav", "rhasspy", speaker="cathy",
        transcripts=(Transcripts(r"data/\w+\.txt", said.file_per_recording),), channels=2,
    ),
    _common_voice("shubhra-cv/17", "cv-corpus-20.0-delta-2024-12-06/en/", "validated_clips/"),
    _common_voice("shubhra-cv/18", "cv-corpus-18.0-delta-2024-06-14/en/", "validated_clips/"),
    _common_voice("shubhra-cv/19", "cv-corpus-19.0-delta-2024-09-13/en/", "validated_clips/"),
    _common_voice("puri-gagan/speechdataset", "", "clips/"),
    _common_voice("korliu/whisper", "dataset/", "clips/"),
    _common_voice("omnilingo/rsample-100-cv-corpus-6.1-2020-12-11", "en/", "clips/"),
    _common_voice_first("Venkateshbhakthavat/Project-Discussion", ""),
    _common_voice_first(
        "chetan6361/Speaker-Identification-using-voice-recognition-and-age-prediction", "cv-valid-test/"
    ),
    Source(
        # Clips of the same slice that too few had listened to: the table with their sentences is not at hand.
        "commonvoice-untranscribed", "korliu/whisper", "CC0-1.0",
        "dataset/clips/", _CLIP, "commonvoice", TranscriptKind.NONE, split="untranscribed",
    ),
    Source(
        "commonvoice-untranscribed", "fsta-fo/voice-age-prediction", "CC0-1.0",
        "mp3_files/", _CLIP, "commonvoice", TranscriptKind.NONE, split="untranscribed",
    ),
    Source(
        "commonvoice", "rigved/rit-engl-682-spring-2021-project", "CC0-1.0",
        "data/", r"(?P<utterance>common_voice_en_\d+)\.wav", "commonvoice",
        transcripts=(Transcripts(r"validated\.csv", said.common_voice_commas),),
    ),
    Source(
        "ljspeech", "PrernaSocity/lj_speech_dataset_part_1", "public domain",
        "LJSpeech-1.1/wavs/", r"(?P<utterance>LJ\d{3}-\d{4})\.wav", "ljspeech", speaker="lj",
        transcripts=(Transcripts(r"LJSpeech-1\.1/metadata\.csv", said.bars),),
    ),
    Source(
        "vctk", "avgaydashenko/speech-recognition-hw", "ODC-By-1.0",
        "data/VCTK-Corpus/wav48/", r"(?P<speaker>p\d+)/(?P<utterance>p\d+_\d+)\.wav", "vctk",
        transcripts=(Transcripts(r"data/VCTK-Corpus/txt/p\d+/p\d+_\d+\.txt", said.file_per_recording),),
    ),
    _vctk_samples("auspicious3000/autovc", "wavs/", r"p\d+"),
    _vctk_samples("SamuelBroughton/StarGAN-Voice-Conversion-2", "converted/", r"p\d+_to_p\d+"),
    _arctic("bdl"),
    _arctic("slt"),
    Source(
        "asterisk-en", "debian/asterisk-core-sounds-en-wav", "CC-BY-SA-3.0",
        "usr/share/asterisk/sounds/en_US_f_Allison/", r"(?P<utterance>[\w/-]+)\.wav", "asterisk",
        speaker="allison-smith",
        transcripts=(Transcripts(r"core-sounds-en\.txt", said.prompt_list, "Uskur/Asterisk-TTS"),),
    ),
    Source(
        "speech-commands", "vinsis/speech-commands-recognition", "CC-BY-4.0",
        "speech_commands_v0.01/", _COMMAND, "speechcommands", TranscriptKind.LABEL,
    ),
    Source(
        "harpervalley", "cricketclub/gridspace-stanford-harper-valley", "CC-BY-4.0",
        "data/transcript/", r"(?P<utterance>[0-9a-f]+)\.json", "harpervalley", calls=True,
    ),
    Source(
        "wuw-ii", "wake-up-word/wuw-corpus-ii", "CC-BY-SA-4.0",
        # Utterance 000 is the caller's name.
        "calls/", r"\d{5}/(?P<utterance>WUWII\d{5}_(?!000)\d{3})\.ulaw", "wuw",
        transcripts=(Transcripts(r"data\.json", said.wake_up_words),), convert=mu_law_8k,
    ),
    Source(
        "alphanumeric", "Sakshee5/alphanumeric-audio-dataset", "MIT",
        "audio_data/", r"(?P<utterance>(Names|Numbers)/(?P<speaker>R_\w+))\.wav", "alphanumeric", TranscriptKind.LABEL,
        transcripts=(Transcripts(r"metadata\.csv", said.spelled_and_dialled),), convert=first_channel,
    ),
    Source(
        "alphanumeric", "Sakshee5/alphanumeric-audio-dataset", "MIT",
        "audio_data/", r"(?P<utterance>Addresses/(?P<speaker>R_\w+))\.wav", "alphanumeric", TranscriptKind.NONE,
        split="untranscribed", convert=first_channel,
    ),
    Source(
        "audiomnist", "soerenab/AudioMNIST", "MIT",
        "data/", r"(?P<speaker>\d\d)/(?P<label>\d)_\d\d_\d+\.wav", "audiomnist", TranscriptKind.LABEL,
        labels=_DIGIT_LABELS,
    ),
)  # fmt: skip
