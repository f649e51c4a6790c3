"""A stage in a process of its own that dies at the moment it is told: `python -m ... SETTINGS MOMENT AFTER`.

SETTINGS is the JSON of KafkaSettings. MOMENT is ``batch`` (in the middle of handling a batch), ``appended`` (its
results are in the log, its positions are not committed) or ``never``; AFTER is how many records it handles before.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable

import msgspec

from events.audio import AudioBlock
from events.consumer import ConsumerSettings, Opened, Output, run_stage
from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaSettings
from events.log import Group, Position, TopicPartition
from events.sealing import Sealer
from events.transcript import LegProgress
from tests.services.faults.kafka_faults_load import BLOCKS, RESULTS, STAGE, OneKey


class DyingStage:
    """Makes one result of each block."""

    name = STAGE
    topics = (BLOCKS,)

    def __init__(self, moment: str, after: int) -> None:
        self._moment = moment
        self._after = after
        self._handled = 0
        self._in_batch = 0

    def handle(self, opened: Opened) -> Iterable[Output]:
        block = opened.record
        assert isinstance(block, AudioBlock)
        self._handled += 1
        self._in_batch += 1
        if self._moment == "batch" and self._handled > self._after and self._in_batch > 10:
            os.kill(os.getpid(), signal.SIGKILL)
        yield RESULTS, result_of(block)

    def after_batch(self) -> Iterable[Output]:
        return ()

    def made_durable(self) -> None:
        if self._moment == "appended" and self._handled > self._after and self._in_batch:
            os.kill(os.getpid(), signal.SIGKILL)
        self._in_batch = 0

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None: ...


def result_of(block: AudioBlock) -> LegProgress:
    return LegProgress(block.call, block.leg, block.role, (block.start_sample + block.samples) // 8)


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    log = KafkaLog(msgspec.json.decode(sys.argv[1], type=KafkaSettings))
    stage = DyingStage(sys.argv[2], int(sys.argv[3]))
    run_stage(log, Sealer(OneKey()), stage, Group(STAGE), ConsumerSettings(), stop)
    log.close()


if __name__ == "__main__":
    main()
