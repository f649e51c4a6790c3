"""Merkle tree hashing and proofs as in RFC 6962, section 2.1, and RFC 9162, section 2.1.

A tree of `size` leaves is never held whole. Whoever keeps it stores the roots of its *complete* subtrees: node
``(level, index)`` covers leaves ``[index << level, (index + 1) << level)``. From these every root and proof of
every past size can be made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

HASH_BYTES: Final = 32

ReadNode = Callable[[int, int], bytes]
"""(level, index) of a complete subtree to its hash."""

# Domain separation (RFC 6962, 2.1): without it an inner node could be passed off as a leaf.
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


class ProofRefused(ValueError):
    """A proof does not prove what it should; the text says how it fails."""


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


class CompactRange:
    """The roots of the complete subtrees that make up a growing tree: all that appending needs.

    `peaks` are ordered from the left (largest) to the right, one for each set bit of `size`.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if size < 0 or size.bit_count() != len(peaks) or any(len(peak) != HASH_BYTES for peak in peaks):
            raise ValueError("A compact range has one 32-byte hash for each set bit of its size.")
        self.size = size
        self._peaks = list(peaks)

    @property
    def peaks(self) -> tuple[bytes, ...]:
        return tuple(self._peaks)

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add the hash of the next leaf.

        Returns
        -------
        list of (level, index, hash)
            The subtrees that this leaf completed, the leaf itself first.
        """
        level, index, node = 0, self.size, leaf
        completed = [(level, index, node)]
        while index & 1:
            node = node_hash(self._peaks.pop(), node)
            level, index = level + 1, index >> 1
            completed.append((level, index, node))
        self._peaks.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Return the Merkle tree hash of all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash of leaf *contents*."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf_hash(leaf))
    return tree.root()


def peak_nodes(size: int) -> list[tuple[int, int]]:
    """Return (level, index) of the complete subtrees that make up a tree of `size` leaves, left to right."""
    nodes, covered = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            nodes.append((level, covered >> level))
            covered += 1 << level
    return nodes


def _split(size: int) -> int:
    """Largest power of two smaller than `size` (RFC 6962's k)."""
    return 1 << (size - 1).bit_length() - 1


def _range_root(first: int, size: int, node: ReadNode) -> bytes:
    """Root of leaves [first, first + size); `first` is a multiple of the range's rounded-up length."""
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, first >> level)
    k = _split(size)
    return node_hash(_range_root(first, k, node), _range_root(first + k, size - k, node))


def root_at(size: int, node: ReadNode) -> bytes:
    """Return the root that the tree had at `size` leaves."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: ReadNode) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError("An inclusion proof is asked for a leaf that the tree does not have.")
    path: list[bytes] = []
    first = 0
    while size > 1:
        k = _split(size)
        if index - first < k:
            path.append(_range_root(first + k, size - k, node))
            size = k
        else:
            path.append(_range_root(first, k, node))
            first, size = first + k, size - k
    return path[::-1]


def consistency_proof(old: int, new: int, node: ReadNode) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is a prefix of that of `new` (RFC 6962, 2.1.2)."""
    if not 0 < old <= new:
        raise ValueError("A consistency proof is asked for sizes that are not 0 < old <= new.")
    path: list[bytes] = []
    first, size, whole = 0, new, True
    while old - first != size:
        k = _split(size)
        if old - first <= k:
            path.append(_range_root(first + k, size - k, node))
            size = k
        else:
            path.append(_range_root(first, k, node))
            first, size, whole = first + k, size - k, False
    if not whole:
        path.append(_range_root(first, size, node))
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check an inclusion proof (RFC 9162, 2.1.3.2).

    Parameters
    ----------
    leaf
        Hash of the leaf.

    Raises
    ------
    ProofRefused
    """
    if not 0 <= index < size:
        raise ProofRefused("An inclusion proof names a leaf that is not in a tree of its size.")
    _check_lengths([leaf, root, *proof])
    at, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofRefused("An inclusion proof is longer than its tree is high.")
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofRefused("An inclusion proof is shorter than its tree is high.")
    if node != root:
        raise ProofRefused("An inclusion proof does not lead to the root.")


def check_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check a consistency proof (RFC 9162, 2.1.4.2). A tree is consistent with itself by an empty proof.

    Every tree extends the empty one, so that `old` = 0 proves nothing and is refused.

    Raises
    ------
    ProofRefused
    """
    if not 0 < old <= new:
        raise ProofRefused("A consistency proof names sizes that are not 0 < old <= new.")
    _check_lengths(proof)
    if old == new:
        if proof:
            raise ProofRefused("A consistency proof between equal sizes is not empty.")
        if old_root != new_root:
            raise ProofRefused("Two roots of one size differ.")
        return
    if not proof:
        raise ProofRefused("A consistency proof between different sizes is empty.")
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRefused("A consistency proof is longer than its tree is high.")
        if at & 1 or at == last:
            old_node = node_hash(sibling, old_node)
            new_node = node_hash(sibling, new_node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ProofRefused("A consistency proof is shorter than its tree is high.")
    if old_node != old_root:
        raise ProofRefused("A consistency proof does not lead to the old root.")
    if new_node != new_root:
        raise ProofRefused("A consistency proof does not lead to the new root.")


def _check_lengths(nodes: Sequence[bytes]) -> None:
    if any(len(node) != HASH_BYTES for node in nodes):
        raise ProofRefused("A proof holds a hash that is not 32 bytes long.")
