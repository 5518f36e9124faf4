"""The data directory on a file system that becomes read-only while the server runs, and at its start.

Linux does not make a file system read-only at an operator's word while files on it are open for writing; it does so by itself
after an error, and then it needs fsck and a new mount. That is tried with ext4 on a loop device, as root. That everything goes
on where the file system is writable again under the same process is tried by a library between it and the system
(kmslib/slowdisk.c), which answers as such a file system would."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import httpx
import pytest

from kmslib.server import MAIN, Configured, Server, binary
from kmslib.slowdisk import SlowDisk
from kmslib.wire import b64, unb64
from test_faults import audit_lines

pytestmark = pytest.mark.fault

WHY = "not ready: audit log: its file system is read-only\n"
root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def base():
    with tempfile.TemporaryDirectory(prefix="jadeseal-ro-") as path:
        yield pathlib.Path(path)


def ready(server):
    answer = httpx.get(server.endpoint + "/readyz")
    return answer.status_code, answer.text


def shows_ready(server):
    return "\njadeseal_ready 1\n" in httpx.get(server.endpoint + "/metrics").text


def wait_until_ready(server, timeout=15):
    end = time.monotonic() + timeout
    while ready(server)[0] != 200:
        assert time.monotonic() < end, ready(server)
        time.sleep(0.1)


def gaps(server):
    return [r for r in audit_lines(server) if r["action"] == "AuditGap"]


def assert_refuses(client, key, blob):
    """Changes, uses and reads alike: none is answered whose record cannot be written. Returns how many calls it made."""
    calls = [
        ("CreateKey", {"Alias": "never"}),
        ("UpdateAlias", {"KeyId": key, "Alias": "other"}),
        ("DisableKey", {"KeyId": key}),
        ("Encrypt", {"KeyId": key, "Plaintext": b64(b"x")}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
        ("DescribeKey", {"KeyId": key}),
        ("ListKeys", {}),
    ]
    for action, fields in calls:
        assert client.code(action, **fields) == "InternalError", action
    return len(calls)


def assert_kept(client, made, blob):
    """Every key that was acknowledged is there as it was, and opens what it sealed."""
    for key, alias in made.items():
        metadata = client.call("DescribeKey", KeyId=key)["KeyMetadata"]
        assert (metadata["KeyState"], metadata["Alias"]) == ("Enabled", alias)
    assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"kept"
    assert client.call("ListKeys", Limit=200)["TotalCount"] == len(made)


@pytest.mark.parametrize("degree", ["os", "fsync"])
def test_it_goes_on_when_the_file_system_is_writable_again(base, degree):
    server = Configured(base)
    disk = SlowDisk(base, data=f"{server.data_dir.resolve()}/")
    server.environment = disk.environment
    settings = f'[audit]\ndegree = "{degree}"\n'
    try:
        server.start(settings)
        client = server.client()
        made = {client.call("CreateKey", Alias=f"k-{n}")["KeyId"]: f"k-{n}" for n in range(5)}
        key = next(iter(made))
        blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"kept"))["CiphertextBlob"]
        # Saves last uses and the like.
        time.sleep(2)
        for round_ in (1, 2):
            disk.read_only("data")
            refused = sum(assert_refuses(client, key, blob) for _ in range(3))
            assert ready(server) == (503, WHY) and not shows_ready(server)
            time.sleep(2.5)
            assert ready(server) == (503, WHY) and disk.refused("data") > 0
            assert server.process.poll() is None
            disk.read_only("data", False)
            wait_until_ready(server)
            assert shows_ready(server)
            assert_kept(client, made, blob)
            alias = f"after-{round_}"
            made[client.call("CreateKey", Alias=alias)["KeyId"]] = alias
            time.sleep(1.5)
            client.close()
            client = server.client()
        client.close()
        assert server.stop() == 0
        told = gaps(server)
        assert [g["subjects"][0] for g in told] == [f"refused/{refused}"] * 2, told
        recorded = {r["resources"][0] for r in audit_lines(server) if r["action"] == "CreateKey" and not r["code"]}
        assert recorded == set(made)
        server.start(settings)
        client = server.client()
        assert_kept(client, made, blob)
        client.close()
        assert server.stop() == 0
    finally:
        server.kill()


def test_lines_of_the_log_that_cannot_be_written_are_lost_and_nothing_else(base):
    """Standard error in a file on a disk that takes nothing."""
    server = Configured(base)
    disk = SlowDisk(base, data=f"{server.data_dir.resolve()}/", log=server.log.resolve())
    server.environment = disk.environment
    try:
        server.start()
        client = server.client()
        key = client.call("CreateKey", Alias="k")["KeyId"]
        disk.read_only("log")
        disk.read_only("data")
        assert client.code("Encrypt", KeyId=key, Plaintext=b64(b"x")) == "InternalError"
        assert ready(server) == (503, WHY) and disk.refused("log") > 0
        disk.read_only("data", False)
        wait_until_ready(server)
        assert client.code("Encrypt", KeyId=key, Plaintext=b64(b"x")) is None
        disk.read_only("log", False)
        client.close()
        assert server.stop() == 0
    finally:
        server.kill()


@contextlib.contextmanager
def mounted(what, at, *options):
    done = subprocess.run(["mount", *options, str(what), str(at)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        # Whoever has files open there is gone by now; if not, no other test may suffer for it.
        subprocess.run(["umount", "-l", str(at)], check=True)


def command_line(server):
    return [str(binary()), "serve", "--config", str(server.config)]


def assert_says_so(server):
    """A start on a read-only data directory ends at once, with its path and the reason."""
    done = subprocess.run(command_line(server), capture_output=True, text=True, timeout=30)
    assert done.returncode not in (0, -6, 101), done
    assert "read-only" in done.stderr.lower() and str(server.data_dir) in done.stderr, done.stderr
    assert "panicked" not in done.stderr and len(done.stderr.strip().splitlines()) <= 3, done.stderr
    return done.stderr


@root
def test_an_error_makes_the_file_system_read_only(base):
    """ext4 as after an error of its disk (`errors=remount-ro`)."""
    if not shutil.which("mkfs.ext4") or not shutil.which("fsck.ext4"):
        pytest.skip("no mkfs.ext4 and fsck.ext4")
    image, at = base / "image", base / "disk"
    at.mkdir()
    with open(image, "wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(image)], check=True, capture_output=True)
    server = Configured(at)
    server.config, server.log = base / "jadeseal.toml", base / "stderr.log"
    try:
        with mounted(image, at, "-o", "loop,errors=remount-ro"):
            server.start("[audit]\nsegment_mib = 16\n", "[audit]\nsegment_mib = 16\n")
            client = server.client()
            made = {client.call("CreateKey", Alias=f"k-{n}")["KeyId"]: f"k-{n}" for n in range(5)}
            key = next(iter(made))
            blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"kept"))["CiphertextBlob"]
            time.sleep(2)
            # What an error does, on purpose.
            subprocess.run(["mount", "-o", "remount,abort", str(at)], check=True, capture_output=True)
            with pytest.raises(OSError, match="Read-only"):
                (at / "probe").write_bytes(b"x")
            # Either the process goes on and refuses, or a flush that was under way has failed, and it ends.
            codes, reasons = [], set()
            with contextlib.suppress(OSError, EOFError, httpx.HTTPError):
                for _ in range(10):
                    codes.append(client.code("CreateKey", Alias="never"))
                    codes.append(client.code("Encrypt", KeyId=key, Plaintext=b64(b"x")))
                    codes.append(client.code("DescribeKey", KeyId=key))
                    status, text = ready(server)
                    assert status == 503, text
                    reasons.add(text)
            print(f"{len(codes)} calls; {reasons}")
            assert set(codes) == {"InternalError"}, codes
            assert reasons <= {WHY, "not ready: audit log: a flush failed; the process ends and has to be started again\n"}
            client.close()
            server.kill()
            print(assert_says_so(server))
        repaired = subprocess.run(["fsck.ext4", "-p", str(image)], capture_output=True, text=True)
        assert repaired.returncode in (0, 1), repaired.stdout + repaired.stderr
        with mounted(image, at, "-o", "loop"):
            server.start("[audit]\nsegment_mib = 16\n")
            client = server.client()
            assert ready(server)[0] == 200
            assert_kept(client, made, blob)
            assert client.code("CreateKey", Alias="after") is None
            client.close()
            assert server.stop() == 0
            recorded = {r["resources"][0] for r in audit_lines(server) if r["action"] == "CreateKey" and not r["code"]}
            assert set(made) < recorded
    finally:
        server.kill()


@root
def test_a_start_on_a_read_only_file_system_says_so(base):
    at = base / "disk"
    at.mkdir()
    with mounted("tmpfs", at, "-t", "tmpfs", "-o", "size=256m,mode=0700"):
        server = Configured(at)
        server.config, server.log = base / "jadeseal.toml", base / "stderr.log"
        try:
            server.start()
            client = server.client()
            key = client.call("CreateKey", Alias="k")["KeyId"]
            # Not while it runs: that is the kernel's word.
            busy = subprocess.run(["mount", "-o", "remount,ro", str(at)], capture_output=True, text=True)
            assert busy.returncode != 0 and client.code("DescribeKey", KeyId=key) is None
            client.close()
            assert server.stop() == 0
            subprocess.run(["mount", "-o", "remount,ro", str(at)], check=True)
            print(assert_says_so(server))
            quickstart = Server(server.data_dir, regions=(MAIN,), log_dir=base)
            with pytest.raises(RuntimeError, match="(?i)read-only"):
                quickstart.start()
            doctor = subprocess.run([str(binary()), "doctor", "--config", str(server.config)], capture_output=True, text=True, timeout=60)
            assert doctor.returncode != 0 and "mounted read-only" in doctor.stdout + doctor.stderr
            subprocess.run(["mount", "-o", "remount,rw", str(at)], check=True)
            server.start()
            client = server.client()
            assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
            client.close()
            assert server.stop() == 0
        finally:
            server.kill()
