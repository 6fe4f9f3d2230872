"""`ddr probe healthz|readyz`: ask the recorder on this machine whether it is healthy, for container probes."""

from __future__ import annotations

import argparse

import httpx

from ddr.cli.errors import CommandError
from ddr.reasons import in_words
from ddr.settings_sources import admin_port

HELP = "ask the recorder on this machine for its health"
SECONDS = 3
LONGEST = 1000  # characters of a response that are printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", choices=("healthz", "readyz"))


def run(args: argparse.Namespace) -> int:
    """0 when the response is 200; otherwise one line that says what it is. Raises CommandError."""
    url = f"http://127.0.0.1:{admin_port()}/{args.path}"
    try:
        answer = httpx.get(url, timeout=SECONDS, trust_env=False)
    except httpx.TransportError as error:
        raise CommandError(f"probe: no answer from {url}: {in_words(error)}") from None
    if answer.status_code != httpx.codes.OK:
        told = " ".join(answer.text.split())[:LONGEST]  # `checks` says what is missing
        raise CommandError(f"probe: {args.path} answers {answer.status_code}{f': {told}' if told else ''}")
    return 0
