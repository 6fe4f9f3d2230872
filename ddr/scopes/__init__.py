"""SMART scopes and the access decision, pure. No I/O."""
