"""Starts Kafka and Elasticsearch natively, and runs a command beside them.

``python -m tests.services``                  start both, print their addresses, end them at Ctrl-C
``python -m tests.services -- COMMAND ...``   start both, run the command with their addresses in its environment

A server that is named by CALLWARDEN_TEST_KAFKA (host:port) or CALLWARDEN_TEST_ELASTICSEARCH (URL) is used as it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.services.needed import ELASTICSEARCH_VARIABLE, KAFKA_VARIABLE
from tests.services.servers import CannotStart, ElasticServer, KafkaCluster


def main() -> int:
    command = sys.argv[2:] if sys.argv[1:2] == ["--"] else []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        began = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            kafka = elasticsearch = None
            if not os.environ.get(KAFKA_VARIABLE):
                kafka = pool.submit(lambda: KafkaCluster().__enter__())
            if not os.environ.get(ELASTICSEARCH_VARIABLE):
                elasticsearch = pool.submit(lambda: ElasticServer().__enter__())
        failed = []
        for future, variable, address in (
            (kafka, KAFKA_VARIABLE, "bootstrap"),
            (elasticsearch, ELASTICSEARCH_VARIABLE, "url"),
        ):
            if future is None:
                continue
            try:
                server = future.result()
            except CannotStart as error:
                failed.append(str(error))
                continue
            stack.push(server)
            os.environ[variable] = getattr(server, address)
        if failed:
            print("\n".join(failed), file=sys.stderr)
            return 1
        took = time.monotonic() - began
        print(f"Kafka is at {os.environ[KAFKA_VARIABLE]}.")
        print(f"Elasticsearch is at {os.environ[ELASTICSEARCH_VARIABLE]}.")
        print(f"Ready after {took:.0f} s.", flush=True)
        if command:
            return subprocess.run(command).returncode
        print("Ctrl-C ends them.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
