"""What tests know about processes by their ids."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.processes import alive, children, send


def test_one_that_ended_and_that_nobody_waits_for_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "60"]) as one:
        assert alive(one.pid) and one.pid in children(os.getpid())
        send(one.pid)
        os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{one.pid}").exists() and not alive(one.pid)
    assert not alive(one.pid) and children(one.pid) == []
    send(one.pid)
