"""The command `ddr`: one module per subcommand, one clear line for every error."""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection, Sequence

from ddr import __version__
from ddr.cli.arguments import empty
from ddr.cli.ending import LOST, die, open_streams, printed, taking_back
from ddr.cli.errors import CommandError
from ddr.cli.subcommands import Command, commands, missing
from ddr.miv.model import MivError
from ddr.reasons import NO_THREAD, in_words, printable
from ddr.settings import SettingsError
from ddr.settings_recorders import CHOSEN, choosing
from ddr.store.database.errors import StoreError
from ddr.tls.context import TlsError

_choice = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # allowed anywhere in the command
_choice.add_argument("--recorder")
INTERRUPTED, INTERRUPTION = 130, "ddr: interrupted"  # as shells report Ctrl-C
SERVE = "serve"
WRITING = (errno.EBADF, errno.EPIPE, errno.ENOSPC)
NO_THREAD_TOLD = "the system refuses to start a thread; check the limits on processes (ulimit -u, TasksMax, pids_limit)"
OPERATOR_ERRORS = (CommandError, MivError, SettingsError, StoreError, TlsError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0 done, 1 not done, 2 misused."""
    open_streams()
    _leave_no_cores()
    with taking_back() as came:
        try:
            status = _taken(reported(lambda: _run(sys.argv[1:] if arguments is None else arguments), came))
        except SystemExit as ended:  # by argparse, which has printed the error
            if ended.code == 1:  # by rich, which prints nothing
                print(f"ddr: {LOST}: {os.strerror(errno.EPIPE)}", file=sys.stderr)
            raise SystemExit(_taken(int(ended.code or 0))) from None
    if came and status == INTERRUPTED:
        die(came[0])
    return status


def _leave_no_cores() -> None:
    """Prevent core dumps of this process and its children: their memory contains keys, passwords and readings. Whoever
    needs one sets the limit of the running process (prlimit)."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def _taken(status: int) -> int:
    """The exit status after printing: failure when the output could not be written."""
    lost = printed()
    if lost and not status:
        print(f"ddr: {lost}", file=sys.stderr)
    return status or int(lost is not None)


def _run(arguments: Sequence[str]) -> int | None:
    parser = argparse.ArgumentParser(prog="ddr", description="An open Device Data Recorder for HDDT.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--recorder",
        metavar="NAME",
        help="the recorder to use, of those in the directory DDR_RECORDERS (default: the variable DDR_RECORDER)",
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen, others = _choice.parse_known_args(arguments)
    if others[:1] == [SERVE]:  # the signal asks `serve` to read its settings again; so far it has read none
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    known = commands(subparsers)
    parsed, unknown = parser.parse_known_args(others)
    if fault := empty(arguments):
        subparsers.choices[parsed.command].error(fault)
    if name := chosen.recorder or os.environ.get(CHOSEN):
        environment = choosing(os.environ, name)
        os.environ.clear()
        os.environ.update(environment)
    command = known[parsed.command]
    if unknown and command.whole:  # argparse would print the usage of `ddr`, which lacks the command's arguments
        subparsers.choices[parsed.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return _done(command, parsed)


def _done(command: Command, parsed: argparse.Namespace) -> int | None:
    """The exit status of the command; a missing file, connection or package is reported to the operator."""
    try:
        return command.run(parsed)
    except OSError as error:
        unwritten = f"{LOST}: " if error.filename is None and error.errno in WRITING else ""
        raise CommandError(unwritten + in_words(error, named=True)) from error
    except UnicodeEncodeError:  # its message quotes the value
        raise CommandError("an argument is not UTF-8") from None
    except ModuleNotFoundError as error:
        raise missing(error, parsed.command) from None


def reported(action: Callable[[], int | None], came: Collection[int] = ()) -> int:
    """The exit status of `action`; an error meant for the operator becomes one line on stderr and status 1.

    After a signal in `came`, an error during the shutdown is not the reason for the end.
    """
    try:
        return action() or 0
    except OPERATOR_ERRORS as error:
        told = str(error)
    except RuntimeError as error:
        if NO_THREAD not in str(error):
            raise
        told = NO_THREAD_TOLD
    except KeyboardInterrupt:
        print(INTERRUPTION, file=sys.stderr)
        return INTERRUPTED
    if came:
        print(INTERRUPTION, file=sys.stderr)
        return INTERRUPTED
    which = f"recorder {name}: " if (name := os.environ.get(CHOSEN)) else ""
    print(f"ddr: {which}{printable(told)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
