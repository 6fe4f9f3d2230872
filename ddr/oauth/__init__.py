"""The authorization server: one file per endpoint, each an ordered list of named checks."""
