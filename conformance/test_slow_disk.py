"""A slow disk, and slow receivers of audit exports, under the real binary: who waits, who does not, and what is there after a
kill. Flushes and writes of its process are delayed by a library (kmslib/slowdisk.c) that is loaded before the system's."""

import contextlib
import itertools
import json
import pathlib
import re
import statistics
import tempfile
import threading
import time
import urllib.request

import pytest

from kmslib.server import Configured
from kmslib.sinks import HttpSink
from kmslib.slowdisk import SlowDisk
from kmslib.wire import b64, unb64
from test_export import assert_complete, file_lines, metrics, records_of, shipped, table
from test_faults import audit_lines

pytestmark = pytest.mark.fault

# How long a flush takes, seconds.
LATE = 0.5
FSYNC = '[audit]\ndegree = "fsync"\n'


class Slow:
    """A server, and what makes its disk slow: `audit`, `store`, and `export` for a file of records."""

    def __init__(self, base):
        self.server = Configured(base)
        data = self.server.data_dir.resolve()
        self.export = pathlib.Path(base).resolve() / "shipped.jsonl"
        self.disk = SlowDisk(base, audit=data / "audit/", store=data / "jadeseal.db", export=self.export)
        self.server.environment = self.disk.environment
        self.clients = []

    def client(self):
        self.clients.append(self.server.client(timeout=60))
        return self.clients[-1]

    def get(self, path):
        with urllib.request.urlopen(self.server.endpoint + path, timeout=30) as answer:
            return answer.read().decode()

    def figure(self, name):
        return float(re.search(rf"^jadeseal_{name} (\S+)$", self.get("/metrics"), re.MULTILINE)[1])


@pytest.fixture
def slow():
    with tempfile.TemporaryDirectory(prefix="jadeseal-slow-") as base:
        slow = Slow(base)
        try:
            yield slow
        finally:
            slow.server.kill()
            for client in slow.clients:
                client.close()


class Loop(threading.Thread):
    """Does something again and again, with pauses, until told to stop; keeps what came of it and how long each took."""

    def __init__(self, do, pause=0):
        super().__init__(daemon=True)
        self.do, self.pause, self.stop = do, pause, threading.Event()
        self.times, self.got, self.error = [], [], None
        self.start()

    def run(self):
        try:
            while not self.stop.is_set():
                began = time.perf_counter()
                got = self.do()
                self.times.append(time.perf_counter() - began)
                self.got.append(got)
                time.sleep(self.pause)
        except Exception as error:  # noqa: BLE001 - whoever ends it looks at it
            self.error = error

    def end(self, timeout=30):
        self.stop.set()
        self.join(timeout)
        assert not self.is_alive()
        return self


@contextlib.contextmanager
def loops(*do):
    """Runs loops beside what is within: of functions, or of functions with pauses. None of them may fail."""
    running = [Loop(*one) if isinstance(one, tuple) else Loop(one) for one in do]
    yield running
    for loop in running:
        loop.stop.set()
    for loop in running:
        assert loop.end().error is None, loop.error


def quantile(times, percent):
    return statistics.quantiles(times, n=100)[percent - 1]


def assert_not_held(times, delays, what):
    """Nobody has waited for what was delayed so many times. A busy machine may make one late, not every fourth delay."""
    late = [t for t in times if t > LATE / 2]
    print(f"{what}: {len(times)}, p50 {quantile(times, 50) * 1e3:.1f} ms, p99 {quantile(times, 99) * 1e3:.1f} ms, "
          f"longest {max(times) * 1e3:.1f} ms; {delays} delays")
    assert delays >= 4, delays
    assert len(late) * 4 <= delays, (what, late)
    # Of few, one in a hundred is the longest.
    assert quantile(times, 99 if len(times) >= 300 else 90) < LATE / 4, (what, sorted(times)[-20:])


def watched(slow):
    """Loops that ask whether the server is ready, and for its metrics."""

    def ready():
        assert slow.get("/readyz") == "ready\n"

    def figures():
        assert "\njadeseal_ready 1\n" in slow.get("/metrics")

    return (ready, 0.05), (figures, 0.05)


def test_a_slow_flush_of_the_log_holds_up_no_answer_in_degree_os(slow):
    server = slow.server.start()
    client, other = slow.client(), slow.client()
    key = client.call("CreateKey", Alias="k")["KeyId"]
    encrypt = lambda who: lambda: who.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["RequestId"]  # noqa: E731
    with loops(encrypt(client)) as [normal]:
        time.sleep(1)
    slow.disk.slow("audit", flush=LATE)
    lag = []
    with loops(encrypt(client), encrypt(other), *watched(slow)) as [one, two, ready, figures]:
        for _ in range(10):
            time.sleep(0.4)
            lag.append(slow.figure("audit_unflushed_records"))
        # One of them is under way.
        flushes = slow.disk.flushes("audit")
        server.kill()
        one.join(10), two.join(10), ready.join(10), figures.join(10)
        # The kill is what ended them.
        for loop in (one, two, ready, figures):
            assert isinstance(loop.error, (OSError, EOFError)) or type(loop.error).__module__ == "http.client", loop.error
            loop.error = None
    print(f"usual: p50 {quantile(normal.times, 50) * 1e3:.1f} ms, p99 {quantile(normal.times, 99) * 1e3:.1f} ms")
    assert_not_held(one.times + two.times, flushes, "Encrypt")
    assert_not_held(ready.times, flushes, "/readyz")
    assert_not_held(figures.times, flushes, "/metrics")
    assert max(lag) > 20, lag
    slow.disk.slow("audit")
    server.start()
    recorded = {record["request_id"] for record in audit_lines(server)}
    answered = set(normal.got + one.got + two.got)
    assert len(answered) > 200 and answered <= recorded, f"{len(answered - recorded)} of {len(answered)} have no record"
    assert server.stop() == 0


def test_answers_in_degree_fsync_share_a_slow_flush(slow):
    server = slow.server.start(FSYNC)
    first = slow.client()
    key = first.call("CreateKey", Alias="k")["KeyId"]
    slow.disk.slow("audit", flush=LATE)
    before = slow.disk.flushes("audit")

    def encrypt(client):
        return lambda: client.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["RequestId"]

    with loops(*(encrypt(slow.client()) for _ in range(32)), *watched(slow)) as running:
        time.sleep(6)
        for loop in running:
            loop.stop.set()
    *callers, ready, figures = running
    flushes = slow.disk.flushes("audit") - before
    times = [t for caller in callers for t in caller.times]
    print(f"{len(times)} answers, {flushes} flushes, p50 {quantile(times, 50):.2f} s, longest {max(times):.2f} s")
    assert min(times) >= LATE * 0.99, "an answer has left before its record was flushed"
    assert flushes * 4 < len(times)
    assert_not_held(ready.times, flushes, "/readyz")
    assert_not_held(figures.times, flushes, "/metrics")
    answered = {i for caller in callers for i in caller.got}
    server.kill()
    slow.disk.slow("audit")
    server.start(FSYNC)
    assert answered <= {record["request_id"] for record in audit_lines_of_killed(server)}
    assert server.stop() == 0


def audit_lines_of_killed(server):
    """Of a log in degree `fsync` that is open: zeros behind its end."""
    return [json.loads(record) for record in records_of(server)]


def test_only_the_write_of_its_record_holds_an_answer_up(slow):
    server = slow.server.start()
    first = slow.client()
    key = first.call("CreateKey", Alias="k")["KeyId"]
    slow.disk.slow("audit", write=LATE / 2)
    before = slow.disk.writes("audit")

    def encrypt(client):
        return lambda: client.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["RequestId"]

    with loops(*(encrypt(slow.client()) for _ in range(16))) as callers:
        time.sleep(4)
        for caller in callers:
            caller.stop.set()
    writes = slow.disk.writes("audit") - before
    times = [t for caller in callers for t in caller.times]
    print(f"{len(times)} answers, {writes} writes, p50 {quantile(times, 50):.2f} s, longest {max(times):.2f} s")
    assert min(times) >= LATE / 2 * 0.9, "an answer has left before its record was written"
    assert writes < len(times), "each answer has a write of its own"
    slow.disk.slow("audit")
    answered = {i for caller in callers for i in caller.got}
    server.kill()
    server.start()
    assert answered <= {record["request_id"] for record in audit_lines(server)}
    assert server.stop() == 0


def test_a_slow_commit_of_the_store_holds_up_neither_reads_nor_the_use_of_keys(slow):
    server = slow.server.start()
    client = slow.client()
    key = client.call("CreateKey", Alias="k")["KeyId"]
    blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"kept"))["CiphertextBlob"]
    slow.disk.slow("store", flush=LATE)
    serial = itertools.count()

    def create(client):
        return lambda: client.call("CreateKey", Alias=f"made-{next(serial)}")["KeyId"]

    def encrypt(client):
        return lambda: client.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["RequestId"]

    def read(client):
        def one():
            assert client.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
            assert client.call("ListKeys", Limit=1)["TotalCount"] >= 1

        return one

    before = slow.disk.flushes("store")
    with loops(*(create(slow.client()) for _ in range(4)), encrypt(slow.client()), read(slow.client()), *watched(slow)) as running:
        time.sleep(6)
        delays = slow.disk.flushes("store") - before
        for loop in running:
            loop.stop.set()
    *creators, encrypting, reading, ready, figures = running
    made = [k for loop in creators for k in loop.got]
    times = [t for loop in creators for t in loop.times]
    print(f"CreateKey: {len(made)}, quickest {min(times):.2f} s, longest {max(times):.2f} s")
    assert min(times) >= LATE * 0.99, "a change was acknowledged before it was flushed"
    assert len(made) > delays, "one commit serves several changes"
    for loop, what in [(encrypting, "Encrypt"), (reading, "DescribeKey, ListKeys"), (ready, "/readyz"), (figures, "/metrics")]:
        assert_not_held(loop.times, delays, what)
    # Killed within a commit: every change that was acknowledged is there, with its record.
    late = [Loop(create(slow.client())) for _ in range(4)]
    time.sleep(LATE * 2.5)
    server.kill()
    for loop in late:
        loop.join(10)
        made += loop.got
    slow.disk.slow("store")
    server.start()
    client = slow.client()
    for k in made:
        assert client.call("DescribeKey", KeyId=k)["KeyMetadata"]["KeyState"] == "Enabled"
    assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"kept"
    recorded = [r["resources"][0] for r in audit_lines(server) if r["action"] == "CreateKey" and not r["code"]]
    assert set(made) <= set(recorded) and len(recorded) == len(set(recorded))
    assert server.stop() == 0


def test_slow_receivers_hold_up_no_answer_and_their_lag_comes_and_goes(slow):
    web = HttpSink(1)
    web.failing = False
    server = slow.server.start(
        table("web", "http", url=web.url, batch_records=20) + table("file", "file", path=str(slow.export), batch_records=20, rotate_mib=1, keep=0)
    )
    client, other = slow.client(), slow.client()
    key = client.call("CreateKey", Alias="k")["KeyId"]
    encrypt = lambda who: lambda: who.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["RequestId"]  # noqa: E731
    with loops(encrypt(client)) as [normal]:
        time.sleep(2)
    shipped(server, ["web", "file"])
    web.delay = LATE
    slow.disk.slow("export", flush=LATE, write=LATE)
    seen = {"web": [], "file": []}
    began = time.monotonic()
    with loops(encrypt(client), encrypt(other)) as callers:
        for _ in range(3):
            time.sleep(2)
            figures = metrics(server)
            for name, lags in seen.items():
                lags.append((figures["lag_records", name], figures["lag_seconds", name]))
    delays = int((time.monotonic() - began) / LATE)
    times = [t for caller in callers for t in caller.times]
    print("usual:", f"p50 {quantile(normal.times, 50) * 1e3:.1f} ms; lag (records, seconds): {seen}")
    assert_not_held(times, delays, "Encrypt")
    assert slow.disk.flushes("export") + slow.disk.writes("export") > 4
    for name, lags in seen.items():
        assert 0 < lags[0][0] < lags[1][0] < lags[2][0] and 0 < lags[0][1] < lags[2][1], (name, lags)
    assert metrics(server)["failures_total", "web"] == 0
    # Quick again: it shrinks, to nothing.
    web.delay = 0.01
    slow.disk.slow("export")
    figures = shipped(server, ["web", "file"])
    assert figures["lag_seconds", "web"] == figures["lag_seconds", "file"] == 0
    assert server.stop() == 0
    records = records_of(server)
    assert_complete(web.got, records, "web")
    assert_complete(file_lines(slow.export), records, "file")
    web.close()
