"""The loops of the beam search, jitted. Nothing here checks its arguments; :mod:`recognizer.beam_search` does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

TOKEN = np.dtype([("cost", "<f4"), ("state", "<i4"), ("history", "<i4"), ("speech", "<i4")])
HISTORY = np.dtype([("previous", "<i4"), ("word", "<i4"), ("frame", "<i4")])
GLIMPSE = np.dtype([("frame", "<i4"), ("history", "<i4"), ("cost", "<f4")])

_BINS = 256
_FAR = np.float32(1e30)


@njit(cache=True)
def _larger(array: NDArray[Any]) -> NDArray[Any]:
    grown = np.empty(2 * len(array), array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True)
def _slot(table: NDArray[np.int32], tokens: NDArray[np.void], state: int) -> int:
    """Where `state` is in the hash table, or the free place where it belongs (open addressing)."""
    mask = len(table) - 1
    place = ((state * 2654435761) >> 7) & mask
    while table[place] >= 0 and tokens[table[place]].state != state:
        place = (place + 1) & mask
    return place


@njit(cache=True)
def _rehashed(tokens: NDArray[np.void], count: int, size: int) -> NDArray[np.int32]:
    table = np.full(size, -1, np.int32)
    for i in range(count):
        table[_slot(table, tokens, tokens[i].state)] = i
    return table


@njit(cache=True)
def _expansion_cutoff(
    tokens: NDArray[np.void], count: int, best: np.float32, beam: np.float32, max_active: int
) -> np.float32:
    """Width of the beam that leaves about `max_active` tokens."""
    if count <= max_active:
        return beam
    histogram = np.zeros(_BINS, np.int64)
    scale = np.float32(_BINS) / beam
    for i in range(count):
        place = (tokens[i].cost - best) * scale
        if place < _BINS:
            histogram[int(place)] += 1
    total = 0
    for k in range(_BINS):
        total += histogram[k]
        if total >= max_active:
            return np.float32(k + 1) / scale
    return beam


@njit(cache=True)
def pass_tokens(
    states: Any,
    arcs: Any,
    silence: Any,
    scores: Any,
    first: Any,
    frame: Any,
    beam: Any,
    max_active: Any,
    beam_delta: Any,
    stride: Any,
    glimpse_beam: Any,
    count: Any,
    offset: Any,
    tokens: Any,
    following: Any,
    table: Any,
    queue: Any,
    history: Any,
    history_length: Any,
    glimpses: Any,
    glimpses_length: Any,
) -> Any:
    """Advance `count` tokens by the frames of `scores`; with `first`, only close over epsilon arcs.

    Token costs stay relative to `offset`, which takes up the best cost before every frame. Returns the number of
    tokens, the offset and the arrays, which may have been replaced by larger ones.
    """
    rounds = 1 if first else len(scores)
    for step in range(rounds):
        cutoff = beam
        if not first:
            best, best_token = _FAR, -1
            for i in range(count):
                if tokens[i].cost < best:
                    best, best_token = tokens[i].cost, i
            if best_token < 0:
                count = 0
                break
            width = _expansion_cutoff(tokens, count, best, beam, max_active)
            reach = beam if width >= beam else min(beam, width + beam_delta)
            offset += best
            score = scores[step]
            # The best token's own successors give a first idea of the next frame's cutoff.
            cutoff = _FAR
            state = tokens[best_token].state
            for a in range(states[state].emitting, states[state + 1].first):
                cost = arcs[a].weight - score[arcs[a].pdf] + reach
                cutoff = min(cutoff, cost)
            table[:] = -1
            made = 0
            for i in range(count):
                base = tokens[i].cost - best
                if base > width:
                    continue
                state = tokens[i].state
                for a in range(states[state].emitting, states[state + 1].first):
                    arc = arcs[a]
                    cost = base + arc.weight - score[arc.pdf]
                    if cost >= cutoff:
                        continue
                    cutoff = min(cutoff, cost + reach)
                    place = _slot(table, following, arc.next)
                    j = table[place]
                    if j < 0:
                        j = made
                        if made == len(following):
                            following = _larger(following)
                        table[place] = j
                        following[j].state = arc.next
                        made += 1
                        if 2 * made > len(table):
                            table = _rehashed(following, made, 2 * len(table))
                    elif following[j].cost <= cost:
                        continue
                    following[j].cost = cost
                    following[j].speech = tokens[i].speech if silence[arc.pdf] else frame
                    if arc.word != 0:
                        if history_length == len(history):
                            history = _larger(history)
                        history[history_length].previous = tokens[i].history
                        history[history_length].word = arc.word
                        history[history_length].frame = frame
                        following[j].history = history_length
                        history_length += 1
                    else:
                        following[j].history = tokens[i].history
            tokens, following = following, tokens
            count = made
        else:
            table[:] = -1
            for i in range(count):
                table[_slot(table, tokens, tokens[i].state)] = i

        queued = 0
        for i in range(count):
            state = tokens[i].state
            if states[state].emitting > states[state].first:
                if queued == len(queue):
                    queue = _larger(queue)
                queue[queued] = i
                queued += 1
        while queued > 0:
            queued -= 1
            i = queue[queued]
            base = tokens[i].cost
            if base >= cutoff:
                continue
            state = tokens[i].state
            for a in range(states[state].first, states[state].emitting):
                arc = arcs[a]
                cost = base + arc.weight
                if cost >= cutoff:
                    continue
                place = _slot(table, tokens, arc.next)
                j = table[place]
                if j < 0:
                    j = count
                    if count == len(tokens):
                        tokens = _larger(tokens)
                    table[place] = j
                    tokens[j].state = arc.next
                    count += 1
                    if 2 * count > len(table):
                        table = _rehashed(tokens, count, 2 * len(table))
                elif tokens[j].cost <= cost:
                    continue
                tokens[j].cost = cost
                tokens[j].speech = tokens[i].speech
                if arc.word != 0:
                    if history_length == len(history):
                        history = _larger(history)
                    history[history_length].previous = tokens[i].history
                    history[history_length].word = arc.word
                    history[history_length].frame = frame
                    tokens[j].history = history_length
                    history_length += 1
                else:
                    tokens[j].history = tokens[i].history
                if states[arc.next].emitting > states[arc.next].first:
                    if queued == len(queue):
                        queue = _larger(queue)
                    queue[queued] = j
                    queued += 1

        if not first:
            if stride > 0 and frame % stride == stride - 1:
                least = _FAR
                for i in range(count):
                    least = min(least, tokens[i].cost)
                for i in range(count):
                    if tokens[i].cost - least <= glimpse_beam and tokens[i].history >= 0:
                        if glimpses_length == len(glimpses):
                            glimpses = _larger(glimpses)
                        glimpses[glimpses_length].frame = frame
                        glimpses[glimpses_length].history = tokens[i].history
                        glimpses[glimpses_length].cost = tokens[i].cost - least
                        glimpses_length += 1
            frame += 1
    return (
        count,
        offset,
        tokens,
        following,
        table,
        queue,
        history,
        history_length,
        glimpses,
        glimpses_length,
    )


@njit(cache=True)
def collect_history(
    history: NDArray[np.void], length: int, tokens: NDArray[np.void], glimpses: NDArray[np.void]
) -> int:
    """Drop records that neither a token nor a glimpse can reach; renumber the rest in place; return how many stay.

    A record is always older than what points to it, so one pass downwards marks and one upwards moves.
    """
    place = np.full(length, -1, np.int32)
    for i in range(len(tokens)):
        if tokens[i].history >= 0:
            place[tokens[i].history] = 0
    for i in range(len(glimpses)):
        if glimpses[i].history >= 0:
            place[glimpses[i].history] = 0
    for r in range(length - 1, -1, -1):
        if place[r] == 0 and history[r].previous >= 0:
            place[history[r].previous] = 0
    kept = 0
    for r in range(length):
        if place[r] == 0:
            place[r] = kept
            previous = history[r].previous
            history[kept].previous = place[previous] if previous >= 0 else -1
            history[kept].word = history[r].word
            history[kept].frame = history[r].frame
            kept += 1
    for i in range(len(tokens)):
        if tokens[i].history >= 0:
            tokens[i].history = place[tokens[i].history]
    for i in range(len(glimpses)):
        if glimpses[i].history >= 0:
            glimpses[i].history = place[glimpses[i].history]
    return kept
