"""What a killed process, a full disk and an interrupted rekey leave behind."""

import json
import os
import pathlib
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter

import pytest

from kmslib.journal import Worker, find_uncertain, verify_key
from kmslib.server import MAIN, Server, binary
from kmslib.wire import ApiError, b64, unb64

pytestmark = pytest.mark.fault

KILL_ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
REKEY_ROUNDS = int(os.environ.get("REKEY_ROUNDS", "8"))
WORKERS = 4


@pytest.fixture
def base():
    with tempfile.TemporaryDirectory(prefix="jadeseal-fault-") as path:
        yield pathlib.Path(path)


def audit_lines(server):
    """The parsed records of every segment. A line that does not parse fails the test."""
    for path in sorted((server.data_dir / "audit").glob("*.log")):
        if path.stat().st_size == 0:
            continue  # the segment that is made ahead of time
        head, *lines = path.read_bytes().split(b"\n")
        assert head.startswith(b"#jadeseal-audit v1 first=") and lines.pop() == b"", path
        for line in lines:
            yield json.loads(line.split(b" ", 1)[1])


def run_until_killed(server, serial, rng):
    """A stream of calls, cut by kill -9 at a random moment. Returns the workers."""
    workers = [Worker(server, f"k{serial}w{n}", rng.random()) for n in range(WORKERS)]
    for worker in workers:
        worker.start()
    time.sleep(rng.uniform(0.02, 0.8))
    server.kill()
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()
        if worker.error:
            raise worker.error
    return workers


def test_kill_9(base):
    """After each kill: every acknowledged key and state is there, every returned ciphertext opens, and the audit log
    holds a record of every acknowledged request."""
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 1_000_000))
    rng = random.Random(seed)
    server = Server(base / "data", regions=(MAIN,), args=[])
    keys, ids, opened = [], set(), 0
    try:
        for serial in range(KILL_ROUNDS):
            server.start()
            workers = run_until_killed(server, serial, rng)
            server.start()
            client = server.client()
            for worker in workers:
                ids.update(worker.request_ids)
                keys.extend(worker.keys)
                if worker.maybe_created:
                    find_uncertain(client, worker.maybe_created)
            fresh = [k for worker in workers for k in worker.keys]
            for key in fresh + rng.sample(keys, min(20, len(keys))):
                opened += verify_key(client, key)
            client.close()
            # A kill of an idle server on every second round: the recovery above must last as well.
            server.kill() if serial % 2 else server.stop()
        server.start()
        client = server.client()
        for key in keys:
            opened += verify_key(client, key)
        assert server.stop() == 0
    finally:
        server.kill()
        print(f"kill -9: seed {seed}, {KILL_ROUNDS} rounds, {len(keys)} keys, {len(ids)} requests, {opened} opened")
    records = list(audit_lines(server))
    logged = Counter(record["request_id"] for record in records)
    missing = [i for i in ids if logged[i] == 0]
    assert ids and not missing, f"seed {seed}: {len(missing)} of {len(ids)} requests have no record"
    doubled = [i for i, n in logged.items() if n > 1]
    assert not doubled, f"seed {seed}: {len(doubled)} requests have more than one record"
    failed = [r for r in records if r["request_id"] in ids and r["code"]]
    assert not failed, f"seed {seed}: acknowledged, but recorded as failed: {failed[:3]}"


@pytest.fixture
def tmpfs(base):
    """A file system that can be filled."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mount = base / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(mount)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no tmpfs here: {made.stderr}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def fill(path):
    """Takes the last byte of a file system."""
    size = 1 << 20
    with open(path, "ab", buffering=0) as f:
        while size:
            try:
                if f.write(b"\0" * size) < size:
                    size //= 2
            except OSError:
                size //= 2


def test_full_disk(base, tmpfs):
    server = Server(tmpfs / "data", regions=(MAIN,), log_dir=base).start()
    try:
        client = server.client()
        key = client.call("CreateKey", Alias="before")["KeyId"]
        blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"kept"))["CiphertextBlob"]
        fill(tmpfs / "filler")
        codes, made = [], []
        for n in range(200):
            try:
                made.append(client.call("CreateKey", Alias=f"full-{n}")["KeyId"])
            except ApiError as error:
                codes.append(error.code)
            if len(codes) == 5:
                break
        assert codes == ["InternalError"] * 5, (codes, len(made))
        for _ in range(20):
            assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
            assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"kept"
            client.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))
        (tmpfs / "filler").unlink()
        end = time.time() + 15
        while client.code("CreateKey", Alias="after") is not None:
            assert time.time() < end, "writes did not come back"
            time.sleep(0.2)
        client.close()
        assert server.stop() == 0
        server.start()
        client = server.client()
        for good in made:
            assert client.call("DescribeKey", KeyId=good)["KeyMetadata"]["KeyState"] == "Enabled"
        names = {m["Alias"] for m in client.call("ListKeyDetail", Limit=200)["KeyMetadatas"]}
        assert {"before", "after"} <= names
        assert not names & {f"full-{n}" for n in range(200)} - {f"full-{n}" for n in range(len(made))}
        assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"kept"
        assert server.stop() == 0
    finally:
        server.kill()


def rekey(server):
    return subprocess.Popen(
        [str(binary()), "rekey", "--data-dir", str(server.data_dir)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )


def test_rekey_under_load_and_killed(base):
    """rekey beside a serving process, killed at random moments: everything still opens, before and after a restart."""
    rng = random.Random(time.time_ns())
    server = Server(base / "data", regions=(MAIN,)).start()
    try:
        workers = [Worker(server, f"rekey{n}", n) for n in range(2)]
        for worker in workers:
            worker.start()
        time.sleep(1)
        began = time.monotonic()
        process = rekey(server)
        output = process.communicate(timeout=120)[0]
        whole = time.monotonic() - began
        assert process.returncode == 0, output
        for _ in range(REKEY_ROUNDS):
            process = rekey(server)
            try:
                process.communicate(timeout=rng.uniform(0, whole * 1.2))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
        assert all(w.is_alive() for w in workers), [w.error for w in workers]
        # Whatever the last kill left half done, the next whole run finishes.
        process = rekey(server)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        time.sleep(0.5)
        server.kill()
        for worker in workers:
            worker.join(30)
            assert worker.error is None, worker.error
        server.start()
        client = server.client()
        opened = sum(verify_key(client, key) for worker in workers for key in worker.keys)
        assert opened > 0
        client.close()
        process = rekey(server)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        assert server.stop() == 0
        server.start()
        client = server.client()
        for worker in workers:
            for key in worker.keys:
                verify_key(client, key)
        assert server.stop() == 0
        print(f"rekey: {REKEY_ROUNDS} kills, {opened} ciphertexts opened")
    finally:
        server.kill()


def test_sigterm_lets_requests_finish(base):
    """Requests whose bytes were sent before the signal get their answer."""
    server = Server(base / "data", regions=(MAIN,)).start()
    try:
        worker = Worker(server, "term", 1)
        worker.start()
        time.sleep(0.5)
        assert server.stop() == 0
        worker.join(30)
        assert worker.error is None and not worker.is_alive()
        server.start()
        client = server.client()
        for key in worker.keys:
            verify_key(client, key)
        assert server.stop() == 0
    finally:
        server.kill()
