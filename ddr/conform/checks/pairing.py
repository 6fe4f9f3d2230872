"""From the redirect to the tokens: what is returned, and what a token is (HDDT pairing.md)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

from ddr.conform.authorization import Pairing
from ddr.conform.check import Need, check
from ddr.conform.exchange import Json
from ddr.conform.judging import login_name
from ddr.conform.kit import Kit
from ddr.conform.verdict import Failed, NotApplicable, expect

PATIENT = (Need.PATIENT,)
DIGITS = 34  # at least, of all but one in 300,000 random numbers of 128 bits; a shorter number is a counter
PERSONAL = frozenset({"name", "email", "given_name", "family_name", "birthdate", "preferred_username"})


def _pairings(kit: Kit) -> Iterator[Pairing]:
    return (view.pairing for view in kit.views)


@check("AS-019", "AS-001", needs=(Need.CERTIFICATE,))
def pairing_succeeds(kit: Kit) -> None:
    """PAR, login, consent and the exchange of the code end with tokens."""
    if error := kit.pairing_failed:
        if error.shown:
            raise Failed(error.text, *error.shown)
        raise error


@check("AS-017", needs=PATIENT)
def redirect_has_code_and_state(kit: Kit) -> None:
    """The browser returns to the registered redirect_uri with a code and the state that was sent."""
    for one in _pairings(kit):
        expect(one.landed.startswith(one.request.identity.redirect_uri), "another redirect_uri", one.answered)
        expect(one.callback.get("code"), "the redirect has no code", one.answered)
        expect(one.callback.get("state") == one.request.state, "the redirect has another state", one.answered)


@check("AS-009", needs=PATIENT)
def redirect_names_the_issuer(kit: Kit) -> None:
    """The redirect names its issuer (iss), which prevents mix-up attacks (RFC 9207, RFC 9700)."""
    promised = kit.server_metadata.json.get("authorization_response_iss_parameter_supported") is True
    for one in _pairings(kit):
        issuer = one.callback.get("iss")
        if issuer is None and not promised:  # HDDT does not name RFC 9207; RFC 9700 binds clients of several servers
            raise NotApplicable("the redirect does not name its issuer, and the metadata do not say that it does")
        expect(issuer == kit.target.issuer, f"iss is {issuer or 'missing'}", one.answered)


@check("AS-020", needs=PATIENT)
def token_answer_is_complete(kit: Kit) -> None:
    """The token response has access_token, refresh_token, token_type Bearer, expires_in, scope and sub."""
    for one in _pairings(kit):
        found, shown = one.tokens, one.answered
        names = ("access_token", "refresh_token", "scope", "sub")
        missing = [name for name in names if not isinstance(found.get(name), str) or not found[name]]
        expect(not missing, f"missing: {', '.join(missing)}", shown)
        expect(str(found.get("token_type", "")).lower() == "bearer", "token_type is not Bearer", shown)
        seconds = found.get("expires_in")
        good = isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0
        expect(good, "expires_in is not a positive number", shown)


@check("AS-009", needs=PATIENT)
def token_answer_is_not_cached(kit: Kit) -> None:
    """The token response, to a code and to a refresh, forbids caching (RFC 6749 section 5.1)."""
    for view in kit.views:
        for answer in (view.pairing.answered, view.renew()):
            stored = answer.headers.get("cache-control", "").lower()
            expect("no-store" in stored or answer.status != 200, "no-store is missing", answer)


@check("SCO-002", "AS-020", needs=PATIENT)
def granted_scopes_are_those_asked_for(kit: Kit) -> None:
    """`scope` names what was granted, and nothing that was not requested."""
    for one in _pairings(kit):
        granted = str(one.tokens.get("scope", "")).split(" ")
        extra = set(granted) - set(one.request.scopes)
        expect(not extra, f"granted without being requested: {', '.join(sorted(extra))}", one.answered)


@check("CON-011", needs=PATIENT)
def pairing_id_is_not_guessable(kit: Kit) -> None:
    """The Pairing ID is long and reveals nothing: it is neither the login name nor a number."""
    for view in kit.views:
        account = kit.target.patients[view.patient].username.lower()
        expect(len(view.sub) >= 20, f"the Pairing ID has {len(view.sub)} characters", view.pairing.answered)
        named = len(account) >= 4 and account in view.sub.lower()  # shorter ones occur anywhere
        number = view.sub.isdigit() and len(view.sub) < DIGITS
        expect(not number and not named, "the Pairing ID can be guessed", view.pairing.answered)


@check("CON-010", "PRIV-006", needs=(Need.PATIENT, Need.TWO_DIGA))
def pairing_id_differs(kit: Kit) -> None:
    """Each pair of patient and DiGA has a Pairing ID of its own."""
    known: dict[str, str] = {}
    for view in kit.views:
        other = known.setdefault(view.sub, view.name)
        expect(other == view.name, f"{other} and {view.name} have the same Pairing ID", view.pairing.answered)
    if len(known) < 2:
        raise NotApplicable("there is only one pairing")


def _jwt(text: str) -> tuple[Json, Json] | None:
    """Header and claims of a signed JWT, None for an opaque token."""
    parts = text.split(".")
    if len(parts) != 3:
        return None
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in parts[:2])
    except ValueError:
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


def _tokens(kit: Kit) -> Iterator[tuple[Pairing, str, tuple[Json, Json] | None]]:
    for one in _pairings(kit):
        for name in ("access_token", "refresh_token"):
            text = str(one.tokens.get(name, ""))
            yield one, text, _jwt(text)


@check("AS-022", needs=PATIENT)
def tokens_are_not_encrypted(kit: Kit) -> None:
    """Tokens are not encrypted (JWE)."""
    for one, text, _ in _tokens(kit):
        expect(text.count(".") != 4, "a token is encrypted (JWE)", one.answered)


@check("AS-021", needs=PATIENT)
def tokens_are_signed(kit: Kit) -> None:
    """A token that is a JWT is signed: its algorithm is not none."""
    for one, _, jwt in _tokens(kit):
        algorithm = str(jwt[0].get("alg", "")) if jwt else "opaque"
        expect(algorithm and algorithm.lower() != "none", "a token is not signed", one.answered)


@check("AS-023", needs=PATIENT)
def tokens_are_not_bound(kit: Kit) -> None:
    """A token that is a JWT has no cnf: it is not bound to the certificate."""
    for one, _, jwt in _tokens(kit):
        expect(not (jwt and "cnf" in jwt[1]), "a token has the claim cnf", one.answered)


@check("AS-025", "PRIV-001", needs=PATIENT)
def tokens_say_nothing_of_the_patient(kit: Kit) -> None:
    """A token that is a JWT names the patient by the Pairing ID only."""
    for one, _, jwt in _tokens(kit):
        claims = jwt[1] if jwt else {}
        sub = one.tokens.get("sub")
        expect(claims.get("sub", sub) == sub, "sub in the token is not the Pairing ID", one.answered)
        name = login_name(kit, one.account.username)
        expect(not (name and name.search(json.dumps(claims))), "the token has the patient's login name", one.answered)
        personal = PERSONAL & set(claims)
        expect(not personal, f"the token has the claims {', '.join(sorted(personal))}", one.answered)
