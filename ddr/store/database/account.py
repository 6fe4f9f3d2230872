"""The account under which the embedded PostgreSQL runs: our own, or an unprivileged one when we are root."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ddr.store.database.errors import StoreError

UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """Runs programs and owns files under an account; `user` is None for our own."""

    user: pwd.struct_passwd | None

    def run(self, command: list[str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `command` to its end, detached from our terminal, with stdout and stderr combined in `stdout`."""
        return subprocess.run(
            command,
            cwd=cwd,
            user=self.user.pw_uid if self.user else None,
            group=self.user.pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def may_run(self, program: Path) -> bool:
        """True if the account can start `program`."""
        try:
            return self.run([str(program), "--version"], cwd=Path("/")).returncode == 0
        except OSError:
            return False

    def home(self, place: Path) -> Path:
        """A directory of mode 0700 that the account owns and can reach.

        It is `place` itself, or, when the account has no access to a parent of `place`, a directory elsewhere to which
        `place` links. Raises StoreError when the account can reach neither.
        """
        if not place.exists():
            place.unlink(missing_ok=True)  # a link to a directory that no longer exists
            place.mkdir()
            if not self._reaches(place):
                place.rmdir()
                place.symlink_to(tempfile.mkdtemp(prefix="ddr-postgres-", dir=_outside()))
        home = place.resolve()
        home.chmod(0o700)
        self.own(home)
        if not self._reaches(home):
            raise StoreError(f"directory {home} cannot be accessed by the account of the embedded PostgreSQL")
        return home

    def own(self, path: Path) -> None:
        """Make the account the owner of `path`."""
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def own_all(self, root: Path) -> None:
        """Make the account the owner of `root` and of everything below it."""
        for path in (root, *root.rglob("*")):
            if not path.is_symlink():
                self.own(path)

    def _reaches(self, directory: Path) -> bool:
        return self.run(["/bin/sh", "-c", 'cd -- "$0"', str(directory.resolve())], cwd=Path("/")).returncode == 0


def _outside() -> str | None:
    """Where directories persist and other accounts have access."""
    return "/var/lib" if os.access("/var/lib", os.W_OK) else None


def server_account() -> Account:
    """Our own account; as root, which PostgreSQL refuses, an unprivileged one. Raises StoreError when there is none."""
    if os.geteuid() != 0:
        return Account(None)
    for name in UNPRIVILEGED:
        try:
            return Account(pwd.getpwnam(name))
        except KeyError:
            continue
    raise StoreError(
        "PostgreSQL does not run as root, and there is no account postgres or nobody to run it: set DDR_DATABASE_URL"
    )
