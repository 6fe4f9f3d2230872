"""`ddr logs`: export the request log, verify it and its exports, and show what is logged, and since when."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ddr.cli.actions import actions_of
from ddr.cli.arguments import in_order, number
from ddr.cli.errors import CommandError
from ddr.cli.operator import instant_argument, now_ms, reading, with_database
from ddr.drafts import OWN, draft
from ddr.http.request_log.endpoints import endpoint
from ddr.http.request_log.record import stamp
from ddr.oauth.keys import Keys, opening_key
from ddr.operations.request_log.export import Filters, export
from ddr.operations.request_log.policy import history
from ddr.operations.request_log.sealing import seal
from ddr.operations.request_log.verifying import Findings, verify_chain, verify_file
from ddr.settings import Settings
from ddr.store.database.faults import ChangedMeanwhile
from ddr.store.database.pool import Pool

HELP = "export and verify the request log, and show its policy"
INSTANT = {"type": instant_argument, "metavar": "TIME"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = actions_of(parser)
    out = actions.add_parser("export", help="write records as JSON lines, and a signed manifest as the last line")
    out.add_argument("--since", dest="since_ms", help="only records from this ISO 8601 time on", **INSTANT)  # type: ignore[arg-type]
    out.add_argument("--until", dest="until_ms", help="only records before this ISO 8601 time", **INSTANT)  # type: ignore[arg-type]
    out.add_argument("--client", metavar="CLIENT_ID", help="only records of this DiGA")
    out.add_argument("--pairing", metavar="PAIRING_ID", help="only records of this pairing")
    out.add_argument(
        "--endpoint",
        type=_logged,
        metavar="PATH",
        help="only records of this path, for instance /fhir/Observation or /fhir/Device/{id}",
    )
    out.add_argument("--status", type=number(100, 599), metavar="CODE", help="only records with this HTTP status")
    out.add_argument("--transaction", metavar="ID", help="only records with this X-Request-Id")
    out.add_argument(
        "--encrypt-to", type=Path, metavar="CERTIFICATE", help="encrypt as CMS for this RSA certificate (PEM)"
    )
    out.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of standard output")
    check = actions.add_parser(
        "verify", help="check the chain, and optionally an exported file; status 1 if anything is missing or changed"
    )
    check.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a file that `ddr logs export` wrote, decrypted"
    )
    check.add_argument("--head", help="a head noted earlier (from the technical log), which must be in the chain")
    actions.add_parser("policy", help="show what is logged, masked and kept: all versions, and when each was in force")


def _logged(text: str) -> str:
    """A type for endpoints as records name them, with or without the host; others would select nothing."""
    path = text[text.find("/") :] if "/" in text else ""
    if path and endpoint(path)[1] != path:
        raise argparse.ArgumentTypeError(
            f"no record names {text!r}: paths are logged as templates such as /fhir/Device/{{id}}"
        )
    return text


def run(args: argparse.Namespace) -> int:
    """Print or write the result; status 1 when something is incomplete or changed."""
    match args.action:
        case "export":
            in_order("--since", args.since_ms, args.until_ms)
            recipient = _recipient(args.encrypt_to) if args.encrypt_to else None
            wanted = Filters(**{name: getattr(args, name) for name in vars(Filters())})
            _write_export(args.output, recipient, wanted)
        case "verify":
            content = args.file.read_bytes() if args.file else None
            return _report(
                with_database(lambda settings, pool: _verify(settings, pool, content, args.head)), content is not None
            )
        case _:
            with_database(lambda _, pool: _policy(pool))
    return 0


def _recipient(path: Path) -> x509.Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise CommandError(f"{path}: is not a PEM certificate") from None
    if not isinstance(certificate.public_key(), rsa.RSAPublicKey):
        raise CommandError(f"{path}: encryption with CMS needs a certificate with an RSA key")
    return certificate


def _write_export(output: Path | None, recipient: x509.Certificate | None, wanted: Filters) -> None:
    """Write a file completely or not at all, readable by its owner only."""
    if output is None:
        _write_lines(sys.stdout.buffer.write, recipient, wanted)
        sys.stdout.buffer.flush()
        return
    with draft(output, OWN) as file:
        _write_lines(file.write, recipient, wanted)


def _write_lines(write: Callable[[bytes], object], recipient: x509.Certificate | None, wanted: Filters) -> None:
    plain: list[bytes] = []

    async def lines(settings: Settings, pool: Pool) -> None:
        signer = await Keys.load(pool, await opening_key(pool, settings), now_ms())
        await seal(pool, signer, settings, now_ms())  # everything durable by now
        async with reading(settings, pool) as read:
            async for line in export(pool, read, signer, wanted, now_ms()):
                (plain.append if recipient else write)(line)

    try:
        with_database(lines)
    except ValueError as error:
        raise CommandError(f"request log: a seal {error}; run `ddr logs verify`") from None
    except ChangedMeanwhile:
        raise CommandError("request log: days of this period were deleted during the export; run it again") from None
    if recipient:
        write(_encrypted(b"".join(plain), recipient))


def _encrypted(content: bytes, recipient: x509.Certificate) -> bytes:
    """CMS EnvelopedData in PEM (RFC 5652), AES-256, for `openssl cms -decrypt -inform PEM`."""
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(content).set_content_encryption_algorithm(AES256)
    return builder.add_recipient(recipient).encrypt(Encoding.PEM, [pkcs7.PKCS7Options.Binary])


async def _verify(settings: Settings, pool: Pool, content: bytes | None, head: str | None) -> Findings:
    async with reading(settings, pool) as read:
        return await (verify_chain(read, head) if content is None else verify_file(read, content, head))


def _report(found: Findings, with_file: bool) -> int:
    print(f"{found.entries} records under {found.seals} seals")
    print(f"{found.unsealed} rows not yet sealed")
    print(f"head {found.head}")
    for kid in sorted(found.keys):
        print(f"signed by {kid}")
    if found.faults:
        for fault in found.faults:
            print(fault)
        raise CommandError(f"request log: {len(found.faults)} findings, the first: {found.faults[0]}")
    print("the file is complete and unchanged" if with_file else "the chain is whole")
    return 0


async def _policy(pool: Pool) -> None:
    versions = await history(pool)
    if not versions:
        raise CommandError("no recorder has started on this database yet, so no policy has ever been in force")
    for version in versions:
        line = {
            "version": version["version"],
            "since": stamp(version["since_ms"]),
            "until": stamp(version["until_ms"]) if version["until_ms"] else None,
            **version["policy"],
        }
        print(orjson.dumps(line).decode())
