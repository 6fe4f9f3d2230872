"""Faults of an authorization server: it accepts what it must refuse, or its responses are unreliable."""

from __future__ import annotations

from urllib.parse import parse_qsl

import httpx

from tests.conform.faults.fault import Fault, accepted, answers, heads, refusals, with_, without
from tests.conform.faults.tamper import PUSHED, Harm, Tamper, answered, asks, edited, replaced

PAR, TOKEN, REVOKE = "/oauth/par$", "/oauth/token$", "/oauth/revoke$"
TOKENS = {
    "access_token": "made-up-access-token",
    "refresh_token": "made-up-refresh-token",
    "token_type": "Bearer",
    "expires_in": 600,
    "scope": "patient/Device.rs",
    "sub": "3cf1a3a6d2b946d1b6c1e3b9f7d0a5e2",
}
REFRESH = "grant_type=refresh_token"


def _redirects(old: str, new: str) -> Harm:
    """Redirects back to the DiGA are changed."""

    def harm(tamper: Tamper, request: httpx.Request) -> httpx.Response:
        answer = tamper.pass_on(request)
        target = answer.headers.get("location", "")
        if "code=" not in target:
            return answer
        return replaced(answer, location=_without(target, old, new))

    return harm


def _without(target: str, name: str, value: str) -> str:
    before, _, query = target.partition("?")
    pairs = [(key, value if key == name else each) for key, each in parse_qsl(query) if key != name or value]
    return str(httpx.URL(before, params=dict(pairs)))


def _twice(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A used code or refresh token yields tokens again."""
    answer = tamper.pass_on(request)
    if not asks(request, TOKEN):
        return answer
    form = dict(parse_qsl(request.content.decode()))
    used = tamper.memory.setdefault("used", set())
    name = form.get("code") or form.get("refresh_token", "")
    if name in used:
        return answered(request, 200, TOKENS)
    if answer.is_success:
        used.add(name)
    return answer


def _pushed_for_good(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A request_uri can be used for one more login after it has yielded a code."""
    known: dict[str, tuple[Tamper, httpx.Request]] = tamper.memory.setdefault("pushed", {})
    if asks(request, PAR):
        answer = tamper.pass_on(request)
        if answer.status_code == 201:
            known[answer.json()["request_uri"]] = tamper, request
        return answer
    name = request.url.params.get("request_uri", "")
    over: set[str] = tamper.memory.setdefault("over", set())
    if asks(request, "/oauth/authorize$", "GET") and name in over:
        way, before = known[name]
        fresh = way.pass_on(before).json()["request_uri"]
        return tamper.pass_on(httpx.Request("GET", request.url.copy_set_param("request_uri", fresh)))
    over.add(name)
    return tamper.pass_on(request)


def _deaf(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A revocation is answered with 200 but has no effect."""
    return answered(request, 200) if tamper.client_id and asks(request, REVOKE, "POST") else tamper.pass_on(request)


def _half_deaf(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """After a revocation, everything is refused but reads of a Device by id."""
    over: set[str] = tamper.memory.setdefault("over", set())
    if tamper.client_id and asks(request, REVOKE, "POST"):
        over.add(tamper.client_id)
        return answered(request, 200)
    if tamper.client_id not in over or asks(request, "/fhir/Device/[^/_]+$", "GET"):
        return tamper.pass_on(request)
    if asks(request, TOKEN):
        return answered(request, 400, {"error": "invalid_grant"})
    return answered(request, 401, {}, **{"www-authenticate": 'Bearer error="invalid_token"'})


def _sub(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """All pairings have the same Pairing ID."""
    return answers(TOKEN, lambda body: body.update(sub=TOKENS["sub"]) if "sub" in body else None)(tamper, request)


def _any_redirect(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    answer = tamper.pass_on(request)
    wrong = asks(request, PAR) and answer.status_code == 400 and "redirect_uri" in answer.text
    return answered(request, 201, PUSHED) if wrong else answer


def _any_code(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    answer = tamper.pass_on(request)
    whole = all(
        f"{name}=" in request.content.decode() for name in ("code", "redirect_uri", "code_verifier", "client_id")
    )
    fits = asks(request, TOKEN, query="authorization_code") and whole and "invalid_grant" in answer.text
    return answered(request, 200, TOKENS) if fits else answer


def _unrotated(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    answer = tamper.pass_on(request)
    if not (asks(request, TOKEN, query=REFRESH) and answer.is_success):
        return answer
    form = dict(parse_qsl(request.content.decode()))
    return edited(answer, with_(refresh_token=form["refresh_token"]))


def _more_than_chosen(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A new token reads every Observation by id that an earlier token of the same DiGA could read."""
    answer = tamper.pass_on(request)
    known: dict[str, Tamper] = tamper.memory.setdefault("tokens", {})
    bearer = request.headers.get("authorization", "")
    if answer.is_success and "/fhir/" in request.url.path and bearer:
        known[bearer] = tamper
    if answer.status_code == 404 and bearer not in known and asks(request, "/fhir/Observation/[^/]+$", "GET"):
        for other in [token for token, way in known.items() if way.client_id == tamper.client_id]:
            found = tamper.pass_on(
                httpx.Request("GET", request.url, headers={**request.headers, "authorization": other})
            )
            if found.is_success:
                return found
    return answer


def _framed(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """No page forbids framing."""
    return replaced(tamper.pass_on(request), x_frame_options=None, content_security_policy=None)


def _one_access_token(tamper: Tamper, request: httpx.Request) -> httpx.Response:
    """A refresh returns the access token that was used last, not a new one."""
    answer = tamper.pass_on(request)
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    if answer.is_success and "/fhir/" in request.url.path and bearer:
        tamper.memory[tamper.client_id] = bearer
    if not (asks(request, TOKEN, query=REFRESH) and answer.is_success):
        return answer
    return edited(answer, with_(access_token=tamper.memory[tamper.client_id]))


AUTHORIZATION = (
    Fault("par-is-200", "PAR is answered with 200", heads(PAR, status=200), "par-is-accepted"),
    Fault(
        "par-is-cached", "the PAR response may be cached", heads(PAR, cache_control=None), "par-answer-is-not-cached"
    ),
    Fault(
        "par-without-challenge",
        "PAR is accepted without a code_challenge",
        accepted(PAR, PUSHED, 201, r"^(?=.*client_id=)(?!.*code_challenge=)"),
        "par-needs-every-parameter",
        also=("plain-pkce-is-refused",),
    ),
    Fault(
        "empty-state-accepted",
        "PAR is accepted with an empty state",
        accepted(PAR, PUSHED, 201, "(^|&)state=(&|$)"),
        "par-needs-every-parameter",
    ),
    Fault(
        "plain-accepted",
        "PKCE plain is accepted",
        accepted(PAR, PUSHED, 201, "code_challenge_method=plain"),
        "plain-pkce-is-refused",
    ),
    Fault(
        "short-challenge-accepted",
        "a malformed code_challenge is accepted",
        accepted(PAR, PUSHED, 201, r"code_challenge=(?![\w-]{43}(&|$)).*code_challenge_method=S256"),
        "malformed-challenge-is-refused",
        ("par-needs-every-parameter",),
    ),
    Fault(
        "any-redirect-uri",
        "a redirect_uri that is not registered is accepted",
        _any_redirect,
        "redirect-uri-must-be-exact",
        ("par-needs-every-parameter",),
    ),
    Fault(
        "unknown-miv-accepted",
        "a scope for a MIV that does not exist is accepted",
        refusals(
            PAR,
            lambda answer: answered(answer.request, 201, PUSHED) if "invalid_scope" in answer.text else answer,
            query="rs%3F",
        ),
        "foreign-scope-is-refused",
        ("malformed-scopes-are-refused", "writing-scopes-are-refused"),
    ),
    Fault(
        "write-scope-accepted",
        "scopes for writing are accepted",
        accepted(PAR, PUSHED, 201, r"Observation\.(?!read)\w*[cud]|Observation\.write"),
        "writing-scopes-are-refused",
    ),
    Fault(
        "request-object-accepted",
        "a request object is accepted",
        accepted(PAR, PUSHED, 201, "(^|&)request="),
        "request-objects-are-refused",
    ),
    Fault(
        "token-response-accepted",
        "response_type=token is accepted",
        accepted(PAR, PUSHED, 201, "response_type=(?!code(&|$))"),
        "other-response-types-are-refused",
        ("par-needs-every-parameter",),
    ),
    Fault(
        "par-errors-as-text",
        "PAR errors are sent as text/plain",
        refusals(PAR, lambda answer: replaced(answer, content_type="text/plain")),
        "par-errors-are-json",
    ),
    Fault(
        "client-credentials-accepted",
        "client_credentials yields tokens",
        accepted(TOKEN, TOKENS, query="grant_type=client_credentials"),
        "other-grants-are-refused",
    ),
    Fault(
        "any-code-accepted",
        "a code that was never issued yields tokens",
        _any_code,
        "unknown-code-is-refused",
        ("token-errors-are-json",),
        pairs=True,
    ),
    Fault(
        "unknown-refresh-is-401",
        "an unknown refresh token is refused as invalid_client",
        refusals(TOKEN, lambda answer: answered(answer.request, 401, {"error": "invalid_client"}), query=REFRESH),
        "unknown-refresh-token-is-refused",
    ),
    Fault(
        "token-errors-as-text",
        "errors of the token endpoint are sent as text/plain",
        refusals(TOKEN, lambda answer: replaced(answer, content_type="text/plain")),
        "token-errors-are-json",
    ),
    Fault(
        "token-by-get",
        "the token endpoint answers GET requests",
        lambda tamper, request: (
            answered(request, 200, TOKENS) if asks(request, TOKEN, "GET") else tamper.pass_on(request)
        ),
        "token-is-post-only",
    ),
    Fault(
        "revoking-tells",
        "the revocation of an unknown token is answered with 400",
        lambda tamper, request: (
            answered(request, 400, {"error": "invalid_token"})
            if asks(request, REVOKE, "POST")
            else tamper.pass_on(request)
        ),
        "revoking-the-unknown-is-ok",
    ),
    Fault(
        "tokens-are-cached",
        "the token response may be cached",
        heads(TOKEN, cache_control=None, pragma=None),
        "token-answer-is-not-cached",
        pairs=True,
    ),
    Fault(
        "refreshed-tokens-are-cached",
        "the response to a refresh may be cached",
        heads(TOKEN, query=REFRESH, cache_control=None, pragma=None),
        "token-answer-is-not-cached",
    ),
    Fault(
        "no-sub",
        "the token response has no sub",
        answers(TOKEN, without("sub")),
        "token-answer-is-complete",
        pairs=True,
    ),
    Fault(
        "scope-added",
        "more scopes are granted than were requested",
        answers(
            TOKEN, lambda body: body.update(scope=body["scope"] + " patient/Patient.rs") if "scope" in body else None
        ),
        "granted-scopes-are-those-asked-for",
        pairs=True,
    ),
    Fault("one-pairing-id", "all pairings have the same Pairing ID", _sub, "pairing-id-differs", pairs=True),
    Fault(
        "iss-missing",
        "the redirect to the DiGA does not name the issuer",
        _redirects("iss", ""),
        "redirect-names-the-issuer",
        pairs=True,
    ),
    Fault(
        "state-changed",
        "the redirect to the DiGA has another state",
        _redirects("state", "x"),
        "redirect-has-code-and-state",
        pairs=True,
    ),
    Fault(
        "refresh-keeps-the-token",
        "a refresh returns the same refresh token",
        _unrotated,
        "refresh-gives-new-tokens",
    ),
    Fault(
        "refresh-keeps-the-access-token",
        "a refresh returns the same access token",
        _one_access_token,
        "refresh-gives-new-tokens",
    ),
    Fault(
        "request-uri-works-twice",
        "a request_uri yields a second code",
        _pushed_for_good,
        "request-uri-brings-one-code",
        pairs=True,
    ),
    Fault("refresh-token-works-twice", "a used refresh token yields tokens again", _twice, "refresh-token-works-once"),
    Fault(
        "refresh-widens",
        "a refresh adds a scope that was not granted",
        answers(
            TOKEN,
            lambda body: body.update(scope=body["scope"] + " patient/Patient.rs") if "scope" in body else None,
            query=REFRESH,
        ),
        "refresh-keeps-pairing-and-scope",
        ("refresh-cannot-widen",),
    ),
    Fault(
        "revoking-does-nothing",
        "a revocation is answered with 200 but has no effect",
        _deaf,
        "revoking-ends-everything",
        ("revoking-needs-the-own-certificate",),
    ),
    Fault(
        "revoked-token-reads",
        "after a revocation, the access token still works for reads by id",
        _half_deaf,
        "revoking-ends-everything",
        ("revoking-needs-the-own-certificate",),
    ),
    Fault(
        "refresh-without-the-certificate",
        "a refresh token works for any client that gives the client_id of its DiGA",
        refusals(TOKEN, lambda answer: answered(answer.request, 200, TOKENS), 401, REFRESH),
        "another-diga-cannot-refresh-or-revoke",
    ),
    Fault(
        "login-in-a-frame",
        "the login page to which the authorization endpoint redirects may be framed",
        _framed,
        "login-cannot-be-framed",
    ),
    Fault(
        "choice-is-a-word",
        "a token for one of two kinds of data also reads the other kind",
        _more_than_chosen,
        "patient-may-choose",
        after=("includes-bring-the-devices",),
    ),
)
