"""`ddr client`: the DiGA's side on the command line: find recorders, pair, pull, watch, unpair."""

from __future__ import annotations

import argparse
import sqlite3
import ssl
from pathlib import Path

from ddr.cli.actions import Actions, Does, action, actions_of
from ddr.cli.arguments import amount, number
from ddr.cli.clients import commands
from ddr.cli.ending import waking
from ddr.cli.errors import CommandError, of_files
from ddr.client import ClientError, ConfigError
from ddr.client.files import FORMATS
from ddr.client.tokens import PAIRING_ID

HISTORY = "the recorder's longest Historic-Data-Period: what becomes older is told as gone at once, else once a day"
HELP = "be a DiGA: pair, pull, watch, unpair"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    pair = _action(
        actions, commands.pair, "ask for a patient's data: prints where to send the browser, reads where it landed"
    )
    pair.add_argument(
        "mivs", nargs="+", metavar="MIV", help="continuous-glucose-measurement and the like, or canonicals"
    )
    pair.add_argument("--no-devices", action="store_true", help="without the scopes of devices")
    _action(actions, commands.pairings, "list the pairings that there are tokens of")
    recorders = _action(actions, commands.recorders, "list the recorders of the HIIS-VZ, or find that of a device")
    recorders.add_argument("--device", default="", help="its DeviceDefinition, or number of the Hilfsmittelverzeichnis")
    recorders.add_argument("--manufacturer", default="", help="as printed on the device")
    recorders.add_argument("--model", default="", help="as printed on the device")
    pull = _action(actions, commands.pull, "write what is new since the last time")
    pull.add_argument(
        "pairings", nargs="*", type=_pairing, metavar="PAIRING", help="which; all that there are, if none is named"
    )
    pull.add_argument("--whole", action="store_true", help="look at everything: finds what was deleted, too")
    watch = _action(actions, commands.watch, "poll all pairings until Ctrl-C, and write what is new")
    watch.add_argument("--interval", type=amount(), default=900.0, metavar="SECONDS", help="the Grace-Period or longer")
    watch.add_argument("--at-once", type=number(1), default=16, metavar="N", help="pairings that are polled at a time")
    watch.add_argument("--seconds", type=amount(), metavar="N", help="end after so long")
    for one in (pull, watch):
        one.add_argument("--out", type=Path, metavar="FILE", help="file to append to, folder for Parquet; else stdout")
        one.add_argument("--format", choices=FORMATS, help="default: what the name of the file ends with, or csv")
        one.add_argument("--history-days", type=amount(36_500), metavar="N", help=HISTORY)
    unpair = _action(actions, commands.unpair, "end a pairing at the recorder, and forget its tokens")
    unpair.add_argument("pairing", type=_pairing, metavar="PAIRING")


def _pairing(text: str) -> str:
    if not PAIRING_ID.fullmatch(text):
        raise argparse.ArgumentTypeError("is no id of a pairing")
    return text


def _action(actions: Actions[argparse.ArgumentParser], does: Does, text: str) -> argparse.ArgumentParser:
    """The action is named after the function that carries it out."""
    parser = action(actions, does.__name__, does, text)
    parser.description = text
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("diga.toml"),
        metavar="FILE",
        help="TOML with client_id, redirect_uri, issuer, fhir_base, certificate, key, ca, hiis, hiis_token;"
        " tokens are kept beside it",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    try:
        status: int = waking(args.does(args))
        return status
    except ssl.SSLError as error:
        raise of_files(error) from None
    except sqlite3.Error as error:
        raise CommandError(f"{args.config.with_suffix('.sqlite')}: {error}") from None
    except (ClientError, ConfigError, ImportError) as error:
        raise CommandError(str(error) or type(error).__name__) from None
