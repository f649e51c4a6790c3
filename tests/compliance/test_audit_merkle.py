"""Merkle hashing and proofs against Certificate Transparency's vectors and against a naive tree."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.audit.merkle import (
    EMPTY_ROOT,
    CompactRange,
    ProofRefused,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    peak_nodes,
    root_at,
    root_of,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "merkle"

# Inputs and roots of google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc.
CT_LEAVES = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


class Nodes(dict[tuple[int, int], bytes]):
    def __init__(self, leaves: list[bytes]) -> None:
        super().__init__()
        self.tree = CompactRange()
        for leaf in leaves:
            for level, index, node in self.tree.append(leaf_hash(leaf)):
                assert (level, index) not in self
                self[level, index] = node

    def node(self, level: int, index: int) -> bytes:
        return self[level, index]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(CT_LEAVES[:size]).hex() == CT_ROOTS[size - 1]


def test_empty_tree_hashes_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT == hashlib.sha256(b"").digest()


def _vectors(kind: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((GOLDEN / f"{kind}.json").read_text())
    return vectors


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.parametrize("vector", _vectors("inclusion"), ids=lambda v: v["file"])
def test_inclusion_proofs_are_judged_as_by_transparency_dev(vector: dict[str, Any]) -> None:
    def check() -> None:
        check_inclusion(
            _bytes(vector["leafHash"]),
            vector["leafIdx"],
            vector["treeSize"],
            [_bytes(node) for node in vector["proof"] or ()],
            _bytes(vector["root"]),
        )

    if vector["wantErr"]:
        with pytest.raises(ProofRefused):
            check()
    else:
        check()


@pytest.mark.parametrize("vector", _vectors("consistency"), ids=lambda v: v["file"])
def test_consistency_proofs_are_judged_as_by_transparency_dev(vector: dict[str, Any]) -> None:
    def check() -> None:
        check_consistency(
            vector["size1"],
            vector["size2"],
            [_bytes(node) for node in vector["proof"] or ()],
            _bytes(vector["root1"]),
            _bytes(vector["root2"]),
        )

    if vector["wantErr"]:
        with pytest.raises(ProofRefused):
            check()
    else:
        check()


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_growing_tree_has_the_naive_roots(leaves: list[bytes]) -> None:
    nodes = Nodes(leaves)
    for size in range(len(leaves) + 1):
        assert root_at(size, nodes.node) == naive_root(leaves[:size])
    assert nodes.tree.root() == naive_root(leaves)
    again = CompactRange(len(leaves), [nodes[where] for where in peak_nodes(len(leaves))])
    assert again.peaks == nodes.tree.peaks


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
def test_every_leaf_is_proven_and_no_other_place_is(size: int) -> None:
    leaves = [bytes([n]) for n in range(size)]
    nodes, root = Nodes(leaves), naive_root(leaves)
    for index in range(size):
        proof = inclusion_proof(index, size, nodes.node)
        check_inclusion(leaf_hash(leaves[index]), index, size, proof, root)
        for other in range(size):
            if other != index:
                with pytest.raises(ProofRefused):
                    check_inclusion(leaf_hash(leaves[index]), other, size, proof, root)


@given(st.integers(1, 80), st.data())
def test_every_prefix_is_proven_and_a_changed_one_is_not(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    leaves = [bytes([n]) for n in range(new)]
    nodes = Nodes(leaves)
    proof = consistency_proof(old, new, nodes.node)
    check_consistency(old, new, proof, naive_root(leaves[:old]), naive_root(leaves))
    changed = [b"x", *leaves[1:old]]
    with pytest.raises(ProofRefused):
        check_consistency(old, new, proof, naive_root(changed), naive_root(leaves))


def test_forged_proofs_are_refused_with_the_reason() -> None:
    leaves = [bytes([n]) for n in range(6)]
    nodes, root = Nodes(leaves), naive_root(leaves)
    proof = inclusion_proof(2, 6, nodes.node)
    leaf = leaf_hash(leaves[2])
    with pytest.raises(ProofRefused, match="shorter"):
        check_inclusion(leaf, 2, 6, [], root)
    with pytest.raises(ProofRefused, match="not in a tree"):
        check_inclusion(leaf, 6, 6, proof, root)
    with pytest.raises(ProofRefused, match="longer"):
        check_inclusion(leaf, 2, 6, [*proof, root], root)
    with pytest.raises(ProofRefused, match="32 bytes"):
        check_inclusion(leaf, 2, 6, [b"short", *proof[1:]], root)
    with pytest.raises(ProofRefused, match="empty"):
        check_consistency(3, 6, [], naive_root(leaves[:3]), root)
    with pytest.raises(ProofRefused, match="0 < old"):
        check_consistency(0, 6, [], EMPTY_ROOT, root)
