"""The files of several recorders: what they may contain, which one counts, what is rejected in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddr.settings import SettingsError
from ddr.settings_recorders import choosing, names, several
from ddr.settings_sources import load_settings

BUILTIN = "DDR_ALLOW_BUILTIN_ACCOUNTS=true\n"


def of(folder: Path, name: str = "glucose") -> dict[str, str]:
    return {"DDR_RECORDERS": str(folder), "DDR_RECORDER": name}


def test_a_file_of_variables(tmp_path: Path) -> None:
    (tmp_path / "glucose.env").write_text(f'# of the sensor\n\n{BUILTIN}DDR_WORKERS = 3\nDDR_HOST="::1"\n')
    settings = load_settings(of(tmp_path))
    assert (settings.workers, settings.host) == (3, "::1")


def test_a_table_and_variables_that_win_over_it(tmp_path: Path) -> None:
    terms = "[miv.lung-function-testing]\ngrace_seconds = 60\nhistoric_days = 400\ndelay_seconds = 30\n"
    (tmp_path / "glucose.toml").write_text(f'workers = 2\nhost = "::1"\nallow_builtin_accounts = true\n{terms}')
    assert load_settings(of(tmp_path)).workers == 2
    (tmp_path / "glucose.env").write_text("DDR_WORKERS=3\n")
    settings = load_settings(of(tmp_path))
    assert (settings.workers, settings.host, settings.miv["lung-function-testing"].grace_seconds) == (3, "::1", 60)


def test_secrets_come_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://ddr@db/ddr\n")
    (tmp_path / "glucose.env").write_text(f"{BUILTIN}DDR_DATABASE_URL=file:{tmp_path}/url\n")
    assert load_settings(of(tmp_path)).database_url == "postgresql://ddr@db/ddr"


def test_what_surrounds_a_recorder_is_none_of_its_settings(tmp_path: Path) -> None:
    (tmp_path / "glucose.env").write_text(BUILTIN)
    around = {"DDR_RECORDERS": str(tmp_path), "DDR_WORKERS": "7", "DDR_SETTINGS": "/nowhere", "PATH": "/bin"}
    chosen = choosing(around, "glucose")
    assert chosen == {**of(tmp_path), "PATH": "/bin"}
    assert load_settings(chosen).workers == 1


def test_variables_win_over_the_file_of_a_recorder(tmp_path: Path) -> None:
    (tmp_path / "glucose.env").write_text(f"{BUILTIN}DDR_WORKERS=3\n")
    assert load_settings({**of(tmp_path), "DDR_WORKERS": "2"}).workers == 2


def test_the_names_are_those_of_the_files(tmp_path: Path) -> None:
    for file in ("b.env", "a.toml", "a.env", ".c.env", ".env", "d.env~", "notes.txt", "e.env.bak"):
        (tmp_path / file).write_text("")
    assert names({"DDR_RECORDERS": str(tmp_path)}) == ["a", "b"]
    with pytest.raises(SettingsError, match="No such file or directory"):
        names({"DDR_RECORDERS": str(tmp_path / "gone")})


def test_one_has_to_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "glucose.env").write_text(BUILTIN)
    (tmp_path / "pressure.env").write_text(BUILTIN)
    alone = {"DDR_RECORDERS": str(tmp_path)}
    assert several(alone) and not several(of(tmp_path)) and not several({})
    with pytest.raises(SettingsError, match="choose a recorder with --recorder NAME: glucose, pressure"):
        load_settings(alone)
    with pytest.raises(SettingsError, match=r"there is no spirometry.env or spirometry.toml in"):
        load_settings(of(tmp_path, "spirometry"))
    with pytest.raises(SettingsError, match="DDR_RECORDERS must name the directory"):
        load_settings({"DDR_RECORDER": "glucose"})


@pytest.mark.parametrize("name", ["../glucose", "a/b", "Glucose", "a b", "-a", "ü", "a" * 41, "a.b", "a\n"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "glucose.env").write_text(BUILTIN)
    with pytest.raises(SettingsError, match="the name of a recorder must consist"):
        load_settings(of(tmp_path / "x", name))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("DDR_WORKRES=3", r"unknown variable DDR_WORKRES \(did you mean DDR_WORKERS\?\)"),
        ("DDR_WORKERS=many", "workers: 'many' is not a valid int"),
        ("WORKERS=3", "glucose.env: line 2 must be"),
        ("export DDR_WORKERS=3", "glucose.env: line 2 must be"),
        ("s3cret without a name", "glucose.env: line 2 must be"),
        ("DDR_RECORDER=other", "glucose.env: line 2 must be"),
        ("DDR_RECORDERS=/other", "glucose.env: line 2 must be"),
        ("DDR_ALLOW_BUILTIN_ACCOUNTS=false", "line 2 sets DDR_ALLOW_BUILTIN_ACCOUNTS a second time"),
        ("DDR_SETTINGS=/nowhere/x.toml", "settings file /nowhere/x.toml: No such file"),
    ],
)
def test_a_line_that_is_wrong_is_one_line(tmp_path: Path, line: str, text: str) -> None:
    (tmp_path / "glucose.env").write_text(f"{BUILTIN}{line}\n")
    with pytest.raises(SettingsError, match=text) as refused:
        load_settings(of(tmp_path))
    assert "s3cret" not in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "glucose.env").write_bytes(b"DDR_HOST=\xff\n")
    with pytest.raises(SettingsError, match=r"glucose\.env: is not UTF-8 text"):
        load_settings(of(tmp_path))
