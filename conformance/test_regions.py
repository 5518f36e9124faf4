"""Regions and their profiles."""

import pathlib
import tempfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import openssl, sdk, sm2
from kmslib.asymmetric import (
    DECRYPT_KYBER, DECRYPT_SM2, DECRYPTING, SIGN_P256, SIGN_RSA, SIGN_SM2, SIGNING, USAGES,
)
from kmslib.byok import WRAPPINGS
from kmslib.server import Server
from kmslib.wire import b64, unb64


def test_sm4_region(gm, alias):
    made = gm.call("CreateKey", Alias=alias("sm"))
    got = gm.call("DescribeKey", KeyId=made["KeyId"])["KeyMetadata"]
    assert got["Type"] == 4
    blob = gm.call("Encrypt", KeyId=made["KeyId"], Plaintext=b64(b"sm4"), EncryptionContext='{"a":"b"}')["CiphertextBlob"]
    # Suite byte: 1 is AES-256, 2 is SM4 (docs/formats.md).
    assert unb64(blob)[3] == 2
    opened = gm.call("Decrypt", CiphertextBlob=blob, EncryptionContext='{"a":"b"}')
    assert unb64(opened["Plaintext"]) == b"sm4"
    gm.call("EnableKeyRotation", KeyId=made["KeyId"])
    gm.call("RotateKey", KeyId=made["KeyId"])
    moved = gm.call("ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext='{"a":"b"}')
    assert moved["ReEncrypted"] is True
    assert unb64(gm.call("Decrypt", CiphertextBlob=moved["CiphertextBlob"])["Plaintext"]) == b"sm4"


def test_aes_regions(kms, intl, alias):
    for client in (kms, intl):
        made = client.call("CreateKey", Alias=alias("aes"))
        assert client.call("DescribeKey", KeyId=made["KeyId"])["KeyMetadata"]["Type"] == 2
        blob = client.call("Encrypt", KeyId=made["KeyId"], Plaintext=b64(b"x"))["CiphertextBlob"]
        assert unb64(blob)[3] == 1


@pytest.fixture(scope="module")
def everywhere():
    """A server with a region of every profile, by the option of quickstart alone; clients by profile."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-regions-") as base:
        server = Server(pathlib.Path(base) / "data", regions=tuple(REGIONS.values())).start()
        try:
            yield {profile: server.client(region.split(":")[0]) for profile, region in REGIONS.items()}
            assert server.stop() == 0
        finally:
            server.kill()


REGIONS = {
    "all": "ap-guangzhou:all", "intl": "ap-singapore:intl", "gm": "ap-beijing:gm", "gm-strict": "ap-shanghai:gm-strict",
}
GM_USAGES = {DECRYPT_SM2, SIGN_SM2}
OFFERED = {"all": set(USAGES), "intl": set(USAGES) - GM_USAGES, "gm": GM_USAGES, "gm-strict": GM_USAGES}
UNSUPPORTED = "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion"


@pytest.mark.parametrize("profile", REGIONS)
def test_what_is_listed_is_what_can_be_made(everywhere, alias, profile):
    client, offered = everywhere[profile], OFFERED[profile]
    listed = client.call("ListAlgorithms")
    pairs = {
        name: {a["KeyUsage"]: a["Algorithm"] for a in listed[name]}
        for name in ("SymmetricAlgorithms", "AsymmetricAlgorithms", "AsymmetricSignVerifyAlgorithms")
    }
    assert sum(map(len, pairs.values())) == 1 + len(offered), "something is listed twice"
    gm_only = profile.startswith("gm")
    assert pairs == {
        "SymmetricAlgorithms": {"ENCRYPT_DECRYPT": "SM4" if gm_only else "AES_256"},
        "AsymmetricAlgorithms": {u: a for u, a in DECRYPTING.items() if u in offered},
        "AsymmetricSignVerifyAlgorithms": {u: a for u, a in SIGNING.items() if u in offered},
    }
    for usage in ("ENCRYPT_DECRYPT", *USAGES):
        answer = client.ask("CreateKey", {"Alias": alias("usage"), "KeyUsage": usage})
        if usage in offered | {"ENCRYPT_DECRYPT"}:
            assert answer.code is None, (usage, answer.code)
            got = client.call("DescribeKey", KeyId=answer.response["KeyId"])["KeyMetadata"]
            assert (got["KeyUsage"], got["Type"]) == (usage, 4 if gm_only else 2)
        else:
            assert answer.code == UNSUPPORTED, usage


def test_there_is_no_sm2_decryption_outside_china(everywhere):
    nobody = "00000000-0000-11f0-8000-000000000000"
    asked = {p: c.code("AsymmetricSm2Decrypt", KeyId=nobody, Ciphertext=b64(b"x")) for p, c in everywhere.items()}
    not_found = "ResourceUnavailable.CmkNotFound"
    assert asked == {"all": not_found, "intl": UNSUPPORTED, "gm": not_found, "gm-strict": not_found}


@pytest.mark.parametrize("profile", ["gm", "gm-strict"])
def test_sm2_in_gm_regions(everywhere, alias, profile):
    """Signatures and both directions of encryption, by gmssl and openssl."""
    client = everywhere[profile]
    usages = (SIGN_SM2, DECRYPT_SM2)
    signer, opener = (client.call("CreateKey", Alias=alias("sm2"), KeyUsage=u)["KeyId"] for u in usages)
    public = sm2.Public.from_spki(unb64(client.call("GetPublicKey", KeyId=signer)["PublicKey"]))
    fields = {"KeyId": signer, "Algorithm": "SM2DSA", "Message": b64(b"text")}
    signature = client.call("SignByAsymmetricKey", **fields)["Signature"]
    assert openssl.sm2_verify(public.pem, b"text", unb64(signature))
    assert client.call("VerifyByAsymmetricKey", **fields, SignatureValue=signature)["SignatureValid"] is True
    public = sm2.Public.from_spki(unb64(client.call("GetPublicKey", KeyId=opener)["PublicKey"]))
    sealed = b64(sm2.to_asn1(public.encrypt(b"secret")))
    assert unb64(client.call("AsymmetricSm2Decrypt", KeyId=opener, Ciphertext=sealed)["Plaintext"]) == b"secret"
    key, pair = client.call("CreateKey", Alias=alias("sm4"))["KeyId"], sm2.Pair()
    made = client.call("GenerateDataKey", KeyId=key, NumberOfBytes=16, EncryptionPublicKey=pair.public.pem)
    opened = client.call("Decrypt", CiphertextBlob=made["CiphertextBlob"])["Plaintext"]
    assert pair.decrypt(unb64(made["Plaintext"])) == unb64(opened)


def test_a_strict_region_has_no_other_algorithms(everywhere, alias):
    strict, loose = everywhere["gm-strict"], everywhere["gm"]
    rsa_key = rsa.generate_private_key(65537, 2048).public_key()
    pem = rsa_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    key, other = (c.call("CreateKey", Alias=alias("strict"))["KeyId"] for c in (strict, loose))
    blob, other_blob = (
        c.call("Encrypt", KeyId=k, Plaintext=b64(b"x"))["CiphertextBlob"] for c, k in ((strict, key), (loose, other))
    )
    for algorithm in WRAPPINGS:
        to = {"EncryptionPublicKey": pem, "EncryptionAlgorithm": algorithm}
        assert strict.code("Decrypt", CiphertextBlob=blob, **to) == "InvalidParameter"
        assert strict.code("GenerateDataKey", KeyId=key, NumberOfBytes=16, **to) == "InvalidParameter"
        assert loose.code("Decrypt", CiphertextBlob=other_blob, **to) is None
        parameters = {"WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
        assert strict.code("GetParametersForImport", KeyId=key, **parameters) == "UnsupportedOperation"
    for spec in ("AES_128", "AES_256"):
        assert strict.code("GenerateDataKey", KeyId=key, KeySpec=spec) == "InvalidParameter"
        assert strict.code("GenerateDataKey", KeyId=key, KeySpec=spec, NumberOfBytes=16) is None
        assert loose.code("GenerateDataKey", KeyId=other, KeySpec=spec) is None
    assert strict.code("GenerateDataKey", KeyId=key, NumberOfBytes=16) is None
    assert strict.code("CreateKey", Alias=alias("ext"), Type=2) == "InvalidParameterValue.InvalidType"
    assert loose.code("CreateKey", Alias=alias("ext"), Type=2) is None
    # Blobs of a strict region are of SM4, and both ways of it work.
    assert unb64(blob)[3] == 2 and unb64(strict.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"x"
    strict.call("EnableKeyRotation", KeyId=key)
    strict.call("RotateKey", KeyId=key)
    assert strict.call("ReEncrypt", CiphertextBlob=blob)["ReEncrypted"] is True


def test_a_region_that_becomes_strict():
    """Its other keys stay, unused, and are used again when it is strict no more."""
    name = "ap-guangzhou"
    with tempfile.TemporaryDirectory(prefix="jadeseal-regions-") as base:
        server = Server(pathlib.Path(base) / "data", regions=(f"{name}:all",)).start()
        try:
            client = server.client(name)
            keys = {u: client.call("CreateKey", Alias=f"k-{n}", KeyUsage=u)["KeyId"]
                    for n, u in enumerate(("ENCRYPT_DECRYPT", *USAGES))}
            blob = client.call("Encrypt", KeyId=keys["ENCRYPT_DECRYPT"], Plaintext=b64(b"x"))["CiphertextBlob"]
            fields = {"KeyId": keys[DECRYPT_KYBER], "PlainText": b64(b"x")}
            sealed = client.call("PostQuantumCryptoEncrypt", **fields)["CiphertextBlob"]
            shown = {u: client.call("GetPublicKey", KeyId=keys[u])["PublicKey"] for u in USAGES}
            client.close()
            assert server.stop() == 0
            server.regions = (f"{name}:gm-strict",)
            client = server.start().client(name)
            assert client.code("Encrypt", KeyId=keys["ENCRYPT_DECRYPT"], Plaintext=b64(b"x")) == UNSUPPORTED
            assert client.code("Decrypt", CiphertextBlob=blob) == UNSUPPORTED
            assert client.code("PostQuantumCryptoDecrypt", CiphertextBlob=sealed) == UNSUPPORTED
            for usage in USAGES:
                answer = client.ask("GetPublicKey", {"KeyId": keys[usage]})
                assert answer.code == (None if usage in GM_USAGES else UNSUPPORTED), usage
                assert client.call("DescribeKey", KeyId=keys[usage])["KeyMetadata"]["Type"] == 2
            for usage, algorithm in ((SIGN_RSA, "RSA_PSS_SHA_256"), (SIGN_P256, "ECC_P256_R1")):
                fields = {"KeyId": keys[usage], "Algorithm": algorithm, "Message": b64(b"x")}
                assert client.code("SignByAsymmetricKey", **fields) == UNSUPPORTED
            fields = {"KeyId": keys[SIGN_SM2], "Algorithm": "SM2DSA", "Message": b64(b"x")}
            signature = client.call("SignByAsymmetricKey", **fields)["Signature"]
            client.close()
            assert server.stop() == 0
            server.regions = (f"{name}:all",)
            client = server.start().client(name)
            assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"x"
            assert unb64(client.call("PostQuantumCryptoDecrypt", CiphertextBlob=sealed)["PlainText"]) == b"x"
            assert {u: client.call("GetPublicKey", KeyId=keys[u])["PublicKey"] for u in USAGES} == shown
            assert client.call("VerifyByAsymmetricKey", **fields, SignatureValue=signature)["SignatureValid"] is True
            client.close()
            assert server.stop() == 0
        finally:
            server.kill()


def test_a_strict_region_takes_no_sha1():
    with tempfile.TemporaryDirectory(prefix="jadeseal-regions-") as base:
        server = Server(pathlib.Path(base) / "data", regions=("ap-shanghai:gm-strict", "ap-beijing:gm")).start()
        try:
            for region in ("ap-shanghai", "ap-beijing"):
                for sign, http in sdk.WAYS:
                    client = sdk.make(server, sign=sign, http=http, region=region)
                    if sign == "HmacSHA1" and region == "ap-shanghai":
                        with pytest.raises(TencentCloudSDKException) as error:
                            sdk.call(client, "ListKeys")
                        assert error.value.get_code() == "AuthFailure.SignatureFailure"
                        assert "HmacSHA1" in error.value.get_message()
                    else:
                        assert sdk.call(client, "ListKeys").TotalCount == 0
            assert server.stop() == 0
        finally:
            server.kill()
