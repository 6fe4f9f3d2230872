"""Language, headers and error pages for patients."""

from __future__ import annotations

import pytest

from ddr.http.language import language
from ddr.http.pages import PROBLEMS, error_page, redirect_targets


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "de"),
        ("", "de"),
        ("fr", "de"),
        ("en", "en"),
        ("en-US,en;q=0.5", "en"),
        ("de,en;q=0.9", "de"),
        ("en;q=0.4,de;q=0.6", "de"),
        ("en;q=x", "de"),
        ("*", "de"),
        ("DE-AT;q=0.1, EN ; q=0.8", "en"),
        ("en,de", "de"),
    ],
)
def test_german_unless_english_is_preferred(accept: str | None, expected: str) -> None:
    headers = [] if accept is None else [(b"accept-language", accept.encode())]
    assert language({"headers": headers}) == expected


@pytest.mark.parametrize(
    ("query", "kept", "expected"),
    [
        ("", "__Host-language=en", "en"),
        ("", "a=b; __Host-language=en; c=d", "en"),
        ("lang=de", "__Host-language=en", "de"),
        ("request_uri=x&lang=en", "", "en"),
        ("", "lang=en", "de"),  # the manufacturer's shop may have one for all of its hosts
        ("", "a=b __Host-language=en", "de"),
        ("", "\xa0__Host-language=en", "de"),  # no browser sees the prefix of that one
        ("", "__Host-language=fr", "de"),
        ("lang=fr", "__Host-language=en", "en"),
        ("__Host-language=en", "", "de"),
        ("request_uri=a%26lang=en", "", "de"),
        ("mylang=en", "", "de"),
    ],
)
def test_only_the_switch_chooses_a_language(query: str, kept: str, expected: str) -> None:
    headers = [(b"cookie", kept.encode("latin-1"))] if kept else []
    assert language({"query_string": query.encode(), "headers": headers}) == expected


@pytest.mark.parametrize("problem", PROBLEMS)
def test_error_pages(problem: str) -> None:
    response = error_page({"headers": [(b"accept-language", b"en")]}, 400, problem, {"Retry-After": "5"})
    body = bytes(response.body).decode()
    assert response.status_code == 400
    assert '<html lang="en">' in body
    assert PROBLEMS[problem].title.en in body
    assert response.headers["retry-after"] == "5"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    ("uri", "sources"),
    [
        ("https://diga.example/a?b=c", ("https:",)),
        ("http://localhost:9000/cb", ("https:", "http://localhost:9000")),
        ("http://user@127.0.0.1:9000/cb", ("https:", "http://127.0.0.1:9000")),
        ("http://[::1]/cb", ("https:", "http://[::1]")),
        ("org.example.app:/cb", ("https:", "org.example.app:")),
    ],
)
def test_where_a_form_may_lead(uri: str, sources: tuple[str, ...]) -> None:
    assert redirect_targets(uri) == sources
