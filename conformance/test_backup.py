"""Backups, restores, drills and custodians of the root key, by the real binary."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import threading

import httpx
import pytest

from kmslib.server import GM, MAIN, REGIONS, Server, binary
from kmslib.wire import Client, Creds

PASSPHRASE = "correct horse battery staple"
SECRET = base64.b64encode(b"what has to survive").decode()
USAGES = ("ASYMMETRIC_DECRYPT_RSA_2048", "ASYMMETRIC_SIGN_VERIFY_SM2", "ASYMMETRIC_SIGN_VERIFY_ECC")


def run(*args, env=(), **how):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JADESEAL_")} | dict(env)
    return subprocess.run([str(binary()), *map(str, args)], capture_output=True, timeout=120, env=clean, **how)


def told(done, status=0):
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def refused(done, words):
    assert done.returncode == 1 and words in done.stderr.decode(), (done.returncode, done.stdout, done.stderr)


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.fixture
def at(tmp_path):
    """A directory with a passphrase file."""
    private(tmp_path / "passphrase", PASSPHRASE + "\n")
    return tmp_path


@pytest.fixture
def own(at):
    running = Server(at / "data").start()
    try:
        yield running
        assert running.stop() == 0
    finally:
        running.kill()


def fill(server, region=MAIN, usages=USAGES):
    """Keys of several kinds; a ciphertext of each symmetric one."""
    client = server.client(region)
    blobs = []
    for n in range(3):
        key = client.call("CreateKey", Alias=f"key-{region}-{n}")["KeyId"]
        blobs.append(client.call("Encrypt", KeyId=key, Plaintext=SECRET)["CiphertextBlob"])
    for usage in usages:
        client.call("CreateKey", Alias=f"{region}-{usage.lower()}", KeyUsage=usage)
    client.call("DisableKey", KeyId=key)
    client.close()
    return blobs[:2]


def decrypt(server, blobs, region=MAIN):
    client = server.client(region)
    try:
        return [client.call("Decrypt", CiphertextBlob=blob)["Plaintext"] for blob in blobs]
    finally:
        client.close()


def serve_restored(data, creds, regions=REGIONS):
    """Serves a restored data directory with the access keys of the old host."""
    server = Server(data, regions)
    server.creds = creds
    return server.start()


def test_a_backup_under_load_restores_on_a_bare_host(at, own):
    blobs = fill(own)
    stop = threading.Event()
    failed = []

    def load():
        client = own.client()
        n = 0
        while not stop.is_set():
            answer = client.ask("CreateKey", {"Alias": f"load-{n}"})
            if answer.code is not None:
                failed.append(answer.code)
            n += 1
        client.close()

    loading = threading.Thread(target=load)
    loading.start()
    try:
        made = told(run("backup", "--data-dir", own.data_dir, "--out", at / "b", "--passphrase-file", at / "passphrase",
                        "-o", "json"))
    finally:
        stop.set()
        loading.join()
    assert not failed
    assert made["differences"] == [] and made["canaries_decrypted"] == 1 and made["root_key"] is True
    assert made["keys"]["Enabled"] >= 5 and made["keys"]["Disabled"] == 1 and made["access_keys_opened"] == 1
    assert made["key_versions_opened"] == sum(made["keys"].values())
    assert made["audit_next_index"] > 0
    assert (at / "b").stat().st_mode & 0o777 == 0o600
    assert not [p for p in own.data_dir.iterdir() if p.name.startswith(".jadeseal-scratch")] and not (at / "b.partial").exists()
    sealed = (at / "b").read_bytes()
    assert b"SQLite" not in sealed and own.creds.secret_id.encode() not in sealed

    # A file is never written over.
    refused(run("backup", "--data-dir", own.data_dir, "--out", at / "b", "--passphrase-file", at / "passphrase"), "exists")

    # After the backup: changes that a restore takes back.
    client = own.client()
    late = client.call("CreateKey", Alias="late")["KeyId"]
    client.call("DisableKey", KeyId=late)
    client.close()

    # The drill, noted in the deployment, from where the metric comes.
    drill = told(run("restore", at / "b", "--prove", "--passphrase-file", at / "passphrase", "--data-dir", own.data_dir,
                     "--scratch", at, "-o", "json"))
    assert drill["noted"] is True and drill["differences"] == [] and drill["keys"] == made["keys"]
    assert not [p for p in at.iterdir() if p.name.startswith(".jadeseal-scratch")]

    new = at / "bare"
    put_back = told(run("restore", at / "b", "--passphrase-file", at / "passphrase", "--data-dir", new, "--root",
                        f"file:{new / 'root.key'}", "--audit", own.data_dir / "audit", "-o", "json"))
    assert put_back["slot"] == "restored" and put_back["keys"] == made["keys"]
    assert put_back["destruction_held_until"] >= made["created"] + 86_400
    since = [(c["action"], c["resources"]) for c in put_back["changes_since"]]
    assert since[-2:] == [("CreateKey", [late]), ("DisableKey", [late])], since
    assert sorted(p.name for p in new.iterdir()) == ["jadeseal.db", "root.key"]
    # The old custodian keeps his slot.
    listed = told(run("custody", "list", "--data-dir", new, "-o", "json"))["custodians"]
    assert [(c["slot"], c["kind"], c["complete"]) for c in listed] == [("primary", "file", True), ("restored", "file", True)]
    # The host is gone: its root key is not what opens the new one.
    assert (new / "root.key").read_bytes() != (own.data_dir / "root.key").read_bytes()
    fresh = serve_restored(new, own.creds)
    try:
        assert decrypt(fresh, blobs) == [SECRET] * 2
        assert b"restored from a backup" in fresh.log_text()
        assert fresh.stop() == 0
    finally:
        fresh.kill()
    refused(run("restore", at / "b", "--passphrase-file", at / "passphrase", "--data-dir", new, "--root",
                f"file:{new / 'root.key'}"), "is not empty")
    # Not noted elsewhere than where it belongs.
    other = Server(at / "other").start()
    try:
        refused(run("restore", at / "b", "--prove", "--passphrase-file", at / "passphrase", "--data-dir", other.data_dir,
                    "--scratch", at), "another deployment")
        assert other.stop() == 0
    finally:
        other.kill()


def test_the_metric_tells_of_the_proof(at, own):
    fill(own, usages=())
    metric = lambda: [line for line in httpx.get(own.endpoint + "/metrics").text.splitlines()
                      if line.startswith("jadeseal_backup_last_proved_seconds ")]
    told(run("backup", "--data-dir", own.data_dir, "--out", at / "b", "--passphrase-env", "PASS", "-o", "json",
             env={"PASS": PASSPHRASE}))
    told(run("restore", at / "b", "--prove", "--passphrase-env", "PASS", "--data-dir", own.data_dir, "-o", "json",
             env={"PASS": PASSPHRASE}))
    shown = metric()
    assert len(shown) == 1 and int(float(shown[0].split()[1])) > 1_700_000_000, shown


def test_bad_archives_and_secrets_are_refused(at, own):
    fill(own, usages=())
    told(run("backup", "--data-dir", own.data_dir, "--out", at / "b", "--passphrase-file", at / "passphrase", "-o", "json"))
    good = (at / "b").read_bytes()
    bad, new = at / "bad", at / "bare"

    def tried(what, passphrase=at / "passphrase"):
        bad.write_bytes(what)
        drill = run("restore", bad, "--prove", "--passphrase-file", passphrase, "--scratch", at)
        put_back = run("restore", bad, "--passphrase-file", passphrase, "--data-dir", new, "--root", f"file:{at / 'k'}")
        assert drill.returncode == put_back.returncode == 1, (drill, put_back)
        assert not (new / "jadeseal.db").exists() and not (at / "k").exists()
        assert not [p for base in (at, new) for p in base.iterdir() if p.name.startswith(".jadeseal-scratch")]
        return drill.stderr.decode()

    middle = len(good) // 2
    assert "damaged or was altered" in tried(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1:])
    assert "cut off" in tried(good[:-1])
    assert "cut off" in tried(good[:middle])
    assert "does not end" in tried(good + b"\0")
    assert "not a backup" in tried(b"")
    assert "not a backup" in tried((own.data_dir / "root.key").read_bytes() * 9)
    assert "passphrase is not the one" in tried(good, private(at / "wrong", "correct horse battery stable"))
    refused(run("restore", at / "b", "--prove"), "a passphrase")
    refused(run("backup", "--data-dir", own.data_dir, "--out", at / "c"), "a passphrase")
    short = private(at / "short", "short")
    refused(run("backup", "--data-dir", own.data_dir, "--out", at / "c", "--passphrase-file", short), "at least 12 bytes")
    assert not (at / "c").exists() and not (at / "c.partial").exists()
    (at / "passphrase").chmod(0o644)
    refused(run("restore", at / "b", "--prove", "--passphrase-file", at / "passphrase"), "chmod 600")


def keypair(at, name, *how):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    key, public = at / f"{name}.key", at / f"{name}.pem"
    subprocess.run(["openssl", "genpkey", *how, "-out", key], check=True, capture_output=True)
    key.chmod(0o600)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    return key, public


def test_to_a_public_key_and_without_the_root_key(at, own):
    blobs = fill(own, usages=())
    rsa = keypair(at, "rsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:6144")
    sm2 = keypair(at, "sm2", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2")
    for n, (key, public) in enumerate((rsa, sm2)):
        out = at / f"b{n}"
        told(run("backup", "--data-dir", own.data_dir, "--out", out, "--recipient", public, "--without-root", "-o", "json"))
        refused(run("restore", out, "--prove", "--private-key", key), "without the root key")
        own_root = f"file:{own.data_dir / 'root.key'}"
        drill = told(run("restore", out, "--prove", "--private-key", key, "--open-with", own_root, "-o", "json"))
        assert drill["root_key"] is False and drill["canaries_decrypted"] == 1
        new = at / f"bare{n}"
        told(run("restore", out, "--private-key", key, "--open-with", own_root, "--data-dir", new, "--root",
                 f"file:{new / 'root.key'}", "-o", "json"))
        fresh = serve_restored(new, own.creds)
        try:
            assert decrypt(fresh, blobs) == [SECRET] * 2
            assert fresh.stop() == 0
        finally:
            fresh.kill()
    refused(run("restore", at / "b0", "--prove", "--private-key", sm2[0]), "does not belong to the public key")
    refused(run("restore", at / "b0", "--prove", "--passphrase-file", at / "passphrase"), "takes a private key")


def test_custodians_beside_a_serving_process(at, own):
    blobs = fill(own, usages=())
    data = ("--data-dir", own.data_dir)
    shares = [at / f"share{n}" for n in (1, 2, 3)]
    made = "shamir:2:" + ",".join(map(str, shares))
    told(run("custody", "add", *data, "office", f"passphrase-file:{at / 'passphrase'}", "-o", "json"))
    done = run("custody", "add", *data, "board", made)
    assert done.returncode == 0, done
    for share in shares:
        assert share.stat().st_mode & 0o777 == 0o600
        assert share.read_bytes() not in done.stdout + done.stderr and share.read_text().startswith("jadeseal-root-share-v1 ")
    listed = told(run("custody", "list", *data, "-o", "json"))["custodians"]
    assert [(c["slot"], c["kind"], c["complete"]) for c in listed] == [
        ("board", "shamir", True), ("office", "passphrase", True), ("primary", "file", True)]
    assert listed[0]["about"].startswith("2 of 3, set ")
    shares[1].rename(at / "away")
    two = "shamir:" + ",".join(map(str, shares))
    assert told(run("custody", "prove", *data, "board", two, "-o", "json")) == {
        "slot": "board", "versions": [1], "domain_keys": 1}
    shares[2].rename(at / "away too")
    refused(run("custody", "prove", *data, "board", two), "1 of the 2 shares")
    (at / "away").rename(shares[1])

    # A rekey names whom it cannot ask.
    refused(run("rekey", *data), "board (shamir), office (passphrase)")
    told(run("rekey", *data, "--custodian", two, "--drop-slot", "office", "-o", "json"))
    assert told(run("custody", "prove", *data, "board", two, "-o", "json"))["versions"] == [2]
    refused(run("custody", "remove", *data, "primary"), "with no other")
    refused(run("custody", "remove", *data, "nobody"), "no slot")
    assert decrypt(own, blobs) == [SECRET] * 2
    # The root key file is lost; the board lets the operator in again.
    (own.data_dir / "root.key").rename(at / "lost")
    told(run("custody", "add", *data, "second", f"file:{own.data_dir / 'root.key'}", "--with", two, "-o", "json"))
    told(run("custody", "remove", *data, "primary", "-o", "json"))
    assert decrypt(own, blobs) == [SECRET] * 2
    client = own.client()
    client.call("CreateKey", Alias="after")
    client.close()
    assert own.stop() == 0
    own.start()
    assert decrypt(own, blobs) == [SECRET] * 2


def test_serving_with_shares(at):
    """The configuration names shares: any two of them start the service."""
    data, config = at / "data", at / "jadeseal.toml"
    shares = [str(at / f"share{n}") for n in (1, 2, 3)]
    first = Server(data, (MAIN,)).start()
    blobs = fill(first, usages=())
    told(run("custody", "add", "--data-dir", data, "board", "shamir:2:" + ",".join(shares), "-o", "json"))
    assert first.stop() == 0
    config.write_text(f'data_dir = "{data}"\n[root]\nkind = "shamir"\nshares = {json.dumps(shares)}\n'
                      f'[[region]]\nname = "{MAIN}"\n')
    assert run("serve", "--config", config, "--check").returncode == 0
    pathlib.Path(shares[0]).unlink()
    told(run("custody", "remove", "--config", config, "primary", "-o", "json"))
    assert run("serve", "--config", config, "--check").returncode == 0
    made = told(run("backup", "--config", config, "--out", at / "b", "--passphrase-file", at / "passphrase", "-o", "json"))
    assert made["differences"] == []
    pathlib.Path(shares[1]).unlink()
    refused(run("serve", "--config", config, "--check"), "1 of the 2 shares")
    # The backup opens without any of them.
    new = at / "bare"
    told(run("restore", at / "b", "--passphrase-file", at / "passphrase", "--data-dir", new, "--root",
             f"file:{new / 'root.key'}", "-o", "json"))
    fresh = serve_restored(new, first.creds, (MAIN,))
    try:
        assert decrypt(fresh, blobs) == [SECRET] * 2
        assert fresh.stop() == 0
    finally:
        fresh.kill()


def test_a_strict_deployment_seals_with_sm4(at):
    config = at / "jadeseal.toml"
    server = Server(at / "data", (f"{GM}:gm-strict",)).start()
    try:
        blobs = fill(server, GM, ("ASYMMETRIC_SIGN_VERIFY_SM2",))
        config.write_text(f'data_dir = "{server.data_dir}"\n[root]\nkind = "file"\npath = "{server.data_dir / "root.key"}"\n'
                          f'[[region]]\nname = "{GM}"\nprofile = "gm"\nstrict = true\n')
        rsa = keypair(at, "rsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        sm2 = keypair(at, "sm2", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2")
        refused(run("backup", "--config", config, "--out", at / "r", "--recipient", rsa[1]), "must be one of SM2")
        told(run("backup", "--config", config, "--out", at / "b", "--recipient", sm2[1], "-o", "json"))
        # Also without the configuration: what is stored says so.
        told(run("backup", "--data-dir", server.data_dir, "--out", at / "c", "--passphrase-file", at / "passphrase",
                 "-o", "json"))
        assert (at / "b").read_bytes()[:10] == (at / "c").read_bytes()[:10] == b"JSBACKUP\x01\x02"
        assert server.stop() == 0
    finally:
        server.kill()
    new = at / "bare"
    told(run("restore", at / "b", "--private-key", sm2[0], "--data-dir", new, "--root", f"file:{new / 'root.key'}",
             "-o", "json"))
    fresh = serve_restored(new, server.creds, (f"{GM}:gm-strict",))
    try:
        assert decrypt(fresh, blobs, GM) == [SECRET] * 2
        assert fresh.stop() == 0
    finally:
        fresh.kill()
