"""A fault as data, and the few forms that most of them have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from tests.conform.faults.tamper import Harm, Json, Tamper, answered, asks, edited, replaced, resources, rewritten

Edit = Callable[[Json], object]
"""Changes a body or a resource in place."""


@dataclass(frozen=True)
class Fault:
    """`words` say what the recorder does wrong; `check` must find it; the checks of `also` may find it, too.

    `pairs`: the harm is done while a pairing is made, so each run has to pair anew. `after`: checks that have to run
    before, for a check that looks at all responses received so far.
    """

    name: str
    words: str
    harm: Harm
    check: str
    also: tuple[str, ...] = ()
    pairs: bool = False
    after: tuple[str, ...] = ()


def answers(path: str, edit: Edit, method: str = "", query: str = "") -> Harm:
    """Bodies of answers to such requests are changed."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        return edited(answer, edit) if asks(request, path, method, query) else answer

    return harm


def heads(path: str, method: str = "", query: str = "", status: int = 0, **headers: str | None) -> Harm:
    """Status or headers of successful answers to such requests are changed."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        fits = asks(request, path, method, query) and answer.is_success
        return replaced(answer, None, status=status, **headers) if fits else answer

    return harm


def each(kind: str, edit: Edit) -> Harm:
    """Each resource of this type is changed, wherever it stands."""

    def all_of(body: Json) -> None:
        for one in resources(body):
            if one.get("resourceType") == kind:
                edit(one)

    return answers("/fhir/", all_of)


def requests(path: str, old: str, new: str = "", method: str = "") -> Harm:
    """Requests are misread: `old` in query or form is read as `new`."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        return tamper.pass_on(rewritten(request, old, new) if asks(request, path, method) else request)

    return harm


def refusals(path: str, becomes: Callable[[httpx.Response], httpx.Response], status: int = 0, query: str = "") -> Harm:
    """Refusals (of one `status`, or all) of such requests become something else."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        refused = answer.status_code == status if status else answer.is_client_error
        return becomes(answer) if refused and asks(request, path, query=query) else answer

    return harm


def accepted(path: str, body: Json, status: int = 200, query: str = "") -> Harm:
    """A request that must be refused is answered as if it had succeeded."""
    return refusals(path, lambda answer: answered(answer.request, status, body), query=query)


def without(*names: str) -> Edit:
    """An edit that takes members away."""

    def edit(body: Json) -> None:
        for name in names:
            body.pop(name, None)

    return edit


def with_(**members: object) -> Edit:
    """An edit that sets members."""
    return lambda body: body.update(members)
