"""The last checks, since they use tokens up: refreshing, stealing refresh tokens, revoking (HDDT pairing.md).

A recorder may end tokens because of earlier actions: those of a former consent with the next one (HDDT leaves that
open), and all of a grant when a used refresh token is presented again (RFC 9700 section 4.14.2). That is not a fault.
"""

from __future__ import annotations

from ddr.conform.authorization import pair, refresh_form, revoke, token
from ddr.conform.check import Need, check
from ddr.conform.doors import doors
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.verdict import NotRun, expect
from ddr.conform.view import View

PATIENT = (Need.PATIENT,)


def _living(kit: Kit) -> View:
    """The first view with valid tokens, paired again if they have ended. Raises NotRun."""
    view = kit.views[0]
    if not view.refresh_token:
        raise NotRun("there is no refresh token", view.pairing.answered)
    answer = view.get("Device")
    if answer.status == 401:
        if not kit.browser.automatic:
            raise NotRun("an earlier check ended the tokens, and pairing again needs --recipe", answer)
        view.pairing = pair(kit, view.identity, view.pairing.account)
        view.take(view.pairing.answered)
    return view


def _renewed(kit: Kit) -> tuple[str, Exchange]:
    """The first view's previous refresh token, and the response to refreshing it. Raises NotRun."""
    view = _living(kit)
    before = view.refresh_token
    answer = view.renew()
    if answer.status != 200:
        raise NotRun("refreshing fails", answer)
    return before, answer


@check("AS-027", "AS-026", needs=PATIENT)
def refresh_gives_new_tokens(kit: Kit) -> None:
    """A refresh returns a new access token and a new refresh token, and both can be used."""
    view = _living(kit)
    before, access = view.refresh_token, view.access_token
    answer = view.renew()
    expect(answer.status == 200, "refreshing is refused", answer)
    found = answer.json
    expect(found.get("refresh_token") and found["refresh_token"] != before, "the same refresh token again", answer)
    if view.access_token == access:  # a JWT may be the same, within the second of its `iat`
        kit.patience.wait(1.1, "a token may be the same within a second")
        answer = view.renew()
    expect(view.access_token != access, "the same access token again", answer)
    asked = view.get("Device")
    expect(asked.status == 200, "the new access token is not accepted", asked)


@check("CON-012", "AS-020", needs=PATIENT)
def refresh_keeps_pairing_and_scope(kit: Kit) -> None:
    """A refresh keeps the Pairing ID and does not widen the scope."""
    _, answer = _renewed(kit)
    view = kit.views[0]
    expect(answer.json.get("sub", view.sub) == view.sub, "another Pairing ID", answer)
    extra = set(str(answer.json.get("scope", "")).split()) - set(view.pairing.request.scopes)
    expect(not extra, f"wider than granted: {', '.join(sorted(extra))}", answer)


@check("CON-004", needs=PATIENT)
def refresh_cannot_widen(kit: Kit) -> None:
    """A refresh with a scope that was not granted is refused, or returns the granted scope."""
    view = _living(kit)
    form = refresh_form(view.identity, view.refresh_token, scope=f"{view.pairing.tokens['scope']} patient/Patient.rs")
    answer = token(kit, form, view.identity)
    if answer.status == 200:
        view.take(answer)
    wider = "patient/Patient.rs" in str(answer.json.get("scope", ""))
    expect(not wider, "a wider scope is granted", answer)


@check("AS-021", needs=PATIENT)
def altered_refresh_token_is_refused(kit: Kit) -> None:
    """A refresh token with one character changed is refused."""
    view = _living(kit)
    text = view.refresh_token
    middle = len(text) // 2
    altered = text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]
    kit.wire.secrets.learn(altered)
    answer = token(kit, refresh_form(view.identity, altered), view.identity)
    expect(answer.status in (400, 401) and "access_token" not in answer.json, "it is accepted", answer)


@check("AS-009", needs=PATIENT)
def access_token_is_no_refresh_token(kit: Kit) -> None:
    """An access token cannot be used to refresh."""
    view = _living(kit)
    answer = token(kit, refresh_form(view.identity, view.access_token), view.identity)
    expect(answer.status in (400, 401) and "access_token" not in answer.json, "it is accepted", answer)


@check("AS-029", "AS-030", needs=(Need.PATIENT, Need.TWO_DIGA))
def another_diga_cannot_refresh_or_revoke(kit: Kit) -> None:
    """Another DiGA cannot use a refresh token, and the pairing of the token continues."""
    view = _living(kit)
    thief = next(diga for diga in kit.target.digas if diga != view.identity)
    for claimed in (thief, view.identity):
        stolen = token(kit, refresh_form(claimed, view.refresh_token), thief)
        expect("access_token" not in stolen.json, f"another DiGA refreshes as {claimed.client_id}", stolen)
    revoke(kit, thief, view.refresh_token)
    after = view.get("Device")
    expect(after.status == 200, "another DiGA has ended the pairing", stolen, after)


@check("AS-027", "AS-009", needs=PATIENT)
def refresh_token_works_once(kit: Kit) -> None:
    """A used refresh token returns no further tokens; at most it returns the same response again for a short time."""
    before, first = _renewed(kit)
    view = kit.views[0]
    again = token(kit, refresh_form(view.identity, before), view.identity)
    same = again.status == 200 and again.json.get("refresh_token") == first.json.get("refresh_token")
    expect(same or again.status in (400, 401), "a used refresh token returns new tokens", first, again)


@check("AS-030", "AS-037", "CON-005", needs=(Need.PATIENT, Need.UNPAIR))
def revoking_ends_everything(kit: Kit) -> None:
    """After a revocation, access token and refresh token are refused at once: 401 invalid_token and invalid_grant."""
    view = _living(kit)
    ways = doors(view)
    answer = revoke(kit, view.identity, view.refresh_token)
    expect(answer.status == 200, "revoking is not answered with 200", answer)
    for door in ways:
        asked = door.send(view, f"Bearer {view.access_token}")
        expect(asked.status == 401, f"{door.told}: the access token still works", answer, asked)
        named = "invalid_token" in asked.headers.get("www-authenticate", "")
        expect(named, "the refusal does not say invalid_token", asked)
    refreshed = token(kit, refresh_form(view.identity, view.refresh_token), view.identity)
    expect("access_token" not in refreshed.json, "the refresh token still works", answer, refreshed)
    error = refreshed.json.get("error")
    expect(refreshed.status == 400 and error == "invalid_grant", f"refreshing is refused as {error}", refreshed)


@check("AS-031", needs=(Need.PATIENT, Need.UNPAIR))
def revoking_again_is_ok(kit: Kit) -> None:
    """Revoking a token again is answered with 200 and an empty body."""
    for view in kit.views:
        for _ in range(2):
            answer = revoke(kit, view.identity, view.refresh_token)
            expect(answer.status == 200 and not answer.content.strip(), "not 200 with an empty body", answer)
