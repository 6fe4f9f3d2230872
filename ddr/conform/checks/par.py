"""Pushed authorization requests and attacks on them (RFC 9126, RFC 7636, HDDT pairing.md and smart-scopes.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from ddr.conform.authorization import DEVICES, OBSERVATION, push, request
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.target import LIMITS, MIV
from ddr.conform.verdict import Advised, NotApplicable, expect

CERTIFICATE = (Need.CERTIFICATE,)
REQUIRED = ("client_id", "scope", "code_challenge", "code_challenge_method", "redirect_uri", "state", "response_type")


def _push(kit: Kit, **changed: str | None) -> Exchange:
    """A valid request with these parameters changed, or left out (None)."""
    form: Mapping[str, str | None] = {**request(kit, kit.diga).form, **changed}
    return push(kit, {name: value for name, value in form.items() if value is not None}, kit.diga)


def _expect_refused(answer: Exchange, what: str, *errors: str) -> None:
    expect(answer.status in (400, 401), f"{what} is not refused", answer)
    error = answer.json.get("error")
    expect(not errors or error in errors, f"{what} is refused as {error}, not as {' or '.join(errors)}", answer)
    right = answer.status == 400 or "invalid_scope" not in errors
    expect(right, f"{what} is refused with {answer.status}, not with 400", answer)


@check("AS-010", needs=CERTIFICATE)
def par_is_accepted(kit: Kit) -> None:
    """A complete request is answered with 201, request_uri and expires_in."""
    answer = _push(kit)
    expect(answer.status == 201, "a complete request is not answered 201", answer)
    uri, seconds = answer.json.get("request_uri"), answer.json.get("expires_in")
    expect(isinstance(uri, str) and uri, "no request_uri", answer)
    good = isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0
    expect(good, "expires_in is not a positive number of seconds", answer)


@check("AS-009", needs=CERTIFICATE)
def par_answer_is_not_cached(kit: Kit) -> None:
    """The response to a PAR forbids caching, as in the example of RFC 9126 section 2.2."""
    answer = _push(kit)
    stored = answer.headers.get("cache-control", "").lower()
    if answer.status == 201 and "no-store" not in stored and "no-cache" not in stored:
        raise Advised("Cache-Control is missing", answer)


@check("AS-010", needs=CERTIFICATE)
def par_needs_every_parameter(kit: Kit) -> None:
    """A request that lacks one of the seven parameters is refused with 400 (without client_id also 401).

    A parameter without a value counts as left out (RFC 6749 section 3.1).
    """
    for name in REQUIRED:
        _expect_refused(_push(kit, **{name: None}), f"a request without {name}")
        _expect_refused(_push(kit, **{name: ""}), f"a request with an empty {name}")


@check("AS-015", "AS-010", "AS-044", needs=CERTIFICATE)
def plain_pkce_is_refused(kit: Kit) -> None:
    """A code_challenge_method other than S256 (as plain), or no PKCE, is refused although the client authenticates."""
    _expect_refused(_push(kit, code_challenge_method="plain"), "code_challenge_method plain")
    _expect_refused(_push(kit, code_challenge_method="S512"), "code_challenge_method S512")
    _expect_refused(_push(kit, code_challenge=None, code_challenge_method=None), "a request without PKCE")


@check("AS-015", needs=CERTIFICATE)
def malformed_challenge_is_refused(kit: Kit) -> None:
    """A code_challenge that does not have the form of RFC 7636 is refused."""
    for challenge in ("", "a", "=" * 43, "+" * 43, "a" * 42, "a" * 129):
        _expect_refused(_push(kit, code_challenge=challenge), f"the code_challenge {challenge[:10]!r}")


@check("AS-018", "AS-011", "AS-009", needs=CERTIFICATE)
def redirect_uri_must_be_exact(kit: Kit) -> None:
    """A redirect_uri that differs from the registered one in any way is refused."""
    own = kit.diga.redirect_uri
    host = urlsplit(own).netloc
    variants = (
        own + "/",
        own + "?a=b",
        own + "#fragment",
        own + "%20",
        " " + own,
        own.upper(),
        own.replace(host, host.upper(), 1),
        own.replace("://", "://evil.example/"),
        "https://evil.example/callback",
        own + "/../callback",
        own.replace("https:", "http:"),
    )
    for variant in (one for one in variants if one != own):
        answer = _push(kit, redirect_uri=variant)
        _expect_refused(answer, f"redirect_uri {variant}")
        expect(not answer.headers.get("location"), "the refusal redirects", answer)


@check("AS-034", "AS-011", needs=CERTIFICATE)
def foreign_scope_is_refused(kit: Kit) -> None:
    """A MIV that the DiGA may not read, or that does not exist, is refused as invalid_scope."""
    foreign = [MIV + name for name in LIMITS if MIV + name not in kit.diga.mivs]
    for miv in [*foreign, MIV + "there-is-none"]:
        scope = " ".join((OBSERVATION + miv, *DEVICES))
        _expect_refused(_push(kit, scope=scope), f"the scope of {miv}", "invalid_scope")


def _expect_scopes_refused(kit: Kit, own: str, scopes: Iterable[str]) -> None:
    """Each is refused, alone and together with a valid one."""
    for scope in scopes:
        for asked in (scope, f"{own} {scope}"):
            _expect_refused(_push(kit, scope=asked), f"the scope {asked!r}", "invalid_scope")


@check("AS-014", "SCO-003", "SCO-007", needs=CERTIFICATE)
def malformed_scopes_are_refused(kit: Kit) -> None:
    """Scopes that do not have HDDT's form, or whose ValueSet URL differs by one character, are refused."""
    own = _own_scope(kit)
    urls = (
        own[:-1] + own[-1].upper(),
        own + "/",
        own + "|1.0.1",
        own + "there-is-none",
        own.replace("https:", "http:"),
        own + "&a=b",
    )
    _expect_scopes_refused(kit, own, (*urls, own.replace("https://", "https://www."), own.upper(), own + " x"))
    others = (own.replace("code:in", "code"), own.replace("patient/", "system/"), own.replace("patient/", "user/"))
    _expect_scopes_refused(
        kit, own, (*others, own.replace(".rs?", ".r?"), "patient/Observation.rs", "patient/Observation.read")
    )
    strangers = ("patient/*.rs", "patient/Patient.rs", "user/Observation.rs", "launch/patient", "openid")
    _expect_scopes_refused(kit, own, (*strangers, "offline_access", "patient/Device.r"))


def _own_scope(kit: Kit) -> str:
    """A scope that the DiGA may request. Raises NotApplicable."""
    if not kit.diga.mivs:
        raise NotApplicable("the DiGA may read no MIV")
    return OBSERVATION + kit.diga.mivs[0]


@check("SCO-004", needs=CERTIFICATE)
def writing_scopes_are_refused(kit: Kit) -> None:
    """Scopes that would allow more than reading and searching are refused."""
    own = _own_scope(kit)
    for rights in ("cruds", "crus", "rsu", "*", "write", "d"):
        others = (f"patient/Device.{rights}", f"patient/DeviceMetric.{rights}")
        _expect_scopes_refused(kit, own, (own.replace(".rs?", f".{rights}?"), *others))


@check("AS-012", needs=CERTIFICATE)
def request_objects_are_refused(kit: Kit) -> None:
    """A request as JWT (RFC 9101) is refused."""
    _expect_refused(_push(kit, request="eyJhbGciOiJub25lIn0.e30."), "the parameter request")


@check("AS-009", needs=CERTIFICATE)
def request_uri_in_par_is_refused(kit: Kit) -> None:
    """A PAR must not itself refer to a request_uri (RFC 9126 section 2.1)."""
    _expect_refused(_push(kit, request_uri="urn:ietf:params:oauth:request_uri:abc"), "the parameter request_uri")


@check("AS-009", needs=CERTIFICATE)
def repeated_parameters_are_refused(kit: Kit) -> None:
    """A parameter that comes twice is refused (RFC 6749 section 3.1)."""
    form = request(kit, kit.diga).form
    for name in ("scope", "redirect_uri", "client_id"):
        _expect_refused(push(kit, [*form.items(), (name, form[name])], kit.diga), f"{name} given twice")


@check("AS-010", "AS-017", needs=CERTIFICATE)
def other_response_types_are_refused(kit: Kit) -> None:
    """Only response_type=code is accepted: neither token nor id_token."""
    for kind in ("token", "id_token", "code token", "code id_token"):
        _expect_refused(_push(kit, response_type=kind), f"response_type {kind}")


@check("AS-032", needs=CERTIFICATE)
def par_errors_are_json(kit: Kit) -> None:
    """Errors of PAR are application/json with `error`."""
    for answer in (_push(kit, response_type="token"), _push(kit, scope="openid"), _push(kit, redirect_uri="x")):
        if answer.status < 400:
            continue
        good = answer.media_type == "application/json" and isinstance(answer.json.get("error"), str)
        expect(good, "an error is not JSON with `error`", answer)


@check("AS-009", needs=CERTIFICATE)
def par_is_post_only(kit: Kit) -> None:
    """GET at the PAR endpoint is refused (RFC 9126 section 2.1)."""
    answer = push(kit, {}, kit.diga, "GET")
    expect(400 <= answer.status < 500, "GET is not refused", answer)
