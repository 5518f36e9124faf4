"""EncryptionPublicKey: the answer of Decrypt and GenerateDataKey sealed to the caller's RSA key."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from kmslib.byok import WRAPPINGS, rsa_padding
from kmslib.wire import b64, unb64


def pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


@pytest.fixture(scope="module")
def private():
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_rsa(kms, key, private, algorithm):
    to_me = {"EncryptionPublicKey": pem(private), "EncryptionAlgorithm": algorithm}
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"only for me"))["CiphertextBlob"]
    sealed = unb64(kms.call("Decrypt", CiphertextBlob=blob, **to_me)["Plaintext"])
    assert len(sealed) == 256 and private.decrypt(sealed, rsa_padding(algorithm)) == b"only for me"
    made = kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_256", **to_me)
    data_key = private.decrypt(unb64(made["Plaintext"]), rsa_padding(algorithm))
    assert len(data_key) == 32
    assert unb64(kms.call("Decrypt", CiphertextBlob=made["CiphertextBlob"])["Plaintext"]) == data_key


def test_what_does_not_fit(kms, key, private):
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    small = pem(rsa.generate_private_key(65537, 1024))
    curve = pem(ec.generate_private_key(ec.SECP256R1()))
    secret = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    good = pem(private)
    for public, algorithm in (
        (good, None),
        (good, "SM2"),
        (good, "SM2_C1C3C2_ASN1"),
        (good, "RSA"),
        (small, "RSAES_OAEP_SHA_256"),
        (curve, "RSAES_OAEP_SHA_256"),
        (secret, "RSAES_OAEP_SHA_256"),
        ("nonsense", "RSAES_OAEP_SHA_256"),
        (good[:-40], "RSAES_OAEP_SHA_256"),
    ):
        fields = {"EncryptionPublicKey": public} | ({"EncryptionAlgorithm": algorithm} if algorithm else {})
        assert kms.code("Decrypt", CiphertextBlob=blob, **fields) == "InvalidParameter", (algorithm, public[:30])


def test_a_text_too_long_for_the_key(kms, key, private):
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x" * 300))["CiphertextBlob"]
    to_me = {"EncryptionPublicKey": pem(private), "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    assert kms.code("Decrypt", CiphertextBlob=blob, **to_me) == "FailedOperation.EncryptionError"
