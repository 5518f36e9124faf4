"""Source addresses behind proxies, as the audit log has them: X-Forwarded-For, PROXY protocol v2, and neither."""

import contextlib
import http.client
import json
import pathlib
import socket
import struct
import subprocess
import tempfile

import httpx
import pytest

from kmslib.server import Configured, binary
from kmslib.wire import Client

PROXY, OTHER = "127.0.0.1", "127.0.0.2"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Deployment(Configured):
    def records(self):
        """The audit records so far."""
        lines = b"".join(p.read_bytes() for p in sorted((self.data_dir / "audit").glob("audit-*.log"))).splitlines()
        return [json.loads(line[9:]) for line in lines if line.strip(b"\0") and not line.startswith(b"#")]

    def source(self, request_id):
        """Where the audit log says that a request came from."""
        return next(r["source"] for r in self.records() if r["request_id"] == request_id)


@contextlib.contextmanager
def serving(settings):
    with tempfile.TemporaryDirectory(prefix="jadeseal-proxies-") as base:
        server = Deployment(pathlib.Path(base)).start(settings)
        try:
            yield server
            assert server.stop() == 0
        finally:
            server.kill()


def trusting(protocol, *trusted):
    return f"[http]\nheader_timeout_seconds = 2\n[proxies]\ntrusted = {list(trusted)}\nprotocol = \"{protocol}\"\n"


@pytest.fixture(scope="module")
def forwarded():
    with serving(trusting("x-forwarded-for", PROXY, "10.0.0.0/8", "fd00::/8")) as server:
        yield server


@pytest.fixture(scope="module")
def proxy_v2():
    with serving(trusting("proxy-v2", PROXY)) as server:
        yield server


def source_of(server, lines=(), peer=PROXY, **how):
    """Sends a signed request with lines of X-Forwarded-For; returns the source on record."""
    client = server.client(source=peer)
    with contextlib.closing(client):
        request = client.tc3("ListKeys", **how)
        # Spellings are one header to the server and several to a dictionary.
        names = ("X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR")
        request.headers.update(zip(names, lines))
        answer = client.send(request)
        assert answer.status == 200
        return server.source(answer.response["RequestId"])


@pytest.mark.parametrize("lines,source", [
    (["192.0.2.1"], "192.0.2.1"),
    (["203.0.113.9, 192.0.2.1"], "192.0.2.1"),
    (["203.0.113.9", "192.0.2.1, 10.0.0.2", "10.0.0.3"], "192.0.2.1"),
    (["192.0.2.1:5678, [fd00::1]:443"], "192.0.2.1"),
    (["2001:DB8:0::1"], "2001:db8::1"),
    (["::ffff:192.0.2.1"], "192.0.2.1"),
    (["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
    (["unknown"], PROXY),
    (["10.0.0.4, 10.0.0.3"], "10.0.0.4"),
    ([], PROXY),
])
def test_forwarded_for(forwarded, lines, source):
    assert source_of(forwarded, lines) == source
    assert source_of(forwarded, lines, peer=OTHER) == OTHER


def test_refusals_have_the_source_too(forwarded):
    """Before a caller is known: no signature, a wrong one, another method, a body that is too large."""
    with httpx.Client(headers={"x-forwarded-for": "192.0.2.9"}) as client:
        answers = [
            client.post(forwarded.endpoint, json={}),
            client.put(forwarded.endpoint, json={}),
            client.post(forwarded.endpoint, content=b" " * (11 << 20), headers={"content-type": "application/json"}),
        ]
    for answer in answers:
        response = answer.json()["Response"]
        assert response["Error"]["Code"] and forwarded.source(response["RequestId"]) == "192.0.2.9"
    assert source_of(forwarded, ["192.0.2.9"], timestamp=1) == "192.0.2.9"


def test_the_forwarded_header_and_others_are_not_read(forwarded):
    for name in ("forwarded", "x-real-ip", "x-forwarded", "true-client-ip"):
        assert source_of(forwarded, extra={name: "for=192.0.2.1" if name == "forwarded" else "192.0.2.1"}) == PROXY


def test_each_request_of_a_connection_has_its_own_source(forwarded):
    client = forwarded.client()
    with contextlib.closing(client):
        for source in ("192.0.2.1", "192.0.2.2", PROXY, "192.0.2.3"):
            lines = {} if source == PROXY else {"x-forwarded-for": source}
            answer = client.ask("ListKeys", extra=lines)
            assert answer.code is None and forwarded.source(answer.response["RequestId"]) == source


def test_a_proxy_header_is_a_bad_request_for_x_forwarded_for(forwarded):
    assert b"RequestId" not in exchange(forwarded, header("192.0.2.1"))


def header(source, command=0x21, family=None, extra=b""):
    """A PROXY protocol v2 header."""
    kind = socket.AF_INET6 if ":" in source else socket.AF_INET
    to = "fd00::1" if ":" in source else "10.0.0.1"
    rest = socket.inet_pton(kind, source) + socket.inet_pton(kind, to) + struct.pack(">HH", 4000, 443) + extra
    family = family or (0x21 if ":" in source else 0x11)
    return SIGNATURE + struct.pack(">BBH", command, family, len(rest)) + rest


class AfterHeader(Client):
    """A client whose connections begin with some bytes."""

    def __init__(self, server, first, source=None):
        super().__init__(server.endpoint, server.creds, server.hello["region"], source=source)
        self.first = first

    def send(self, request):
        if self.connection is None:
            self.connection = connected(self.netloc, self.source, self.timeout, self.first)
        return super().send(request)


def connected(netloc, source, timeout, first):
    connection = http.client.HTTPConnection(netloc, timeout=timeout, source_address=source)
    connection.connect()
    connection.sock.sendall(first)
    return connection


def exchange(server, first, peer=PROXY):
    """Everything that is answered to some bytes and a request behind them; empty when the connection was cut."""
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port)), timeout=20, source_address=(peer, 0)) as s:
        try:
            request = server.client().tc3("ListKeys")
            head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
            s.sendall(first + f"POST / HTTP/1.1\r\n{head}connection: close\r\ncontent-length: 2\r\n\r\n{{}}".encode())
            got = b""
            while chunk := s.recv(65536):
                got += chunk
        except (ConnectionResetError, BrokenPipeError):
            return b""
    return got


@pytest.mark.parametrize("first,source", [
    (header("192.0.2.1"), "192.0.2.1"),
    (header("2001:db8::1"), "2001:db8::1"),
    (header("::ffff:192.0.2.1"), "192.0.2.1"),
    (header("192.0.2.1", extra=b"\x04\0\x03abc"), "192.0.2.1"),
    (header("192.0.2.1", extra=b"\x04" + struct.pack(">H", 4000) + bytes(4000)), "192.0.2.1"),
    (SIGNATURE + b"\x20\0\0\0", PROXY),
    (header("192.0.2.1", command=0x20), PROXY),
    (SIGNATURE + b"\x21\0\0\0", PROXY),
])
def test_proxy_v2(proxy_v2, first, source):
    client = AfterHeader(proxy_v2, first)
    with contextlib.closing(client):
        for _ in range(2):
            # X-Forwarded-For is not read beside it.
            answer = client.ask("ListKeys", extra={"x-forwarded-for": "203.0.113.9"})
            assert answer.code is None and proxy_v2.source(answer.response["RequestId"]) == source


@pytest.mark.parametrize("first", [
    b"",
    b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 443\r\n",
    header("192.0.2.1", family=0x12),
    header("192.0.2.1", family=0x31, extra=bytes(204)),
    header("192.0.2.1", command=0x11),
    header("192.0.2.1", extra=bytes(4096)),
    b"\r" + header("192.0.2.1"),
])
def test_a_trusted_peer_without_a_header_is_cut_off(proxy_v2, first):
    before = len(proxy_v2.records())
    assert exchange(proxy_v2, first) == b""
    assert len(proxy_v2.records()) == before


def test_a_trusted_peer_that_says_nothing_is_cut_off(proxy_v2):
    host, port = proxy_v2.host.split(":")
    for first in (b"", header("192.0.2.1")[:20]):
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(first)
            assert s.recv(1) == b""
    warned = [line for line in proxy_v2.log_text().splitlines() if b"trusted proxy without its PROXY header" in line]
    # Other tests have them too; one in ten seconds is told.
    assert 1 <= len(warned) <= 5 and b"WARN" in warned[0]


def test_an_untrusted_peer_is_served_without_a_header(proxy_v2):
    assert source_of(proxy_v2, ["192.0.2.1"], peer=OTHER) == OTHER
    assert b"RequestId" not in exchange(proxy_v2, header("192.0.2.1"), peer=OTHER)


def test_without_the_table_nothing_is_believed():
    with serving("") as server:
        assert source_of(server, ["192.0.2.1"]) == PROXY
        assert source_of(server, ["192.0.2.1"], peer=OTHER) == OTHER
        assert b"RequestId" not in exchange(server, header("192.0.2.1"))


@pytest.mark.parametrize("settings,words", [
    ("trusted = [\"0.0.0.0/0\"]\nprotocol = \"proxy-v2\"", "everybody"),
    ("trusted = [\"proxy\"]\nprotocol = \"proxy-v2\"", "proxies.trusted"),
    ("trusted = [\"::1\"]\nprotocol = \"forwarded\"", "proxies.protocol"),
    ("trusted = [\"::1\"]", "protocol"),
    ("protocol = \"proxy-v2\"", "trusted"),
])
def test_mistakes_are_refused_at_the_start(tmp_path, settings, words):
    config = tmp_path / "jadeseal.toml"
    root = f'[root]\nkind = "file"\npath = "{tmp_path}/k"\n'
    config.write_text(f'data_dir = "{tmp_path}"\n{root}[proxies]\n{settings}\n')
    done = subprocess.run(
        [str(binary()), "serve", "--config", str(config)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0 and words in done.stderr
