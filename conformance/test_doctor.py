"""`jadeseal doctor`: beside a running service, on a stopped one, and on deployments with something wrong."""

import json
import os
import sqlite3
import subprocess
import time

import pytest

from kmslib.pki import Authority
from kmslib.server import Configured, binary


class Report:
    """Findings of one run."""

    def __init__(self, config, *args):
        done = subprocess.run([str(binary()), "doctor", "--config", str(config), "-o", "json", *args],
                              capture_output=True, text=True, timeout=60)
        self.status = done.returncode
        self.text = done.stdout
        report = json.loads(done.stdout)
        self.worst, self.findings = report["worst"], report["findings"]
        for finding in self.findings:
            assert set(finding) == {"check", "level", "what", "remedy"}
            assert finding["level"] in ("ok", "info", "warning", "problem")
            assert bool(finding["remedy"]) == (finding["level"] != "ok"), finding

    def level(self, check):
        levels = [f["level"] for f in self.findings if f["check"] == check]
        return levels[0] if levels else None

    def of(self, check):
        return " ".join(f["what"] + " " + f["remedy"] for f in self.findings if f["check"] == check)


@pytest.fixture
def server(tmp_path):
    running = Configured(tmp_path)
    running.start()
    yield running
    running.kill()


def test_beside_a_running_service(server):
    client = server.client()
    client.call("GetRegions")
    report = Report(server.config)
    for check in ("settings.listen", "clock.history", "files.mode", "process.core", "entropy.pool", "store.file",
                  "store.schema", "service.running", "audit.log", "audit.lag"):
        assert report.level(check) == "ok", report.of(check)
    assert report.level("custody.backup") == "warning" and "no backup was ever proved" in report.of("custody.backup")
    assert report.level("custody.custodians") == "warning" and "jadeseal custody add" in report.of("custody.custodians")
    assert report.level("custody.place") == "warning"
    assert {"disk.space", "disk.kind", "process.memlock", "clock.synchronised"} <= {f["check"] for f in report.findings}
    assert report.status == (1 if report.worst == "problem" else 0)
    assert server.creds.secret_key not in report.text
    # It has disturbed nothing.
    client.call("GetRegions")
    assert server.stop() == 0
    server.start()


def test_on_a_stopped_service(server):
    server.client().call("GetRegions")
    server.stop()
    before = sorted((p, p.stat().st_mtime_ns) for p in server.data_dir.rglob("*") if "-" not in p.name)
    report = Report(server.config)
    assert report.level("service.running") == "info"
    assert report.level("audit.lag") is None and report.level("audit.log") == "ok"
    assert report.level("audit.checkpoint") == "ok", report.of("audit.checkpoint")
    assert before == sorted((p, p.stat().st_mtime_ns) for p in server.data_dir.rglob("*") if "-" not in p.name)


def test_a_proved_backup(server):
    server.stop()
    for age, level in ((3600, "ok"), (40 * 86400, "warning")):
        with sqlite3.connect(server.data_dir / "jadeseal.db") as db:
            table, = [n for (n,) in db.execute("select name from sqlite_schema where name = 'meta'")]
            columns = [row[1] for row in db.execute(f"pragma table_info({table})")]
            db.execute(f"insert or replace into {table} ({columns[0]}, {columns[1]}) values (?, ?)",
                       ("backup_last_proved", str(int(time.time()) - age).encode()))
        report = Report(server.config)
        assert report.level("custody.backup") == level, report.of("custody.backup")


def test_modes_and_damage(server):
    server.stop()
    key = server.data_dir / "root.key"
    os.chmod(key, 0o644)
    os.chmod(server.data_dir, 0o755)
    report = Report(server.config)
    assert report.status == 1 and report.worst == "problem"
    assert report.level("files.mode") == "problem"
    assert f"chmod 0600 {key}" in report.of("files.mode") and f"chmod 0700 {server.data_dir}" in report.of("files.mode")
    os.chmod(key, 0o600)
    os.chmod(server.data_dir, 0o700)
    segment = sorted((server.data_dir / "audit").glob("audit-0*.log"))[-1]
    later = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 7200))
    with open(segment, "ab") as file:
        file.write(f'00000000 {{"v":1,"time":"{later}.000000Z"}}\n'.encode())
    report = Report(server.config)
    assert report.level("clock.history") == "problem", report.of("clock.history")
    database = server.data_dir / "jadeseal.db"
    damaged = bytearray(database.read_bytes())
    for at in range(4096 * 2, len(damaged), 4096):
        damaged[at:at + 200] = os.urandom(200)
    database.write_bytes(damaged)
    report = Report(server.config)
    assert report.level("store.file") == "problem" and report.status == 1
    database.unlink()
    assert "no store" in Report(server.config).of("store.file")


def test_configurations_that_are_wrong(tmp_path, server):
    server.stop()
    text = server.config.read_text()
    server.config.write_text("colour = 1\n" + text)
    report = Report(server.config)
    assert report.status == 1 and report.level("settings.file") == "problem" and "colour" in report.of("settings.file")
    listen = f'listen = "{server.host}"'
    for extra in ("", "allow_plain_http = true\n"):
        server.config.write_text(extra + text.replace(listen, 'listen = "0.0.0.0:1"'))
        report = Report(server.config)
        assert report.level("settings.listen") == "problem" and report.status == 1
    assert Report(tmp_path / "none.toml").level("settings.file") == "problem"


def test_certificates(tmp_path, server):
    server.stop()
    text = server.config.read_text()
    authority = Authority(tmp_path)
    good = authority.issue("good", "DNS:localhost,IP:127.0.0.1", "serverAuth", dates=("-days", 90))
    soon = authority.issue("soon", "DNS:localhost", "serverAuth", dates=("-days", 7))
    gone = authority.issue("gone", "DNS:localhost", "serverAuth",
                           dates=("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"))
    nameless = authority.issue("nameless", "URI:https://localhost", "serverAuth")

    def examine(certificate, key):
        server.config.write_text(text + f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n')
        return Report(server.config)

    report = examine(good.pem, good.key)
    assert report.level("tls.files") == "ok" and report.level("tls.validity") == "ok"
    assert report.level("tls.order") == "info", "the leaf alone"
    assert report.level("clients.trust") == "info"
    for setting in ("certification=", "python3 -m certifi", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "keytool"):
        assert setting in report.of("clients.trust")
    assert examine(soon.pem, soon.key).level("tls.validity") == "warning"
    assert examine(gone.pem, gone.key).level("tls.validity") == "problem"
    assert examine(nameless.pem, nameless.key).level("tls.names") == "problem"
    assert examine(good.pem, soon.key).level("tls.files") == "problem"
    chain = tmp_path / "chain.pem"
    chain.write_bytes(soon.pem.read_bytes() + good.pem.read_bytes())
    assert examine(chain, soon.key).level("tls.order") == "problem"


def test_beside_a_running_service_with_tls(tmp_path):
    (tmp_path / "server").mkdir()
    authority = Authority(tmp_path)
    served = authority.issue("server", "DNS:localhost", "serverAuth")
    running = Configured(tmp_path / "server")
    try:
        running.start(f'[tls]\ncertificate = "{served.pem}"\nkey = "{served.key}"\n')
        report = Report(running.config)
        assert report.level("service.running") == "ok", report.of("service.running")
        assert report.level("audit.lag") == "ok"
    finally:
        running.kill()


def test_the_table_is_for_people(server):
    done = subprocess.run([str(binary()), "doctor", "--config", str(server.config)], capture_output=True, text=True,
                          timeout=60)
    assert "no backup was ever proved" in done.stdout and " -> " in done.stdout
    assert "\x1b" not in done.stdout
    assert "settings.listen" not in done.stdout, "what is in order is left out"
    done = subprocess.run([str(binary()), "doctor", "--config", str(server.config), "--all"], capture_output=True,
                          text=True, timeout=60)
    assert "settings.listen" in done.stdout
