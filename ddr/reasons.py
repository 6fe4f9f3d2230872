"""What went wrong with a file or a connection, in words and without the numbers of the system."""

from __future__ import annotations

import os
from socket import gaierror

NO_THREAD = "can't start new thread"  # as Python says in a RuntimeError that the machine or the container gives none
LONGEST = 4000  # characters of somebody else's text
NO_CIPHERS = "LIBRARY_HAS_NO_CIPHERS"  # as OpenSSL says it
NO_CIPHERS_TOLD = (
    "OpenSSL has no ciphers; its configuration (OPENSSL_CONF, or the system's) leaves out the default provider"
)
QUOTED = ": bytearray("  # h11 ends so with what was no HTTP of an answer, in which there may be tokens


def in_words(error: BaseException, named: bool = False) -> str:
    """One line for people; `named`: with the file that it is about, when the sentence around does not name it."""
    if isinstance(error, UnicodeDecodeError):
        return "is no text in UTF-8"
    if no_ciphers(error):
        return NO_CIPHERS_TOLD
    if not isinstance(error, OSError) or error.errno is None:
        return " ".join(str(error).partition(QUOTED)[0].split()) or type(error).__name__
    text = error.strerror or os.strerror(error.errno)
    return f"{os.fsdecode(error.filename)}: {text}" if named and error.filename else text


def kind_of(error: BaseException) -> str:
    """Its type, for a log, which must not tell what an exception quotes; with the system's words for its number where
    the type says little: no descriptor, no port, no route, no memory, no process, no address for a name."""
    name = type(error).__name__
    if isinstance(error, gaierror) and error.strerror:  # has numbers of its own
        return f"{name}: {error.strerror}"
    bare = isinstance(error, OSError) and type(error) in (OSError, BlockingIOError) and error.errno
    return f"{name}: {os.strerror(bare)}" if bare else name


def no_ciphers(error: BaseException) -> bool:
    """Whether OpenSSL can do nothing on this machine, whatever file it was to read."""
    return getattr(error, "reason", None) == NO_CIPHERS


def printable(text: str, longest: int | None = LONGEST) -> str:
    """What somebody else wrote, for terminals and files: without control and half characters, and not endless."""
    good = (char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text[:longest])
    return "".join(good)
