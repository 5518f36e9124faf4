"""tccli, the official command line, over plain HTTP: it signs the literal URL as its host."""

import json
import os
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kmslib import asymmetric, openssl, sm2
from kmslib.asymmetric import (
    DECRYPT_KYBER, DECRYPT_RSA, DECRYPT_SM2, SCHEMES, SIGN_DILITHIUM, SIGN_SM2, USAGES,
)
from kmslib.byok import WRAPPINGS, rsa_padding
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


@pytest.fixture(scope="module")
def good(tccli):
    """As `tccli`, for calls that must succeed; returns the answer."""

    def run(action, **fields):
        status, answer = tccli(action, **fields)
        assert status == 0, answer
        return answer

    return run


def test_life_cycle(good, alias):
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


@pytest.fixture(scope="module")
def made(good):
    """Keys by usage, made on the command line."""
    return {usage: good("CreateKey", Alias=f"tccli-{usage.lower()}", KeyUsage=usage)["KeyId"] for usage in USAGES}


def test_public_keys(good, made, tmp_path):
    """The PEM that tccli prints is a file that openssl reads, and holds the same key as PublicKey."""
    for usage, key in made.items():
        got = good("GetPublicKey", KeyId=key)
        assert got["KeyId"] == key
        data = asymmetric.spki(SimpleNamespace(**got))
        if usage not in (DECRYPT_KYBER, SIGN_DILITHIUM):
            pem = got["PublicKeyPem"].encode()
            assert openssl.ok("pkey", "-pubin", "-in", "@key", "-pubout", "-outform", "DER", key=pem) == data


# Its base64, ++++////LQ==, has all that shells and encodings take apart.
TEXT = b"\xfb\xef\xbe\xff\xff\xff-"


@pytest.mark.parametrize("algorithm", [a for a in SCHEMES if a not in ("SM2DSA_ASN1", "SM2DSA_RAW")])
def test_sign_and_verify(good, made, algorithm):
    key = made[SCHEMES[algorithm][0]]
    data = unb64(good("GetPublicKey", KeyId=key)["PublicKey"])
    fields = {"KeyId": key, "Algorithm": algorithm, "Message": b64(TEXT)}
    signature = good("SignByAsymmetricKey", **fields)["Signature"]
    if algorithm == "SM2DSA":
        public = sm2.Public.from_spki(data)
        assert openssl.sm2_verify(public.pem, TEXT, unb64(signature))
        digest = public.digest(TEXT)
    else:
        public = asymmetric.load(data)
        assert asymmetric.holds(public, algorithm, TEXT, unb64(signature))
        digest = asymmetric.digest(algorithm, TEXT)
    assert good("VerifyByAsymmetricKey", **fields, SignatureValue=signature)["SignatureValid"] is True
    fields |= {"MessageType": "DIGEST", "Message": b64(digest)}
    assert good("VerifyByAsymmetricKey", **fields, SignatureValue=signature)["SignatureValid"] is True
    fields["Message"] = b64(bytes(len(digest)))
    assert good("VerifyByAsymmetricKey", **fields, SignatureValue=signature)["SignatureValid"] is False


def test_asymmetric_decryption(good, made):
    public = asymmetric.load(unb64(good("GetPublicKey", KeyId=made[DECRYPT_RSA])["PublicKey"]))
    for algorithm in WRAPPINGS:
        sealed = b64(public.encrypt(TEXT, rsa_padding(algorithm)))
        opened = good("AsymmetricRsaDecrypt", KeyId=made[DECRYPT_RSA], Ciphertext=sealed, Algorithm=algorithm)
        assert unb64(opened["Plaintext"]) == TEXT and opened["KeyId"] == made[DECRYPT_RSA]
    pem = good("GetPublicKey", KeyId=made[DECRYPT_SM2])["PublicKeyPem"]
    sealed = b64(openssl.sm2_encrypt(pem, TEXT))
    assert unb64(good("AsymmetricSm2Decrypt", KeyId=made[DECRYPT_SM2], Ciphertext=sealed)["Plaintext"]) == TEXT


def test_post_quantum(good, made):
    public = asymmetric.load(unb64(good("GetPublicKey", KeyId=made[SIGN_DILITHIUM])["PublicKey"]))
    sealed = good("PostQuantumCryptoEncrypt", KeyId=made[DECRYPT_KYBER], PlainText=b64(TEXT))
    opened = good("PostQuantumCryptoDecrypt", CiphertextBlob=sealed["CiphertextBlob"])
    assert (unb64(opened["PlainText"]), opened["KeyId"]) == (TEXT, made[DECRYPT_KYBER])
    fields = {"KeyId": made[SIGN_DILITHIUM], "Message": b64(TEXT)}
    signature = good("PostQuantumCryptoSign", **fields)["Signature"]
    public.verify(unb64(signature), TEXT)
    assert good("PostQuantumCryptoVerify", **fields, SignatureValue=signature)["SignatureValid"] is True
    fields["Message"] = b64(b"other")
    assert good("PostQuantumCryptoVerify", **fields, SignatureValue=signature)["SignatureValid"] is False


def test_results_for_a_key_of_the_caller(good, made, key):
    """A PEM is an argument of several lines."""
    pair = sm2.Pair()
    to = {"EncryptionPublicKey": pair.public.pem}
    got = good("GenerateDataKey", KeyId=key, NumberOfBytes="16", **to)
    opened = good("Decrypt", CiphertextBlob=got["CiphertextBlob"])["Plaintext"]
    assert pair.decrypt(unb64(got["Plaintext"])) == unb64(opened)
    again = good("Decrypt", CiphertextBlob=got["CiphertextBlob"], EncryptionAlgorithm="SM2_C1C3C2_ASN1", **to)
    assert openssl.sm2_decrypt(pair.private_pem, unb64(again["Plaintext"])) == unb64(opened)


def test_asymmetric_errors(tccli, made):
    for action, fields, code in (
        ("SignByAsymmetricKey", {"KeyId": made[SIGN_SM2], "Algorithm": "ECC_P256_R1", "Message": b64(b"x")},
         "InvalidParameter"),
        ("AsymmetricSm2Decrypt", {"KeyId": made[DECRYPT_SM2], "Ciphertext": b64(b"x")}, "FailedOperation.DecryptError"),
        ("RotateKey", {"KeyId": made[SIGN_SM2]}, "UnsupportedOperation.RotateNotSupported"),
    ):
        status, text = tccli(action, **fields)
        assert status != 0 and f"code:{code} " in text.replace("\n", " "), text
