"""deploy/proxy/haproxy.cfg: HAProxy forwards to each recorder by the requested host name, without ending TLS."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ddr.demo import certs
from ddr.demo.recorder import free_ports
from ddr.tls.context import public_context, with_clients
from tests.support.proxying import SIGNATURE

pytestmark = pytest.mark.packaging
CONFIG = Path(__file__).parents[2] / "deploy/proxy/haproxy.cfg"
PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
LISTENERS = ("diga", "public", "gateway")
FRONTENDS = {"diga": 8443, "public": 8444, "gateway": 8445}


@contextmanager
def listener(name: str, context: ssl.SSLContext) -> Iterator[int]:
    """A TLS server behind the PROXY protocol: its name, whether the client has a certificate, and where that one is."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listening.accept()
                except OSError:
                    return
                try:
                    client = read_header(plain)
                    with context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(1)
                        seen = bool(connection.getpeercert(binary_form=True))
                        connection.sendall(f"{name} {seen} {client}".encode())
                except OSError:
                    plain.close()

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.close()


def read_header(plain: socket.socket) -> str:
    """The client's address as HAProxy tells it: over IPv4, version 2, with nothing after it."""
    found = plain.recv(28, socket.MSG_WAITALL)
    assert found[:12] == SIGNATURE and found[12:16] == b"\x21\x11\0\x0c"
    return socket.inet_ntoa(found[16:20])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certs.Pair:
    return certs.authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> certs.Pair:
    return certs.client_certificate(tmp_path_factory.mktemp("client"), "diga")


@pytest.fixture(scope="module")
def fronts(
    authority: certs.Pair, client: certs.Pair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    """The ports of HAProxy by listener, before listeners of two recorders with the contexts of ours."""
    assert PROGRAM is not None, "needs haproxy"
    folder, text = tmp_path_factory.mktemp("proxy"), CONFIG.read_text()
    ports = dict(zip(LISTENERS, free_ports(3), strict=True))
    with ExitStack() as stack:
        for recorder in ("glucose", "pressure"):
            own = tmp_path_factory.mktemp(recorder)
            pair = certs.server_certificate(own, authority, (f"{recorder}.example.org",))
            for name in LISTENERS:
                context = (
                    with_clients(public_context(pair.cert, pair.key), ssl.CERT_REQUIRED, [client.der])
                    if name == "diga"
                    else public_context(pair.cert, pair.key)
                )
                port = stack.enter_context(listener(f"{recorder} {name}", context))
                text = re.sub(rf"(backend {name}-{recorder}\n    server recorder 127.0.0.1:)\d+", rf"\g<1>{port}", text)
        text = re.sub(r"maxconn \d+", "maxconn 100", text)  # a machine of tests may have few descriptors
        for name, port in FRONTENDS.items():
            text = text.replace(f"bind :{port}\n", f"bind 127.0.0.1:{ports[name]}\n")
        config = folder / "haproxy.cfg"
        config.write_text(text)
        process = subprocess.Popen([PROGRAM, "-db", "-f", config])
        until = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", ports["gateway"])):
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        try:
            yield ports
        finally:
            process.terminate()
            process.wait(60)


def ask(port: int, name: str | None, authority: certs.Pair, own: certs.Pair | None = None) -> str:
    """What the server behind says to who asks for `name`, whose certificate it must have."""
    context = ssl.create_default_context(cafile=authority.cert)
    context.check_hostname = name is not None
    if own is not None:
        context.load_cert_chain(own.cert, own.key)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        connection.sendall(b"?")
        return connection.recv(100).decode()


def test_haproxy_takes_the_file() -> None:
    assert PROGRAM is not None, "needs haproxy"
    done = subprocess.run([PROGRAM, "-c", "-f", CONFIG], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr, done.stderr


@pytest.mark.parametrize("recorder", ["glucose", "pressure"])
def test_each_name_leads_to_its_recorder(fronts: dict[str, int], authority: certs.Pair, recorder: str) -> None:
    for listener_name in ("public", "gateway"):
        found = ask(fronts[listener_name], f"{recorder}.example.org", authority)
        assert found == f"{recorder} {listener_name} False 127.0.0.1"


@pytest.mark.parametrize("recorder", ["glucose", "pressure"])
def test_the_certificate_of_a_diga_gets_through(
    fronts: dict[str, int], authority: certs.Pair, client: certs.Pair, recorder: str
) -> None:
    assert ask(fronts["diga"], f"{recorder}.example.org", authority, client) == f"{recorder} diga True 127.0.0.1"
    with pytest.raises(OSError):  # TLS itself refuses who has none
        assert not ask(fronts["diga"], f"{recorder}.example.org", authority)
        raise ConnectionError


@pytest.mark.parametrize("name", ["other.example.org", "glucose.example.org.evil.test", None])
def test_other_names_lead_nowhere(fronts: dict[str, int], authority: certs.Pair, name: str | None) -> None:
    for port in fronts.values():
        with pytest.raises(OSError):
            ask(port, name, authority)
