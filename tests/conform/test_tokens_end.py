"""No false failure of a recorder that ends tokens because of a DiGA's earlier actions, as it may."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import httpx
import pytest

from ddr.conform.check import all_checks
from ddr.conform.verdict import Verdict
from tests.conform.faults.oauth import TOKEN
from tests.conform.faults.tamper import Harm, Json, Tamper, answered, asks, wrapping
from tests.spec.conftest import ddr, examined
from tests.spec.examined import Examined

__all__ = ["ddr", "examined"]

OVER = 'Bearer error="invalid_token", error_description="The access token expired"'
CHECKS = [one for one in all_checks() if one.run.__module__.endswith(("consents", "ending"))]
Ends = Callable[[dict[str, str], bool], bool]


def _ending(ends: Ends) -> Harm:
    """All tokens of a pairing end when `ends` says so about a form; its second argument says whether the form's token
    was used before."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        dead: set[str] = tamper.memory.setdefault("dead", set())
        living: dict[str, set[str]] = tamper.memory.setdefault("living", {})  # by Pairing ID
        if request.headers.get("authorization", "").removeprefix("Bearer ") in dead:
            issue = {"severity": "error", "code": "login", "diagnostics": "The access token expired"}
            body: Json = {"resourceType": "OperationOutcome", "issue": [issue]}
            return answered(request, 401, body, **{"www-authenticate": OVER})
        if not asks(request, TOKEN, "POST"):
            return tamper.pass_on(request)
        form = dict(parse_qsl(request.content.decode()))
        if form.get("refresh_token") in dead:
            return answered(request, 400, {"error": "invalid_grant"})
        used = tamper.memory.setdefault("used", {})
        again = used.get(form.get("refresh_token", ""))
        if again and ends(form, True):
            dead |= living.pop(again, set())
            return answered(request, 400, {"error": "invalid_grant"})
        answer = tamper.pass_on(request)
        if answer.is_success:
            tokens = answer.json()
            if ends(form, False):
                dead |= living.pop(tokens["sub"], set())
            living.setdefault(tokens["sub"], set()).update((tokens["access_token"], tokens["refresh_token"]))
            used |= {form["refresh_token"]: tokens["sub"]} if "refresh_token" in form else {}
        return answer

    return harm


def _with_the_next_consent(form: dict[str, str], _used: bool) -> bool:
    """HDDT leaves open what a further consent means for existing tokens."""
    return form["grant_type"] == "authorization_code"


def _with_a_used_refresh_token(_form: dict[str, str], used: bool) -> bool:
    """RFC 9700 section 4.14.2: one of the two parties that have the token is a thief."""
    return used


@pytest.mark.parametrize("ends", [_with_the_next_consent, _with_a_used_refresh_token], ids=["consent", "theft"])
async def test_tokens_that_have_ended_are_no_failure(examined: Examined, ends: Ends) -> None:
    results = await examined.run(examined.kit(wrapping(_ending(ends))), CHECKS)
    assert {one.check.name: one.text for one in results if one.verdict is not Verdict.PASSED} == {}
