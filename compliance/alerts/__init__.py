"""Alerts: findings that somebody has to see now.

Files, in the order in which a datum meets them:

alert           an alert from a finding
outbox          deliveries that are owed, durable
channels        where alerts go besides the console: the webhook
dispatcher      a thread that delivers what the outbox owes, with retries
stage           findings in, alerts and the outcomes of their deliveries out

The console needs no channel: it reads the topic.
"""
