"""`callwarden vocabulary`: words and phrases that this site's recognisers must know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from console.chosen_model import ModelNotUsable, chosen_pack, told_in_one_sentence
from console.commands.options import ConfigOption, DataOption, JsonOption, err, operating_system_user, out, wire
from console.data_folder import DataFolder
from console.settings import Settings, load_settings
from console.site_vocabulary import vocabulary_file, vocabulary_sources
from console.wiring import Wiring
from events.audit_entry import Action
from recognizer.model_pack import DEFAULT_PACK, PackSources
from recognizer.vocabulary import DEFAULT_BOOST, HIGHEST_BOOST, Vocabulary, VocabularyEntry, VocabularyError
from recognizer.vocabulary_install import takes_words

app = typer.Typer(
    help="Words and phrases that this site's recognisers must know: products, people, places.",
    no_args_is_help=True,
)
_SHOWN = 20
_MOST_BYTES = 16 << 20


@app.command("add")
def add(
    data: DataOption,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help='Words; a phrase in quotes: "Northwind Energy".')
    ] = None,
    boost: Annotated[
        float,
        typer.Option(
            "--boost",
            help=f"How much likelier than the language model has it, 0 to {HIGHEST_BOOST:g}; 3 is about twenty times.",
        ),
    ] = DEFAULT_BOOST,
    pronunciations: Annotated[
        list[str] | None,
        typer.Option(
            "--pronunciation",
            metavar="PHONES",
            help="How it is said, in CMUdict's phones, | between words; for one TEXT. Once for each way to say it.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A file, one entry a line: text, then, after tabs, boost and pronunciation if any; # begins a remark.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Add words or phrases, or change those that are there; recognisers know them from their next start on.

    Without a pronunciation, words are said as the dictionary has them, else as their spelling suggests.

    Capitals may also be said letter by letter (ISA). Nothing is added if one entry cannot be used.
    """
    ways = tuple(pronunciations or ())
    if ways and len(texts or ()) != 1:
        raise VocabularyError("A pronunciation can be given for one word or phrase at a time.")
    entries = [VocabularyEntry.checked(text, boost, ways) for text in texts or ()]
    if file is not None:
        entries += _entries_of(file, boost)
    if not entries:
        raise VocabularyError("There is no word to add.")
    wiring = wire(data, config)
    try:
        with told_in_one_sentence():
            said = _pronunciations(wiring, entries[:_SHOWN])
            _check_phones(wiring, entries)
        changed = vocabulary_file(wiring.folder).change(lambda kept: kept.added(*entries))
        _record(wiring, changed, f"{len(entries)} entries added")
    finally:
        wiring.close()
    for entry, spoken in zip(entries, said, strict=False):
        out.print(
            f"{entry.text}: {spoken or 'nobody can say it; give --pronunciation'}", markup=False, highlight=False
        )
    if len(entries) > _SHOWN:
        out.print(f"and {len(entries) - _SHOWN} more", highlight=False)
    _tell(wiring, changed)


@app.command("remove")
def remove(
    data: DataOption,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Words; a phrase in quotes.")],
    config: ConfigOption = None,
) -> None:
    """Remove words or phrases, in capitals or not; nothing is removed if one of them is not there."""
    wiring = wire(data, config)
    try:
        changed = vocabulary_file(wiring.folder).change(lambda kept: kept.removed(*texts))
        _record(wiring, changed, f"{len(texts)} entries removed")
    finally:
        wiring.close()
    _tell(wiring, changed)


@app.command("list")
def list_entries(data: DataOption, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the vocabulary, its version and fingerprint, and how many phrases the rulebooks add.

    A recogniser's log says at its start which vocabulary it uses, by the second of the fingerprints.
    """
    settings = load_settings(config)
    sources = vocabulary_sources(DataFolder.at(data), settings)
    kept = sources.vocabulary
    without = _why_without(DataFolder.at(data), settings)
    if as_json:
        told = {
            "version": kept.version,
            "fingerprint": kept.fingerprint,
            "in_recognisers": None if without else sources.fingerprint(),
            "why_not": without,
            "entries": [msgspec.to_builtins(entry) for entry in kept.entries],
        }
        print(msgspec.json.encode(told).decode())  # noqa: T201
        return
    table = Table("entry", "boost", "pronunciations", box=None)
    for entry in kept.entries:
        ways = [" | ".join(" ".join(word) for word in way) for way in entry.pronunciations]
        table.add_row(entry.text, f"{entry.boost:g}", ", ".join(ways))
    if kept.entries:
        out.print(table)
    rules = len(sources.rules) if sources.settings.rulebook_boost else 0
    out.print(
        f"{len(kept.entries)} entries, version {kept.version}, fingerprint {kept.fingerprint}; "
        f"with {rules} phrases of rulebooks {sources.fingerprint()}.",
        highlight=False,
        soft_wrap=True,
    )
    _warn(without)


def _entries_of(file: Path, boost: float) -> list[VocabularyEntry]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
        lines = data.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise VocabularyError(f"The file {file} cannot be read: {reason}.") from None
    if len(data) > _MOST_BYTES:
        raise VocabularyError(f"The file {file} is larger than {_MOST_BYTES >> 20} MiB.")
    entries = []
    for number, line in enumerate(lines, 1):
        text, *more = line.split("\t")
        if not line.strip() or line.startswith("#"):
            continue
        try:
            own = float(more[0]) if more and more[0].strip() else boost
            entries.append(VocabularyEntry.checked(text, own, tuple(one for one in more[1:] if one.strip())))
        except VocabularyError as error:
            raise VocabularyError(f"Line {number} of the file {file}: {error}") from None
        except ValueError:
            raise VocabularyError(f"Line {number} of the file {file}: its boost is no number.") from None
    return entries


def _pronunciations(wiring: Wiring, entries: list[VocabularyEntry]) -> list[str]:
    """How recognisers will say each entry, ways with commas between; empty where nobody can."""
    from recognizer.grapheme_to_phoneme import GraphemeToPhoneme
    from recognizer.lexicon import read_lexicon
    from recognizer.vocabulary_speech import Pronouncer

    sources = _dictionary(wiring)
    pronouncer = Pronouncer(read_lexicon(sources.lexicon, sources.phones), GraphemeToPhoneme.load())
    said = []
    for entry in entries:
        ways = [pronouncer.ways(word) for word in entry.text.split()]
        given = [" | ".join(" ".join(word) for word in way) for way in entry.pronunciations]
        usual = [" | ".join(" / ".join(" ".join(way) for way in of_word) for of_word in ways)] if all(ways) else []
        said.append(", ".join(given or usual))
    return said


def _dictionary(wiring: Wiring) -> PackSources:
    """Where words' phones come from: the pack in use, or, where it has none of them, the shipped one."""
    sources = PackSources.of(chosen_pack(wiring.folder, wiring.settings.engine))
    return sources if takes_words(sources.kind) else PackSources.of(DEFAULT_PACK)


def _why_without(data: DataFolder, settings: Settings) -> str:
    """Why recognisers will start without the vocabulary, in one sentence; empty where they will not."""
    try:
        with told_in_one_sentence():
            folder = chosen_pack(data, settings.engine)
            kind = PackSources.of(folder).kind
    except ModelNotUsable as error:
        return str(error)
    if takes_words(kind):
        return ""
    return f"The model in use, {folder.name}, is of the kind {kind} and takes no words yet: recognisers start without."


def _warn(sentence: str) -> None:
    if sentence:
        err.print(sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _check_phones(wiring: Wiring, entries: list[VocabularyEntry]) -> None:
    known = set(_dictionary(wiring).phones[1:])
    given = {phone for entry in entries for way in entry.pronunciations for word in way for phone in word}
    if given - known:
        unknown = ", ".join(sorted(given - known)[:5])
        raise VocabularyError(f"The model has no phone {unknown}; it has {' '.join(sorted(known))}.")


def _record(wiring: Wiring, vocabulary: Vocabulary, what: str) -> None:
    reason = f"{what}, version {vocabulary.version}, fingerprint {vocabulary.fingerprint}"
    wiring.audit_recorder("cli").record(
        operating_system_user(), "operator", Action.VOCABULARY_CHANGED, "vocabulary", reason=reason
    )


def _tell(wiring: Wiring, vocabulary: Vocabulary) -> None:
    without = _why_without(wiring.folder, wiring.settings)
    out.print(
        f"{len(vocabulary.entries)} entries, version {vocabulary.version}, fingerprint {vocabulary.fingerprint}"
        + ("." if without else "; recognisers take it up at their next start."),
        highlight=False,
        soft_wrap=True,
    )
    _warn(without)
