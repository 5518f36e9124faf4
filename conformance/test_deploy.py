"""deploy/ and docs/runbooks: unit, Debian package, image, Helm chart, dashboard, alerts; each read by the tool that it is
meant for, and tried with the real binary as far as that goes without systemd, Docker and Kubernetes."""

import base64
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import pytest

from kmslib import sandbox
from kmslib.deployed import CHART, DEPLOY, METRIC, ROOT, RULES, RUNBOOKS, UNIT, exposed, run, tool, without_strings
from kmslib.server import Configured, binary
from kmslib.wire import Client, Creds

# Metrics that an idle server does not show: families whose first member comes with what they count.
WHEN_USED = {
    "jadeseal_job_runs_total": "with the first thing that a background job does",
    "jadeseal_refused_unauthenticated_total": "with the first such refusal",
    "jadeseal_wrong_credentials_total": "with the first such request",
    "jadeseal_audit_export_lag_records": "with an export in the configuration",
    "jadeseal_audit_export_lag_seconds": "with an export in the configuration",
    "jadeseal_audit_export_failures_total": "with an export in the configuration",
    "jadeseal_audit_export_stopped": "with an export in the configuration",
    "jadeseal_tls_certificate_expiry_seconds": "with TLS in the configuration",
}
# Of Prometheus itself and of its blackbox exporter.
FOREIGN = {"up", "probe_success"}
HEADINGS = ["What it means", "What users see", "How to check", "What to do", "What not to do"]
WORST_EXPOSURE = 2.0


@pytest.fixture(scope="module")
def place():
    """A directory that a service of another user can reach."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-deploy-") as base:
        os.chmod(base, 0o755)
        yield pathlib.Path(base)


@pytest.fixture(scope="module")
def yaml():
    return pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def alerts(yaml):
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((DEPLOY / "grafana/jadeseal.json").read_text())


def expressions(dashboard):
    return [t["expr"].replace("$__rate_interval", "5m") for p in dashboard["panels"] for t in p.get("targets", [])]


# systemd


def test_the_unit_is_hardened():
    report = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", UNIT).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)[1])
    assert exposure < WORST_EXPOSURE, report


def test_the_unit_says_what_jadeseal_needs():
    assert not run(tool("systemd-analyze"), "verify", "--man=no", UNIT, ok=(0, 1)).stderr.replace(
        "jadeseal.service: Command /usr/bin/jadeseal is not executable: No such file or directory\n", "")
    one = {name: value for _, name, value in sandbox.settings(UNIT)}
    assert one["LimitMEMLOCK"] == "infinity" and one["LimitCORE"] == "0" and one["MemoryDenyWriteExecute"] == "yes"
    assert one["ProtectSystem"] == "strict" and one["StateDirectoryMode"] == "0700" and one["CapabilityBoundingSet"] == ""
    assert int(one["TimeoutStopSec"]) > 30, "http.drain_seconds"
    assert "setpriority" in sandbox.allowed(UNIT) and "ptrace" not in sandbox.allowed(UNIT)


@pytest.fixture
def sandboxed(place, monkeypatch):
    """A server as of the unit: its seccomp filter, limits and an ordinary user; JADESEAL_BIN is what starts it."""
    tool("systemd-analyze")
    home = pathlib.Path(tempfile.mkdtemp(dir=place))
    # Under a path that the user can reach; a link does where the file systems are one.
    real = home / "jadeseal.real"
    try:
        os.link(binary(), real)
    except OSError:
        shutil.copy2(binary(), real)
    wrapper = home / "jadeseal"
    wrapper.write_text(
        f'#!/bin/sh\ncd "{ROOT / "conformance"}"\n'
        f'exec "{sys.executable}" -m kmslib.sandbox "${{SANDBOX_UNIT:-{UNIT}}}" -- "{real}" "$@"\n')
    wrapper.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(home, sandbox.USER, sandbox.USER)
    monkeypatch.setenv("JADESEAL_BIN", str(wrapper))
    return home


def test_the_service_works_under_the_system_call_filter(sandboxed):
    """Threads, RSA keys, signatures, flushes, rekey beside it, a graceful stop. A call that is not allowed would end the
    process with SIGSYS."""
    server = Configured(sandboxed)
    server.config.write_text("")
    if os.geteuid() == 0:
        os.chown(server.config, sandbox.USER, sandbox.USER)
    server.start("[audit]\ndegree = \"fsync\"\nsegment_mib = 16\n")
    try:
        status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
        assert re.search(r"^Seccomp:\s+2$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
        assert re.search(r"^CapEff:\s+0+$", status, re.M) or os.geteuid() != 0
        kms = server.client()
        for usage in ("ENCRYPT_DECRYPT", "ASYMMETRIC_SIGN_VERIFY_RSA_2048", "ASYMMETRIC_DECRYPT_SM2"):
            key = kms.call("CreateKey", Alias=f"sandboxed-{usage.lower()}", KeyUsage=usage)["KeyId"]
            if usage == "ENCRYPT_DECRYPT":
                plain = base64.b64encode(b"under the filter").decode()
                blob = kms.call("Encrypt", KeyId=key, Plaintext=plain)["CiphertextBlob"]
            if usage.endswith("RSA_2048"):
                digest = base64.b64encode(b"\7" * 32).decode()
                kms.call("SignByAsymmetricKey", KeyId=key, Message=digest, MessageType="DIGEST", Algorithm="RSA_PSS_SHA_256")
        run(os.environ["JADESEAL_BIN"], "rekey", "--config", server.config)
        assert kms.call("Decrypt", CiphertextBlob=blob)["Plaintext"] == plain
        kms.close()
        assert server.stop() == 0
    finally:
        server.kill()
    assert b"Bad system call" not in server.log_text()


def test_the_filter_is_not_wider_than_needed(sandboxed, monkeypatch):
    """The test above can fail: without setpriority the service is ended by the kernel."""
    text = UNIT.read_text()
    assert "SystemCallFilter=setpriority " in text
    narrow = sandboxed / "narrow.service"
    narrow.write_text(text.replace("SystemCallFilter=setpriority ", "SystemCallFilter="))
    monkeypatch.setenv("SANDBOX_UNIT", str(narrow))
    data = sandboxed / "quick"
    quick = [os.environ["JADESEAL_BIN"], "quickstart", "--data-dir", data, "--listen", "127.0.0.1:0", "-o", "json"]
    run(*quick, ok=(-signal.SIGSYS,))


# Debian


@pytest.fixture(scope="module")
def package(place):
    """The package of the binary under test."""
    for name in ("dpkg-deb", "dpkg-shlibdeps", "strip"):
        tool(name)
    return build(place / "debian")


def build(folder):
    # Quick and large; releases take the defaults.
    how = {**os.environ, "DEB_COMPRESSION": "gzip", "DEB_COMPRESSION_LEVEL": "1"}
    return pathlib.Path(run(DEPLOY / "debian/build", binary(), folder, env=how).stdout.strip())


def test_the_package_has_no_faults(package):
    lintian = [tool("lintian"), "--fail-on", "error,warning", "--allow-root", "--no-cfg"]
    report = run(*lintian, package, ok=(0, 1, 2))
    assert report.returncode == 0, report.stdout


def test_the_same_binary_makes_the_same_package(package, place):
    assert build(place / "again").read_bytes() == package.read_bytes()


def test_the_package_installs_and_leaves_the_data(package, place):
    tree = place / "root"
    run("dpkg", "--extract", package, tree)
    told = run(tree / "usr/bin/jadeseal", "version", "-o", "json").stdout
    assert json.loads(told) == json.loads(run(binary(), "version", "-o", "json").stdout)
    version = run("dpkg-deb", "--field", package, "Version").stdout.strip()
    assert version == json.loads(told)["version"] + "-1"
    for path, mode in (("usr/bin/jadeseal", 0o755), ("etc/jadeseal/jadeseal.toml", 0o644)):
        assert (tree / path).stat().st_mode & 0o7777 == mode
    assert (tree / "lib/systemd/system/jadeseal.service").read_bytes() == UNIT.read_bytes()
    if os.geteuid() != 0:
        pytest.skip("not root: the package was unpacked and its program run, but it was not installed by dpkg")
    installed = place / "installed"
    for folder in ("var/lib/dpkg/info", "var/lib/dpkg/updates", "etc", "var/log"):
        (installed / folder).mkdir(parents=True)
    (installed / "var/lib/dpkg/status").touch()
    (installed / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (installed / "etc/group").write_text("root:x:0:\n")
    dpkg = ["dpkg", f"--root={installed}", "--force-script-chrootless,depends,confold"]
    run(*dpkg, "--install", package)
    user = re.search(r"^jadeseal:x:(\d+):(\d+):", (installed / "etc/passwd").read_text(), re.M)
    assert user, "systemd-sysusers made the user"
    data = installed / "var/lib/jadeseal"
    assert data.stat().st_mode & 0o7777 == 0o700 and data.stat().st_uid == int(user[1])
    config = installed / "etc/jadeseal/jadeseal.toml"
    assert config.stat().st_mode & 0o7777 == 0o640 and config.stat().st_gid == int(user[2])
    config.write_text(config.read_text() + "# mine\n")
    (data / "jadeseal.db").write_bytes(b"keys")
    run(*dpkg, "--install", package)
    assert config.read_text().endswith("# mine\n"), "a changed configuration stays with an update"
    run(*dpkg, "--purge", "jadeseal")
    assert (data / "jadeseal.db").read_bytes() == b"keys" and not config.exists()
    assert not (installed / "usr/bin/jadeseal").exists()


# Configurations, as Debian's package and the chart write them


def certificate(place):
    """Certificate and key for localhost."""
    pair = place / "tls.crt", place / "tls.key"
    if not pair[0].exists():
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", pair[1], "-out", pair[0])
    return pair


def serves(place, text, listen):
    """Brings up a service of a written configuration whose root of trust is a credential: init, check, serve, probes."""
    home = pathlib.Path(tempfile.mkdtemp(dir=place))
    credentials = home / "credentials"
    credentials.mkdir()
    secret = credentials / "jadeseal.root.key"
    secret.write_bytes(os.urandom(32))
    # As a Secret is mounted: readable by the group.
    secret.chmod(0o440)
    port = free_port()
    text = text.replace(listen, f"127.0.0.1:{port}")
    text, count = re.subn(r"^data_dir = .*$", f'data_dir = "{home / "data"}"', text, flags=re.M)
    assert count == 1
    config = home / "jadeseal.toml"
    config.write_text(text)
    environment = {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials), "JADESEAL_CONFIG": str(config)}
    made = json.loads(run(binary(), "init", "-o", "json", env=environment).stdout)
    run(binary(), "serve", "--check", env=environment)
    tls = bool(re.search(r"^\[tls\]$", text, re.M))
    process = subprocess.Popen([binary(), "serve"], env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    end = time.monotonic() + 20
    try:
        while True:
            try:
                return made, {path: get(port, path, tls) for path in ("/healthz", "/readyz", "/metrics")}
            except OSError:
                assert process.poll() is None and time.monotonic() < end, "it does not come up"
                time.sleep(0.05)
    finally:
        process.terminate()
        assert process.wait(20) == 0
        process.stderr.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def get(port, path, tls):
    """Status of a GET, as a probe asks: without looking at the certificate."""
    context = ssl._create_unverified_context() if tls else None
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = kind("127.0.0.1", port, timeout=5, **({"context": context} if tls else {}))
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


ALL_WELL = {"/healthz": 200, "/readyz": 200, "/metrics": 200}


def test_the_packaged_configuration_serves(place):
    made, probes = serves(place, (DEPLOY / "debian/jadeseal.toml").read_text(), "127.0.0.1:8443")
    assert probes == ALL_WELL and made["secret_id"].startswith("AKID")


# Image


def test_the_image_is_described_well():
    run(tool("hadolint"), "--failure-threshold", "info", DEPLOY / "docker/Dockerfile")
    text = (DEPLOY / "docker/Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.M), "a number, and not root's"
    assert not re.search(r"(?i)secret_key|passphrase|password", text)
    rust = re.search(r'^rust-version = "([0-9.]+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    image = re.search(r"^ARG BUILD_IMAGE=rust:([0-9.]+)-", text, re.M)[1]
    assert tuple(map(int, image.split("."))) >= tuple(map(int, rust.split(".")))


def test_the_image_gets_what_the_build_reads_and_no_more():
    """.dockerignore lets in every file of the workspace that cargo needs, and nothing that may hold a key."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    members = re.search(r"^members = \[(.*)\]", (ROOT / "Cargo.toml").read_text(), re.M)[1]
    assert {m.strip().strip('"').removesuffix("/*") for m in members.split(",")} | {"Cargo.toml", "Cargo.lock"} <= let_in
    assert not let_in & {"target", ".git", ".venv", "jadeseal-data", "fuzz"}
    assert {"**/*.key", "**/*.pem"} <= set(lines[1:])


# Helm


NEEDED = {"rootOfTrust": {"existingSecret": "root-of-trust"}, "tls": {"existingSecret": "certificate"}}
EVERYTHING = {
    **NEEDED,
    "image": {"digest": "sha256:" + "0" * 64},
    "config": 'products = ["cos"]\n\n[audit]\ndegree = "fsync"\n\n[[organisation]]\nname = "a"\nadmins = [1]\nmembers = [2]\n',
    "regions": [{"name": "ap-beijing", "profile": "gm", "strict": True}, {"name": "ap-singapore", "profile": "intl"}],
    "extraEnv": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "siem", "key": "token"}}}],
    "extraVolumes": [{"name": "extra", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
    "persistence": {"storageClass": "fast", "accessMode": "ReadWriteOncePod", "annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"a": "b"}},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "kms", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "networkPolicy": {
        "from": [{"podSelector": {"matchLabels": {"kms": "client"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443, "protocol": "TCP"}]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"e": "f"}, "caSecret": {"name": "ca"}},
    "prometheusRule": {"enabled": True, "labels": {"e": "f"}, "runbookBase": "https://kms.example/"},
}


@pytest.fixture(scope="module")
def chart():
    helm = pytest.importorskip("helm_python", reason="Helm's library is not installed for this platform")
    with helm.Chart.load(str(CHART)) as loaded:
        yield helm, loaded


@pytest.fixture(scope="module")
def rendered(chart, yaml):
    """Objects that a set of values makes, by kind and name."""

    def render(values):
        files = chart[1].render(values, name="demo", namespace="prod")
        objects = [o for name, text in files.items() if name.endswith(".yaml") for o in yaml.safe_load_all(text) if o]
        named = {(o["kind"], o["metadata"]["name"]): o for o in objects}
        assert len(named) == len(objects)
        return named

    return render


def test_helm_finds_no_fault(chart):
    found = chart[0].lint(str(CHART), values=NEEDED)
    assert not found["errors"], found
    # 1 is advice: an icon.
    assert [m["error"] for m in found["messages"] if m["severity"] > 1] == [], found


@pytest.mark.parametrize("values", [
    NEEDED, EVERYTHING, {**NEEDED, "maintenance": True}, {**NEEDED, "replicas": 0},
    {**NEEDED, "networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
], ids=["least", "everything", "maintenance", "stopped", "without policies"])
def test_what_the_chart_makes_is_valid(rendered, values):
    """By the schemas of Kubernetes; the two kinds of the Prometheus operator have none there."""
    validate = pytest.importorskip("kubernetes_validate")
    objects = rendered(values)
    for (kind, name), made in objects.items():
        if kind not in ("ServiceMonitor", "PrometheusRule"):
            for version in ("1.30", "1.37"):
                validate.validate(made, version, strict=True)
    assert (("NetworkPolicy", "demo-jadeseal") in objects) == values.get("networkPolicy", {}).get("enabled", True)


def test_the_pod_has_no_rights(rendered):
    pod = rendered(EVERYTHING)["StatefulSet", "demo-jadeseal"]["spec"]["template"]["spec"]
    whole, container = pod["securityContext"], pod["containers"][0]
    own = container["securityContext"]
    assert whole["runAsNonRoot"] and whole["runAsUser"] > 0 and whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"]
    assert own["capabilities"] == {"drop": ["ALL"]} and pod["automountServiceAccountToken"] is False
    user = re.search(r"^USER (\d+):", (DEPLOY / "docker/Dockerfile").read_text(), re.M)[1]
    assert whole["runAsUser"] == whole["fsGroup"] == int(user), "the image's user"
    mounts = {m["mountPath"]: m for m in container["volumeMounts"]}
    trust = mounts["/run/credentials/jadeseal/jadeseal.root.key"]
    assert trust["readOnly"] and trust["subPath"], "no symbolic link"
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert all(volumes[name]["secret"]["defaultMode"] == 0o440 for name in ("tls", "root-of-trust"))
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "https", "scheme": "HTTPS"}
    assert container["image"].endswith("@sha256:" + "0" * 64)


@pytest.mark.parametrize("wrong,words", [
    ({"replicas": 2}, "served by one process"),
    ({"rootOfTrust": {"existingSecret": ""}}, "rootOfTrust.existingSecret is not set"),
    ({"tls": {"existingSecret": ""}}, "tls.existingSecret is not set"),
    ({"config": "[root]\nkind = \"file\"\n"}, "which the chart sets"),
    ({"config": "listen = \"0.0.0.0:1\"\n"}, "which the chart sets"),
    ({"replica": 1}, "replica"),
    ({"rootOfTrust": {"existingSecret": "x", "kind": "file"}}, "kind"),
    ({"image": {"digest": "sha256:1"}}, "digest"),
    ({"terminationGracePeriodSeconds": 5}, "terminationGracePeriodSeconds"),
])
def test_the_chart_refuses(chart, wrong, words):
    with pytest.raises(chart[0].HelmError) as refused:
        chart[1].validate_schema({**NEEDED, **wrong})
        chart[1].render({**NEEDED, **wrong}, name="demo", namespace="prod")
    assert words in str(refused.value)


def test_the_charts_configuration_serves(rendered, place):
    made = rendered(EVERYTHING)
    text = made["ConfigMap", "demo-jadeseal"]["data"]["jadeseal.toml"]
    pair = certificate(place)
    for name, path in zip(("tls.crt", "tls.key"), pair):
        assert f'"/etc/jadeseal/tls/{name}"' in text
        text = text.replace(f"/etc/jadeseal/tls/{name}", str(path))
    account, probes = serves(place, text, "0.0.0.0:8443")
    assert probes == ALL_WELL and account["secret_key"]
    # Every setting came through: products before the tables, tables after.
    assert 'products = ["cos"]' in text.split("[tls]")[0] and "[[organisation]]" in text.split("[[region]]")[-1]


def test_the_chart_ships_the_same_alerts(rendered, yaml, alerts):
    assert (CHART / "files/jadeseal.rules.yml").read_bytes() == RULES.read_bytes()
    spec = rendered(EVERYTHING)["PrometheusRule", "demo-jadeseal"]["spec"]
    shipped = {r["alert"]: r for g in spec["groups"] for r in g["rules"]}
    assert shipped.keys() == alerts.keys()
    for name, rule in shipped.items():
        assert rule["annotations"]["runbook_url"] == f"https://kms.example/docs/runbooks/{name}.md"
        assert rule["expr"].strip() == alerts[name]["expr"].strip()


# Prometheus and Grafana


def test_the_alerts_do_what_they_say():
    tests = sorted(RULES.parent.glob("*.test.yml"))
    assert len(tests) == 2
    run(tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", RULES)
    run(tool("promtool"), "test", "rules", *tests)


def test_each_alert_is_tried_both_ways(yaml, alerts):
    """promtool says whether they pass; this, that there are any."""
    sent, silent = set(), set()
    for file in RULES.parent.glob("*.test.yml"):
        for case in yaml.safe_load(file.read_text())["tests"]:
            for check in case["alert_rule_test"]:
                (sent if check["exp_alerts"] else silent).add(check["alertname"])
    assert sent == set(alerts) and silent == set(alerts)


def test_each_alert_has_its_page_and_each_page_its_alert(alerts):
    pages = {page.stem: page.read_text() for page in RUNBOOKS.glob("*.md")}
    assert pages.keys() == alerts.keys()
    listed = (ROOT / "docs/deployment.md").read_text()
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert f"Severity: {rule['labels']['severity']}." in pages[name]
        assert re.findall(r"^## (.*)$", pages[name], re.M) == HEADINGS
        sections = re.split(r"^## .*$", pages[name], flags=re.M)[1:]
        assert all(len(section.strip()) > 7 for section in sections), name
        assert f"runbooks/{name}.md" in listed, f"docs/deployment.md does not list {name}"


def test_links_of_the_documents_lead_somewhere():
    for page in [ROOT / "docs/deployment.md", *RUNBOOKS.glob("*.md")]:
        for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())):
            if target.startswith("http"):
                continue
            file = (page.parent / target) if target else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor and file.suffix == ".md":
                titles = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
                anchors = {re.sub(r"[^a-z0-9 _-]", "", t.lower()).replace(" ", "-") for t in titles}
                assert anchor in anchors, f"{page.name}: {target}#{anchor}"


def test_metrics_that_are_named_exist(server, alerts, dashboard):
    """In alerts, dashboard and runbooks; of a server that has been called, rightly and wrongly."""
    client = server.client()
    client.call("ListKeys")
    client.close()
    stranger = Client(server.endpoint, Creds("AKIDnobody", "x" * 32), server.hello["region"])
    assert stranger.ask("ListKeys").code == "AuthFailure.SecretIdNotFound"
    stranger.close()
    host, port = server.host.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.request("GET", "/metrics")
    known = exposed(connection.getresponse().read().decode())
    connection.close()
    assert "jadeseal_wrong_credentials_total" in known and "jadeseal_request_duration_seconds_bucket" in known
    code = [*(rule["expr"] for rule in alerts.values()), *expressions(dashboard)]
    named = {name for text in code for name in METRIC.findall(without_strings(text))}
    assert named - known - WHEN_USED.keys() == set()
    # What is neither a metric of ours, nor of others, nor PromQL's.
    for text in code:
        for name in re.findall(r"\b([a-z][a-z0-9_]*)\{", without_strings(text)):
            assert name in named | FOREIGN, text
    pages = {n for p in RUNBOOKS.glob("*.md") for n in METRIC.findall(p.read_text())}
    assert pages - known - WHEN_USED.keys() == set()
    assert WHEN_USED.keys() <= named, "no longer named anywhere"
    labels = {"action", "code", "state", "outcome", "export", "task", "job", "instance", "le"}
    used = {n for text in code for block in re.findall(r"\{([^}]*)\}", text) for n in re.findall(r"(\w+)\s*=", block)}
    assert used <= labels


def test_the_dashboard_can_be_drawn(dashboard, place, yaml):
    panels = dashboard["panels"]
    assert len({p["id"] for p in panels}) == len(panels) and len({p["title"] for p in panels if p["type"] == "stat"}) > 4
    taken = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert grid["x"] + grid["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}" and '$instance"' in target["expr"]
    # Each expression is one that Prometheus can read.
    rules = [{"record": f"drawn:{n}", "expr": e.replace("$instance", ".*")} for n, e in enumerate(expressions(dashboard))]
    file = place / "drawn.rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "drawn", "rules": rules}]}))
    run(tool("promtool"), "check", "rules", file)
    shown = {name for e in expressions(dashboard) for name in METRIC.findall(without_strings(e))}
    assert len(shown) > 25


# Commands that runbooks and deployment.md name


def test_commands_that_are_named_exist():
    # Written at the same time as these pages; taken out of the list when the binary has them.
    known = set(re.findall(r"^  ([a-z-]+)  ", run(binary(), "--help").stdout, re.M))
    assert {"serve", "init", "rekey"} <= known
    for page in [ROOT / "docs/deployment.md", *RUNBOOKS.glob("*.md")]:
        named = set(re.findall(r"(?:`|/usr/bin/|^| )jadeseal ([a-z-]+)(?= --| [a-z]+`|`| -)", page.read_text(), re.M))
        assert named <= known, page.name
