"""Write the locked requirements: every package of a running recorder (the extra `server`), version and hashes.

    python -m tools.lock

Versions are those in constraints.txt. Needs the extra `release` and a package index. Run it after each change of the
dependencies in pyproject.toml or of constraints.txt; `tests/packaging/test_lock.py` detects without a network if that
was forgotten.
"""

from __future__ import annotations

import subprocess
import sys

from tools.closure import LOCKED, ROOT

HEADER = "# The recorder's own requirements with the hashes of their files. Written by: python -m tools.lock\n"
OPTIONS = (
    "--quiet",
    "--extra=server",
    "--rebuild",
    "--generate-hashes",
    "--strip-extras",
    "--no-header",
    "--no-annotate",
    "--no-emit-index-url",
    "--no-emit-trusted-host",
    "--no-emit-find-links",
    "--no-config",
)


def main() -> int:
    """0 when the file was written. Messages of pip-compile go to standard error."""
    command = [sys.executable, "-m", "piptools", "compile", *OPTIONS, "-c", "constraints.txt", "-o", "-"]
    done = subprocess.run([*command, "pyproject.toml"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode == 0:
        LOCKED.write_text(HEADER + done.stdout.lstrip())
        print(LOCKED.relative_to(ROOT))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
