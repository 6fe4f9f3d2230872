"""The audit trail and the request log: their entries, seals and packs."""
