"""The metadata of the authorization server (RFC 8414, HDDT authorization-server.md)."""

from __future__ import annotations

from ddr.conform.authorization import DEVICES, OBSERVATION
from ddr.conform.check import check
from ddr.conform.exchange import Json
from ddr.conform.kit import Kit
from ddr.conform.target import LIMITS, MIV
from ddr.conform.verdict import NotRun, expect

NAMES = (
    "scopes_supported",
    "grant_types_supported",
    "pushed_authorization_request_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "service_documentation",
)
FIXED = {
    "require_pushed_authorization_requests": True,
    "token_endpoint_auth_methods_supported": ["tls_client_auth"],
    "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
    "code_challenge_methods_supported": ["S256"],
}


def _found(kit: Kit) -> Json:
    """The metadata. Raises NotRun: `oauth_metadata_is_public` reports what is wrong."""
    if not kit.server_metadata.json:
        raise NotRun("there are no metadata of the authorization server", kit.server_metadata)
    return kit.server_metadata.json


@check("AS-003")
def oauth_metadata_is_public(kit: Kit) -> None:
    """The metadata are public, in JSON, at the well-known URL of the issuer."""
    answer = kit.server_metadata
    expect(answer.status == 200, "the metadata are not answered with 200", answer)
    expect(answer.media_type == "application/json", f"Content-Type is {answer.media_type or 'missing'}", answer)
    expect(answer.json, "the metadata are not a JSON object", answer)


@check("AS-004", "AS-001")
def oauth_metadata_is_complete(kit: Kit) -> None:
    """All members that HDDT asks for are there, and the endpoints of RFC 8414."""
    found = _found(kit)
    missing = [name for name in (*NAMES, "issuer", "authorization_endpoint") if not found.get(name)]
    expect(not missing, f"missing: {', '.join(missing)}", kit.server_metadata)


@check("AS-009")
def issuer_is_the_one_that_was_asked(kit: Kit) -> None:
    """`issuer` is exactly the URL whose metadata were requested (RFC 8414 section 3.3)."""
    issuer = _found(kit).get("issuer")
    expect(issuer == kit.target.issuer, f"issuer is {issuer}, not {kit.target.issuer}", kit.server_metadata)


@check("AS-005", "TLS-012")
def oauth_metadata_fixed_values(kit: Kit) -> None:
    """PAR is required, clients authenticate by certificate, PKCE supports S256 only, and tokens are not bound."""
    found = _found(kit)
    wrong = [f"{name} is {found.get(name)}" for name, value in FIXED.items() if found.get(name) != value]
    if found.get("tls_client_certificate_bound_access_tokens", False) is not False:
        wrong.append("tls_client_certificate_bound_access_tokens is not false")
    expect(not wrong, "; ".join(wrong), kit.server_metadata)


@check("AS-008")
def grants_offered(kit: Kit) -> None:
    """The code flow and refreshing are offered; no other grant is."""
    grants = set(_found(kit).get("grant_types_supported") or ())
    expect("authorization_code" in grants, "authorization_code is not offered", kit.server_metadata)
    other = grants - {"authorization_code", "refresh_token"}
    expect(not other, f"also offered: {', '.join(sorted(other))}", kit.server_metadata)
    types = _found(kit).get("response_types_supported", ["code"])
    expect(types == ["code"], f"response_types_supported is {types}", kit.server_metadata)


@check("AS-012")
def request_objects_are_not_offered(kit: Kit) -> None:
    """Requests as JWT (RFC 9101) are not offered."""
    offered = _found(kit).get("request_parameter_supported", False)
    expect(offered is False, "request_parameter_supported is not false", kit.server_metadata)


@check("AS-006", "SCO-002", "BG-001", "CGM-001", "LF-001", "BP-001")
def scopes_offered(kit: Kit) -> None:
    """`scopes_supported` has one scope per MIV in HDDT's form, the scopes of devices, and nothing else."""
    scopes = _found(kit).get("scopes_supported") or []
    valuesets = [one.removeprefix(OBSERVATION) for one in scopes if one.startswith(OBSERVATION)]
    other = [one for one in scopes if not one.startswith(OBSERVATION) and one not in DEVICES]
    expect(not other, f"not scopes of HDDT: {', '.join(other)}", kit.server_metadata)
    unknown = [one for one in valuesets if one.removeprefix(MIV) not in LIMITS]
    expect(not unknown, f"not MIVs of HDDT 1.0.1: {', '.join(unknown)}", kit.server_metadata)
    expect(valuesets, "no scope of a MIV", kit.server_metadata)
    missing = [one for one in DEVICES if one not in scopes]
    expect(not missing, f"missing: {', '.join(missing)}", kit.server_metadata)
    expect(len(set(scopes)) == len(scopes), "a scope is listed twice", kit.server_metadata)
