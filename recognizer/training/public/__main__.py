"""Make a training corpus of public git repositories.

    python -m recognizer.training.public --mirrors DIR --out DIR [--only CORPUS ...]
    python -m recognizer.training.public --list

``--mirrors`` holds clones (bare or not) in folders ``owner+name``, and Debian packages; ``--list`` prints the
commands that fetch them. ``python -m recognizer.training prepare --corpus DIR`` reads what is written. Needs the extra
``train``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recognizer.training.public.debian_package import PREFIX
from recognizer.training.public.gather import GatheringError, gather
from recognizer.training.public.sources import COMMITS, SOURCES, Source
from recognizer.training.public.summary import NAME, summary

_ERRORS = Console(stderr=True, highlight=False, soft_wrap=True)


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recognizer.training.public",
        description="Make a training corpus of public git repositories.",
    )
    parser.add_argument("--mirrors", type=Path, metavar="DIR", help="holds repositories as owner+name")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CORPUS",
                        help=f"of {', '.join(names)}")  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the commands that fetch all sources, and end")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 1 when nothing could be made, 2 when a part is missing."""
    names = list(dict.fromkeys(source.corpus for source in SOURCES))
    parser = _parser(names)
    given = parser.parse_args(arguments)
    chosen = [source for source in SOURCES if source.corpus in given.only]
    if given.list:
        sys.stdout.writelines(f"{command}\n" for command in fetch_commands(chosen))
        return 0
    if given.mirrors is None or given.out is None:
        parser.error("give --mirrors and --out")
    if not given.mirrors.is_dir():
        return _stopped(f"There is no folder {given.mirrors}.", 1)
    if shutil.which("git") is None:
        return _stopped("The program git is not installed.", 2)
    try:
        import num2words  # noqa: F401
        import soundfile  # noqa: F401
    except ImportError as error:
        return _stopped(f"It needs the package {error.name}: pip install 'callwarden[train]'.", 2)
    try:
        with _bars() as shown:
            gathered = gather(chosen, given.mirrors, given.out, shown=shown)
        page = summary(gathered)
        (given.out / NAME).write_text(page, "utf-8")
    except (GatheringError, OSError) as error:
        return _stopped(str(error), 1)
    for sentence in gathered.complaints:
        _ERRORS.print(sentence, markup=False)
    if sys.stdout.isatty():
        Console().print(Markdown(page))
    else:
        sys.stdout.write(page)
    return 0


def fetch_commands(sources: Sequence[Source]) -> list[str]:
    """Return the commands that bring all repositories and packages of `sources` into the current folder."""
    needed = {source.archive for source in sources}
    needed |= {each.repository for source in sources for each in source.transcripts if each.repository}
    return [
        f"apt-get download {name.removeprefix(PREFIX)}"
        if name.startswith(PREFIX)
        else f"git clone --bare https://github.com/{name} {name.replace('/', '+')}"
        for name in sorted(needed, key=list(COMMITS).index)
    ]


def _stopped(sentence: str, status: int) -> int:
    _ERRORS.print(sentence, markup=False)
    return status


@contextmanager
def _bars() -> Iterator[Callable[[str, int], Callable[[], None]]]:
    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_ERRORS) as progress:

        def shown(corpus: str, total: int) -> Callable[[], None]:
            task = progress.add_task(corpus, total=total)
            return lambda: progress.advance(task)

        yield shown


if __name__ == "__main__":
    sys.exit(main())
