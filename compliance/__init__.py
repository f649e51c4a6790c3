"""What may be kept of a call, what was wrong in it, and who looked: in the order in which a transcript meets them.

finished_calls  calls that a stage is done with, durable (redaction and rules)
redaction       personal data found and hidden in words and time
rules           rulebooks judged as words arrive
alerts          findings that somebody must hear of now
recordings      bleeped, encrypted, kept
audit           who did what, in a tamper-evident log
"""
