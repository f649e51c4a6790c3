"""The door to all corpora: recognises a folder's layout, reads it, and lets nothing through that is held out."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recognizer.training.corpora.common_voice import is_common_voice, read_common_voice
from recognizer.training.corpora.harper_valley import is_harper_valley, read_harper_valley
from recognizer.training.corpora.held_out import is_held_out
from recognizer.training.corpora.librispeech import is_librispeech, read_librispeech
from recognizer.training.corpora.manifest import is_manifest, read_manifest
from recognizer.training.corpora.recording import LeftOut, Recording
from recognizer.training.corpora.site_calls import is_site_folder, read_site_calls


class CorpusError(ValueError):
    """The folder is of no layout that can be read; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which recordings lie in a folder: whether a folder is of this kind, and how it is read."""

    name: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, LeftOut, Container[str] | None], Iterator[Recording]]


LAYOUTS: Final = (
    Layout("manifest", is_manifest, read_manifest),
    Layout("harpervalley", is_harper_valley, read_harper_valley),
    Layout("librispeech", is_librispeech, read_librispeech),
    Layout("commonvoice", is_common_voice, read_common_voice),
    Layout("site", is_site_folder, read_site_calls),
)
"""In the order in which they are tried: any folder with audio in it would pass for a site's calls."""


def layout_of(folder: Path, name: str = "") -> Layout:
    """Return the layout called `name`, else the first that fits `folder`.

    Raises
    ------
    CorpusError
        There is no such layout or folder, or none fits.
    """
    if not folder.is_dir():
        raise CorpusError(f"There is no folder {folder}.")
    names = ", ".join(layout.name for layout in LAYOUTS)
    if name:
        chosen = next((layout for layout in LAYOUTS if layout.name == name), None)
        if chosen is None:
            raise CorpusError(f"There is no layout called {name!r}: there are {names}.")
        return chosen
    fitting = next((layout for layout in LAYOUTS if layout.fits(folder)), None)
    if fitting is None:
        raise CorpusError(f"The folder {folder} holds recordings in none of the known layouts ({names}).")
    return fitting


def read_corpus(
    folder: Path,
    left_out: LeftOut,
    known: Container[str] | None = None,
    layout: str = "",
    *,
    held_out_too: bool = False,
) -> Iterator[Recording]:
    """Yield the recordings of the corpus in `folder`.

    Parameters
    ----------
    folder
    left_out
        Counts what could not be used, and what is held out.
    known
        The lexicon's words, which decide between spellings.
    layout
        One of `LAYOUTS` by name; recognised by itself when empty.
    held_out_too
        For measuring alone: recordings of the test sets come out as well, as split ``test``.

    Raises
    ------
    CorpusError
        From the first step on: no layout fits.
    """
    for recording in layout_of(folder, layout).read(folder, left_out, known):
        if is_held_out(recording) and not held_out_too:
            left_out.note("the test sets (held out)", recording.path)
        else:
            yield recording
