"""The audit log: who looked at or changed what, provably complete and unchanged.

Files, in the order in which an entry meets them:

recorder           makes an entry, seals its detail; over when it is durable
leaf               the entry's canonical bytes
merkle             RFC 6962 hashing, inclusion and consistency proofs
audit_log          entries and tree in SQLite, appended to by many processes
checkpoint         signed tree heads (C2SP note, Ed25519) and the key pair
checkpoint_folder  the write-once folder an auditor takes checkpoints from
audit_stage        the process that signs and publishes
export             one file of JSON lines with entries, checkpoints and proofs
silence            gaps and clocks
verify             offline verification of an export
verification       what it found
"""
