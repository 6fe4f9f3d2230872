"""Attacks on the token endpoint that need no code: other grants, made-up codes and tokens (RFC 6749, HDDT)."""

from __future__ import annotations

from ddr.conform.authorization import refresh_form, revoke, token
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.verdict import expect

CERTIFICATE = (Need.CERTIFICATE,)


def _code_form(kit: Kit, **changed: str) -> dict[str, str]:
    own = kit.diga
    return {
        "grant_type": "authorization_code",
        "client_id": own.client_id,
        "redirect_uri": own.redirect_uri,
        "code": "there-is-no-such-code-at-all-0123456789",
        "code_verifier": "a" * 64,
        **changed,
    }


def _expect_refused(answer: Exchange, what: str, *errors: str) -> None:
    expect(answer.status in (400, 401) and "access_token" not in answer.json, f"{what} is not refused", answer)
    error = answer.json.get("error")
    expect(not errors or error in errors, f"{what} is refused as {error}, not as {' or '.join(errors)}", answer)


@check("AS-008", "AS-035", needs=CERTIFICATE)
def other_grants_are_refused(kit: Kit) -> None:
    """No other grant returns tokens: client credentials, password, device code, token exchange, JWT bearer."""
    kinds = (
        "client_credentials",
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    )
    for kind in kinds:
        form = {"grant_type": kind, "client_id": kit.diga.client_id, "username": "a", "scope": "patient/Device.rs"}
        answer = token(kit, form, kit.diga)
        _expect_refused(answer, f"the grant {kind}", "unauthorized_client", "unsupported_grant_type")


@check("AS-019", needs=CERTIFICATE)
def unknown_code_is_refused(kit: Kit) -> None:
    """A code that was never issued is refused as invalid_grant."""
    _expect_refused(token(kit, _code_form(kit), kit.diga), "an unknown code", "invalid_grant")


@check("AS-019", needs=CERTIFICATE)
def token_needs_every_parameter(kit: Kit) -> None:
    """A request that lacks one of the parameters of the code flow is refused."""
    for name in ("grant_type", "code", "code_verifier", "redirect_uri", "client_id"):
        form = {key: value for key, value in _code_form(kit).items() if key != name}
        _expect_refused(token(kit, form, kit.diga), f"a request without {name}")


@check("AS-027", needs=CERTIFICATE)
def unknown_refresh_token_is_refused(kit: Kit) -> None:
    """A refresh token that was never issued is refused as invalid_grant."""
    for text in ("there-is-no-such-token-0123456789", "eyJhbGciOiJub25lIn0.e30.", "a.b.c"):
        _expect_refused(token(kit, refresh_form(kit.diga, text), kit.diga), "an unknown refresh token", "invalid_grant")


@check("AS-032", needs=CERTIFICATE)
def token_errors_are_json(kit: Kit) -> None:
    """Errors of the token endpoint are application/json with `error`."""
    for form in (_code_form(kit), _code_form(kit, grant_type="password"), {"client_id": kit.diga.client_id}):
        answer = token(kit, form, kit.diga)
        good = answer.media_type == "application/json" and isinstance(answer.json.get("error"), str)
        expect(good, "an error is not JSON with `error`", answer)


@check("AS-009", needs=CERTIFICATE)
def token_is_post_only(kit: Kit) -> None:
    """GET at the token endpoint is refused (RFC 6749 section 3.2)."""
    answer = kit.wire.send("GET", kit.endpoint("token_endpoint"), kit.diga)
    expect(400 <= answer.status < 500 and "access_token" not in answer.json, "GET is not refused", answer)


@check("AS-031", needs=CERTIFICATE)
def revoking_the_unknown_is_ok(kit: Kit) -> None:
    """Revoking an unknown token is answered with 200 and an empty body."""
    answer = revoke(kit, kit.diga, "there-is-no-such-token-0123456789")
    expect(answer.status == 200, "not answered with 200", answer)
    expect(not answer.content.strip(), "the body is not empty", answer)


@check("AS-029", needs=(Need.TWO_DIGA,))
def revoking_needs_the_own_certificate(kit: Kit) -> None:
    """Revoking with the client_id of another DiGA is refused, as the RFCs say or with the 403 of HDDT's page."""
    answer = revoke(kit, kit.diga, "there-is-no-such-token-0123456789", kit.other_diga.client_id)
    expect(answer.status in (400, 401, 403), "not refused", answer)
