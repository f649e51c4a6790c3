"""What the parts of callwarden have agreed: records, topics, the event log, keys, clock, metric names, errors.

Files, in the order in which a datum meets them:

identity        who is spoken about: calls, legs, roles, record ids
lifecycle       what happened to a call: started, legs, hold, ended
audio           sealed blocks of G.711 or L16 payload on a call's timeline
speaker_turns   who of two speakers spoke when on a leg that carries both
transcript      words: raw segments, redacted segments, progress, ends
finding         what a rule found, the alert it raised, who answered it
recording       the bleeped recording that was kept
audit_entry     who looked at or changed what, and why
call_document   the folded, redacted call that is searched and shown
topics          which records go where, who writes and reads them, for how long
codec           records to bytes and back; schema_files writes their JSON Schemas into schemas/
sealing         AES-GCM under the call's keys
key_store       two data keys a call, wrapped by a master key, destroyable
log             the EventLog protocol
sqlite_log      its embedded driver; sqlite_topic is one topic's file, group_files who reads which partitions,
                bell how readers in other processes are woken
kafka_log       its distributed driver: kafka_settings, kafka_connection (options, errors in our words), kafka_diagnosis
                (why a broker cannot be reached), kafka_topics (made and checked), kafka_record, kafka_writer,
                kafka_assignor and kafka_membership (who reads what), kafka_positions, kafka_reader
spilling_log    a log that may be away, with the local disk in front; spill_store the disk, spill_state what it tells
consumer        the loop that every consuming stage runs in
open_calls      which calls a stage is in the middle of, and from where they would be read again
dead_letter     records that could not be handled, put aside with the reason
clock, metrics, errors
"""
