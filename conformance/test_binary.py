"""The commands of the binary around the API."""

import json
import pathlib
import socket
import subprocess
import tempfile
import time

import pytest

from kmslib.server import MAIN, Server, binary
from kmslib.wire import Client, Creds, b64, unb64


def run(*args, timeout=60):
    return subprocess.run([str(binary()), *args], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)


@pytest.fixture
def base():
    with tempfile.TemporaryDirectory(prefix="jadeseal-binary-") as path:
        yield pathlib.Path(path)


def test_version():
    done = run("version")
    assert done.returncode == 0 and "jadeseal" in done.stdout.lower()


def test_quickstart_speaks_first_and_goes_on_with_its_data(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    try:
        assert set(server.hello) >= {"endpoint", "region", "secret_id", "secret_key", "owner_uin", "app_id"}
        assert server.hello["region"] == MAIN and server.hello["secret_id"].startswith("AKID")
        creds = server.creds
        client = server.client()
        key = client.call("CreateKey", Alias="kept")["KeyId"]
        blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"kept"))["CiphertextBlob"]
        client.close()
        assert server.stop() == 0
        server.start()
        assert server.hello["secret_id"] == creds.secret_id
        server.creds = creds
        assert unb64(server.client().call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"kept"
        assert server.stop() == 0
    finally:
        server.kill()


def test_two_servers_on_one_directory_are_refused(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    try:
        second = run("quickstart", "--data-dir", str(base / "data"), "--listen", "127.0.0.1:0", "-o", "json", timeout=30)
        assert second.returncode != 0 and second.stderr
        assert server.client().code("GetRegions") is None
    finally:
        server.kill()


@pytest.mark.parametrize("degree", ["os", "fsync"])
def test_audit_degrees(base, degree):
    server = Server(base / "data", regions=(MAIN,), args=["--audit", degree]).start()
    try:
        client = server.client()
        key = client.call("CreateKey", Alias="audited")["KeyId"]
        ids = [client.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["RequestId"] for _ in range(50)]
        refused = client.ask("DescribeKey", {"KeyId": "x"}).response["RequestId"]
        # Both degrees hand the record to the operating system before the answer goes out.
        server.kill()
        logged = server.audit_text().decode(errors="replace")
        assert all(one in logged for one in [*ids, refused])
    finally:
        server.kill()


def test_quickstart_refuses_other_interfaces(base):
    """Plain HTTP off loopback would show secrets to the network."""
    process = subprocess.Popen(
        [str(binary()), "quickstart", "--data-dir", str(base / "data"), "--listen", "0.0.0.0:0", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )
    try:
        assert process.wait(20) != 0
    finally:
        process.kill()
        process.communicate()


def test_environment_mirrors_flags(base, monkeypatch):
    monkeypatch.setenv("JADESEAL_AUDIT", "nonsense")
    done = run("quickstart", "--data-dir", str(base / "data"), "--listen", "127.0.0.1:0", "-o", "json", timeout=30)
    assert done.returncode != 0 and "audit" in done.stderr


def test_init_check_and_serve(base):
    """The way of a production deployment: init prints the first access key once, serve answers to it."""
    config, data = base / "jadeseal.toml", base / "data"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    made = run("init", "--config", str(config), "--data-dir", str(data), "--listen", address, "-o", "json")
    assert made.returncode == 0, made.stderr
    hello = json.loads(made.stdout.splitlines()[0])
    again = run("init", "--config", str(config), "--data-dir", str(data), "-o", "json")
    assert again.returncode != 0 and hello["secret_key"] not in again.stdout + again.stderr
    checked = run("serve", "--config", str(config), "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    spoilt = base / "spoilt.toml"
    spoilt.write_text("no_such_setting = 1\n" + config.read_text())
    checked = run("serve", "--config", str(spoilt), "--check")
    assert checked.returncode != 0 and "no_such_setting" in checked.stderr

    with open(base / "serve.log", "wb") as log:
        process = subprocess.Popen([str(binary()), "serve", "--config", str(config)], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
    try:
        client = Client(f"http://{address}", Creds(hello["secret_id"], hello["secret_key"]))
        end = time.monotonic() + 20
        while True:
            try:
                key = client.call("CreateKey", Alias="served")["KeyId"]
                break
            except OSError:
                assert time.monotonic() < end and process.poll() is None, (base / "serve.log").read_text()
                time.sleep(0.05)
        blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"served"))["CiphertextBlob"]
        rekeyed = run("rekey", "--config", str(config))
        assert rekeyed.returncode == 0, rekeyed.stderr
        assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"served"
        client.close()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_accounts_beside_a_server(base):
    """A second account is made while the first one's server runs; its access key is printed once."""
    server = Server(base / "data", regions=(MAIN,)).start()
    try:
        at = ("--data-dir", str(base / "data"))
        made = run("account", "create", *at, "--name", "second", "-o", "json")
        assert made.returncode == 0, made.stderr
        second = json.loads(made.stdout)
        client = Client(server.endpoint, Creds(second["secret_id"], second["secret_key"]), MAIN)
        client.call("CreateKey", Alias="of-the-second")
        assert server.client().call("ListKeys")["TotalCount"] == 0
        for how in (("-o", "json"), ()):
            listed = run("account", "list", *at, *how)
            assert listed.returncode == 0 and "second" in listed.stdout
            assert all(str(n) in listed.stdout for n in (second["owner_uin"], second["app_id"], server.hello["owner_uin"]))
            assert second["secret_key"] not in listed.stdout + listed.stderr
        wrong = run("account", "create", *at, "--name", "x" * 65)
        assert wrong.returncode != 0 and "64" in wrong.stderr
        client.close()
        assert server.stop() == 0
    finally:
        server.kill()
    empty = run("account", "list", "--data-dir", str(base / "nothing"))
    assert empty.returncode != 0 and not (base / "nothing").exists()


def test_a_json_line_comes_first(base):
    process = subprocess.Popen(
        [str(binary()), "quickstart", "--data-dir", str(base / "data"), "--listen", "127.0.0.1:0", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )
    try:
        begin = time.monotonic()
        hello = json.loads(process.stdout.readline())
        assert hello["endpoint"].startswith("http://127.0.0.1:") and not hello["endpoint"].endswith(":0")
        assert time.monotonic() - begin < 20
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()


def test_sigterm_at_once(base):
    """A supervisor may stop the server in the moment in which it says that it is ready."""
    for n in range(5):
        server = Server(base / f"data{n}", regions=(MAIN,)).start()
        assert server.stop() == 0
