"""When keys were last used: kept by the service, shown by `jadeseal key`, said where a deletion is refused; and records of
what the command line does beside a running service."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import time
from datetime import datetime, timezone

import pytest

from kmslib.server import MAIN, Server, binary
from kmslib.wire import b64


@pytest.fixture(scope="module")
def own():
    with tempfile.TemporaryDirectory(prefix="jadeseal-use-") as base:
        running = Server(pathlib.Path(base) / "data", regions=(MAIN,)).start()
        try:
            yield running
            assert running.stop() == 0
        finally:
            running.kill()


def ask(server, *args, status=0):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JADESEAL_")}
    command = [str(binary()), *args, "--data-dir", str(server.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def show(server, key):
    return json.loads(ask(server, "key", "show", key, "-o", "json").stdout)


def eventually(what, probe, timeout=20):
    end = time.monotonic() + timeout
    while not (found := probe()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return found


def test_a_use_is_kept_and_shown(own):
    client = own.client()
    used, idle = (client.call("CreateKey", Alias=name)["KeyId"] for name in ("used", "idle"))
    began = int(time.time())
    blob = client.call("Encrypt", KeyId=used, Plaintext=b64(b"x"))["CiphertextBlob"]
    # The first use of all is saved at once; later ones once a minute.
    look = eventually("the use is saved", lambda: (l := show(own, used)) and l["last_used"] and l)
    assert began <= look["last_used"] <= int(time.time()) and look["last_used_lag"] == 60
    assert {name: look[name] for name in ("key_id", "account", "region", "alias", "state", "usage", "origin")} == {
        "key_id": used, "account": own.hello["owner_uin"], "region": MAIN, "alias": "used", "state": "Enabled",
        "usage": "ENCRYPT_DECRYPT", "origin": "TENCENT_KMS",
    }
    assert (look["versions"], look["current_version"], look["data_keys"], look["deletion_date"]) == (1, 1, 0, 0)
    assert abs(look["create_time"] - began) < 30 and look["rotation_days"] == 0
    assert show(own, idle)["last_used"] == 0
    # The API's own answer is as it was.
    assert not [name for name in client.call("DescribeKey", KeyId=used)["KeyMetadata"] if "Used" in name]

    # What a refused deletion says, in both languages and before the store knows.
    time.sleep(1.1)
    client.call("Decrypt", CiphertextBlob=blob)
    minute = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M")
    for language, before in (("en-US", r"It was last used "), ("zh-CN", "密钥最近一次使用于 ")):
        speaker = own.client(MAIN, language=language)
        error = speaker.ask("ScheduleKeyDeletion", {"KeyId": used, "PendingWindowInDays": 7})
        speaker.close()
        assert error.code == "ResourceUnavailable.CmkShouldBeDisabled"
        said = re.search(before + r"(\d{4}-\d\d-\d\dT\d\d:\d\d)Z", error.message)
        assert said and said[1] <= datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M") and said[1] >= minute[:-1]
    last = int(time.time())

    # A deletion that goes through is worth a line.
    client.call("DisableKey", KeyId=used)
    assert b"that is in use" not in own.log_text()
    date = client.call("ScheduleKeyDeletion", KeyId=used, PendingWindowInDays=7)["DeletionDate"]
    client.call("DisableKey", KeyId=idle)
    client.call("ScheduleKeyDeletion", KeyId=idle, PendingWindowInDays=7)
    lines = [line for line in own.log_text().splitlines() if b"that is in use" in line]
    assert len(lines) == 1 and used.encode() in lines[0] and b"WARN" in lines[0]
    assert show(own, used)["deletion_date"] == date
    client.call("CancelKeyDeletion", KeyId=used)
    client.close()

    # An orderly stop saves what a minute has not yet.
    assert own.stop() == 0
    assert last - 3 <= show(own, used)["last_used"] <= last
    own.start()


def test_a_list_of_keys(own):
    client = own.client()
    made = [client.call("CreateKey", Alias=f"listed-{n}")["KeyId"] for n in range(3)]
    client.close()
    keys = json.loads(ask(own, "key", "list", "-o", "json").stdout)["keys"]
    listed = [key["key_id"] for key in keys if key["alias"].startswith("listed-")]
    assert listed == made, "by alias"
    assert [key["alias"] for key in keys] == sorted(key["alias"] for key in keys)
    young = json.loads(ask(own, "key", "list", "--unused-since", "1", "-o", "json").stdout)["keys"]
    assert young == [], "what is new is not unused"
    everything = json.loads(ask(own, "key", "list", "--unused-since", "0", "-o", "json").stdout)["keys"]
    assert len(everything) == len(keys)
    table = ask(own, "key", "list").stdout.splitlines()
    assert table[0].split() == ["KEYID", "ACCOUNT", "REGION", "STATE", "LASTUSED", "ALIAS"]
    assert len(table) == len(keys) + 1
    text = ask(own, "key", "show", made[0]).stdout
    assert made[0] in text and "within a minute" in text and re.search(r"Last used +-", text)


def test_what_is_no_key_is_said(own):
    assert "no key id" in ask(own, "key", "show", "x", status=1).stderr
    absent = "11111111-1111-1111-1111-111111111111"
    assert f"there is no key {absent}" in ask(own, "key", "show", absent, status=1).stderr


def service_records(server):
    lines = [line.split(b" ", 1)[1] for line in server.audit_text().splitlines() if b'"principal":"service"' in line]
    return [(r["action"], r["subjects"]) for r in map(json.loads, lines) if r["user_agent"].startswith("jadeseal-cli/")]


def test_the_command_line_leaves_records(own):
    before = len(service_records(own))
    made = json.loads(ask(own, "account", "create", "--name", "second", "-o", "json").stdout)
    owner = str(made["owner_uin"])
    extra = json.loads(ask(own, "account", "access-key", "create", "--account", owner, "-o", "json").stdout)
    ask(own, "account", "access-key", "disable", "--account", owner, extra["secret_id"])
    ask(own, "rekey")
    # The service copies them while it runs.
    eventually("the service copies the records", lambda: len(service_records(own)) >= before + 5)
    time.sleep(3)
    own.stop()
    ask(own, "rekey")
    own.start()
    told = service_records(own)[before:]
    (action, subjects), *rest = told
    assert (action, subjects) == ("CreateAccount", [f"account/{owner}", f"accesskey/{made['secret_id']}"])
    assert rest[:2] == [
        ("CreateAccountAccessKey", [f"accesskey/{extra['secret_id']}"]),
        ("DisableAccountAccessKey", [f"accesskey/{extra['secret_id']}"]),
    ]
    versions = [("rootversion/2", "slot/primary"), ("rootversion/2", "droppedversion/1"),
                ("rootversion/3", "slot/primary"), ("rootversion/3", "droppedversion/2")]
    assert rest[2:] == [("Rekey", list(subjects)) for subjects in versions], "also what was done while no service ran"
    secret = made["secret_key"].encode()
    assert secret not in own.audit_text()
