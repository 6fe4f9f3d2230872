"""Who gets data with which token (HDDT error-codes.md, security-and-privacy.md; RFC 6750)."""

from __future__ import annotations

import base64
import json

from ddr.conform.check import Need, check
from ddr.conform.doors import Door, doors
from ddr.conform.exchange import Exchange
from ddr.conform.found import key_of
from ddr.conform.kit import Kit
from ddr.conform.verdict import NotApplicable, NotRun, expect
from ddr.conform.view import View

PATIENT = (Need.PATIENT,)
TYPES = ("Observation", "Device", "DeviceMetric")


def _expect_unauthorized(answer: Exchange, what: str) -> None:
    expect(answer.status == 401, f"{what} is not answered with 401", answer)
    told = answer.headers.get("www-authenticate", "")
    expect(told.lower().startswith("bearer"), "WWW-Authenticate does not begin with Bearer", answer)


@check("RS-021", "SCO-009", needs=PATIENT)
def no_token_no_data(kit: Kit) -> None:
    """Without a token, or with another scheme, every request for data is answered with 401."""
    view = kit.views[0]
    basic = base64.b64encode(b"user:secret").decode()
    for door in doors(view):
        _expect_unauthorized(door.send(view, None), f"{door.told} without a token")
        _expect_unauthorized(door.send(view, f"Basic {basic}"), f"{door.told} with another scheme")


@check("RS-022", "RS-020", needs=PATIENT)
def bad_tokens_are_refused(kit: Kit) -> None:
    """A text that is not a token, an unsigned JWT and an altered token get 401 with error="invalid_token"."""
    view = kit.views[0]
    for text in ("there-is-no-such-token", _unsigned(kit), _altered(view.access_token)):
        kit.wire.secrets.learn(text)
        for door in doors(view):
            answer = door.send(view, f"Bearer {text}")
            _expect_unauthorized(answer, f"{door.told} with a bad token")
            told = answer.headers.get("www-authenticate", "")
            expect('error="invalid_token"' in told, 'error="invalid_token" is missing', answer)
            expect("error_description=" in told, "error_description is missing", answer)


def _unsigned(kit: Kit) -> str:
    """A JWT that anybody can make: algorithm none, the claims of a valid one."""
    parts = ({"alg": "none", "typ": "at+jwt"}, {"iss": kit.target.issuer, "sub": kit.views[0].sub, "exp": 1 << 40})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join((*encoded, ""))


def _altered(token: str) -> str:
    place = max(0, len(token) - 20)
    return token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]


@check("AS-021", "RS-021", needs=PATIENT)
def token_in_the_address_is_refused(kit: Kit) -> None:
    """A token in the query instead of the header is not accepted (RFC 9700 section 4.3.2)."""
    view = kit.views[0]
    for door in doors(view):
        if door.method == "GET":
            answer = Door("GET", f"{door.path}?access_token={view.access_token}").send(view, None)
            expect(answer.status in (400, 401), f"{door.told}: a token in the URL is accepted", answer)


@check("AS-009", needs=PATIENT)
def refresh_token_opens_nothing(kit: Kit) -> None:
    """A refresh token is not accepted as an access token."""
    view = kit.views[0]
    if not view.refresh_token:
        raise NotRun("there is no refresh token", view.pairing.answered)
    for door in doors(view):
        _expect_unauthorized(door.send(view, f"Bearer {view.refresh_token}"), f"{door.told} with a refresh token")


@check("TLS-013", needs=(Need.PATIENT, Need.TWO_DIGA))
def token_needs_its_diga(kit: Kit) -> None:
    """The token of one DiGA over the connection of another is refused."""
    view = kit.views[0]
    thief = next(diga for diga in kit.target.digas if diga != view.identity)
    for door in doors(view):
        answer = door.send(view, f"Bearer {view.access_token}", thief)
        expect(answer.status in (401, 404), f"another DiGA gets {door.path}", answer)


@check("PRIV-002", needs=PATIENT)
def no_patient_endpoint(kit: Kit) -> None:
    """Patient and other resources about a person are not served: 404."""
    view = kit.views[0]
    own = f"Patient/{view.sub}"
    for path in ("Patient", "patient", own, f"{own}/$everything", "Patient/1", "Person", "RelatedPerson"):
        answer = view.get(path)
        expect(answer.status == 404, f"/{path} is not answered with 404", answer)


@check("SCO-004", needs=PATIENT)
def nothing_can_be_written(kit: Kit) -> None:
    """PATCH and DELETE of an id that does not exist are refused."""
    view = kit.views[0]
    for method, path in (("DELETE", "Observation/there-is-none"), ("PATCH", "Device/there-is-none")):
        headers = {"content-type": "application/json-patch+json"}
        content = "[]" if method == "PATCH" else ""
        answer = view.send(method, path, headers, content, harmless=True)
        expect(400 <= answer.status < 500, f"{method} is not refused", answer)


@check("SCO-001", "DEV-002", "DEV-003", needs=PATIENT)
def resources_of_others_are_unknown(kit: Kit) -> None:
    """A resource that only another pairing may see is answered exactly like one that does not exist: 404."""
    compared = 0
    for view in kit.views:
        for other in kit.views:
            for kind in TYPES:
                own = {key_of(one) for one in view.listed(kind).matches}
                hidden = [key for one in other.listed(kind).matches if (key := key_of(one)) not in own]
                for key in hidden[:1]:
                    compared += 1
                    _expect_hidden(view, kind, key)
    if not compared:
        raise NotApplicable("all pairings see the same data, or there is only one pairing")


def _expect_hidden(view: View, kind: str, key: str) -> None:
    answer, nothing = view.get(key), view.get(f"{kind}/there-is-none")
    expect(answer.status == 404, f"{view.name} gets {key}, which it must not see", answer)
    told = json.dumps(answer.json.get("issue")).replace(key.partition("/")[2], "there-is-none")
    same = told == json.dumps(nothing.json.get("issue")) and answer.headers.keys() == nothing.headers.keys()
    expect(same, "the response differs from that to an id that does not exist", answer, nothing)
    version = view.get(f"{key}/_history/1")
    expect(version.status == 404, f"{view.name} gets a version of {key}, which it must not see", version)
