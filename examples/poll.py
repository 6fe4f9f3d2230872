"""A DiGA's polling loop with nothing but Python's standard library: docs/diga-guide.md explains it.

    python3 examples/poll.py STATE.json [--interval SECONDS] [--rounds N]

The environment says whom to ask and as whom: FHIR, ISSUER, CA, CERT, KEY, CLIENT_ID, and REFRESH_TOKEN for the first
run. STATE.json keeps the refresh token and how far the DiGA has read.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

NEEDED = ("FHIR", "ISSUER", "CA", "CERT", "KEY", "CLIENT_ID")


def seconds_to_wait(retry_after: str) -> float:
    """Retry-After has seconds or a date (RFC 9110 section 10.2.3); a minute where it has neither."""
    if retry_after.isdecimal():
        return int(retry_after)
    try:
        return max(1.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 60


def kept(state_file: Path) -> dict[str, str]:
    """What the last run has kept; nothing before the first one. Ends the program when that cannot be read."""
    if not state_file.exists():
        return {}
    try:
        state: dict[str, str] = json.loads(state_file.read_bytes())
        if isinstance(state["refresh_token"], str):
            return state
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    sys.exit(f"{state_file} is no state of this program: bring it back, or remove it and pair again")


class Recorder:
    """The recorder as one paired DiGA sees it."""

    def __init__(self, environ: Mapping[str, str], state_file: Path) -> None:
        self.environ = environ
        self.state_file = state_file
        self.state = kept(state_file) or {"refresh_token": environ.get("REFRESH_TOKEN", "")}
        self.access_token, self.good_until = "", 0.0
        self.tls = ssl.create_default_context(cafile=environ["CA"])
        self.tls.load_cert_chain(environ["CERT"], environ["KEY"], password="")  # never ask on a terminal

    def save(self) -> None:
        """Keep the state: a refresh token that is lost cannot be asked for again."""
        draft = self.state_file.with_suffix(".new")
        draft.touch(mode=0o600)
        with draft.open("w") as out:
            json.dump(self.state, out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self.state_file)
        folder = os.open(draft.parent, os.O_RDONLY)
        os.fsync(folder)  # the name, too: else a power failure brings the former state back
        os.close(folder)

    def send(self, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Any, Any]:
        """One request; status, headers and JSON of the answer."""
        headers = {"Accept": "application/json" if form else "application/fhir+json"}
        if not form:
            headers["Authorization"] = f"Bearer {self.access_token}"
        request = Request(url, urlencode(form).encode() if form else None, headers)  # noqa: S310
        try:
            with urlopen(request, context=self.tls, timeout=30) as response:  # noqa: S310
                return response.status, response.headers, json.load(response)
        except HTTPError as error:
            text = error.read()
            is_json = "json" in error.headers.get("Content-Type", "")  # what stands in between may answer in HTML
            return error.code, error.headers, json.loads(text) if text and is_json else None

    def ask(self, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status and JSON of a request that waits when it has to. It is sent again when there is no answer, as while
        the recorder is started again, or one of a failure (500, or 502 of what stands before it): soon at first, since
        the answer to a refresh is repeated for some seconds only."""
        pause = 1
        while True:
            try:
                status, headers, answer = self.send(url, form)
            except (OSError, HTTPException) as error:
                cause = error.reason if isinstance(error, URLError) else error
                if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                    raise  # certificates do not mend themselves; a connection that ends in the handshake is no answer
                failure = f"no answer ({error})"
            else:
                if status in (429, 503):
                    time.sleep(seconds_to_wait(headers.get("Retry-After", "")))
                    continue
                if status < 500:
                    return status, answer
                failure = f"answer {status}"
            print(f"{failure}, asking again", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(2 * pause, 60)

    def refresh(self) -> None:
        """A new access token; the refresh token is used up and replaced, too."""
        form = {"grant_type": "refresh_token", "client_id": self.environ["CLIENT_ID"]}
        form["refresh_token"] = self.state["refresh_token"]
        status, answer = self.ask(self.metadata()["token_endpoint"], form)
        if status != 200:
            over = isinstance(answer, dict) and answer.get("error") == "invalid_grant"
            sys.exit(f"no new token ({answer}){': the patient has to pair again' if over else ''}")
        self.access_token = answer["access_token"]
        self.good_until = time.time() + float(answer.get("expires_in", 60))
        self.state["refresh_token"] = answer["refresh_token"]
        self.save()

    def metadata(self) -> dict[str, str]:
        """The authorization server's metadata."""
        found: dict[str, str] = self.ask(self.environ["ISSUER"] + "/.well-known/oauth-authorization-server")[1]
        return found

    def get(self, url: str, link: bool = False) -> dict[str, Any] | None:
        """One FHIR request that renews the access token when it has expired; None for a `link` that has."""
        renewed = False
        while True:
            status, answer = self.ask(url)
            if status == 200:
                found: dict[str, Any] = answer
                return found
            if status == 410 and link:
                return None
            # Ten minutes are less than a Grace-Period or a maintenance that was waited for: it may have ended again.
            if status == 401 and (not renewed or time.time() >= self.good_until):
                self.refresh()
                renewed = True
            else:
                sys.exit(f"{status}: {answer}")

    def changes(self) -> Iterator[dict[str, Any]]:
        """Everything that changed since the last time, over all pages, with the devices."""
        query = {"_include": "Observation:device", "_include:iterate": "DeviceMetric:source"}
        if "since" in self.state:
            query["_lastUpdated"] = f"gt{self.state['since']}"
        first = f"{self.environ['FHIR']}/Observation?{urlencode(query)}"
        url: str | None = first
        since = ""
        while url:
            bundle = self.get(url, link=url != first)
            if bundle is None:  # the recorder was waited for too long: once more from where the last search ended
                yield from self.changes()
                return
            since = bundle["meta"]["lastUpdated"]  # of all pages: what they do not have yet will be newer
            for entry in bundle.get("entry", ()):
                yield entry["resource"]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        self.state["since"] = since
        self.save()


def main() -> None:
    """Ask again and again; what comes twice, because an answer was lost, is recognised by id and version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path)
    parser.add_argument("--interval", type=float, default=900, help="seconds; the registered grace period or longer")
    parser.add_argument("--rounds", type=int, default=0, help="end after so many rounds; 0: never")
    arguments = parser.parse_args()
    os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")  # a company's proxy does not know your machine
    if lacking := [name for name in NEEDED if not os.environ.get(name)]:
        sys.exit(f"not in the environment: {', '.join(lacking)}")
    try:
        poll(Recorder(os.environ, arguments.state), arguments.interval, arguments.rounds)
    except OSError as error:  # a file, or a certificate that is not believed
        sys.exit(f"{', '.join(os.environ[name] for name in NEEDED[:5])} and {arguments.state}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def poll(recorder: Recorder, interval: float, rounds: int) -> None:
    """`rounds` searches, or endlessly many."""
    done = 0
    known: dict[tuple[str, str], str] = {}
    while True:
        received = list(recorder.changes())
        new = {(each["resourceType"], each["id"]): each["meta"]["versionId"] for each in received}
        changed = {key for key, version in new.items() if known.get(key) != version}
        known |= new
        print(f"{len(received)} resources received, {len(changed)} of them new or changed", flush=True)
        done += 1
        if done == rounds:
            return
        time.sleep(interval)


if __name__ == "__main__":
    main()
