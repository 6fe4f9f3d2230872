"""The HDDT Device Data Recorder: an open implementation of gematik's Health Device Data Transfer 1.0.1."""

__version__ = "0.1.0"
