"""The two grants of the token endpoint, each an ordered list of checks before anything is issued."""
