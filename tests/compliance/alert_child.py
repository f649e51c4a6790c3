"""A process that delivers alerts until it is killed: ``python alert_child.py FOLDER URL``."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from compliance.alerts.channels import Webhook, WebhookSettings
from compliance.alerts.dispatcher import Dispatcher
from compliance.alerts.outbox import Outbox

if __name__ == "__main__":
    webhook = Webhook(WebhookSettings(sys.argv[2], "s" * 32, timeout_s=30))
    Dispatcher(Outbox(Path(sys.argv[1])), webhook).start()
    threading.Event().wait()
