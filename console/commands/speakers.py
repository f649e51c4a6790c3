"""`callwarden speakers`: who speaks when in a mono recording of two parties."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from console.commands.options import err, out
from events.errors import CallwardenError
from recognizer.acoustic_model import AcousticModelError
from recognizer.diarization.diarizer import Diarizer
from recognizer.diarization.speaker_network import SpeakerNetworkError
from recognizer.diarization.turns import Turn
from recognizer.evaluation.audio_file import AudioFileError
from recognizer.model_pack import DEFAULT_PACK, ModelPackError
from recognizer.recording_blocks import channels_of, recording_blocks


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    RTTM = "rttm"


class CannotTell(CallwardenError):
    """The recording cannot be used."""


def speakers(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="A recording with one channel and two speakers.")],
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
    """Print who speaks when in a mono recording of two parties (also as JSON or RTTM).

    Speaker A is the one who speaks first. Who of them is the agent, the voices do not say.
    """
    try:
        channels = channels_of(audio)
        if channels != 1:
            raise CannotTell(
                f"The recording has {channels} channels, and speakers are told apart by voice where there is one only: "
                "each party's own channel is the better source."
            )
        diarizer = Diarizer.of_pack(model)
        with err.status("listening"):
            turns = diarizer.turns(lambda: recording_blocks(audio, 0))
    except (AudioFileError, ModelPackError, AcousticModelError, SpeakerNetworkError) as error:
        raise CannotTell(str(error)) from None
    if form is Format.TABLE:
        _print_table(turns)
    elif form is Format.JSON:
        rows = [
            {
                "speaker": "AB"[turn.speaker],
                "start_ms": round(1000 * turn.start_s),
                "end_ms": round(1000 * turn.end_s),
            }
            for turn in turns
        ]
        print(json.dumps({"turns": rows}))  # noqa: T201
    else:
        name = "_".join(audio.stem.split()) or "recording"
        for turn in turns:
            length = turn.end_s - turn.start_s
            print(  # noqa: T201
                f"SPEAKER {name} 1 {turn.start_s:.2f} {length:.2f} <NA> <NA> {'AB'[turn.speaker]} <NA> <NA>"
            )


def _print_table(turns: list[Turn]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("start s", "end s"):
        table.add_column(name, justify="right")
    table.add_column("speaker")
    for turn in turns:
        table.add_row(
            f"{turn.start_s:.2f}", f"{turn.end_s:.2f}", "AB"[turn.speaker], style="cyan" if turn.speaker else None
        )
    out.print(table, highlight=False)
    for speaker in sorted({turn.speaker for turn in turns}):
        spoken = sum(turn.end_s - turn.start_s for turn in turns if turn.speaker == speaker)
        err.print(f"{'AB'[speaker]} speaks for {spoken:.1f} s.", highlight=False)
