"""The shipped pack: complete, checked, unpacked once, and refused in one sentence when damaged."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from recognizer.graph import Graph
from recognizer.graph_archive import pack_graph
from recognizer.graph_build import build_graph
from recognizer.language_model import read_arpa
from recognizer.model_pack import (
    CACHE_VARIABLE,
    DEFAULT_PACK,
    PHONES,
    SHIPPED_BYTES,
    ModelPack,
    ModelPackError,
    cache_folder,
    graph_installed,
    install_graph,
    read_manifest,
    seal_manifest,
    write_graph,
)
from tests.builders.small_graphs import ARPA, LEXICON, tiny_topology
from tests.builders.small_graphs import PHONES as TINY_PHONES

pytest.importorskip("kaldifst")


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A complete pack of the tiny language."""
    folder = tmp_path / "pack"
    folder.mkdir()
    topology = tiny_topology()
    np.savez(folder / "acoustic.npz", leaf=topology.leaf, self_loop=topology.self_loop)
    (folder / "model.arpa").write_text(ARPA)
    lines = [f"{word} {' '.join(p)}" for word, variants in LEXICON.items() for p in variants]
    (folder / "lexicon.txt").write_text("\n".join(lines))
    shipped = read_manifest(DEFAULT_PACK)
    manifest = {
        **shipped, "name": "tiny", "phones": list(TINY_PHONES), "acoustic_model": "acoustic.npz",
        "lexicon": "lexicon.txt", "language_model": "model.arpa", "graph": [],
    }  # fmt: skip
    seal_manifest(folder, manifest)
    model = read_arpa(folder / "model.arpa", LEXICON)
    write_graph(folder, pack_graph(build_graph(model, LEXICON, topology), model.words))
    return folder


def test_the_shipped_packs_files_are_those_of_its_manifest() -> None:
    manifest = read_manifest(DEFAULT_PACK)
    assert set(manifest["files"]) == {path.name for path in DEFAULT_PACK.iterdir()} - {"manifest.json"}
    resealed = dict(manifest)
    copy = DEFAULT_PACK / "manifest.json"
    before = copy.read_bytes()
    for name, facts in manifest["files"].items():
        assert (DEFAULT_PACK / name).stat().st_size == facts["bytes"]
    assert tuple(resealed["phones"]) == PHONES
    assert copy.read_bytes() == before


def test_the_shipped_pack_stays_small_enough_to_ship() -> None:
    sizes = [path.stat().st_size for path in DEFAULT_PACK.iterdir()]
    assert sum(sizes) < SHIPPED_BYTES
    assert max(sizes) < 10_000_000


def test_a_pack_loads_and_its_graph_is_unpacked_once(pack: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert not graph_installed(pack, cache)
    loaded = ModelPack.load(pack, cache)
    assert graph_installed(pack, cache)
    folder = install_graph(pack, cache)
    made = (folder / "arcs.npy").stat().st_mtime_ns
    again = ModelPack.load(pack, cache)
    assert (folder / "arcs.npy").stat().st_mtime_ns == made
    assert again.graph.words == loaded.graph.words
    assert isinstance(again.graph.arcs.base, np.memmap) or isinstance(again.graph.arcs, np.memmap)
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("unpacking-")] == []


def _install(pack: Path, cache: Path) -> None:
    Graph.load(install_graph(pack, cache))


def test_processes_that_start_together_unpack_one_graph(pack: Path, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_install, args=(pack, tmp_path / "cache")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len([p for p in (tmp_path / "cache" / "graphs").iterdir() if p.is_dir()]) == 1


def test_what_a_killed_process_left_is_cleared_away(pack: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "graphs" / "unpacking-left"
    left.mkdir(parents=True)
    (left / "arcs.npy").write_bytes(b"half")
    install_graph(pack, tmp_path / "cache")
    assert not left.exists()


@pytest.mark.parametrize("name", ["acoustic.npz", "lexicon.txt", "graph.part-0"])
def test_a_damaged_file_is_named(pack: Path, tmp_path: Path, name: str) -> None:
    path = pack / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelPackError) as refused:
        ModelPack.load(pack, tmp_path / "cache")
    assert str(refused.value) == f"The model pack's file {name} is damaged: its checksum is not the manifest's."


def test_a_missing_file_is_named(pack: Path, tmp_path: Path) -> None:
    (pack / "graph.part-0").unlink()
    with pytest.raises(ModelPackError, match=r"^The model pack lacks its file graph\.part-0\.$"):
        ModelPack.load(pack, tmp_path / "cache")


def test_a_folder_without_manifest_is_no_pack(tmp_path: Path) -> None:
    with pytest.raises(ModelPackError, match="holds no model pack with a readable manifest"):
        ModelPack.load(tmp_path)


def test_a_pack_of_another_format_is_refused(pack: Path) -> None:
    manifest = read_manifest(pack)
    (pack / "manifest.json").write_text(json.dumps({**manifest, "format": 7}))
    with pytest.raises(ModelPackError, match="format 7, this version reads formats 1 and 2"):
        ModelPack.load(pack)


def test_a_manifest_without_an_entry_is_refused(pack: Path, tmp_path: Path) -> None:
    manifest = read_manifest(pack)
    del manifest["acoustic_scale"]
    (pack / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelPackError, match="lacks 'acoustic_scale'"):
        ModelPack.load(pack, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_told(pack: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_text("")
    with pytest.raises(ModelPackError, match="could not be unpacked into the cache folder: Not a directory"):
        install_graph(pack, blocked)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "callwarden"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "callwarden"


def test_a_graph_written_anew_replaces_the_old_parts(pack: Path, tmp_path: Path) -> None:
    before = install_graph(pack, tmp_path / "cache")
    only = {"a": LEXICON["a"], "bee": LEXICON["bee"]}
    model = read_arpa(pack / "model.arpa", only)
    write_graph(pack, pack_graph(build_graph(model, only, tiny_topology()), model.words))
    after = install_graph(pack, tmp_path / "cache")
    assert after != before
    assert Graph.load(after).words == ("<eps>", "<s>", "</s>", "a", "bee")
    shutil.rmtree(before)
    assert Graph.load(after).pdfs == 10
