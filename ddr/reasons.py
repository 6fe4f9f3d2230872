"""What went wrong with a file or a connection, in words and without system error numbers."""

from __future__ import annotations

import os
import re
from socket import gaierror

NO_THREAD = "can't start new thread"  # Python's RuntimeError when the machine or the container gives no thread
LONGEST = 4000  # characters of a text from elsewhere
NO_CIPHERS = "LIBRARY_HAS_NO_CIPHERS"  # the text of OpenSSL
NO_CIPHERS_TOLD = (
    "OpenSSL has no ciphers; its configuration (OPENSSL_CONF, or the system's) leaves out the default provider"
)
QUOTED = ": bytearray("  # how h11 quotes the part of an answer that is not HTTP, which may contain tokens
NO_CONNECTION = "All connection attempts failed"  # anyio, below httpx
UNREACHED = "Connect call failed"  # asyncio, with an address in place of the system's text
_NUMBER = re.compile(rf"\[Errno (-?\d+)\] ({UNREACHED})?")  # in the messages of httpx and asyncio


def in_words(error: BaseException, named: bool = False) -> str:
    """One line for people; `named`: including the file's name, if the surrounding sentence does not have it."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    if no_ciphers(error):
        return NO_CIPHERS_TOLD
    if not isinstance(error, OSError) or error.errno is None:
        text = " ".join(_NUMBER.sub(_meant, str(error)).partition(QUOTED)[0].split()) or type(error).__name__
        return f"{text}: {why}" if text == NO_CONNECTION and (why := _causes(error)) else text
    text = error.strerror or os.strerror(error.errno)
    if text.startswith(UNREACHED):
        text = f"{os.strerror(error.errno)}: {text}"
    return f"{os.fsdecode(error.filename)}: {text}" if named and error.filename else text


def _meant(found: re.Match[str]) -> str:
    """What stands for an error number: nothing beside the system's own text, else that text."""
    return f"{os.strerror(int(found[1]))}: {found[2]}" if found[2] else ""


def _causes(error: BaseException) -> str:
    """What the system said of each address that was tried."""
    behind: BaseException | None = error
    while behind is not None:
        causes = behind.exceptions if isinstance(behind, BaseExceptionGroup) else [behind]
        if numbers := [one.errno for one in causes if isinstance(one, OSError) and one.errno]:
            return ", ".join(dict.fromkeys(os.strerror(number) for number in numbers))
        behind = behind.__cause__ or behind.__context__
    return ""


def kind_of(error: BaseException) -> str:
    """The error's type for a log, which must not repeat what an exception quotes. Where the type says little, it
    includes the system's text for the error number: no descriptor, port, route, memory, process, or address for a
    name."""
    name = type(error).__name__
    if isinstance(error, gaierror) and error.strerror:  # has error numbers of its own
        return f"{name}: {error.strerror}"
    if isinstance(error, OSError) and error.errno and type(error) in (OSError, BlockingIOError):
        return f"{name}: {os.strerror(error.errno)}"
    return name


def no_ciphers(error: BaseException) -> bool:
    """Whether OpenSSL cannot work on this machine at all, whatever file it was to read."""
    return getattr(error, "reason", None) == NO_CIPHERS


def printable(text: str, longest: int | None = LONGEST) -> str:
    """A text from elsewhere for terminals and files: without control characters and lone surrogates, and bounded."""
    good = (char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text[:longest])
    return "".join(good)
