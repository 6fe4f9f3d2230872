"""Further consents of the patient: codes in the wrong hands, a refusal, a choice, a pairing without devices.

They run after the checks that read data, since an attack on a code may end grants obtained with it.
"""

from __future__ import annotations

from dataclasses import replace

from ddr.conform.authorization import DEVICES, Pairing, address, code_form, consent, request, scopes_of, token
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.found import key_of
from ddr.conform.kit import Kit
from ddr.conform.laws.codes import VALUESETS
from ddr.conform.laws.naive import has_code
from ddr.conform.target import MIV
from ddr.conform.verdict import Advised, NotApplicable, NotRun, expect
from ddr.conform.view import View

MORE = (Need.PATIENT, Need.CONSENTS)


def _landed(kit: Kit) -> tuple[Pairing, str]:
    """A fresh code of the first view's pairing. Raises NotRun."""
    view = kit.views[0]
    asked = request(kit, view.identity)
    pushed, landed = consent(kit, asked, view.pairing.account, asked.scopes)
    return Pairing(asked, view.pairing.account, pushed, landed, pushed), landed


def _expect_no_tokens(answer: Exchange, what: str, *errors: str) -> None:
    expect(answer.status in (400, 401) and "access_token" not in answer.json, f"{what} gets tokens", answer)
    error = answer.json.get("error")
    expect(not errors or error in errors, f"{what} is refused as {error}, not as {' or '.join(errors)}", answer)


@check("AS-015", needs=MORE)
def wrong_verifier_is_refused(kit: Kit) -> None:
    """A code with another code_verifier, or with none, gets no tokens."""
    for changed in ({"code_verifier": "a" * 64}, {"code_verifier": ""}):
        one, landed = _landed(kit)
        answer = token(kit, code_form(one.request, landed, **changed), one.request.identity)
        _expect_no_tokens(answer, "a wrong code_verifier", "invalid_grant", "invalid_request")


@check("AS-019", "AS-018", needs=MORE)
def code_needs_its_redirect_uri(kit: Kit) -> None:
    """A code with a redirect_uri other than that of its authorization request gets no tokens."""
    one, landed = _landed(kit)
    form = code_form(one.request, landed, redirect_uri="https://evil.example/callback")
    _expect_no_tokens(
        token(kit, form, one.request.identity), "another redirect_uri", "invalid_grant", "invalid_request"
    )


@check("AS-011", "AS-019", needs=(*MORE, Need.TWO_DIGA))
def code_belongs_to_its_client(kit: Kit) -> None:
    """A code of one DiGA does not give another DiGA tokens."""
    one, landed = _landed(kit)
    thief = next(diga for diga in kit.target.digas if diga != one.request.identity)
    for claimed in (thief.client_id, one.request.identity.client_id):
        answer = token(kit, code_form(one.request, landed, client_id=claimed), thief)
        _expect_no_tokens(answer, "another DiGA", "invalid_grant", "invalid_client")


@check("AS-017", "CON-004", needs=MORE)
def refusal_brings_no_code(kit: Kit) -> None:
    """When the patient refuses, the browser returns with error=access_denied and no code."""
    view = kit.views[0]
    asked = request(kit, view.identity)
    pushed, landed = consent(kit, asked, view.pairing.account, None)
    found = Pairing(asked, view.pairing.account, pushed, landed, pushed).callback
    expect("code" not in found, "a code was issued although the patient refused", pushed)
    expect(found.get("error") == "access_denied", f"error is {found.get('error')}", pushed)
    expect(found.get("state") == asked.state, "the refusal has another state", pushed)


@check("CON-004", "CON-002", needs=MORE)
def patient_may_choose(kit: Kit) -> None:
    """When the patient grants one of two kinds of data, `scope` names only that one, and no other data is shown."""
    view = next((one for one in kit.views if len(one.identity.mivs) > 1), None)
    if view is None:
        raise NotApplicable("the DiGA may read one MIV only")
    asked = request(kit, view.identity)
    wanted = scopes_of(view.identity.mivs[:1])
    _, landed = consent(kit, asked, view.pairing.account, wanted)
    answer = token(kit, code_form(asked, landed), view.identity)
    if answer.status != 200:
        raise NotRun("no tokens for the code", answer)
    granted = set(str(answer.json.get("scope", "")).split())
    extra = granted - set(wanted)
    expect(not extra, f"granted although not chosen: {', '.join(sorted(extra))}", answer)
    expect(wanted[0] in granted, "the chosen scopes are not granted", answer)
    _expect_nothing_else(view, answer, view.identity.mivs[0])


def _expect_nothing_else(view: View, tokens: Exchange, chosen: str) -> None:
    """The tokens give access to nothing that was read before and is of another kind than `chosen`, whatever their scope
    says."""
    known = VALUESETS.get(chosen.removeprefix(MIV), frozenset())
    bearer = {"authorization": f"Bearer {tokens.json['access_token']}", "accept": "application/fhir+json"}
    for one in [one for one in view.seen("Observation") if not has_code(one.get("code"), *known)][:1]:
        found = view.kit.wire.send("GET", view.url(key_of(one)), view.identity, bearer)
        expect(found.status == 404, f"{key_of(one)} is shown although its kind was not chosen", tokens, found)


@check("CON-012", needs=MORE)
def pairing_id_is_stable(kit: Kit) -> None:
    """The Pairing ID stays the same when the patient consents again while the pairing lasts."""
    one, landed = _landed(kit)
    answer = token(kit, code_form(one.request, landed), one.request.identity)
    if answer.status != 200:
        raise NotRun("no tokens for the code", answer)
    kit.views[0].take(answer)
    expect(answer.json.get("sub") == kit.views[0].sub, "another Pairing ID", answer)


@check("SCO-008", needs=MORE)
def devices_need_their_scope(kit: Kit) -> None:
    """Without the scopes of Device and DeviceMetric neither of them is shown."""
    view = kit.views[0]
    asked = request(kit, view.identity, scopes_of(view.identity.mivs, ()))
    try:
        _, landed = consent(kit, asked, view.pairing.account, asked.scopes)
        answer = token(kit, code_form(asked, landed), view.identity)
    except NotRun as error:
        raise NotApplicable(f"scopes without those for devices are not accepted: {error.text}") from None
    if answer.status != 200 or set(DEVICES) & set(str(answer.json.get("scope", "")).split()):
        raise NotApplicable("the recorder grants the scopes of devices with every MIV")
    bearer = {"authorization": f"Bearer {answer.json['access_token']}", "accept": "application/fhir+json"}
    for kind in ("Device", "DeviceMetric"):
        found = kit.wire.send("GET", view.url(kind), view.identity, bearer)
        shown = found.status == 200 and any(
            (entry.get("resource") or {}).get("resourceType") == kind for entry in found.json.get("entry") or ()
        )
        expect(not shown, f"{kind} is shown without its scope", found)


@check("AS-009", needs=MORE)
def code_works_once(kit: Kit) -> None:
    """A code that is redeemed a second time gets no tokens (RFC 6749 section 4.1.2)."""
    one, landed = _landed(kit)
    form = code_form(one.request, landed)
    first = token(kit, form, one.request.identity)
    if first.status != 200:
        raise NotRun("no tokens for the code", first)
    again = token(kit, form, one.request.identity)
    same = again.status == 200 and again.json.get("refresh_token") == first.json.get("refresh_token")
    expect(again.status in (400, 401) or same, "a code can be redeemed twice", first, again)


@check("AS-009", needs=MORE)
def request_uri_brings_one_code(kit: Kit) -> None:
    """A request_uri should yield one code only (RFC 9126 section 7.3)."""
    one, _ = _landed(kit)
    asked = one.request
    url = address(kit, asked.identity.client_id, str(one.pushed.json["request_uri"]))
    try:
        landed = kit.browser.decide(url, asked.identity.redirect_uri, one.account, asked.scopes)
    except NotRun:  # refused on a page: the recipe cannot continue
        return
    code = replace(one, landed=landed).callback.get("code", "")
    kit.wire.secrets.learn(code)
    if code:
        raise Advised("a request_uri yields a second code", one.pushed)
