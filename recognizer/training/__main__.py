"""Train an acoustic model, or go on with one.

    python -m recognizer.training transcribe --corpus FOLDER ... --transcripts FILE   words for speech without any
    python -m recognizer.training run   --work DIR --corpus FOLDER ... --out PACK     all of the following
    python -m recognizer.training prepare --work DIR --corpus FOLDER ...              alignments and features
    python -m recognizer.training train --work DIR --name NAME [--start PACK]         a network
    python -m recognizer.training pack  --work DIR --name NAME --out PACK             a model pack with it, measured

Every step goes on where it was broken off. A corpus is a folder in any of the layouts that
:mod:`recognizer.training.corpora` reads. Adapting to a site's own calls is `train --start PACK` on their folder with
a smaller `--rate` and few `--hours`. Needs the extra ``train``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from recognizer.hmm_topology import HmmTopology
from recognizer.model_pack import DEFAULT_PACK, PHONES, ModelPackError, PackSources
from recognizer.training.corpora.reading import CorpusError, read_corpus
from recognizer.training.corpora.recording import LeftOut, Recording

if TYPE_CHECKING:
    from recognizer.training.utterances import PreparationSettings

_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)
_STEPS = ("transcribe", "run", "prepare", "train", "pack")


def _pair(argument: str) -> tuple[str, float]:
    name, _, value = argument.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form CORPUS=NUMBER") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recognizer.training", description="Train an acoustic model.")
    parser.add_argument("step", choices=_STEPS)
    parser.add_argument("--work", type=Path, metavar="DIR", help="working folder (all but transcribe)")
    data = parser.add_argument_group("prepare")
    data.add_argument("--corpus", action="append", default=[], metavar="FOLDER[=LAYOUT]", help="may be repeated")
    data.add_argument(
        "--transcripts", type=Path, metavar="FILE", help="lines 'id words' for recordings that came without"
    )
    data.add_argument("--confidence", type=float, default=0.75, metavar="MEAN",
                      help="transcribe: keep recordings whose words reach it (default 0.75)")  # fmt: skip
    data.add_argument("--copies", type=int, default=8, help="simulated copies of the data (default 8)")
    data.add_argument("--share", action="append", type=_pair, default=[], metavar="CORPUS=N",
                      help="versions of its utterances per copy (default 1)")  # fmt: skip
    data.add_argument("--most", action="append", type=_pair, default=[], metavar="CORPUS=N",
                      help="take at most so many of its utterances")  # fmt: skip
    data.add_argument(
        "--align-with", type=Path, default=DEFAULT_PACK, metavar="PACK", help="aligns, and hears, the recordings"
    )
    net = parser.add_argument_group("train")
    net.add_argument("--name", default="network", help="of the run (default network)")
    net.add_argument("--shape", help="e.g. '512-80: 1+1 x3, 0+0, 1+1 x2, 2-1 x5'")
    net.add_argument("--leaves", type=int, default=0, help="grow a new tree (default: that of --align-with)")
    net.add_argument("--hours", type=float, default=250.0, help="audio to hear, over all passes (default 250)")
    net.add_argument("--rate", type=float, default=2e-3)
    net.add_argument("--dropout", type=float, default=0.1)
    net.add_argument("--start", type=Path, metavar="PACK", help="go on from this pack's network")
    net.add_argument("--device", default="cpu")
    net.add_argument("--seed", type=int, default=1)
    both = parser.add_argument_group("all")
    both.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    both.add_argument("--base", type=Path, default=DEFAULT_PACK, metavar="PACK",
                      help="gives lexicon, language model and confidence to the new pack")  # fmt: skip
    both.add_argument("--out", type=Path, metavar="PACK", help="folder of the new pack")
    both.add_argument("--set", dest="sets", action="append", default=[], metavar="NAME=FILE.tsv",
                      help="measure the new pack on it, as simulated telephone speech, for the report")  # fmt: skip
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parser().parse_args(arguments)
    if given.work is None and given.step != "transcribe":
        _parser().error("give --work, the working folder")
    try:
        if given.step == "transcribe":
            transcribe(given)
        if given.step in ("run", "prepare"):
            prepare(given)
        if given.step in ("run", "train"):
            train(given)
        if given.step in ("run", "pack"):
            if given.out is None:
                _parser().error("give --out, the folder of the new pack")
            from recognizer.training.export import make_pack

            make_pack(given.work / given.name, given.base, given.out)
            if given.sets:
                return _measure(given)
    except (CorpusError, ModelPackError, OSError, ValueError) as error:
        _ERRORS.print(f"The training stopped: {error}", markup=False)
        return 1
    except ImportError as error:
        _ERRORS.print(f"Training needs the package {error.name}: pip install 'callwarden[train]'.", markup=False)
        return 2
    return 0


def _settings(given: argparse.Namespace) -> PreparationSettings:
    from recognizer.training.utterances import PreparationSettings

    most = tuple((name, int(value)) for name, value in given.most)
    return PreparationSettings(given.copies, tuple(given.share), most, seed=given.seed, jobs=given.jobs)


@contextmanager
def _bar() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=_ERRORS) as bar:
        yield bar


def _recordings(given: argparse.Namespace) -> tuple[list[Recording], LeftOut]:
    if not given.corpus:
        raise CorpusError("There is nothing to train on: name a folder with --corpus.")
    left_out = LeftOut()
    recordings: list[Recording] = []
    for named in given.corpus:
        folder, _, layout = named.partition("=")
        recordings += read_corpus(Path(folder), left_out, layout=layout)
    return recordings, left_out


def transcribe(given: argparse.Namespace) -> None:
    """Let a model write down what it is sure of in recordings without words."""
    from recognizer.training.machine_transcripts import write_machine_transcripts

    if given.transcripts is None:
        _parser().error("give --transcripts, the file to write")
    recordings, left_out = _recordings(given)
    with _bar() as bar:
        task = bar.add_task("hear what has no words", total=None)
        count = write_machine_transcripts(
            given.transcripts, recordings, given.align_with, least_confidence=given.confidence, jobs=given.jobs,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    _ERRORS.print(f"{count:,} recordings have words now. {left_out.sentence()}", markup=False)


def prepare(given: argparse.Namespace) -> None:
    """Read the corpora, align them, compute features."""
    from recognizer.training import utterances
    from recognizer.training.transcripts import with_transcripts

    settings = _settings(given)
    if not (given.work / "utterances.json").exists():
        recordings, left_out = _recordings(given)
        if given.transcripts:
            recordings = with_transcripts(recordings, given.transcripts)
        count = utterances.write_utterances(given.work, recordings, settings)
        _ERRORS.print(f"{count:,} utterances. {left_out.sentence()}", markup=False)
    count = len(utterances.read_utterances(given.work))
    with _bar() as bar:
        task = bar.add_task("align the transcripts", total=count)
        utterances.write_alignment(given.work, given.align_with, settings, lambda n: bar.advance(task, n))
        bar.update(task, completed=count)
        for copy in range(settings.copies + 1):
            name = "reference channel" if copy == 0 else f"simulated lines, copy {copy}"
            task = bar.add_task(name, total=count)
            utterances.write_copy(given.work, copy, settings, partial(bar.advance, task))
            bar.update(task, completed=count)
            if copy == 0:
                utterances.write_statistics(given.work)


def train(given: argparse.Namespace) -> None:
    """Train one network in the working folder."""
    from recognizer.training.report import write_report
    from recognizer.training.run import train_network

    with _bar() as bar:
        task = bar.add_task("train (hours of audio)", total=given.hours)
        train_network(
            given.work,
            given.name,
            topology=HmmTopology.load(PackSources.of(given.align_with).acoustic, PHONES),
            leaves=given.leaves,
            shape=given.shape,
            start=given.start,
            processes=given.jobs,
            hours=given.hours,
            rate=given.rate,
            dropout=given.dropout,
            device=given.device,
            seed=given.seed,
            progress=lambda hours, point: bar.update(
                task,
                completed=hours,
                description="train (hours of audio)"
                if point is None
                else f"train, dev {point.dev_objective:+.4f}",
            ),
        )
    write_report(given.work / given.name)


def _measure(given: argparse.Namespace) -> int:
    """Add the word error rates of the new pack to the report; returns the exit status of the evaluation."""
    from recognizer.evaluation import __main__ as evaluation
    from recognizer.training.report import add_word_errors

    card = given.work / given.name / "word-errors.md"
    sets = [part for named in given.sets for part in ("--set", named)]
    how = ["--pack", str(given.out), "--channel", "telephone", "--jobs", str(given.jobs), "--card", str(card)]
    status = evaluation.main([*sets, *how])
    if status == 0:
        add_word_errors(given.work / given.name, card)
    return status


if __name__ == "__main__":
    sys.exit(main())
