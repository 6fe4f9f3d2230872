"""The authorization endpoint as the patient's browser sees it, and attacks with URLs (RFC 9126, RFC 9700)."""

from __future__ import annotations

from urllib.parse import urlsplit

from ddr.conform.addresses import joined
from ddr.conform.authorization import address, authorize, push, request
from ddr.conform.check import Need, check
from ddr.conform.exchange import Exchange
from ddr.conform.kit import Kit
from ddr.conform.verdict import NeedsPerson, NotRun, expect

CERTIFICATE = (Need.CERTIFICATE,)
REDIRECTS = 10  # on the way to the page where the patient logs in, which may be another party's


def _pushed(kit: Kit) -> str:
    """A request_uri of the first DiGA. Raises NotRun."""
    answer = push(kit, request(kit, kit.diga).form, kit.diga)
    uri = answer.json.get("request_uri")
    if not isinstance(uri, str):
        raise NotRun("no request can be pushed", answer)
    return uri


def _led_away(kit: Kit, answer: Exchange) -> bool:
    """Whether a browser would leave the recorder, or get a code."""
    location = answer.headers.get("location", "")
    return "code=" in location or not _is_own(kit, location)


def _is_own(kit: Kit, url: str) -> bool:
    """Whether a URL belongs to the authorization server."""
    page = kit.endpoint("authorization_endpoint")
    return urlsplit(joined(page, url)).netloc in {urlsplit(kit.target.issuer).netloc, urlsplit(page).netloc}


def _expect_refused(kit: Kit, answer: Exchange, what: str) -> None:
    expect(not _led_away(kit, answer), f"{what} sends the browser elsewhere", answer)
    expect(400 <= answer.status < 500, f"{what} is not refused", answer)


@check("AS-016", needs=CERTIFICATE)
def authorize_leads_to_a_login(kit: Kit) -> None:
    """A browser without a client certificate gets a page, or a redirect to the login, for a pushed request."""
    answer = kit.wire.send("GET", address(kit, kit.diga.client_id, _pushed(kit)))
    expect(answer.status in (200, 302, 303, 307), "no page and no redirect", answer)
    expect("code=" not in answer.headers.get("location", ""), "a code was issued without a login", answer)


@check("AS-013", needs=CERTIFICATE)
def authorize_needs_a_pushed_request(kit: Kit) -> None:
    """Without PAR, a request with all parameters in the URL is not authorized."""
    answer = kit.wire.send("GET", authorize(kit, request(kit, kit.diga).form))
    expect("code=" not in answer.headers.get("location", ""), "a code was issued without a pushed request", answer)
    refused = 400 <= answer.status < 500 or "error=" in answer.headers.get("location", "")
    expect(refused, "a request that was not pushed is not refused", answer)


@check("AS-013", "AS-018", needs=CERTIFICATE)
def unknown_request_uri_is_refused(kit: Kit) -> None:
    """A request_uri that was never issued is refused without a redirect."""
    for uri in ("urn:ietf:params:oauth:request_uri:there-is-none", "https://evil.example/request.jwt", ""):
        _expect_refused(kit, kit.wire.send("GET", address(kit, kit.diga.client_id, uri)), f"request_uri {uri!r}")


@check("AS-018", needs=CERTIFICATE)
def request_uri_belongs_to_its_client(kit: Kit) -> None:
    """The request_uri of one DiGA with the client_id of another, or of none, is refused."""
    for other in (*(one.client_id for one in kit.target.digas[1:2]), "urn:diga:bfarm:00000"):
        answer = kit.wire.send("GET", address(kit, other, _pushed(kit)))
        _expect_refused(kit, answer, "a request_uri with another client_id")


@check("AS-018", "AS-013", needs=CERTIFICATE)
def redirect_uri_of_the_address_is_not_used(kit: Kit) -> None:
    """A redirect_uri beside the request_uri has no effect: the pushed one counts."""
    for uri in (_pushed(kit), "urn:ietf:params:oauth:request_uri:there-is-none"):
        url = f"{address(kit, kit.diga.client_id, uri)}&redirect_uri=https%3A%2F%2Fevil.example%2F"
        answer = kit.wire.send("GET", url)
        expect("evil.example" not in answer.headers.get("location", ""), "an open redirect", answer)


@check("AS-009", needs=CERTIFICATE)
def login_cannot_be_framed(kit: Kit) -> None:
    """The page where the patient logs in cannot be put into a frame (RFC 6749 section 10.13, RFC 9700)."""
    answer = kit.wire.send("GET", address(kit, kit.diga.client_id, _pushed(kit)))
    for _ in range(REDIRECTS):
        location = answer.headers.get("location")
        following = joined(answer.url, location) if location else ""
        if answer.status not in (301, 302, 303, 307, 308) or not following:
            break
        answer = kit.wire.send("GET", following)
    policy = answer.headers.get("content-security-policy", "")
    framed = "frame-ancestors" not in policy and "x-frame-options" not in answer.headers
    if answer.status != 200 or (framed and not _is_own(kit, answer.url)):  # another party's page is judged by a person
        raise NeedsPerson("check whether the login page can be put into a frame", answer)
    expect(not framed, "neither frame-ancestors nor X-Frame-Options", answer)


@check("CON-002", "CON-001", needs=CERTIFICATE)
def consent_page_is_understandable(kit: Kit) -> None:
    """The page lists every kind of data in plain words; each can be granted or denied separately."""
    raise NeedsPerson("check the consent page: kinds of data in plain words, one choice for each")
