"""Cloud products: service principals with keys of their own, by the official SDKs and the binary's commands."""

import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import sdk
from kmslib.server import MAIN, Server, binary
from kmslib.wire import Client, Creds, b64, unb64


@pytest.fixture(scope="module")
def deployment():
    """A server with the products cos and cbs."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-products-") as base:
        server = Server(pathlib.Path(base) / "data", regions=(MAIN,), args=["--product", "cos", "--product", "cbs"]).start()
        try:
            yield server
        finally:
            assert server.stop() == 0


@pytest.fixture
def user(deployment):
    return sdk.make(deployment)


def of(server, name):
    key = next(k for k in server.hello["products"] if k["product"] == name)
    return {"secret_id": key["secret_id"], "secret_key": key["secret_key"]}


@pytest.fixture
def cos(deployment):
    return sdk.make(deployment, **of(deployment, "cos"))


def code(client, action, **fields):
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(client, action, **fields)
    return error.value.get_code()


def test_a_product_gets_a_key_that_the_user_sees_and_cannot_touch(user, cos):
    made = sdk.call(cos, "GenerateDataKey", KeyId="", KeySpec="AES_256")
    again = sdk.call(cos, "GenerateDataKey", KeySpec="AES_256")
    assert made.KeyId == again.KeyId
    assert sdk.call(cos, "Decrypt", CiphertextBlob=made.CiphertextBlob).Plaintext == made.Plaintext
    seen = sdk.call(user, "DescribeKey", KeyId=made.KeyId).KeyMetadata
    assert (seen.Alias, seen.Owner) == ("kms-cos", "cos")
    for role, shown in ((0, False), (1, True)):
        ids = [k.KeyId for k in sdk.call(user, "ListKeys", Role=role).Keys]
        details = [k.KeyId for k in sdk.call(user, "ListKeyDetail", Role=role).KeyMetadatas]
        assert (made.KeyId in ids, made.KeyId in details) == (shown, shown)
    assert code(user, "DisableKey", KeyId=made.KeyId) == "FailedOperation.CmkUsedByCloudProduct"
    assert code(user, "ArchiveKey", KeyId=made.KeyId) == "UnsupportedOperation.NotUserCreatedCmk"
    assert code(user, "Decrypt", CiphertextBlob=made.CiphertextBlob) == "UnauthorizedOperation"
    sdk.call(user, "EnableKeyRotation", KeyId=made.KeyId)
    sdk.call(user, "RotateKey", KeyId=made.KeyId)
    assert sdk.call(cos, "Decrypt", CiphertextBlob=made.CiphertextBlob).Plaintext == made.Plaintext


def test_a_bound_key_serves_the_product_and_says_who_uses_it(deployment, user, cos):
    key = sdk.call(user, "CreateKey", Alias="for-cos").KeyId
    assert code(cos, "Encrypt", KeyId=key, Plaintext=b64(b"x")) == "ResourceUnavailable.CmkNotFound"
    sdk.call(user, "BindCloudResource", KeyId=key, ProductId="cos", ResourceId="bucket-1")
    sdk.call(cos, "Encrypt", KeyId=key, Plaintext=b64(b"x"))
    other = sdk.make(deployment, **of(deployment, "cbs"))
    assert code(other, "Encrypt", KeyId=key, Plaintext=b64(b"x")) == "ResourceUnavailable.CmkNotFound"
    with pytest.raises(TencentCloudSDKException, match="cos bucket-1"):
        sdk.call(user, "DisableKey", KeyId=key)
    sdk.call(user, "UnbindCloudResource", KeyId=key, ProductId="cos", ResourceId="bucket-1")
    assert code(cos, "Encrypt", KeyId=key, Plaintext=b64(b"x")) == "ResourceUnavailable.CmkNotFound"
    sdk.call(user, "DisableKey", KeyId=key)


def test_access_keys_of_products_outlive_a_start(deployment):
    before = deployment.hello["products"]
    assert deployment.stop() == 0
    deployment.start()
    assert deployment.hello["products"] == before


def tccli(server, who, action, *args):
    command = [sys.executable, str(pathlib.Path(sys.executable).parent / "tccli"), "kms", action, "--endpoint", server.endpoint, *args]
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": home, "TENCENTCLOUD_SECRET_ID": who["secret_id"],
            "TENCENTCLOUD_SECRET_KEY": who["secret_key"], "TENCENTCLOUD_REGION": MAIN, "NO_PROXY": "127.0.0.1",
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_tccli_as_a_product(deployment):
    done = tccli(deployment, of(deployment, "cbs"), "Encrypt", "--KeyId", "", "--Plaintext", b64(b"disk"))
    assert done.returncode == 0, done.stderr
    blob = json.loads(done.stdout)["CiphertextBlob"]
    done = tccli(deployment, of(deployment, "cbs"), "Decrypt", "--CiphertextBlob", blob)
    assert unb64(json.loads(done.stdout)["Plaintext"]) == b"disk"
    done = tccli(deployment, of(deployment, "cbs"), "GetParametersForImport", "--KeyId", "x",
                 "--WrappingAlgorithm", "RSAES_OAEP_SHA_256", "--WrappingKeySpec", "RSA_2048")
    assert done.returncode != 0 and "UnauthorizedOperation" in done.stdout + done.stderr


def run(*args):
    return subprocess.run([str(binary()), *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_grant_list_and_revoke_beside_a_serving_process(tmp_path):
    config = tmp_path / "jadeseal.toml"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    made = run("init", "--config", str(config), "--data-dir", str(tmp_path / "data"), "--listen", address, "-o", "json")
    assert made.returncode == 0, made.stderr
    account = str(json.loads(made.stdout.splitlines()[0])["owner_uin"])
    product = ("product", "--config", str(config), "-o", "json")
    refused = run(*product, "grant", "--product", "cos", "--account", account)
    assert refused.returncode != 0 and "products" in refused.stderr
    text = config.read_text()
    assert "products = []" in text
    config.write_text(text.replace("products = []", 'products = ["cos"]'))
    process = subprocess.Popen([str(binary()), "serve", "--config", str(config)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        granted = run(*product, "grant", "--product", "cos", "--account", account)
        assert granted.returncode == 0, granted.stderr
        key = json.loads(granted.stdout)
        client = Client(f"http://{address}", Creds(key["secret_id"], key["secret_key"]))
        end = time.monotonic() + 20
        while True:
            try:
                client.call("Encrypt", Plaintext=b64(b"x"))
                break
            except OSError:
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.05)
        listed = json.loads(run(*product, "list", "--account", account).stdout)
        assert (listed["secret_id"], listed["product"], listed["enabled"]) == (key["secret_id"], "cos", True)
        assert "secret_key" not in listed
        revoked = run(*product, "revoke", "--secret-id", key["secret_id"])
        assert revoked.returncode == 0, revoked.stderr
        # The command has returned, so no call goes through any more.
        assert client.code("Encrypt", Plaintext=b64(b"x")) == "AuthFailure.SecretIdNotFound"
        assert run(*product, "revoke", "--secret-id", key["secret_id"]).returncode == 0
        assert run(*product, "revoke", "--secret-id", "AKIDnobody").returncode != 0
        assert run(*product, "grant", "--product", "cos", "--account", "1").returncode != 0
        client.close()
    finally:
        process.terminate()
        assert process.wait(20) == 0
