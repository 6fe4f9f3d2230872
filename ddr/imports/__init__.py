"""Readers of the files that people export elsewhere: one module a format, FORMATS is their table."""
