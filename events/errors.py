"""Errors that tell a consumer's loop what to do, and those of the keys.

The loop of `consumer` knows three instructions: try the same record again later, put it into the dead-letter
topic, stop. Any other exception of a handler counts as poison (never retry).
"""

from __future__ import annotations


class CallwardenError(Exception):
    """Base of our own errors. The text is one whole sentence for the user, without personal data."""


class RetryLater(CallwardenError):
    """Something outside is away for now; the record is handed to the handler again after a back-off."""


class NeverRetry(CallwardenError):
    """This record can never be handled; it goes to the dead-letter topic with this reason."""


class StopConsumer(CallwardenError):
    """Going on would do harm; the process ends and its supervisor decides."""


class TooManyBad(StopConsumer):
    """So many records were poison that draining the topic into the bin would lose data."""


class KeyDestroyed(CallwardenError):
    """The key of this call was destroyed on purpose: the call has been processed or erased."""


class SealBroken(CallwardenError):
    """Ciphertext, nonce, key and associated data do not belong together."""


class LogUnavailable(RetryLater):
    """The event log cannot take or give records now (disk full, broker away)."""
