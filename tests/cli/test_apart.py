"""What two recorders of one installation must not share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddr.cli.serving.apart import conflict
from ddr.settings import Settings

KEY, OTHER_KEY = "A" * 43 + "=", "B" * 43 + "="


def recorder(name: str, first_port: int, **more: Any) -> Settings:
    """One that shares nothing but the server of the database and the provider."""
    ports = dict(
        zip(("diga_port", "public_port", "gateway_port", "admin_port"), range(first_port, first_port + 4), strict=True)
    )
    fixed = {
        "state_dir": Path("/var/lib/ddr", name),
        "database_url": f"postgresql://ddr_{name}@db1,db2/ddr",
        "database_schema": name,
        "public_base_url": f"https://{name}.example.org:8444",
        "hiis_id": f"HIIS-{name}",
        "patient_login": "oidc",
        "oidc_issuer": "https://konto.example.org",
        "oidc_client_id": f"ddr-{name}",
        "oidc_audience": f"urn:ddr:{name}",
    }
    return replace(Settings(), **{**fixed, **ports, **more})


def told(**changes: Any) -> str | None:
    """Why a second recorder with `changes` is refused beside the first."""
    first = recorder("glucose", 9000, key_encryption_key=KEY, journal_dir="/journal/glucose")
    return conflict(recorder("pressure", 9010, **{"key_encryption_key": OTHER_KEY, **changes}), {"glucose": first})


def test_recorders_that_share_nothing_of_their_own_run_side_by_side() -> None:
    assert told() is None
    assert told(database_schema="glucose", database_url="postgresql://db1,db2/other") is None, "another database"
    assert told(database_url="", embedded=True, database_schema="glucose") is None
    assert (
        told(oidc_issuer="https://other.example", oidc_client_id="ddr-glucose", oidc_audience="urn:ddr:glucose") is None
    )
    assert told(host="127.0.0.2", diga_port=9000) is None, "another address"


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("database_schema", {"database_schema": "glucose"}),
        (
            "database_schema",
            {"database_schema": "glucose", "database_url": "postgresql://else:pw@db1,db2/ddr?sslmode=require"},
        ),
        ("state_dir", {"state_dir": Path("/var/lib/../lib/ddr/glucose")}),
        ("journal_dir", {"journal_dir": "/journal/./glucose"}),
        ("public_base_url", {"public_base_url": "https://glucose.example.org:9999"}),
        ("public_base_url", {"public_base_url": "https://GLUCOSE.example.org"}),
        ("key_encryption_key", {"key_encryption_key": f"{KEY}\n{OTHER_KEY}"}),
        ("hiis_id", {"hiis_id": "HIIS-glucose"}),
        ("oidc_client_id", {"oidc_client_id": "ddr-glucose"}),
        ("oidc_audience", {"oidc_audience": "urn:ddr:glucose"}),
    ],
)
def test_what_is_one_recorders_is_no_others(setting: str, changes: dict[str, Any]) -> None:
    reason = told(**changes)
    assert reason is not None and reason.startswith(f"setting {setting}: has the same value for the recorder glucose; ")
    assert KEY not in reason and "pw" not in reason


@pytest.mark.parametrize(
    ("listener", "changes"),
    [
        ("diga", {"diga_port": 9000}),
        ("public", {"public_port": 9002}),
        ("diga", {"diga_port": 9001, "host": "0.0.0.0"}),
        ("gateway", {"gateway_port": 9000, "host": "::"}),
        ("admin", {"admin_port": 9003, "host": "192.0.2.1"}),
        ("admin", {"admin_port": 9001, "host": "192.0.2.1"}),
    ],
)
def test_a_port_is_one_recorders(listener: str, changes: dict[str, Any]) -> None:
    assert told(**changes) == f"setting {listener}_port: is already a port of the recorder glucose"


def test_without_schemas_two_recorders_need_two_databases() -> None:
    first = recorder("glucose", 9000, database_schema="")
    assert "database_schema" in str(conflict(recorder("pressure", 9010, database_schema=""), {"glucose": first}))
    assert "database_schema" in str(conflict(recorder("pressure", 9010, database_schema="public"), {"glucose": first}))
