"""Complete model packs of the tiny language, with a network of a few thousand weights, quick to load and to run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recognizer.ctc_graph import build_spelled_grammar
from recognizer.ctc_tokens import TokenTable, spell_words
from recognizer.graph_archive import pack_graph
from recognizer.graph_build import build_graph
from recognizer.language_model import read_arpa
from recognizer.model_pack import DEFAULT_PACK, read_manifest, seal_manifest, write_graph
from tests.builders.small_graphs import ARPA, LEXICON, PHONES, tiny_topology


def tiny_weights(seed: int = 0, width: int = 24, narrow: int = 8, layers: int = 2) -> dict[str, np.ndarray]:
    """Random weights by the names of the pack's card, with as many outputs as the tiny topology has."""
    rng = np.random.default_rng(seed)
    pdfs = tiny_topology().pdfs
    matrix = lambda *shape: (rng.standard_normal(shape) / np.sqrt(shape[0] * shape[1])).astype(np.float32)
    made = {"mean": np.full(40, 8.0), "std": np.full(40, 2.0), "i.W": matrix(3, 120, width)}
    for name in [f"L.{i}" for i in range(layers)]:
        made[f"{name}.a.W"], made[f"{name}.b.W"] = matrix(2, width, narrow), matrix(2, narrow, width)
    made["p.W"], made["o.W"] = matrix(1, width, 9), 3 * matrix(1, 9, pdfs)
    for name, size in {"n0": width, "pb": 9, **{f"L.{i}.n": width for i in range(layers)}}.items():
        made[f"{name}.m"], made[f"{name}.v"] = rng.standard_normal(size), rng.uniform(0.3, 2, size)
    for name, size in {"i.b": width, "o.b": pdfs, **{f"L.{i}.b.b": width for i in range(layers)}}.items():
        made[name] = rng.standard_normal(size)
    topology = tiny_topology()
    return {**made, "leaf": topology.leaf, "self_loop": topology.self_loop}


def tiny_pack(folder: Path, name: str = "tiny") -> Path:
    """Make a pack with our own kind of network in the new folder `folder`. Needs kaldifst."""
    folder.mkdir(parents=True)
    np.savez(folder / "acoustic.npz", **tiny_weights())
    (folder / "model.arpa").write_text(ARPA)
    lines = [f"{word} {' '.join(p)}" for word, variants in LEXICON.items() for p in variants]
    (folder / "lexicon.txt").write_text("\n".join(lines))
    (folder / "card.md").write_text(f"# {name}: a pack of five words\n\nMade for tests.\n")
    shipped = read_manifest(DEFAULT_PACK)
    seal_manifest(
        folder,
        {
            "format": 1, "name": name, "language": "en-US", "sample_rate_hz": 8000, "frame_shift_ms": 30,
            "acoustic_scale": 1.0, "acoustic_model": "acoustic.npz", "lexicon": "lexicon.txt",
            "language_model": "model.arpa", "phones": list(PHONES), "confidence": shipped["confidence"], "graph": [],
        },
    )  # fmt: skip
    model = read_arpa(folder / "model.arpa", LEXICON)
    write_graph(folder, pack_graph(build_graph(model, LEXICON, tiny_topology()), model.words))
    return folder


CTC_TOKENS = ("<blk>", "▁a", "b", "▁b", "ee", "c", "▁c", "a", "e")


def tiny_ctc_pack(folder: Path, name: str = "tiny-ctc") -> Path:
    """Make a pack of the kind ``onnx-ctc`` in the new folder `folder`, whose network's file is none. Needs kaldifst."""
    folder.mkdir(parents=True)
    (folder / "acoustic.onnx").write_bytes(b"nobody runs it")
    (folder / "tokens.txt").write_text("".join(f"{token} {i}\n" for i, token in enumerate(CTC_TOKENS)), "utf-8")
    (folder / "model.arpa").write_text(ARPA)
    table = TokenTable.read(folder / "tokens.txt", "<blk>")
    spellings = spell_words(LEXICON, table, {})
    lines = [f"{word} {' '.join(CTC_TOKENS[c] for c in said)}" for word in spellings for said in spellings[word]]
    (folder / "lexicon.txt").write_text("\n".join(lines), "utf-8")
    (folder / "card.md").write_text(f"# {name}: a pack of five words in pieces\n\nMade for tests.\n")
    acoustic = {"kind": "onnx-ctc", "file": "acoustic.onnx", "frame_shift_ms": 40}
    confidence = read_manifest(DEFAULT_PACK)["confidence"]
    seal_manifest(
        folder,
        {
            "format": 2, "name": name, "language": "en-US", "acoustic": acoustic, "lexicon": "lexicon.txt",
            "language_model": "model.arpa", "confidence": confidence, "graph": [],
        },
    )  # fmt: skip
    model = read_arpa(folder / "model.arpa", spellings)
    write_graph(folder, pack_graph(build_spelled_grammar(model, spellings, len(CTC_TOKENS)), model.words))
    return folder
