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

HISTORY = (
    "the recorder's longest Historic-Data-Period: with it, data that becomes older is reported as gone"
    " at once, otherwise once a day"
)
HELP = "act as a DiGA: pair, pull, watch, unpair"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    pair = _action(
        actions,
        commands.pair,
        "ask a patient for consent: prints the address for the browser, reads the address where the browser ended",
    )
    pair.add_argument(
        "mivs", nargs="+", metavar="MIV", help="a name such as continuous-glucose-measurement, or a canonical URL"
    )
    pair.add_argument("--no-devices", action="store_true", help="do not ask for the scopes of devices")
    _action(actions, commands.pairings, "list the pairings that have tokens")
    recorders = _action(
        actions, commands.recorders, "list the recorders in the HIIS-VZ, or find the recorder of a device"
    )
    recorders.add_argument(
        "--device", default="", help="the device's DeviceDefinition, or its number in the Hilfsmittelverzeichnis"
    )
    recorders.add_argument("--manufacturer", default="", help="the manufacturer, as printed on the device")
    recorders.add_argument("--model", default="", help="the model, as printed on the device")
    pull = _action(actions, commands.pull, "write what has changed since the last pull")
    pull.add_argument(
        "pairings", nargs="*", type=_pairing, metavar="PAIRING", help="the pairings to pull (default: all)"
    )
    pull.add_argument("--whole", action="store_true", help="read everything, and thus notice deletions, too")
    watch = _action(actions, commands.watch, "poll all pairings until Ctrl-C, and write what is new")
    watch.add_argument(
        "--interval",
        type=amount(),
        default=900.0,
        metavar="SECONDS",
        help="time between polls: the Grace-Period or longer",
    )
    watch.add_argument(
        "--at-once", type=number(1), default=16, metavar="N", help="how many pairings are polled at the same time"
    )
    watch.add_argument("--seconds", type=amount(), metavar="N", help="end after this time")
    for one in (pull, watch):
        one.add_argument(
            "--out", type=Path, metavar="FILE", help="file to append to, or folder for Parquet (default: stdout)"
        )
        one.add_argument("--format", choices=FORMATS, help="default: by the file's ending, else csv")
        one.add_argument("--history-days", type=amount(36_500), metavar="N", help=HISTORY)
    unpair = _action(actions, commands.unpair, "end a pairing at the recorder, and forget its tokens")
    unpair.add_argument("pairing", type=_pairing, metavar="PAIRING")


def _pairing(text: str) -> str:
    if not PAIRING_ID.fullmatch(text):
        raise argparse.ArgumentTypeError("is not a Pairing ID")
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
