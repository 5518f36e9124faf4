"""tccli, the official command line, over plain HTTP: it signs the literal URL as its host."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from kmslib.wire import b64, unb64

TCCLI = pathlib.Path(sys.executable).parent / "tccli"


@pytest.fixture(scope="module")
def tccli(server, tmp_path_factory):
    """Runs `tccli kms ACTION --Name value …`; returns (exit status, answer or error text)."""
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {
        "HOME": str(home),
        "TENCENTCLOUD_SECRET_ID": server.creds.secret_id,
        "TENCENTCLOUD_SECRET_KEY": server.creds.secret_key,
        "TENCENTCLOUD_REGION": server.hello["region"],
        "NO_PROXY": "127.0.0.1",
    }

    def run(action, **fields):
        command = [sys.executable, str(TCCLI), "kms", action, "--endpoint", server.endpoint]
        for name, value in fields.items():
            command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        text = done.stdout + done.stderr
        return done.returncode, json.loads(done.stdout) if done.returncode == 0 else text

    return run


def test_life_cycle(tccli, alias):
    def good(action, **fields):
        status, answer = tccli(action, **fields)
        assert status == 0, answer
        return answer

    key = good("CreateKey", Alias=alias("tccli"), Description="by tccli")["KeyId"]
    blob = good("Encrypt", KeyId=key, Plaintext=b64(b"tccli"), EncryptionContext='{"a":"b"}')["CiphertextBlob"]
    opened = good("Decrypt", CiphertextBlob=blob, EncryptionContext='{"a":"b"}')
    assert unb64(opened["Plaintext"]) == b"tccli"
    assert len(unb64(good("GenerateDataKey", KeyId=key, KeySpec="AES_128")["Plaintext"])) == 16
    assert good("DescribeKeys", KeyIds=[key])["KeyMetadatas"][0]["Description"] == "by tccli"
    good("EnableKeyRotation", KeyId=key, RotateDays=90)
    good("RotateKey", KeyId=key)
    assert good("ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext='{"a":"b"}')["ReEncrypted"] is True
    good("DisableKey", KeyId=key)
    assert good("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)["KeyId"] == key
    good("CancelKeyDeletion", KeyId=key)
    good("EnableKey", KeyId=key)
    good("ArchiveKey", KeyId=key)
    good("CancelKeyArchive", KeyId=key)
    assert good("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    assert good("GetServiceStatus")["ServiceEnabled"] is True
    assert good("ListAlgorithms")["SymmetricAlgorithms"]


def test_errors(tccli):
    status, text = tccli("DescribeKey", KeyId="00000000-0000-11f0-8000-000000000000")
    assert status != 0 and "ResourceUnavailable.CmkNotFound" in text
    status, text = tccli("Decrypt", CiphertextBlob="AAAA")
    assert status != 0 and "InvalidParameterValue.InvalidCiphertext" in text
