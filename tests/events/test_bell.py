"""Waking across file descriptors, and what happens without bells."""

from __future__ import annotations

import threading
from pathlib import Path

from events.bell import BellListener, ring


def test_a_ring_wakes_and_is_heard_once(tmp_path: Path) -> None:
    bells = [tmp_path / "a.bell", tmp_path / "b.bell"]
    listener = BellListener()
    for bell in bells * 2:
        listener.listen_to(bell)
    assert listener.wait(0.01) is False
    ring(bells[1])
    ring(bells[0])
    assert listener.wait(30) is True
    assert listener.wait(0.01) is False
    threading.Timer(0.01, ring, [bells[0]]).start()
    assert listener.wait(30) is True
    listener.close()


def test_a_bell_that_is_missing_harms_nobody(tmp_path: Path) -> None:
    ring(tmp_path / "missing" / "bell")
    listener = BellListener()
    listener.listen_to(tmp_path / "missing" / "bell")
    assert listener.wait(0.0) is True, "Without bells a wait ends soon and says: look."
    listener.close()


def test_after_giving_up_a_wait_ends_soon_so_that_the_reader_polls(tmp_path: Path) -> None:
    listener = BellListener()
    listener.listen_to(tmp_path / "bell")
    listener.give_up()
    assert listener.wait(30) is True
    listener.close()
