"""Errors in words."""

from __future__ import annotations

import asyncio
import errno
import socket

import httpx
import pytest

from ddr.reasons import in_words, kind_of


@pytest.mark.parametrize(
    ("error", "text", "named"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "/x"),
            "No such file or directory",
            "/x: No such file or directory",
        ),
        (OSError(24, None), "Too many open files", "Too many open files"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "is not UTF-8 text", "is not UTF-8 text"),
        (OSError("All connection attempts failed"), "All connection attempts failed", "All connection attempts failed"),
        (ValueError("two\nlines"), "two lines", "two lines"),
        (KeyError(), "KeyError", "KeyError"),
        (httpx.ConnectError("[Errno 111] Connection refused"), "Connection refused", "Connection refused"),
        (
            OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 1)"),
            "No route to host: Connect call failed ('192.0.2.1', 1)",
            "No route to host: Connect call failed ('192.0.2.1', 1)",
        ),
        (
            OSError("Multiple exceptions: [Errno 113] Connect call failed ('a', 1), [Errno 111] Connection refused"),
            "Multiple exceptions: No route to host: Connect call failed ('a', 1), Connection refused",
            "Multiple exceptions: No route to host: Connect call failed ('a', 1), Connection refused",
        ),
        (ValueError("illegal header line: bytearray(b'x: token')"), "illegal header line", "illegal header line"),
    ],
)
def test_no_numbers_of_the_system(error: Exception, text: str, named: str) -> None:
    assert in_words(error) == text
    assert in_words(error, named=True) == named


def test_a_log_says_what_the_system_does_not_give() -> None:
    assert kind_of(OSError(errno.EAGAIN, "fork")) == "BlockingIOError: Resource temporarily unavailable"
    assert kind_of(OSError(errno.EMFILE, "/secret")) == "OSError: Too many open files"
    assert kind_of(FileNotFoundError(errno.ENOENT, "no", "/secret")) == "FileNotFoundError"
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert kind_of(unknown) == "gaierror: Name or service not known"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_connection_is_told_with_its_cause(host: str) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(f"http://{host}:9/")

    with pytest.raises(httpx.ConnectError) as refused:
        asyncio.run(ask())
    told = in_words(refused.value)  # without IPv6 one address of localhost fails for another reason
    assert told.startswith("All connection attempts failed: ") and "Connection refused" in told


def test_each_cause_of_an_address_is_told_once() -> None:
    tried = [OSError(errno.ENETUNREACH, "x"), OSError(errno.ENETUNREACH, "y"), OSError(errno.EADDRNOTAVAIL, "z")]
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("", tried)
    assert in_words(error) == "All connection attempts failed: Network is unreachable, Cannot assign requested address"
