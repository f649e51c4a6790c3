"""`callwarden align`: when each word of a known text was said in a recording."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from console.commands.options import err, out
from events.errors import CallwardenError
from recognizer import alignment_formats as formats
from recognizer.acoustic_model import AcousticModelError
from recognizer.evaluation.audio_file import AudioFileError
from recognizer.forced_alignment import Alignment, AlignmentError, ForcedAligner, Pronounce
from recognizer.grapheme_to_phoneme import GraphemeModelError, GraphemeToPhoneme
from recognizer.lexicon import LexiconError
from recognizer.model_pack import DEFAULT_PACK, ModelPackError
from recognizer.recording_blocks import channels_of, recording_blocks
from recognizer.training.corpora.spoken_form import NoSpokenForm, spoken_words

_DOUBTFUL_SCORE = -4.0


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CTM = "ctm"
    TEXTGRID = "textgrid"
    SRT = "srt"


class CannotAlign(CallwardenError):
    """The recording or the text cannot be used."""


def align(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="The recording: WAV, FLAC, OGG, MP3.")],
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="What is said in it, UTF-8.")],
    channel: Annotated[
        int | None,
        typer.Option(
            "--channel",
            min=1,
            help="The channel that the text was said in, from 1; needed where there are several.",
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TABLE,
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            metavar="DIR",
            help="Folder of a model pack of the kind tdnnf.",
            show_default="the shipped one",
        ),
    ] = DEFAULT_PACK,
) -> None:
    """Print when each word of a known text was said (also as CTM, Praat TextGrid, SRT subtitles or JSON).

    Speech that the text leaves out is told as such. Words far below the score of the others were probably not said.
    """
    chosen = _channel(audio, channel)
    try:
        aligner = ForcedAligner.of_pack(model, pronounce=_pronouncer())
    except (ModelPackError, LexiconError, AcousticModelError) as error:
        raise CannotAlign(str(error)) from None
    words = _words(text, aligner)
    try:
        with err.status("aligning"):
            found = aligner.align(words, lambda: recording_blocks(audio, chosen))
    except AudioFileError as error:
        raise CannotAlign(str(error)) from None
    if form is Format.TABLE:
        _print_table(found)
        return
    printed = {
        Format.JSON: lambda: formats.json_text(found),
        Format.CTM: lambda: formats.ctm(found, audio.stem, chosen),
        Format.TEXTGRID: lambda: formats.textgrid(found),
        Format.SRT: lambda: formats.srt(found),
    }[form]()
    print(printed, end="")  # noqa: T201


def _channel(audio: Path, channel: int | None) -> int:
    try:
        channels = channels_of(audio)
    except AudioFileError as error:
        raise CannotAlign(str(error)) from None
    if channel is None and channels > 1:
        raise CannotAlign(f"The recording has {channels} channels: say with --channel whose text this is.")
    if channel is not None and channel > channels:
        raise CannotAlign(f"The recording has {channels} channel{'s' if channels > 1 else ''}, not {channel}.")
    return (channel or 1) - 1


def _pronouncer() -> Pronounce | None:
    """Say words that the dictionary lacks as its words are spelled; None where that model is not there."""
    try:
        spelling = GraphemeToPhoneme.load()
    except GraphemeModelError:
        return None
    return lambda word: [guess.phones for guess in spelling.pronounce(word, 2)]


def _words(text: Path, aligner: ForcedAligner) -> tuple[str, ...]:
    try:
        written = text.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise CannotAlign(f"The text {text} cannot be read: {reason}.") from None
    try:
        words = spoken_words(written, aligner.lexicon)
    except NoSpokenForm as error:
        raise CannotAlign(f"{error} Write it as it was said.") from None
    if not words:
        raise AlignmentError("The text has no words.")
    return words


def _print_table(found: Alignment) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("start s", "end s", "score"):
        table.add_column(name, justify="right")
    table.add_column("word")
    table.add_column("phones", style="dim")
    gaps = [(start, end, None) for start, end in found.unwritten]
    rows = sorted([*((w.start_ms, w.end_ms, w) for w in found.words), *gaps], key=lambda row: row[:2])
    for start, end, word in rows:
        times = (f"{start / 1000:.2f}", f"{end / 1000:.2f}")
        if word is None:
            table.add_row(*times, "", "(not in the text)", "", style="yellow")
        else:
            phones = " ".join(phone.phone for phone in word.phones)
            style = "red" if word.score < _DOUBTFUL_SCORE else None
            table.add_row(*times, f"{word.score:.1f}", word.text, phones, style=style)
    out.print(table, highlight=False)
    doubtful = sum(word.score < _DOUBTFUL_SCORE for word in found.words)
    if doubtful:
        err.print(f"{doubtful} of {len(found.words)} words scored so low that they were probably not said so.")
