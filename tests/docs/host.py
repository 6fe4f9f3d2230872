"""A host for the operator's guide: its paths below one folder, PostgreSQL of its own, and stand-ins for programs that
would change this machine (sudo, apt-get, useradd, chown, install, systemctl)."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from ddr.store.database.embedded import WAIT_SECONDS
from tests.support.postgres import Server
from tests.support.processes import alive

ROOT = Path(__file__).parents[2]
PATHS = re.compile(r"(?<![\w.*/-])/(?=(?:etc/ddr|etc/systemd|opt/ddr|var/lib/ddr|var/backups|usr/local/bin)\b)")
NOTHING = ("apt-get", "useradd", "chown")
STOP_SECONDS = 180


class Cluster(Server):
    """As a fresh installation of Debian: its superuser is called postgres."""

    def start(self, seconds: int = WAIT_SECONDS) -> str:
        super().start(seconds)
        return f"postgresql://postgres@/postgres?host={self.run_dir}"

    def _run(self, program: str, *arguments: str | Path | int) -> None:
        replaced = ["postgres" if one == "ddr" else one for one in arguments]
        super()._run(program, *replaced)


def mapped(text: str, folder: Path) -> str:
    """`text` with the paths of the guide below `folder`."""
    return PATHS.sub(f"{folder}/", text)


def furnish(folder: Path, cluster: Cluster) -> Path:
    """Make the folders that every host has, and the stand-ins; returns the folder of those."""
    for name in ("etc/systemd/system", "usr/local/bin", "var/lib", "var/backups", "run", "bin"):
        (folder / name).mkdir(parents=True)
    postgres = f'PGHOST={cluster.run_dir} PGUSER=postgres PATH="{cluster.installation.bin}:$PATH"'
    python = f"PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m tests.docs.host"
    scripts = {
        "sudo": f"""
            if [ "$1" = -u ]; then user=$2; shift 2; fi
            if [ "$user" = postgres ]; then export {postgres}; fi
            exec "$@" """,
        "install": """
            for one; do shift
              case $one in -o|-g) skip=1;; *) [ -n "$skip" ] || set -- "$@" "$one"; skip=;; esac
            done
            exec /usr/bin/install "$@" """,
        "systemctl": f'{python} {shlex.quote(str(folder))} "$@"',
        **dict.fromkeys(NOTHING, "exit 0"),
    }
    for name, script in scripts.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    return folder / "bin"


def systemctl(folder: Path, action: str, *rest: str) -> None:
    """What systemd would do with the unit of the recorder, or with the database's."""
    unit = rest[-1] if rest else ""
    if unit.startswith("postgresql"):
        cluster = Cluster(folder / "cluster")
        if action == "start":
            cluster.start()
        elif action == "stop":
            cluster.stop()
        else:
            raise ValueError(action)
    elif action in ("stop", "restart"):
        _stop(folder)
    elif action == "reload":
        os.kill(int((folder / "run/ddr.pid").read_text()), signal.SIGHUP)
    if unit == "ddr" and (action in ("start", "restart") or "--now" in rest):
        _start(folder)


def _start(folder: Path) -> None:
    unit = folder / "etc/systemd/system/ddr.service"
    lines = [line for part in (unit, *sorted(unit.with_suffix(".service.d").glob("*.conf"))) for line in _lines(part)]
    named = {name: value for name, _, value in (line.partition("=") for line in lines)}
    settings = dict(
        value.split("=", 1) for name, _, value in (line.partition("=") for line in lines) if name == "Environment"
    )
    for name in named["StateDirectory"].split():
        (folder / "var/lib" / name).mkdir(exist_ok=True, mode=0o700)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            shlex.split(mapped(named["ExecStart"], folder)),
            env=environment | {name: mapped(value, folder) for name, value in settings.items()},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "run/ddr.pid").write_text(str(process.pid))


def _lines(part: Path) -> list[str]:
    return [line for line in part.read_text().splitlines() if "=" in line and not line.startswith("#")]


def _stop(folder: Path) -> None:
    pid = int((folder / "run/ddr.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_SECONDS
    while alive(pid):
        if time.monotonic() > until:
            raise SystemExit(f"ddr.service does not end: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)


if __name__ == "__main__":
    systemctl(Path(sys.argv[1]), *sys.argv[2:])
