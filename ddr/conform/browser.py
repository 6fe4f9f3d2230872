"""Logs in and consents on the recorder's pages: a person with a browser, or a recipe (ddr.conform.recipe)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from ddr.conform.target import Account
from ddr.conform.verdict import NotRun


class Browser(Protocol):
    """An `automatic` one may be used as often as a check likes."""

    automatic: bool

    def decide(self, url: str, redirect_uri: str, account: Account, approve: Collection[str] | None) -> str:
        """Open `url`, log in, tick the scopes in `approve` (None: refuse); returns the URL below `redirect_uri` to
        which the browser is sent. Raises verdict.NotRun."""


class Person:
    """Shows the URL and waits for the one where the browser ends."""

    automatic = False

    def __init__(self, say: Callable[[str], None], ask: Callable[[str], str]) -> None:
        self._say, self._ask = say, ask

    def decide(self, url: str, redirect_uri: str, account: Account, approve: Collection[str] | None) -> str:
        what = "refuse everything" if approve is None else "consent to everything that is requested"
        who = f" as {account.username}" if account.username else " as the test patient"
        self._say(f"Open this address in a browser, log in{who} and {what}:\n\n  {url}\n")
        self._say(
            f"The browser then goes to an address that begins with {redirect_uri}; it does not matter whether a page"
        )
        self._say("is there. Copy the whole address from the address bar.")
        while True:
            try:
                landed = self._ask("address: ").strip()
            except EOFError:
                raise NotRun("nobody can log in here; --recipe logs in without a person") from None
            if landed.startswith(redirect_uri):
                return landed
            self._say(f"That does not begin with {redirect_uri}.")
