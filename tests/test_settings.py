"""Settings: their sources, and what is rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddr.cli.serving.handed import handed, taken_over
from ddr.cli.settings import markdown
from ddr.settings import MivSettings, Settings, SettingsError
from ddr.settings_sources import SECRETS, admin_port, load_settings

BUILTIN = {"DDR_ALLOW_BUILTIN_ACCOUNTS": "true"}


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text('workers = 3\nhost = "::1"\nallow_builtin_accounts = true\n')
    settings = load_settings({"DDR_SETTINGS": str(path), "DDR_WORKERS": "2", "UNRELATED": "x"})
    assert (settings.workers, settings.host, settings.allow_builtin_accounts) == (2, "::1", True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DDR_DATABSE_URL", "unknown variable DDR_DATABSE_URL (did you mean DDR_DATABASE_URL?)"),
        ("DDR_SETTING", "(did you mean DDR_SETTINGS?)"),
        ("DDR_DIGAPORT", "(did you mean DDR_DIGA_PORT?)"),
        ("DDR_MIV", "unknown variable DDR_MIV"),
        ("DDR_workers", "unknown variable DDR_workers"),
        ("DDR_ZZZZZZZZ", "unknown variable DDR_ZZZZZZZZ"),
    ],
)
def test_a_misspelt_variable_is_not_left_unread(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({**BUILTIN, name: "1"})
    assert text in str(refused.value)


def test_a_misspelt_setting_of_the_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text("workres = 3\n")
    with pytest.raises(SettingsError, match=r"unknown setting workres \(did you mean workers\?\)"):
        load_settings({"DDR_SETTINGS": str(path), **BUILTIN})


def test_what_kubernetes_says_of_services_is_no_setting() -> None:
    foreign = {
        "DDR_SERVICE_HOST": "10.0.0.7",
        "DDR_SERVICE_PORT": "8443",
        "DDR_SERVICE_PORT_DIGA": "8443",
        "DDR_PORT": "tcp://10.0.0.7:8443",
        "DDR_PORT_8443_TCP": "tcp://10.0.0.7:8443",
        "DDR_PORT_8443_TCP_PROTO": "tcp",
        "DDR_POSTGRES_SERVICE_HOST": "10.0.0.8",
        "DDR_POSTGRES_PORT_5432_TCP_ADDR": "10.0.0.8",
    }
    assert load_settings({**BUILTIN, **foreign}) == load_settings(BUILTIN)
    with pytest.raises(SettingsError, match="DDR_DIGAPORT"):
        load_settings({**BUILTIN, "DDR_DIGAPORT": "8443"})


def test_terms_of_a_miv_come_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text("[miv.lung-function-testing]\ngrace_seconds = 60\nhistoric_days = 400\ndelay_seconds = 30\n")
    settings = load_settings({"DDR_SETTINGS": str(path), **BUILTIN})
    assert settings.miv == {"lung-function-testing": MivSettings(60, 400, 30)}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("WORKERS", "many", "workers: 'many' is not a valid int"),
        ("WORKERS", "0", "workers: must be at least 1"),
        ("DATABASE_POOL_SIZE", "1", "database_pool_size: must be at least 2"),
        ("DIGA_BASE_URL", "https://ddr.example/", "diga_base_url: must be https://host"),
        ("DIGA_BASE_URL", "http://ddr.example", "diga_base_url: must be https://host"),
        ("PUBLIC_BASE_URL", "https://ddr.example/path", "public_base_url: must be https://host"),
        ("GATEWAY_BASE_URL", "https://ddr.example:x", "gateway_base_url: must be https://host"),
        ("GATEWAY_BASE_URL", "https://", "gateway_base_url: must be https://host"),
        ("DIGA_BASE_URL", "https://ddr. example", "diga_base_url: must be https://host"),
        ("DIGA_BASE_URL", "https://ddr@ddr.example", "diga_base_url: must be https://host"),
        ("PUBLIC_BASE_URL", "https://gerät.example", "public_base_url: must be https://host"),
        ("GATEWAY_MAX_ITEMS", "0", "gateway_max_items: must be at least 1"),
        ("REGISTRY_REFRESH_SECONDS", "0", "registry_refresh_seconds: must be at least 1"),
        ("CONSENT_DAYS", "0", "consent_days: must be at least 1"),
        ("REGISTRY_CA", "/nowhere.pem", "registry_ca: /nowhere.pem: No such file"),
        ("REGISTRY_CA", "/etc/passwd", "registry_ca: /etc/passwd: contains no PEM certificate"),
        ("OIDC_CA", "/nowhere.pem", "oidc_ca: /nowhere.pem: No such file"),
        # what a token goes to, and what is trusted comes from, is not read or written on the way
        ("DIGA_VZ_BASE", "http://diga.bfarm.de/api/fhir/v3.0", "diga_vz_base: must be https://host"),
        ("HIIS_VZ_BASE", "hiis.bfarm.de/api", "hiis_vz_base: must be https://host"),
        ("ZTS_BASE", "https://terminologien.bfarm.de/?x=1", "zts_base: must be https://host"),
        ("ZTS_BASE", "https://name@terminologien.bfarm.de", "zts_base: must be https://host"),
        # an empty variable is one that was never set: it does not stand for all addresses, or the present directory
        ("HOST", "", "host: is empty; leave it out for 127.0.0.1"),
        ("STATE_DIR", " ", "state_dir: is empty; leave it out for .ddr"),
        ("PRODUCT_NAME", "", "product_name: is empty; leave it out for Device Data Recorder"),
        # beyond these instants have no year
        ("GATEWAY_TOKEN_DAYS", "36501", "gateway_token_days: must be at most 36500"),
        ("AUDIT_DAYS", "100000000000000000000", "audit_days: must be at most 36500"),
        ("MAJORITY_YEARS", "9000", "majority_years: must be at most 100"),
        ("SESSION_SECONDS", "2147483648", "session_seconds: must be at most 2147483647"),
        ("SEARCH_DEFAULT_COUNT", "0", "search_default_count: must be at least 1"),  # a search would find nothing
        ("CLIENT_CERT_HEADER", "Client Cert", "client_cert_header: must be the name of a header"),
        (
            "CLIENT_CERT_HEADER",
            "Client-Cert",
            "client_cert_header: needs trusted_proxies; otherwise anybody could claim any",
        ),
        ("JOURNAL_DAYS", "0", "journal_days: must be at least 1"),
        ("CLIENT_ADDRESS_HEADER", "X-Forwarded-For:", "client_address_header: must be the name of a header"),
        ("OPERATOR_IMPRINT_URL", "https://", "operator_imprint_url: must be a web address"),
        ("PRODUCT_NAME", "Gluco\x0bRecorder", "product_name: contains a control character"),  # no XML could tell it
        ("REGISTRY_CA", "ca\0.pem", "registry_ca: contains a control character"),
        ("KEY_ENCRYPTION_KEY", "file:key\0", "key_encryption_key: contains a control character"),
        ("OPERATOR_NAME", "M\udcfcller GmbH", "operator_name: is not UTF-8 text"),  # of a terminal in Latin-1
        ("OTLP_ENDPOINT", "127.0.0.1:4318", "otlp_endpoint: must be a web address"),
        ("OTLP_ENDPOINT", "https://user:password@traces/", "otlp_endpoint: must be a web address"),
        ("REGISTRY_REFRESH_SECONDS", "14400", "registry_refresh_seconds: must be below registry_max_age_seconds"),
        ("ZTS_REFRESH_SECONDS", "86400", "zts_refresh_seconds: must be below zts_max_age_seconds"),
        ("DIGA_PORT", "70000", "diga_port: is not a port number"),
        ("ACCESS_TOKEN_SECONDS", "-1", "access_token_seconds: must be at least 1"),
        ("REFRESH_REPEAT_SECONDS", "-1", "refresh_repeat_seconds: must be at least 0"),
        ("ALLOW_BUILTIN_ACCOUNTS", "perhaps", "allow_builtin_accounts: 'perhaps' is not a valid bool"),
        ("ALLOW_BUILTIN_ACCOUNTS", "no", "built-in accounts are for demonstration only"),
        ("PAR_SECONDS", "600", "par_seconds: must be from 5 to 599"),
        ("CODE_SECONDS", "601", "code_seconds: must be at most 600"),
        (
            "REGISTRY_TOKEN",
            "\ufeff5d1c",
            "registry_token: contains a character that is not allowed in tokens",
        ),  # of some editors
        ("REGISTRY_TOKEN", "5d1c\n5d1\x01", "registry_token: contains a character that is not allowed in tokens"),
        ("TIME_ZONE", "Europe/Mainz", "time_zone: 'Europe/Mainz' is not in the IANA time zone database"),
        ("TIME_ZONE", "../etc/passwd", "time_zone: '../etc/passwd' is not"),
        ("TIME_ZONE", "Europe", "time_zone: 'Europe' is not"),
        ("DEVICE_OVERLAP", "mix", "device_overlap: must be one of keep, end, end-when-calibrated"),
        ("DEVICE_OVERLAP_TYPES", "1=end", "device_overlap_types: must be pairs like 700585005=end"),
        ("DEVICE_OVERLAP_TYPES", "700585005", "device_overlap_types: must be pairs"),
        ("DEVICE_OVERLAP_TYPES", "700585005=mix", "device_overlap_types: must be pairs"),
        ("CHUNK_SPAN_SECONDS", "60", "chunk_span_seconds: must be at least 3600"),
        ("PATIENT_LOGIN", "saml", "patient_login: 'saml' is neither builtin nor oidc"),
        ("PATIENT_LOGIN", "oidc", "oidc needs oidc_issuer (https://…) and oidc_client_id"),
        ("SETTINGS", "/nowhere.toml", "settings file /nowhere.toml"),
    ],
)
def test_wrong_values_are_one_clear_line(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({**BUILTIN, f"DDR_{name}": value})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "worker = 3",
        "workers = ",
        "workers = 1.5",
        "workers = true",
        "miv = 5",
        "[miv]\nx = 5",
        "[miv.x]\ngrace_seconds = 1",
        "[miv.x]\ngrace_seconds = 1.5\nhistoric_days = 30\ndelay_seconds = 1",
        "[miv.x]\ngrace_seconds = 1\nhistoric_days = 30\ndelay_seconds = 1\nhistory = 3",
        "[miv.x]\ngrace_seconds = 1\nhistoric_days = 36501\ndelay_seconds = 1",
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text(content)
    with pytest.raises(SettingsError):
        load_settings({"DDR_SETTINGS": str(path), **BUILTIN})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("registry_token", '["one-token", "other-token"]'),  # not a token `['one-token',`
        ("key_encryption_key", '{ first = "c2VjcmV0" }'),
        ("product_version", "1.10"),  # not 1.1
        ("hiis_id", "374"),
        ("operator_name", "true"),
        ("trusted_proxies", '["10.0.0.7"]'),
        ("state_dir", "7"),
    ],
)
def test_only_a_text_is_taken_for_one_and_no_message_repeats_it(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text(f"{name} = {value}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({"DDR_SETTINGS": str(path), **BUILTIN})
    assert str(caught.value) == f"setting {name}: must be a single text in quotation marks"


def test_blanks_around_a_text_are_none_of_it() -> None:
    found = load_settings({**BUILTIN, "DDR_HIIS_ID": " 00374\r", "DDR_OPERATOR_NAME": "  ", "DDR_HOST": "::1\n"})
    assert (found.hiis_id, found.operator_name, found.host) == ("00374", "", "::1")
    assert load_settings({**BUILTIN, "DDR_STATE_DIR": "/srv/schl\udcfcssel"}).state_dir == Path("/srv/schl\udcfcssel")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("grace_seconds = 1\nhistoric_days = 30\ndelay_seconds = 1\nhistory = 3", "unknown setting miv.x.history"),
        ("grace_second = 1", "unknown setting miv.x.grace_second (did you mean grace_seconds?)"),
        (
            "grace_seconds = 'short'",
            "setting miv.x: needs the whole numbers grace_seconds, historic_days, delay_seconds",
        ),
    ],
)
def test_wrong_terms_of_a_miv_are_one_clear_line(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text(f"[miv.x]\n{content}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({"DDR_SETTINGS": str(path), **BUILTIN})
    assert text in str(caught.value) and "MivSettings" not in str(caught.value)


def test_the_documentation_page_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text() == markdown(), "run `ddr settings --markdown > docs/settings.md`"


def limit(requirement: str, name: str, kept: int, broken: int) -> Any:
    """A limit of the specification, between a value that keeps it and the next one, which does not."""
    return pytest.param(name, kept, broken, marks=pytest.mark.requirement(requirement), id=name)


@pytest.mark.parametrize(
    ("name", "kept", "broken"),
    [
        limit("AUD-002", "audit_days", 30, 29),
        limit("CON-007", "consent_days", 365, 366),
        limit("OPS-019", "request_log_days", 30, 29),
        limit("REG-007", "registry_max_age_seconds", 14_400, 14_401),
        limit("REG-007", "zts_max_age_seconds", 86_400, 86_401),
    ],
)
def test_no_setting_breaks_a_limit_of_the_specification(name: str, kept: int, broken: int) -> None:
    assert getattr(load_settings({**BUILTIN, f"DDR_{name.upper()}": str(kept)}), name) == kept
    with pytest.raises(SettingsError, match=f"setting {name}: .*must (not )?(be|exceed)"):
        load_settings({**BUILTIN, f"DDR_{name.upper()}": str(broken)})


OIDC = {"DDR_PATIENT_LOGIN": "oidc", "DDR_OIDC_ISSUER": "https://konto.example", "DDR_OIDC_CLIENT_ID": "ddr"}


@pytest.mark.requirement("AS-026")
@pytest.mark.parametrize("seconds", ["2591999", "2592001", "86400"])
def test_refresh_tokens_live_for_thirty_days_but_in_demonstrations(seconds: str) -> None:
    assert load_settings(OIDC).refresh_token_seconds == 30 * 86_400
    with pytest.raises(SettingsError, match=r"refresh_token_seconds: must be 2592000 \(HDDT"):
        load_settings({**OIDC, "DDR_REFRESH_TOKEN_SECONDS": seconds})
    assert load_settings({**BUILTIN, "DDR_REFRESH_TOKEN_SECONDS": seconds}).refresh_token_seconds == int(seconds)


def test_a_login_at_a_provider_needs_no_builtin_accounts() -> None:
    assert load_settings({**OIDC, "DDR_OIDC_AUDIENCE": "gateway"}).patient_login == "oidc"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OIDC_ISSUER", "http://konto.example"),
        ("OIDC_ISSUER", "https://"),
        ("OIDC_ISSUER", "https://konto.example:port"),
        ("OIDC_ISSUER", "https://konto.example/?realm=ddr"),
        ("OIDC_AUDIENCE", "ddr"),
    ],
)
def test_a_login_that_would_not_be_safe_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.lower()):
        load_settings({**OIDC, f"DDR_{name}": value})


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_may_stand_in_a_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text("postgresql://from/file\n")
    found = load_settings({f"DDR_{name.upper()}": f"file:{file}", **BUILTIN})
    assert getattr(found, name) == "postgresql://from/file"
    with pytest.raises(SettingsError, match=f"setting {name}: /nowhere: No such file"):
        load_settings({f"DDR_{name.upper()}": "file:/nowhere", **BUILTIN})
    file.write_text(" \n")
    with pytest.raises(SettingsError, match=f"setting {name}: {file}: is empty"):
        load_settings({f"DDR_{name.upper()}": f"file:{file}", **BUILTIN})


def test_the_admin_port_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "ddr.toml"
    path.write_text('admin_port = 9446\nmisspelt = 1\nregistry_token = "file:/nowhere"\n')
    wrong = {"DDR_SETTINGS": str(path), "DDR_MISSPELT": "1", "DDR_WORKERS": "0"}
    assert admin_port(wrong) == 9446
    assert admin_port({**wrong, "DDR_ADMIN_PORT": "9447"}) == 9447
    path.write_text("admin_port = 9446\nworkers =\n")
    assert admin_port({**wrong, "DDR_ADMIN_PORT": "9447"}) == 9447
    with pytest.raises(SettingsError, match="settings file"):
        admin_port(wrong)
    assert admin_port({}) == Settings().admin_port
    for value in ("70000", "-1"):
        with pytest.raises(SettingsError, match="setting admin_port: is not a port number"):
            admin_port({"DDR_ADMIN_PORT": value})


def test_a_byte_order_mark_is_none_of_the_content(tmp_path: Path) -> None:
    """Some editors write one before everything; nobody sees it."""
    path, secret = tmp_path / "ddr.toml", tmp_path / "token"
    path.write_text(f'workers = 3\nregistry_token = "file:{secret}"\n', "utf-8-sig")
    secret.write_text("5d1c\n", "utf-8-sig")
    found = load_settings({**BUILTIN, "DDR_SETTINGS": str(path)})
    assert (found.workers, found.registry_token) == (3, "5d1c")


def test_settings_reach_a_worker_as_they_were_found_fit() -> None:
    settings = Settings(
        state_dir=Path("/var/lib/ddr"),
        server_key=Path("/srv/schl\udcfcssel"),  # a name that is no UTF-8
        workers=7,
        registry_token="one\ntwo",
        research=True,
        miv={"lung-function-testing": MivSettings(60, 400, 30)},
    )
    text = handed(settings)
    assert taken_over(text) == settings
    told = json.loads(text)
    assert taken_over(json.dumps({**told, "of_a_version_to_come": 1})) == settings
    told.pop("workers")
    assert taken_over(json.dumps(told)).workers == Settings().workers
