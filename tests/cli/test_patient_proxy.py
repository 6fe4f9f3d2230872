"""`ddr patient proxy add | list | end`."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable

import pytest

from ddr.cli.main import main
from ddr.http.core import Core
from ddr.store.authorization.representations import open_of
from ddr.store.patients import identities
from tests.support.patients import Patient, new_patient

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ddr patient proxy`; status, output, error."""
    monkeypatch.setenv("DDR_DATABASE_URL", database_url)
    monkeypatch.setenv("DDR_ALLOW_BUILTIN_ACCOUNTS", "true")

    async def called(*arguments: str) -> tuple[int, str, str]:
        loop = asyncio.get_running_loop()
        status = await loop.run_in_executor(None, main, ["patient", "proxy", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return called


@pytest.fixture
async def pair(core: Core) -> tuple[Patient, Patient]:
    return await new_patient(core, "mother"), await new_patient(core, "mia")


async def test_adds_lists_and_ends(core: Core, run: Run, pair: tuple[Patient, Patient]) -> None:
    mother, mia = pair
    names = (mother.username, mia.username)
    said = ("--relation", "parent", "--name", "Mia", "--born", "2021-03-01")
    assert (await run("add", *names, *said))[0] == 0
    (right,) = await open_of(core.pool, mother.patient_id)
    assert (right.patient_id, right.terms.name, str(right.terms.born)) == (mia.patient_id, "Mia", "2021-03-01")
    status, _, error = await run("add", *names, *said)
    assert (status, error.count("\n"), "already represents this patient" in error) == (1, 1, True)
    _, out, _ = await run("list", mother.username)
    assert out.startswith(f"represents {mia.username} as parent, called 'Mia', born 2021-03-01, since ")
    _, out, _ = await run("list", mia.username)
    assert out.startswith(f"represented by {mother.username} as parent, since ") and "in force" in out
    assert (await run("end", *names))[0] == 0
    assert await open_of(core.pool, mother.patient_id) == []
    status, _, error = await run("end", *names)
    assert (status, error.count("\n")) == (1, 1)
    _, out, _ = await run("list", mia.username)
    assert "relation-ended" in out and "Mia" not in out.replace(mia.username, "")


async def test_name_and_birthday_need_not_be_arguments(
    core: Core, run: Run, pair: tuple[Patient, Patient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal is asked for them; a file has them as lines, and a carer's has one."""
    mother, mia = pair

    async def added(relation: str, text: str, *said: str, terminal: bool) -> str:
        """The question that was asked."""
        monkeypatch.setattr("sys.stdin", file := io.StringIO(text))
        monkeypatch.setattr(file, "isatty", lambda: terminal)
        status, _, error = await run("add", mother.username, mia.username, "--relation", relation, *said)
        assert (status, file.read()) == (0, "the rest")
        (right,) = await open_of(core.pool, mother.patient_id)
        born = "2021-03-01" if relation == "parent" else "None"
        assert (right.terms.name, str(right.terms.born)) == ("Mia", born)
        assert (await run("end", mother.username, mia.username))[0] == 0
        return error

    assert await added("parent", "Mia\n2021-03-01\nthe rest", terminal=False) == ""
    assert await added("parent", "Mia\n2021-03-01\nthe rest", terminal=True) == "the name: the birthday: "
    assert await added("parent", "2021-03-01\nthe rest", "--name", "Mia", terminal=True) == "the birthday: "
    assert await added("parent", "Mia\nthe rest", "--born", "2021-03-01", terminal=True) == "the name: "
    assert await added("carer", "Mia\nthe rest", terminal=False) == ""
    assert await added("carer", "the rest", "--name", "Mia", terminal=True) == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the birthday is not a date like 2015-03-01"),
        ("Mia\n1. 3. 2021", "the birthday is not a date like 2015-03-01"),
        ("\n2021-03-01\n", "1 to 80 characters, all printable"),
    ],
)
async def test_what_is_no_name_or_birthday_is_not_repeated(
    run: Run, pair: tuple[Patient, Patient], monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    status, out, error = await run("add", pair[0].username, pair[1].username, "--relation", "parent")
    assert (status, out, error.count("\n"), complaint in error, "2021" in error) == (1, "", 1, True, False)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (("--relation", "parent", "--name", "Mia", "--born", "1990-01-01"), "is of age"),
        (("--relation", "parent", "--name", "Mia", "--born", "2090-01-01"), "birthday is in the future"),
        (("--relation", "carer", "--name", "\x07"), "1 to 80 characters, all printable"),
        (("--relation", "carer", "--name", "M", "--until", "2020-01-01"), "must be in the future"),
        (("--relation", "carer", "--name", "M", "--new"), ""),
    ],
)
async def test_what_cannot_be_is_one_line(
    core: Core, run: Run, pair: tuple[Patient, Patient], said: tuple[str, ...], complaint: str
) -> None:
    mother, mia = pair
    known = mia.username if complaint else "nobody-of-this-name"
    status, _, error = await run("add", mother.username, known, *said)
    assert (status, error.count("\n")) == (1, 1)
    assert complaint in error
    assert await open_of(core.pool, mother.patient_id) == []


async def test_nobody_represents_themselves(run: Run, pair: tuple[Patient, Patient]) -> None:
    name = pair[0].username
    status, _, error = await run("add", name, name, "--relation", "carer", "--name", "x")
    assert status == 1 and error.endswith("an account cannot represent itself\n")


async def test_a_child_that_was_never_here(
    core: Core, run: Run, pair: tuple[Patient, Patient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a provider a child has a subject, and perhaps no login."""
    monkeypatch.setenv("DDR_PATIENT_LOGIN", "oidc")
    monkeypatch.setenv("DDR_OIDC_ISSUER", "https://konto.example")
    monkeypatch.setenv("DDR_OIDC_CLIENT_ID", "ddr")
    mother, subject = pair[0], f"child-{pair[1].username}"
    said = (mother.username, subject, "--relation", "guardian", "--name", "Mia", "--born", "2021-03-01")
    assert (await run("add", *said))[0] == 1
    assert (await run("add", *said, "--new"))[0] == 0
    (right,) = await open_of(core.pool, mother.patient_id)
    assert right.patient_id == await identities.find(core.pool, "https://konto.example", subject)


async def test_of_two_providers_that_of_the_settings_is_meant(
    core: Core, run: Run, pair: tuple[Patient, Patient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has moved to another address may name its users as before; nobody could be disabled or deleted then."""
    former, issuer, subject = "https://former.example", "https://konto.example", f"moved-{pair[1].username}"
    before = await identities.patient_of(core.pool, former, subject, core.clock())
    monkeypatch.setenv("DDR_PATIENT_LOGIN", "oidc")
    monkeypatch.setenv("DDR_OIDC_ISSUER", issuer)
    monkeypatch.setenv("DDR_OIDC_CLIENT_ID", "ddr")
    said = ("--relation", "carer", "--name", "Papa")
    assert (await run("add", pair[0].username, subject, *said, "--new"))[0] == 0
    (right,) = await open_of(core.pool, pair[0].patient_id)
    assert right.patient_id == await identities.find(core.pool, issuer, subject) != before
    assert "represented by" in (await run("list", subject))[1]
    monkeypatch.setenv("DDR_OIDC_ISSUER", former)
    assert await run("list", subject) == (0, "", "")
