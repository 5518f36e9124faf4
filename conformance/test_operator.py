"""Commands of an operator beside a running service: access keys of the main account, questions about policies."""

import json
import os
import re
import subprocess
import tempfile
import pathlib

import httpx
import pytest

from kmslib.cam import source
from kmslib.server import MAIN, Server, binary
from kmslib.wire import Client, Creds

POLICY = '{"version":"2.0","statement":[{"effect":"allow","action":"kms:*","resource":"*"}]}'


@pytest.fixture(scope="module")
def own():
    """A server of our own, whose main account's access keys come and go."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-operator-") as base:
        running = Server(pathlib.Path(base) / "data", regions=(MAIN,)).start()
        try:
            yield running
            assert running.stop() == 0
        finally:
            running.kill()


def run(*args, **how):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JADESEAL_")}
    return subprocess.run([str(binary()), *args], capture_output=True, timeout=60, env=clean, **how)


def ask(server, *args, **how):
    return run(*args, "--data-dir", str(server.data_dir), **how)


def told(done, status=0):
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_a_lost_access_key_of_the_main_account(own):
    owner = str(own.hello["owner_uin"])

    def key(what, *args, status=0):
        return told(ask(own, "account", "access-key", what, "--account", owner, "-o", "json", *args), status)

    def code(creds):
        client = Client(own.endpoint, creds, MAIN, source=source())
        try:
            return client.ask("GetRegions").code
        finally:
            client.close()

    first = own.creds.secret_id
    assert [k["secret_id"] for k in key("list")["access_keys"]] == [first]
    assert code(own.creds) is None
    made = [key("create") for _ in range(3)]
    assert {m["owner_uin"] for m in made} == {own.hello["owner_uin"]}
    fresh = [Creds(m["secret_id"], m["secret_key"]) for m in made]
    assert [code(creds) for creds in fresh] == [None] * 3
    # The stolen one is refused as soon as the command returns, though the service knew it.
    assert key("disable", first) == {"secret_id": first, "enabled": False}
    assert code(own.creds) == "AuthFailure.SecretIdNotFound"
    assert {k["secret_id"]: k["enabled"] for k in key("list")["access_keys"]} == {
        first: False, **{creds.secret_id: True for creds in fresh}}
    assert key("enable", first) == {"secret_id": first, "enabled": True}
    assert code(own.creds) is None
    for creds in fresh:
        key("disable", creds.secret_id)
    assert [code(creds) for creds in fresh] == ["AuthFailure.SecretIdNotFound"] * 3
    # Nobody's, and somebody else's.
    other = told(ask(own, "account", "create", "-o", "json"))
    for wrong in ("AKIDnobody", "nonsense", other["secret_id"]):
        refused = ask(own, "account", "access-key", "disable", wrong, "--account", owner)
        assert refused.returncode == 1 and b"has no access key" in refused.stderr, refused.stderr
    refused = ask(own, "account", "access-key", "list", "--account", "999")
    assert refused.returncode == 1 and b"there is no account 999" in refused.stderr
    shown = ask(own, "account", "access-key", "list", "--account", owner).stdout.decode()
    assert first in shown and "disabled" in shown and own.creds.secret_key not in shown


def test_questions_that_cannot_be_answered(own, tmp_path):
    good, binary_, long = tmp_path / "good.json", tmp_path / "binary.json", tmp_path / "long.json"
    good.write_text(POLICY)
    binary_.write_bytes(b'{"version":"\xff"}')
    long.write_text("é" * 20_000)
    told(ask(own, "account", "create", "-o", "json"))
    at = ("--account", str(own.hello["owner_uin"]))
    for status, words, done in (
        (0, "", ask(own, "policy", "check", *at, str(good))),
        (1, "not UTF-8: byte 12", ask(own, "policy", "check", *at, str(binary_))),
        (1, "longer than 6144 characters", ask(own, "policy", "check", *at, str(long))),
        (1, "there is no account 999", ask(own, "policy", "check", "--account", "999", str(good))),
        (1, "there is no account 999", ask(own, "policy", "explain", "--account", "999", "--action", "kms:Encrypt")),
        (1, "several accounts; name one with --account (see `jadeseal account list`)", ask(own, "policy", "check", str(good))),
        (1, "kms:Encrypt is one, letter case counts", ask(own, "policy", "explain", *at, "--action", "KMS:encrypt")),
        (1, "there is no action kms:Nonsense\n", ask(own, "policy", "explain", *at, "--action", "kms:Nonsense")),
        (2, "--data-dir", run("policy", "check", str(good))),
        (2, "--config", run("policy", "explain", "--action", "kms:Encrypt")),
        (2, "--action", ask(own, "policy", "explain", *at)),
        (0, "ALLOWED", ask(own, "policy", "explain", *at, "--action", "kms:Encrypt")),
    ):
        assert done.returncode == status and words in (done.stdout + done.stderr).decode(), (words, done)
    for command in (("policy",), ("policy", "explain"), ("policy", "check")):
        assert re.search(rb"(?m)^ *3 +he may not$", run(*command, "--help").stdout), command


def test_metrics_of_what_is_in_memory(own):
    own.client().call("GetRegions")
    text = httpx.get(own.endpoint + "/metrics").text
    seen = {name: int(value) for name, value in re.findall(r"^(jadeseal_\w+) (\d+)$", text, re.M)}
    assert seen["jadeseal_cached_accounts"] >= 1 and seen["jadeseal_cached_access_keys"] >= 1
    assert seen["jadeseal_cached_sessions"] == seen["jadeseal_unreadable_policies"] == 0
