"""GET /docs/client-registration: how a DiGA becomes a client (service_documentation of RFC 8414; HDDT pairing.md)."""

from __future__ import annotations

from html import escape
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ddr.http.core import Core
from ddr.http.operator import Operator
from ddr.http.pages import STYLESHEET, page_headers
from ddr.oauth.metadata import metadata

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Client registration</title>
<link rel="stylesheet" href="$stylesheet">
</head>
<body><main>
<h1>Client registration</h1>
<p>This Device Data Recorder has no registration form. A DiGA is a client for as long as BfArM lists it as active in
the DiGA-VZ. Changes there take effect here within $refresh minutes.</p>
<h2>What the recorder takes from the DiGA-VZ</h2>
<ul>
<li><code>client_id</code>: <code>urn:diga:bfarm:</code> and the five digits of the DiGA.</li>
<li><code>redirect_uri</code>: compared character by character.</li>
<li>The TLS client certificate, self-signed or not: the exact certificate is compared. Register the next certificate
before the current one expires; both work in the meantime. The certificate is the only client authentication: a request
that also has <code>Authorization: Basic</code> or <code>client_secret</code> is refused.</li>
<li>The MIVs that the DiGA may read; they determine the scopes that it may request.</li>
</ul>
<h2>How to connect</h2>
<ol>
<li>Push the request with mutual TLS to <code>$pushed_authorization_request_endpoint</code>: <code>client_id</code>,
<code>response_type=code</code>, <code>redirect_uri</code>, <code>scope</code>, <code>state</code>,
<code>code_challenge</code>, <code>code_challenge_method=S256</code>.</li>
<li>Send the patient's browser to <code>$authorization_endpoint</code> with <code>client_id</code> and
<code>request_uri</code>. The patient may grant less than you request.</li>
<li>Check <code>state</code> and <code>iss</code> (<code>$issuer</code>) in the response, then exchange the code with
mutual TLS at <code>$token_endpoint</code>.</li>
<li>Refresh at the same endpoint. Each refresh retires the refresh token used; store the new one. If the response is
lost, repeat the request within $repeat seconds in which the service is available, or later if you had closed the
connection before the response came; any other second use of a refresh token ends the grant.</li>
<li>When the patient's consent or prescription has ended, revoke the refresh token at
<code>$revocation_endpoint</code>: that ends the pairing.</li>
</ol>
<h2>Scopes</h2>
<ul>
$scopes
</ul>
<p>All of this is available in machine-readable form in the
<a href="/.well-known/oauth-authorization-server">server metadata</a>.</p>
<h2>When it does not work</h2>
<p>Each response has an <code>X-Request-Id</code>, by which the operator finds the request. A 503 gives its cause in the
header <code>Outage-Cause</code>: <code>planned-maintenance</code>, <code>temporary-disruption</code> or
<code>dependency-failed</code>. The <a href="/status">status feed</a> tells more of it, and what is planned.</p>
$contact</main></body>
</html>
""")

_CONTACT = Template("""<h2>Contact</h2>
<p>For questions, and for requests for the log records of your own calls: <a href="$url">$contact</a></p>
""")


async def endpoint(request: Request) -> Response:
    """200 with the page, from the same values as the metadata."""
    core: Core = request.app.state.core
    document = metadata(core)
    operator = Operator.of(core.settings)
    contact = _CONTACT.substitute(url=escape(operator.contact_url), contact=escape(operator.contact))
    page = _PAGE.substitute(
        {name: escape(value) for name, value in document.items() if isinstance(value, str)},
        stylesheet=STYLESHEET,
        refresh=-(-core.settings.registry_refresh_seconds // 60),
        repeat=core.settings.refresh_repeat_seconds,
        scopes="\n".join(f"<li><code>{escape(scope)}</code></li>" for scope in document["scopes_supported"]),
        contact=contact if operator.contact else "",
    )
    return HTMLResponse(page, headers=page_headers())
