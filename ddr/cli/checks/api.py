"""`ddr check api`: a whole poll from outside, as a DiGA does it: metadata, refresh, search with all pages, a read.

A file contains the refresh token, and afterwards its successor: the recorder rotates it with each use.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any

import httpx

from ddr.cli.ending import waking
from ddr.cli.errors import CommandError, of_files
from ddr.client import ClientError, Diga, Grant, Recorder, Throttled
from ddr.drafts import alone_in
from ddr.reasons import in_words

MOST_PAGES = 3  # a test patient has few; it also keeps the check finite


class TokenFile:
    """A TokenStore (ddr.client.tokens) of one pairing; its file contains only the refresh token."""

    def __init__(self, file: Path) -> None:
        self._file, self._grant = file, Grant("", "", "", "", 0)

    async def load(self, pairing_id: str) -> Grant | None:
        """The token in the file; an access token from this run only."""
        return replace(self._grant, refresh_token=(await asyncio.to_thread(self._file.read_text)).strip())

    async def save(self, grant: Grant) -> None:
        """Written to a draft, synced and renamed, so that the file always contains one complete token."""
        await asyncio.to_thread(self._write, grant.refresh_token)
        self._grant = grant

    async def forget(self, pairing_id: str) -> None:
        """Keep the file: an operator may want to inspect it."""

    @asynccontextmanager
    async def alone(self, pairing_id: str) -> AsyncIterator[None]:
        """Two checks with one token would end its pairing: `check_api` lets only one run at a time."""
        yield

    def try_out(self) -> None:
        """Write the token in the way its successor will be written. Raises OSError now rather than after the recorder
        has rotated the token: using one twice ends the pairing."""
        if not S_ISREG(self._file.stat().st_mode):
            raise OSError(errno.EINVAL, "is not a file that can hold the next token", str(self._file))
        self._write(self._file.read_text("utf-8").strip())

    def _write(self, token: str) -> None:
        draft = self._file.with_name(f"{self._file.name}.new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(token + "\n")
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self._file)


@dataclass
class _Timed:
    """Prints the duration and status of each request."""

    last_status: int = 0

    async def begun(self, request: httpx.Request) -> None:
        request.extensions["begun"] = time.monotonic()

    async def answered(self, answer: httpx.Response) -> None:
        took = (time.monotonic() - answer.request.extensions["begun"]) * 1000
        self.last_status = answer.status_code
        print(
            f"  {answer.request.method:4} {answer.request.url.path:48} {answer.status_code} {took:6.0f} ms", flush=True
        )


def check_api(diga: Diga, tokens: Path) -> int:
    """Print the requests and their durations; returns the number of problems. Raises CommandError for an invalid
    file."""
    print(f"DiGA {diga.client_id} at {diga.fhir_base}")
    # A link stays a link: its target gets the next token, whatever path is used to read it. Path.resolve does not raise
    # OSError for a link to itself.
    tokens = Path(os.path.realpath(tokens))
    file = TokenFile(tokens)
    try:
        with alone_in(tokens.parent, patient=True):
            file.try_out()
            found = waking(_poll(diga, file))
    except ssl.SSLError as error:
        raise of_files(error) from None
    except OSError as error:
        raise CommandError(in_words(error, named=True)) from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{tokens}: {in_words(error)}") from None
    for text in found:
        print(f"  PROBLEM {text}")
    return len(found)


async def _poll(diga: Diga, tokens: TokenFile) -> list[str]:
    timed = _Timed()
    async with diga.http() as http:
        http.event_hooks = {"request": [timed.begun], "response": [timed.answered]}
        recorder = Recorder(diga, http, tokens, "", patience=0)
        try:
            return await _problems(diga, recorder)
        except Throttled as error:
            if timed.last_status != 429:
                return [f"the recorder is not serving requests: {error}"]
            print(f"  the Grace-Period still runs, {error}; everything up to the data works")
            return []
        except ClientError as error:
            return [str(error)]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return [f"a response is not as it must be: {type(error).__name__}: {error}"]


async def _problems(diga: Diga, recorder: Recorder) -> list[str]:
    wrong: list[str] = []
    _expect(wrong, await recorder.get(f"{diga.fhir_base}/metadata"), "CapabilityStatement")
    first: dict[str, Any] | None = None
    pages = 0
    async for bundle in recorder.pages("Observation", {"_include": "Observation:device"}):
        _expect(wrong, bundle, "Bundle")
        resources = [entry["resource"] for entry in bundle.get("entry", ())]
        first = first or next((one for one in resources if one["resourceType"] == "Observation"), None)
        pages += 1
        if pages == MOST_PAGES:
            break
    if first is None:
        print("  the pairing has no data within the Historic-Data-Period")
        return wrong
    again = await recorder.get(f"{diga.fhir_base}/Observation/{first['id']}")
    if again.get("id") != first["id"]:
        wrong.append("reading an Observation from the search by its id returns another resource")
    return wrong


def _expect(wrong: list[str], resource: Any, kind: str) -> None:
    if resource.get("resourceType") != kind:
        wrong.append(f"expected a {kind}, got {resource.get('resourceType')}")
