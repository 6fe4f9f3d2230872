"""Fixtures: an OpenID provider, and a recorder that trusts it; imported by the conftest.py of the tests."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from joserfc.jwk import RSAKey

from ddr.http.core import Core
from ddr.identity.provider import Provider
from ddr.settings import Settings
from tests.support.clock import Clock
from tests.support.openid import AUDIENCE, CLIENT_ID, CLIENT_SECRET, OpenIdProvider, new_key

ISSUER = "https://konto.example"


@pytest.fixture(scope="session")
def provider_key() -> RSAKey:
    """One key for all tests, since creating one takes time."""
    return new_key("op-1")


@pytest.fixture
def openid(clock: Clock, provider_key: RSAKey) -> OpenIdProvider:
    """The manufacturer's provider."""
    return OpenIdProvider(ISSUER, clock, key=provider_key)


@pytest.fixture
def oidc_settings(settings: Settings) -> Settings:
    """Settings for a login at the provider."""
    return replace(
        settings,
        patient_login="oidc",
        public_base_url="https://recorder.example",
        oidc_issuer=ISSUER,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_audience=AUDIENCE,
    )


@pytest.fixture
def provider(oidc_settings: Settings, openid: OpenIdProvider, clock: Clock) -> Provider:
    """The provider as the recorder sees it."""
    return Provider(oidc_settings, clock, httpx.ASGITransport(openid.app()))


@pytest.fixture
def oidc_core(core: Core, oidc_settings: Settings, provider: Provider) -> Core:
    """A recorder whose patients log in at the provider."""
    return replace(core, settings=oidc_settings, identity=provider)
