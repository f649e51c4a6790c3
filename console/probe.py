"""Looks at something that may hang, without making the person who asks wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from events.clock import Clock
from events.errors import CallwardenError

_T = TypeVar("_T")
_PATIENCE_S: Final = 1.5


def no_answer(what: str) -> str:
    """The sentence about something that has not answered yet."""
    return f"The {what} does not answer."


class Probe(Generic[_T]):
    """Asks at most every `every_s` seconds, in a thread of its own, and remembers the answer.

    Parameters
    ----------
    look
        What is asked; its CallwardenError is the answer that something is wrong.
    what
        Of what it is asked, for the sentence about it when there is no answer.
    """

    def __init__(
        self,
        look: Callable[[], _T],
        what: str,
        clock: Clock,
        every_s: float = 5.0,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._look = look
        self._what = what
        self._clock = clock
        self._every_s = every_s
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._asked_at = float("-inf")
        self._asking = False
        self._answer: _T | None = None
        self._problem = ""

    def __call__(self) -> tuple[_T | None, str]:
        """Return the newest answer (None before the first) and what is wrong, empty when nothing is."""
        with self._lock:
            if not self._asking and self._clock.monotonic() - self._asked_at >= self._every_s:
                self._asking = True
                self._asked_at = self._clock.monotonic()
                self._answered.clear()
                threading.Thread(target=self._ask, name=f"probe-{self._what}", daemon=True).start()
        if not self._answered.wait(self._patience_s):
            return self._answer, self._problem or no_answer(self._what)
        return self._answer, self._problem

    def _ask(self) -> None:
        answer, problem = self._answer, ""
        try:
            answer = self._look()
        except CallwardenError as error:
            problem = str(error)
        except Exception as error:  # a health page tells of every failure, and has none itself
            problem = f"The {self._what} cannot be asked ({type(error).__name__})."
        with self._lock:
            self._answer, self._problem = answer, problem
            self._asking = False
            self._answered.set()
