"""What operators need for proof and control: audit trail, request log, admission, status."""
