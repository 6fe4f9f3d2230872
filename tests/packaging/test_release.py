"""`make release` and `ddr verify-release`: from a clean tree, the same bytes twice, every change found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ddr import __version__
from ddr.cli.main import main
from ddr.operations.release import SIGNATURE, SUMS, sign
from tests.docs.dossier import kept
from tools.prepare_release import prepare

ROOT = Path(__file__).parents[2]
Key = Ed25519PrivateKey | rsa.RSAPrivateKey


def written(folder: Path, key: Key) -> tuple[Path, Path]:
    """PEM files of a key: private, public."""
    folder.mkdir(exist_ok=True)
    (folder / "private").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "public").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return folder / "private", folder / "public"


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, Path]:
    """A small signed folder, and the public key."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "ddr-1.0-py3-none-any.whl").write_bytes(b"wheel")
    (folder / "ddr.cdx.json").write_bytes(b"{}")
    key = Ed25519PrivateKey.generate()
    sign(folder, key)
    return folder, written(tmp_path / "key", key)[1]


def checked(folder: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says; nothing when all is well."""
    status = main(["verify-release", str(folder), "--key", str(key)])
    told = capsys.readouterr()
    assert status == (1 if told.err else 0) and told.err.count("\n") <= 1
    return told.err


def test_an_untouched_release_is_good(release: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-release", str(release[0]), "--key", str(release[1])]) == 0
    assert capsys.readouterr().out == "ddr-1.0-py3-none-any.whl\nddr.cdx.json\n"


def test_every_change_is_found(release: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, key = release
    wheel, other = folder / "ddr-1.0-py3-none-any.whl", folder / "evil.whl"
    wheel.write_bytes(b"wheal")
    assert "ddr-1.0-py3-none-any.whl was changed" in checked(folder, key, capsys)
    wheel.rename(other)
    told = checked(folder, key, capsys)
    assert "ddr-1.0-py3-none-any.whl is missing" in told and "evil.whl does not belong to this release" in told


def test_sums_made_anew_need_the_key(release: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, key = release
    (folder / "ddr.cdx.json").write_bytes(b"[]")
    kept = (folder / SIGNATURE).read_bytes()
    sign(folder, Ed25519PrivateKey.generate())
    assert "does not match" in checked(folder, key, capsys)
    (folder / SIGNATURE).write_bytes(kept)
    assert "does not match" in checked(folder, key, capsys)
    (folder / SIGNATURE).write_bytes(b"")
    assert "does not match" in checked(folder, key, capsys)
    (folder / SIGNATURE).unlink()
    assert SIGNATURE in checked(folder, key, capsys)


def test_what_is_no_key_is_told(release: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = release
    other = written(tmp_path / "rsa", rsa.generate_private_key(65537, 2048))[1]
    assert "is not an Ed25519 key" in checked(folder, other, capsys)
    assert "is not a public key" in checked(folder, folder / SUMS, capsys)
    assert "No such file" in checked(folder, tmp_path / "nowhere", capsys)
    assert "No such file" in checked(tmp_path / "nowhere", written(tmp_path, Ed25519PrivateKey.generate())[1], capsys)


def test_other_tools_can_check_it(release: tuple[Path, Path]) -> None:
    """Nobody needs us to check us: sha256sum and openssl do."""
    folder, key = release
    subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=folder, check=True)
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        str(key),
        "-rawin",
        "-in",
        SUMS,
        "-sigfile",
        SIGNATURE,
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this tree's files, ready to be released."""
    tree = tmp_path_factory.mktemp("tree")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    changes = tree / "CHANGELOG.md"
    changes.write_text(re.sub("(?m)^## Unreleased.*$", f"## {__version__} (2026-11-26)", changes.read_text()))
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "Release")
    return tree


def git(tree: Path, *arguments: str) -> str:
    """One command as somebody whom no configuration of this machine knows."""
    who = ("-c", "user.name=Maker", "-c", "user.email=maker@ddr.example", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments], cwd=tree, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def evidence(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That everything passed for the commit that is released."""
    return kept(tmp_path_factory.mktemp("run") / "evidence", commit=git(tree, "rev-parse", "HEAD"))


def made(
    tree: Path, out: Path, key: Path, evidence: Path, version: str = __version__
) -> subprocess.CompletedProcess[str]:
    """Run the script in a repository, as `make release` does."""
    command = [
        sys.executable,
        "-m",
        "tools.release",
        version,
        *map(str, ("--key", key, "--evidence", evidence, "--out", out)),
    ]
    return subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, capture_output=True, text=True)


@pytest.mark.packaging
def test_the_same_commit_gives_the_same_bytes(
    tree: Path, evidence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = written(tmp_path / "key", Ed25519PrivateKey.generate())
    for name in ("one", "two"):
        done = made(tree, tmp_path / name, private, evidence)
        assert done.returncode == 0, done.stderr
        assert checked(tmp_path / name, public, capsys) == ""
    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    names = {f"ddr-{__version__}-py3-none-any.whl", f"ddr-{__version__}.tar.gz", "ddr.cdx.json", "requirements.txt"}
    names |= {"dossier.html", "dossier.json"}
    assert one.keys() == names | {SUMS, SIGNATURE}
    with zipfile.ZipFile(tmp_path / "one" / f"ddr-{__version__}-py3-none-any.whl") as wheel:
        inside = wheel.namelist()
    assert "ddr/miv_packages/blood-pressure-value/miv.toml" in inside and not any("tests/" in one for one in inside)
    assert "exists" in made(tree, tmp_path / "one", private, evidence).stderr


@pytest.mark.packaging
def test_what_is_not_ready_is_not_released(tree: Path, evidence: Path, tmp_path: Path) -> None:
    private, _ = written(tmp_path / "key", Ed25519PrivateKey.generate())
    out = tmp_path / "out"
    assert "pyproject.toml says" in made(tree, out, private, evidence, "99.0").stderr
    (tree / "new.py").touch()
    assert "the working tree is not clean: new.py" in made(tree, out, private, evidence).stderr
    (tree / "new.py").unlink()
    shutil.copy(ROOT / "CHANGELOG.md", tree / "CHANGELOG.md")
    git(tree, "commit", "-q", "-a", "-m", "Take the section back")
    refused = made(tree, out, private, evidence)
    git(tree, "reset", "-q", "--hard", "HEAD~1")
    assert "CHANGELOG.md has no section" in refused.stderr and refused.returncode == 1
    assert "not a private key" in made(tree, out, tree / "LICENSE", evidence).stderr
    assert (
        made(tree, out, tmp_path / "nowhere", evidence).stderr
        == f"release: {tmp_path}/nowhere: No such file or directory\n"
    )
    unnamed = made(tree, out, Path(), evidence, "")
    assert unnamed.returncode == 2 and "name the version and the key" in unnamed.stderr
    other, lacking = (
        kept(tmp_path / "other"),
        kept(tmp_path / "lacking", "RS-001", commit=git(tree, "rev-parse", "HEAD")),
    )
    assert "is not evidence that this commit passed; run make ci" in made(tree, out, private, other).stderr
    assert "the dossier lacks 1 things: requirement RS-001: not covered" in made(tree, out, private, lacking).stderr
    assert not out.exists()


def test_a_version_is_written_into_all_that_names_one(tmp_path: Path) -> None:
    (tmp_path / "ddr").mkdir()
    for name in ("pyproject.toml", "ddr/__init__.py", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    prepare(tmp_path, "99.1.0", "2026-12-01")
    assert 'version = "99.1.0"' in (tmp_path / "pyproject.toml").read_text()
    assert '__version__ = "99.1.0"' in (tmp_path / "ddr" / "__init__.py").read_text()
    assert "## Unreleased\n\n## 99.1.0 (2026-12-01)\n" in (tmp_path / "CHANGELOG.md").read_text()
    for wrong in ("99.1.0", "1.0", "v1.0.0", ""):
        with pytest.raises(ValueError, match=r"already|not a version"):
            prepare(tmp_path, wrong, "2026-12-01")
