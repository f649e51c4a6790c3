"""`callwarden models`: the model packs that recognisers can run on, and which one they do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markdown import Markdown
from rich.table import Table

from console.chosen_model import told_in_one_sentence
from console.commands.options import ConfigOption, DataOption, JsonOption, err, operating_system_user, out, wire
from console.data_folder import DataFolder
from console.settings import load_settings
from console.wiring import Wiring
from events.audit_entry import Action
from recognizer.model_adding import Progress, add_model
from recognizer.model_pack import DEFAULT_PACK, ModelPackError, graph_installed, install_graph, verify_files
from recognizer.model_store import ModelStore, StoredPack
from recognizer.rescoring_models import install_models

app = typer.Typer(
    help="Model packs, which recognisers run on: see them, choose one, add one from elsewhere.",
    no_args_is_help=True,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A pack, see `callwarden models list`.")]


@app.command("list")
def list_models(data: DataOption, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the packs of the package and of this site; an asterisk marks the one in use."""
    store = _store(data)
    with told_in_one_sentence():
        in_use, packs = store.in_use(load_settings(config).engine.model), store.packs()
    if as_json:
        told = [{**_facts(pack), "in_use": pack.name == in_use.name} for pack in packs]
        print(msgspec.json.encode(told).decode())  # noqa: T201
        return
    table = Table("", "pack", "kind", "audio", "step", "language", "MB", "from", box=None)
    for pack in packs:
        facts = _facts(pack)
        audio = f"{facts['sample_rate_hz'] // 1000} kHz" if pack.manifest else pack.problem
        step = f"{facts['frame_shift_ms']} ms" if pack.manifest else ""
        table.add_row(
            "*" if pack.name == in_use.name else "",
            pack.name,
            str(facts["kind"]),
            audio,
            step,
            str(facts["language"]),
            f"{pack.size_bytes / 1e6:.1f}",
            "package" if pack.shipped else "site",
        )
    out.print(table)


@app.command("card")
def card(name: NameArgument, data: DataOption) -> None:
    """Show a pack's card: where it comes from, under which licences, and how well it does."""
    with told_in_one_sentence():
        pack = _store(data).find(name)
        try:
            text = (pack.folder / "card.md").read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            raise ModelPackError(f"The pack {name} has no card.") from None
    out.print(Markdown(text))


@app.command("use")
def use(name: NameArgument, data: DataOption, config: ConfigOption = None) -> None:
    """Recognise with this pack from the next start of the engine, or of its recognisers, on.

    All its files are checked first, and what is compressed in it is unpacked once on this machine.
    """
    wiring = wire(data, config)
    try:
        store = ModelStore(wiring.folder.models)
        with told_in_one_sentence():
            pack = store.find(name)
            if pack.problem:
                raise ModelPackError(pack.problem)
            verify_files(pack.folder)
            if not graph_installed(pack.folder):
                with err.status("unpacking the recognition graph, once on this machine"):
                    install_graph(pack.folder)
            with err.status("unpacking the language models, once on this machine"):
                install_models(pack.folder)
            store.use(name)
        _record(wiring, name, "put to use")
    finally:
        wiring.close()
    out.print(f"Recognisers that start from now on use {name}.", highlight=False, markup=False)
    setting = wiring.settings.engine.model
    if setting and setting != name:
        err.print(
            f"The setting [engine] model goes before it and names {setting}.",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@app.command("add")
def add(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A folder with a whole pack, or with one ONNX model and what its kind needs, such as tokens.txt.",
        ),
    ],
    data: DataOption,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What to call the new pack.", show_default="the folder's")
    ] = "",
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="NAME",
            help="The pack whose dictionary and language model are taken where DIR has none, and whose confidence.",
        ),
    ] = DEFAULT_PACK.name,
    config: ConfigOption = None,
) -> None:
    """Check a model from elsewhere, build its recognition graph, and add it to this site's packs.

    What does not fit is said in one sentence, and nothing is stored then (exit status 1).
    """
    wiring = wire(data, config)
    try:
        store = ModelStore(wiring.folder.models)
        with told_in_one_sentence():
            found = store.find(base)
            with _told() as progress:
                added = add_model(folder, store, found, name, progress)
        _record(wiring, added.name, "added")
    finally:
        wiring.close()
    section = added.checked.section
    words = f" {added.words} words," if added.words else ""
    out.print(
        f"Added {added.name}: {section.kind},{words} {added.checked.columns} outputs every "
        f"{section.frame_shift_ms} ms; `callwarden models use {added.name}` puts it to use.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for note in added.notes:
        err.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _record(wiring: Wiring, name: str, what: str) -> None:
    wiring.audit_recorder("cli").record(
        operating_system_user(), "operator", Action.MODEL_CHANGED, f"model {name}", reason=what
    )


def _store(data: Path) -> ModelStore:
    return ModelStore(DataFolder.at(data).models)


def _facts(pack: StoredPack) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": pack.name,
        "folder": str(pack.folder),
        "shipped": pack.shipped,
        "size_bytes": pack.size_bytes,
        "problem": pack.problem,
        "language": str(pack.manifest.get("language", "")),
    }
    if not pack.manifest:
        return {**facts, "kind": "unusable", "sample_rate_hz": 0, "frame_shift_ms": 0}
    section = pack.section
    shift = section.frame_shift_ms
    return {**facts, "kind": section.kind, "sample_rate_hz": section.sample_rate_hz, "frame_shift_ms": shift}


@contextmanager
def _told() -> Iterator[Progress]:
    """What is being done: a spinner on a terminal, a line each elsewhere."""
    if err.is_terminal:
        with err.status("checking") as status:
            yield lambda step: status.update(step)
        return
    yield lambda step: print(step, file=sys.stderr, flush=True)  # noqa: T201
