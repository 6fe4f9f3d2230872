"""`ddr client`: the DiGA's side on the command line: find recorders, pair, pull, watch, unpair."""

from __future__ import annotations

import argparse
import sqlite3
import ssl
from pathlib import Path

from ddr.cli.arguments import amount, number
from ddr.cli.clients import commands
from ddr.cli.ending import waking
from ddr.cli.errors import CommandError, of_files
from ddr.client import ClientError, ConfigError
from ddr.client.files import FORMATS
from ddr.client.tokens import PAIRING_ID

HISTORY = "the recorder's longest Historic-Data-Period: what becomes older is told as gone at once, else once a day"
HELP = "be a DiGA: pair, pull, watch, unpair"
ACTIONS = {
    "pair": commands.pair,
    "pairings": commands.pairings,
    "pull": commands.pull,
    "recorders": commands.recorders,
    "unpair": commands.unpair,
    "watch": commands.watch,
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`client` with its own subcommands."""
    parser = subparsers.add_parser("client", help=HELP, description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    pair = _action(actions, "pair", "ask for a patient's data: prints where to send the browser, reads where it landed")
    pair.add_argument(
        "mivs", nargs="+", metavar="MIV", help="continuous-glucose-measurement and the like, or canonicals"
    )
    pair.add_argument("--no-devices", action="store_true", help="without the scopes of devices")
    _action(actions, "pairings", "list the pairings that there are tokens of")
    recorders = _action(actions, "recorders", "list the recorders of the HIIS-VZ, or find that of a device")
    recorders.add_argument("--device", default="", help="its DeviceDefinition, or number of the Hilfsmittelverzeichnis")
    recorders.add_argument("--manufacturer", default="", help="as printed on the device")
    recorders.add_argument("--model", default="", help="as printed on the device")
    pull = _action(actions, "pull", "write what is new since the last time")
    pull.add_argument(
        "pairings", nargs="*", type=_pairing, metavar="PAIRING", help="which; all that there are, if none is named"
    )
    pull.add_argument("--whole", action="store_true", help="look at everything: finds what was deleted, too")
    watch = _action(actions, "watch", "poll all pairings until Ctrl-C, and write what is new")
    watch.add_argument("--interval", type=amount(), default=900.0, metavar="SECONDS", help="the Grace-Period or longer")
    watch.add_argument("--at-once", type=number(1), default=16, metavar="N", help="pairings that are polled at a time")
    watch.add_argument("--seconds", type=amount(), metavar="N", help="end after so long")
    for one in (pull, watch):
        one.add_argument("--out", type=Path, metavar="FILE", help="file to append to, folder for Parquet; else stdout")
        one.add_argument("--format", choices=FORMATS, help="default: what the name of the file ends with, or csv")
        one.add_argument("--history-days", type=amount(36_500), metavar="N", help=HISTORY)
    unpair = _action(actions, "unpair", "end a pairing at the recorder, and forget its tokens")
    unpair.add_argument("pairing", type=_pairing, metavar="PAIRING")


def _pairing(text: str) -> str:
    if not PAIRING_ID.fullmatch(text):
        raise argparse.ArgumentTypeError("is no id of a pairing")
    return text


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text, description=text)
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
    """The action's exit status."""
    try:
        return waking(ACTIONS[args.action](args))
    except ssl.SSLError as error:
        raise of_files(error) from None
    except sqlite3.Error as error:
        raise CommandError(f"{args.config.with_suffix('.sqlite')}: {error}") from None
    except (ClientError, ConfigError, ImportError) as error:
        raise CommandError(str(error) or type(error).__name__) from None
