"""A machine of its own for one service, as systemd or a container engine would create it: run by `unshare`, as root.

unshare --mount --net --pid --fork --kill-child python -m tests.packaging.confined < plan.json

Its file tree has the system's programs and what the plan binds; it is writable where the plan says, and nowhere else.
The service runs under an account unknown to the system, without home, capabilities and further rights, behind the
plan's filter of system calls; its network is separate, so that default ports are free. Standard output: the result.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SYSTEM = ("usr", "bin", "sbin", "lib", "lib64")
OF_ETC = ("ssl", "ld.so.cache", "localtime", "nsswitch.conf", "hosts")
DEVICES = ("null", "zero", "full", "random", "urandom")
FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
ACCOUNT = 64_750
START_SECONDS, STOP_SECONDS = 120, 40
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, CAPABILITIES = 24, 38, 41
SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41


@dataclass(frozen=True)
class Plan:
    """What runs, and in what. Paths of `binds` and `writable`: here, and there."""

    command: Sequence[str]
    environment: Mapping[str, str]
    binds: Sequence[tuple[str, str]]
    writable: Sequence[tuple[str, str]]
    probes: Sequence[Sequence[str]]  # commands beside it, each ends with 0 once it serves
    calls: Sequence[str] = ()  # system calls that are allowed; none: all are
    umask: int = 0o022
    descriptors: int = 1024
    reload: bool = False  # SIGHUP when it serves


@dataclass
class Outcome:
    """What came of it."""

    probes: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    reloaded: bool = False
    status: int | None = None
    log: str = ""


def furnish(root: Path, plan: Plan) -> None:
    """The tree, below `root`; nothing of it can be written but the writable folders and /tmp."""
    _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", root)
    for name in SYSTEM:
        if (Path("/") / name).is_symlink():
            (root / name).symlink_to((Path("/") / name).readlink())
        elif (Path("/") / name).exists():
            _bind(Path("/") / name, root / name)
    for name in OF_ETC:
        if (Path("/etc") / name).exists():
            _bind((Path("/etc") / name).resolve(), root / "etc" / name)
    for name in DEVICES:
        _bind(Path("/dev") / name, root / "dev" / name)
    for name in ("proc", "tmp", "run", "var", "home", "root"):
        (root / name).mkdir()
    (root / "var/run").symlink_to("/run")
    _mount("-t", "proc", "-o", "hidepid=invisible,subset=pid", "proc", root / "proc")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / "tmp")  # before what is bound: code may lie below it
    for here, there in plan.binds:
        _bind(Path(here), root / there.lstrip("/"))
    for here, there in plan.writable:
        _bind(Path(here), root / there.lstrip("/"), "rw")
    _mount("-o", "remount,ro", root)


def _bind(here: Path, there: Path, how: str = "ro") -> None:
    if here.is_dir():
        there.mkdir(parents=True, exist_ok=True)
    else:
        there.parent.mkdir(parents=True, exist_ok=True)
        there.touch()
    _mount("--bind", here, there)
    _mount("-o", f"remount,bind,{how}", there)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def raise_loopback() -> None:
    """A new network has its loopback, but switched off."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP_RUNNING))


def confine(root: Path, plan: Plan) -> Callable[[], None]:
    """What a child does before it becomes the program: enter the tree, and lay down every right."""
    libc = ctypes.CDLL(None, use_errno=True)
    seccomp = ctypes.CDLL("libseccomp.so.2") if plan.calls else None

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")
        os.umask(plan.umask)
        most = min(
            plan.descriptors, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        )  # more is root's of a whole machine only
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for capability in range(CAPABILITIES):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        os.setgroups([])
        os.setresgid(ACCOUNT, ACCOUNT, ACCOUNT)
        os.setresuid(ACCOUNT, ACCOUNT, ACCOUNT)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if seccomp is not None:
            _filter(seccomp, plan.calls)

    return enter


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def _filter(library: ctypes.CDLL, calls: Sequence[str]) -> None:
    """Refuse every other system call, and sockets of other families. Raises OSError."""
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE)))
    allow, equal = ctypes.c_uint32(ALLOW), 4
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # not of this machine's architecture
            continue
        if name != "socket":
            library.seccomp_rule_add_array(context, allow, number, 0, None)
            continue
        for family in FAMILIES:
            one = _Comparison(0, equal, family, 0)
            library.seccomp_rule_add_array(context, allow, number, 1, ctypes.byref(one))
    if library.seccomp_load(context) != 0:
        raise OSError("the filter cannot be loaded")


def carried_out(root: Path, plan: Plan) -> Outcome:
    """Start it, ask until it serves, reload, end."""
    outcome, enter = Outcome(), confine(root, plan)
    with tempfile.NamedTemporaryFile("ab") as output:
        log = Path(output.name)
        service = subprocess.Popen(
            plan.command, env=plan.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=enter
        )
        for probe in plan.probes:
            done = _until_zero(probe, plan, enter, service)
            outcome.probes.append(done.returncode)
            outcome.told.append(done.stdout + done.stderr)
        if plan.reload and service.poll() is None:
            service.send_signal(signal.SIGHUP)
            outcome.reloaded = _until(lambda: b"serve.reloaded" in log.read_bytes())
        service.terminate()
        try:
            outcome.status = service.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
        outcome.log = log.read_text(errors="replace")
    return outcome


def _until_zero(
    probe: Sequence[str], plan: Plan, enter: Callable[[], None], service: subprocess.Popen[bytes]
) -> subprocess.CompletedProcess[str]:
    until = time.monotonic() + START_SECONDS
    while True:
        done = subprocess.run(
            probe, env=plan.environment, capture_output=True, text=True, preexec_fn=enter, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0 or service.poll() is not None or time.monotonic() > until:
            return done
        time.sleep(0.2)


def _until(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + START_SECONDS
    while not (done := true()) and time.monotonic() < until:
        time.sleep(0.1)
    return done


def main() -> None:
    """Everything, in this order."""
    plan, root = Plan(**json.load(sys.stdin)), Path("/mnt")
    raise_loopback()
    furnish(root, plan)
    json.dump(vars(carried_out(root, plan)), sys.stdout)


if __name__ == "__main__":
    main()
