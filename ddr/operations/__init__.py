"""What operators need to prove and to steer: audit trail, request log, admission, status."""
