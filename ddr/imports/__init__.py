"""Readers of files that people have exported elsewhere: one module per format, listed in FORMATS."""
