"""A full disk under the audit log: requests are refused and it is said why; when there is room again they go on, and how many
were refused is in the log, once."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import uuid

import httpx
import pytest

from kmslib.server import MAIN, Configured
from kmslib.wire import b64
from test_faults import audit_lines, fill

pytestmark = [pytest.mark.fault, pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")]

# Smallest segments that the configuration allows, and room for four of them.
SEGMENT_MIB = 16
SIZE_MIB = 70


@pytest.fixture
def small():
    """A server whose audit log has a small file system of its own, so that its store still has room."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-gap-") as base:
        data = pathlib.Path(base) / "data"
        (data / "audit").mkdir(parents=True, mode=0o700)
        data.chmod(0o700)
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0700", "tmpfs", str(data / "audit")], capture_output=True, text=True,
        )
        if made.returncode:
            pytest.skip(f"no tmpfs here: {made.stderr}")
        server = Small(base)
        try:
            yield server
        finally:
            server.kill()
            subprocess.run(["umount", "-l", str(data / "audit")], check=True)


class Small(Configured):
    """`jadeseal serve` with small segments: the log sets two of them aside, and then there is no room for a third."""

    def start(self):
        if self.creds is None:
            # Made with small segments too: what the first one has set aside stays with it.
            first = f"[audit]\nsegment_mib = {SEGMENT_MIB}\n"
            return super().start(first, first)
        return super().start(f"[audit]\nsegment_mib = {SEGMENT_MIB}\n")

    def ready(self):
        answer = httpx.get(self.endpoint + "/readyz")
        return answer.status_code, answer.text

    def refused(self):
        text = httpx.get(self.endpoint + "/metrics").text
        return int(re.search(r"^jadeseal_audit_refused_total (\d+)$", text, re.MULTILINE)[1])


def fill_log(server, client, key):
    """Fills the disk behind what the log has set aside, then the log: calls until one is refused."""
    fill(server.data_dir / "audit" / "filler")
    # Large records first: they name what was asked for. Then small ones, so that behind the one that finds no room none does.
    ids = [key, *(str(uuid.UUID(int=n)) for n in range(1, 100))]
    while sum(path.stat().st_size for path in (server.data_dir / "audit").glob("*.log")) < (2 * SEGMENT_MIB << 20) - 250_000:
        for _ in range(50):
            assert client.code("DescribeKeys", KeyIds=ids) == "ResourceUnavailable.CmkNotFound"
    for _ in range(2_000):
        code = client.code("Encrypt", KeyId=key, Plaintext=b64(b"x"))
        if code is not None:
            assert code == "InternalError"
            return
    raise AssertionError("the log is never full")


def gaps(server):
    return [r for r in audit_lines(server) if r["action"] == "AuditGap"]


def wait_until_ready(server, timeout=15):
    end = time.monotonic() + timeout
    while server.ready()[0] != 200:
        assert time.monotonic() < end, server.ready()
        time.sleep(0.1)


def test_requests_refused_for_a_full_log_are_counted_and_recorded(small):
    server = small.start()
    client = server.client(MAIN)
    key = client.call("CreateKey", Alias="before")["KeyId"]
    assert server.ready() == (200, "ready\n") and server.refused() == 0
    fill_log(server, client, key)
    refused = 1
    for _ in range(30):
        assert client.code("Encrypt", KeyId=key, Plaintext=b64(b"x")) == "InternalError"
        assert client.code("DescribeKey", KeyId=key) == "InternalError"
        refused += 2
    # A change has its record in the store: it is not refused, and its record comes later.
    made = client.call("CreateKey", Alias="meanwhile")["KeyId"]
    status, text = server.ready()
    assert (status, text) == (503, "not ready: audit log: no space left on its disk\n")
    assert server.refused() == refused
    time.sleep(2.5)
    assert server.ready()[0] == 503 and gaps(server) == []

    (server.data_dir / "audit" / "filler").unlink()
    wait_until_ready(server)
    assert client.code("Encrypt", KeyId=key, Plaintext=b64(b"x")) is None
    time.sleep(2.5)
    told = gaps(server)
    assert len(told) == 1, told
    count, begun, ended = told[0]["subjects"]
    assert count == f"refused/{refused}"
    assert begun.startswith("from/2") and ended.startswith("to/2") and begun[5:] <= ended[3:] <= told[0]["time"]
    assert [told[0][m] for m in ("principal", "access", "uin", "source", "code")] == ["service", "write", "", "", ""]
    created = [r for r in audit_lines(server) if r["action"] == "CreateKey" and r["resources"] == [made]]
    assert len(created) == 1 and not created[0]["code"]
    assert server.refused() == refused
    log = server.log_text()
    assert log.count(b"the audit log takes no records") == 1 and log.count(b"takes records again") == 1
    client.close()
    assert server.stop() == 0
    server.start()
    assert len(gaps(server)) == 1
    assert server.stop() == 0


def test_a_gap_that_is_open_at_a_stop_is_recorded_by_the_next_start(small):
    server = small.start()
    client = server.client(MAIN)
    key = client.call("CreateKey", Alias="k")["KeyId"]
    fill_log(server, client, key)
    for _ in range(4):
        assert client.code("DescribeKey", KeyId=key) == "InternalError"
    client.close()
    assert server.stop() == 0
    assert gaps(server) == []
    (server.data_dir / "audit" / "filler").unlink()
    server.start()
    assert [r["subjects"][0] for r in gaps(server)] == ["refused/5"]
    assert server.ready()[0] == 200
    client = server.client(MAIN)
    assert client.code("DescribeKey", KeyId=key) is None
    client.close()
    assert server.stop() == 0
