"""Data directories of earlier releases, opened by this one."""

import json
import pathlib
import shutil
import sqlite3
import subprocess

import pytest

from kmslib.server import INTL, MAIN, Server, binary
from kmslib.wire import Client, Creds, b64

FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
OLD = sorted(path.name for path in FIXTURES.glob("data-v*"))


def carried(name, base):
    """A copy of a fixture's data directory, with the modes that its release gave the files."""
    data = base / "data"
    data.mkdir(mode=0o700)
    for file in ("jadeseal.db", "root.key"):
        shutil.copyfile(FIXTURES / name / file, data / file)
        (data / file).chmod(0o600)
    return data, json.loads((FIXTURES / name / "told.json").read_text())


def works(endpoint, creds, told):
    """Everything that the fixture tells of."""
    clients = {}

    def at(region):
        return clients.setdefault(region, Client(endpoint, creds, region))

    for one in told["ciphertexts"]:
        more = {"EncryptionContext": one["context"]} if one["context"] else {}
        assert at(one["region"]).call("Decrypt", CiphertextBlob=one["blob"], **more)["Plaintext"] == one["plaintext"], one
    for one in told["data_keys"]:
        assert at(one["region"]).call("GetDataKeyPlaintext", DataKeyId=one["id"])["Plaintext"] == one["plaintext"], one
    for one in told["signatures"]:
        valid = at(MAIN).call("VerifyByAsymmetricKey", KeyId=one["key"], Algorithm=one["algorithm"], Message=one["message"],
                              MessageType="RAW", SignatureValue=one["value"])["SignatureValid"]
        assert valid, one
        at(MAIN).call("SignByAsymmetricKey", KeyId=one["key"], Algorithm=one["algorithm"], Message=one["message"],
                      MessageType="RAW")
    for one in told["post_quantum"]:
        assert at(MAIN).call("PostQuantumCryptoDecrypt", CiphertextBlob=one["blob"])["PlainText"] == one["plaintext"], one
    for key, state in told["states"].items():
        assert at(MAIN).call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == state
    tagged = at(INTL).call("ListKeyDetail", TagFilters=[{"TagKey": "env", "TagValue": ["test"]}])["KeyMetadatas"]
    assert [key["Alias"] for key in tagged] == [f"plain-{INTL}"]
    fresh = at(MAIN).call("CreateKey", Alias="made-after-the-upgrade-" + creds.secret_id[-4:].lower())["KeyId"]
    at(MAIN).call("Encrypt", KeyId=fresh, Plaintext=b64(b"new"))
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("name", OLD)
def test_a_data_directory_of_an_earlier_release(name, tmp_path):
    data, told = carried(name, tmp_path)
    server = Server(data)
    server.creds = Creds(**told["owner"])
    server.start()
    try:
        works(server.endpoint, server.creds, told)
        works(server.endpoint, Creds(**told["user"]), told)
        assert server.stop() == 0
    finally:
        server.kill()
    # And through a backup.
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    done = subprocess.run([binary(), "backup", "--data-dir", data, "--out", tmp_path / "b", "--passphrase-file", secret,
                           "-o", "json"], capture_output=True, timeout=120)
    assert done.returncode == 0, done
    proof = json.loads(done.stdout)
    assert proof["differences"] == [] and proof["canaries_decrypted"] == 1 and proof["access_keys_opened"] == 2


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    data, _ = carried(OLD[-1], tmp_path)
    with sqlite3.connect(data / "jadeseal.db") as conn:
        conn.execute("UPDATE schema_version SET version = 99")
    conn.close()
    config = tmp_path / "c.toml"
    config.write_text(f'data_dir = "{data}"\n[root]\nkind = "file"\npath = "{data / "root.key"}"\n')
    for command in (("serve", "--config", config), ("custody", "list", "--config", config)):
        done = subprocess.run([binary(), *command], capture_output=True, timeout=60)
        words = done.stderr.decode()
        assert done.returncode == 1 and "schema version 99" in words and "a newer release" in words, done
    assert not [p for p in data.iterdir() if ".before-v" in p.name]


def test_the_database_is_kept_before_it_is_brought_forward(tmp_path):
    data, told = carried("data-v5", tmp_path)
    # As schema version 4 had it, which knew no principals.
    conn = sqlite3.connect(data / "jadeseal.db")
    conn.executescript("""
        DELETE FROM access_key WHERE uin <> account;
        DROP TABLE role_tag; DROP TABLE role; DROP TABLE policy_attachment; DROP TABLE policy;
        DROP TABLE group_member; DROP TABLE user_group; DROP TABLE sub_user; DROP TABLE identity;
        ALTER TABLE access_key DROP COLUMN description;
        CREATE TABLE access_key_epoch (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL) STRICT;
        INSERT INTO access_key_epoch (id, epoch) VALUES (1, 0);
        UPDATE schema_version SET version = 4;
    """)
    conn.close()
    # A command beside a service leaves it as it is.
    listed = subprocess.run([binary(), "custody", "list", "--data-dir", data], capture_output=True, timeout=60)
    assert listed.returncode == 1 and b"older than this program's" in listed.stderr, listed
    server = Server(data)
    server.creds = Creds(**told["owner"])
    server.start()
    try:
        works(server.endpoint, server.creds, told)
        assert server.stop() == 0
    finally:
        server.kill()
    kept = [path for path in data.iterdir() if ".before-v" in path.name]
    assert len(kept) == 1 and kept[0].stat().st_mode & 0o777 == 0o600, kept
    assert kept[0].name.encode() in server.log_text()
    conn = sqlite3.connect(f"file:{kept[0]}?immutable=1", uri=True)
    assert conn.execute("SELECT version FROM schema_version").fetchone() == (4,)
    conn.close()
    # A start that has nothing to bring forward keeps nothing.
    server.start()
    assert server.stop() == 0
    assert len([path for path in data.iterdir() if ".before-v" in path.name]) == 1
