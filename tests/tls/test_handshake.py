"""Which clients pass the handshake of the DiGA listener, on real connections."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID

from ddr.demo.certs import Pair, authority, client_certificate, server_certificate
from ddr.tls import pair, protocol
from ddr.tls.context import LiveContext, TlsError, check_usable, public_context, with_clients
from ddr.tls.follow import Following
from ddr.tls.pair import PairFiles, ServerPair
from tests.tls.support import (
    Connection,
    ask,
    client_context,
    diga_context,
    gateway_context,
    listening,
    live_context,
)

REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class World:
    """A CA, a server, and client certificates on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = authority(folder)
        self.server = server_certificate(folder, self.ca)

    def client(self, name: str, issuer: Pair | None = None) -> Pair:
        return client_certificate(self.folder, name, issuer)

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        return client_context(self.ca.cert, pair)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("version", VERSIONS)
async def test_registered_certificates_pass_and_reach_the_application(world: World, version: ssl.TLSVersion) -> None:
    self_signed, issued = world.client("self-signed"), world.client("issued", world.ca)
    async with listening(live_context(world.server, self_signed, issued)) as port:
        for pair in (self_signed, issued):
            context = world.context(pair)
            context.minimum_version = context.maximum_version = version
            assert await ask(port, context) == hashlib.sha256(pair.der).hexdigest()


@pytest.mark.parametrize("version", VERSIONS)
async def test_others_are_refused(world: World, version: ssl.TLSVersion) -> None:
    registered = world.client("registered", world.ca)
    sibling = world.client("sibling", world.ca)
    same_name = client_certificate(world.folder / "elsewhere", "registered", world.ca)
    async with listening(live_context(world.server, registered)) as port:
        for pair in (None, sibling, same_name, world.client("unknown"), world.server):
            context = world.context(pair)
            context.minimum_version = context.maximum_version = version
            with pytest.raises(REFUSED):
                await ask(port, context)
        assert await ask(port, world.context(registered))


@pytest.mark.parametrize("version", VERSIONS)
async def test_gateways_may_have_no_certificate_but_not_an_unknown_one(world: World, version: ssl.TLSVersion) -> None:
    bridge, unknown = world.client("bridge"), world.client("no-bridge")
    live = LiveContext(gateway_context(world.server))

    async def ask_as(pair: Pair | None) -> str:
        context = world.context(pair)
        context.minimum_version = context.maximum_version = version
        return await ask(port, context)

    async with listening(live) as port:
        assert await ask_as(None) == "none"
        with pytest.raises(REFUSED):
            await ask_as(bridge)
        live.exchange(gateway_context(world.server, bridge.der))
        assert await ask_as(None) == "none"
        assert await ask_as(bridge) == hashlib.sha256(bridge.der).hexdigest()
        with pytest.raises(REFUSED):
            await ask_as(unknown)


async def test_a_broken_registered_certificate_shuts_out_nobody_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    good = world.client("beside-a-broken-one")
    live = LiveContext(diga_context(world.server, good.der[:-40], good.der, good.der))
    async with listening(live) as port:
        assert await ask(port, world.context(good))
    assert caplog.text.count("tls.certificate_refused") == 1


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_who_sends_no_request_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    client = world.client("slow")
    async with listening(live_context(world.server, client)) as port:
        reader, writer = await asyncio.open_connection("localhost", port, ssl=world.context(client))
        writer.write(begun)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()


async def test_nobody_passes_an_empty_allow_list(world: World) -> None:
    async with listening(live_context(world.server)) as port:
        with pytest.raises(REFUSED):
            await ask(port, world.context(world.client("any")))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_tls_1_1_is_refused(world: World) -> None:
    async with listening(live_context(world.server, world.client("old"))) as port:
        context = world.context(world.client("old"))
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(REFUSED):
            await ask(port, context)


async def test_the_allow_list_changes_without_dropping_connections(world: World) -> None:
    stays, leaves, comes = world.client("stays"), world.client("leaves"), world.client("comes")
    live = live_context(world.server, stays, leaves)
    async with listening(live) as port:
        old = await Connection.open(port, world.context(stays))
        assert await old.ask()
        live.exchange(diga_context(world.server, stays.der, comes.der))
        assert await old.ask()
        assert await ask(port, world.context(comes))
        with pytest.raises(REFUSED):
            await ask(port, world.context(leaves))
        old.close()


async def test_a_removed_certificate_still_names_itself_on_an_old_connection(world: World) -> None:
    """The handshake is only a filter: the application sees the certificate on every request and must look it up."""
    leaves = world.client("leaves")
    live = live_context(world.server, leaves)
    async with listening(live) as port:
        old = await Connection.open(port, world.context(leaves))
        await old.ask()
        live.exchange(diga_context(world.server))
        assert await old.ask() == hashlib.sha256(leaves.der).hexdigest()
        old.close()


async def test_a_new_server_certificate_is_taken_up_while_serving(world: World, tmp_path: Path) -> None:
    client, paths = world.client("renewal"), Pair(tmp_path / "server.pem", tmp_path / "server.key")

    def install(source: Pair) -> None:
        paths.key.write_bytes(source.key.read_bytes())
        paths.cert.write_bytes(source.cert.read_bytes())

    def presented(connection: Connection) -> object:
        return connection.writer.get_extra_info("ssl_object").getpeercert(True)

    install(world.server)
    files = PairFiles(paths.cert, paths.key)
    await files.begin()
    live = live_context(paths, client)

    def build() -> ssl.SSLContext:
        return with_clients(files.pair.context(), ssl.CERT_REQUIRED, [client.der])

    following = Following(live, build, lambda: files.pair, files.pair)
    async with listening(live) as port:
        old = await Connection.open(port, world.context(client))
        first, current = presented(old), live.current
        paths.cert.write_text("not yet complete")
        with pytest.raises(TlsError):
            await files.step()
        await following.step()
        assert live.current is current
        install(server_certificate(tmp_path / "renewed", world.ca))
        await files.step()
        await following.step()
        assert live.current is not current
        assert await old.ask()
        new = await Connection.open(port, world.context(client))
        assert presented(new) != first
        assert await new.ask()
        old.close()
        new.close()


@pytest.mark.parametrize("fault", [OSError("no descriptor"), MemoryError(), RuntimeError("no thread")])
async def test_what_cannot_be_built_now_is_tried_again_though_nothing_changes(world: World, fault: Exception) -> None:
    live, faults = live_context(world.server), [fault, fault]
    first = live.current

    def build() -> ssl.SSLContext:
        if faults:
            raise faults.pop()
        return public_context(world.server.cert, world.server.key)

    following = Following(live, build, lambda: "written", "before")
    for _ in range(2):
        with pytest.raises(type(fault)):
            await following.step()
    assert live.current is first
    await following.step()
    assert live.current is not first
    await following.step()


async def test_files_that_cannot_be_read_now_are_tried_again_though_nothing_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For instance a key that gets its group a moment after it was written."""
    faults = [TlsError("key: Permission denied")] * 2
    real = pair.read_pair

    def read(cert: Path, key: Path) -> ServerPair:
        if faults:
            raise faults.pop()
        return real(cert, key)

    monkeypatch.setattr(pair, "read_pair", read)
    files = PairFiles(world.server.cert, world.server.key)
    for _ in range(2):
        with pytest.raises(TlsError):
            await files.step()
    await files.step()
    assert files.pair.key == world.server.key.read_bytes()


def test_unusable_server_certificates_are_one_clear_line(world: World, tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"missing\.pem .*No such file"):
        public_context(tmp_path / "missing.pem", world.server.key)
    with pytest.raises(TlsError, match="do not match"):
        public_context(world.server.cert, world.client("other").key)
    of_another_kind = tmp_path / "rsa.key"
    of_another_kind.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(TlsError, match="do not match"):
        public_context(world.server.cert, of_another_kind)
    encrypted, weak = tmp_path / "encrypted.key", tmp_path / "weak.pem"
    key = load_pem_private_key(world.server.key.read_bytes(), None)
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(TlsError, match="without a password"):
        public_context(world.server.cert, encrypted)
    key = rsa.generate_private_key(65537, 1024)
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    weak.write_bytes(
        builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(TlsError, match="too weak"):
        public_context(weak, weak)
    with pytest.raises(TlsError, match="the two files are swapped"):
        public_context(world.server.key, world.server.cert)
    with pytest.raises(TlsError, match="not valid PEM"):
        public_context(Path(__file__), world.server.key)
    with pytest.raises(TlsError, match=r"missing\.pem: No such file"):
        check_usable(tmp_path / "missing.pem", datetime.now(UTC))


def test_a_server_certificate_is_not_started_with_outside_of_its_time(world: World) -> None:
    now = datetime.now(UTC)
    check_usable(world.server.cert, now)
    with pytest.raises(TlsError, match=r"it ended on \d{4}-\d\d-\d\d; this machine's clock says 2199-01-01 00:00 UTC"):
        check_usable(world.server.cert, datetime(2199, 1, 1, tzinfo=UTC))
    with pytest.raises(TlsError, match=r"it is valid from \d{4}-\d\d-\d\d on; this machine's clock says"):
        check_usable(world.server.cert, now - timedelta(days=1))


def test_a_server_certificate_with_an_odd_name_is_started_with(world: World, tmp_path: Path) -> None:
    """An ediPartyName, of which nobody here can read extensions."""
    key, now, file = load_pem_private_key(world.server.key.read_bytes(), None), datetime.now(UTC), tmp_path / "odd.pem"
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name, odd = x509.Name([]), bytes.fromhex("3007a505a1030c0178")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    builder = builder.add_extension(x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, odd), False)
    file.write_bytes(builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    check_usable(file, now)
