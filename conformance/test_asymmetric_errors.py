"""Refusals of the asymmetric and post-quantum actions, by table."""

import os

import pytest

from kmslib.asymmetric import (
    DECRYPT_KYBER, DECRYPT_RSA, DECRYPT_SM2, SCHEMES, SIGN_DILITHIUM, SIGN_P256, SIGN_RSA, SIGN_SM2, USAGES,
)
from kmslib.server import MAIN
from kmslib.wire import b64

INVALID = "InvalidParameter"
MISSING = "MissingParameter"
UNKNOWN = "UnknownParameter"
BAD_KEY_ID = "InvalidParameterValue.InvalidKeyId"
BAD_PLAINTEXT = "InvalidParameterValue.InvalidPlaintext"
NOT_FOUND = "ResourceUnavailable.CmkNotFound"
NOBODY = "00000000-0000-11f0-8000-000000000000"
ABSENT = object()

# A call that works, by action. `usage` stands for a key of it.
GOOD = {
    "GetPublicKey": (SIGN_P256, {}),
    "SignByAsymmetricKey": (SIGN_P256, {"Algorithm": "ECC_P256_R1", "Message": b64(b"text")}),
    "VerifyByAsymmetricKey": (
        SIGN_P256, {"Algorithm": "ECC_P256_R1", "Message": b64(b"text"), "SignatureValue": b64(b"x")}
    ),
    "PostQuantumCryptoEncrypt": (DECRYPT_KYBER, {"PlainText": b64(b"text")}),
    "PostQuantumCryptoSign": (SIGN_DILITHIUM, {"Message": b64(b"text")}),
    "PostQuantumCryptoVerify": (SIGN_DILITHIUM, {"Message": b64(b"text"), "SignatureValue": b64(b"x")}),
    # These two have no ciphertext that works here; what is refused before it is looked at is below.
    "AsymmetricRsaDecrypt": (DECRYPT_RSA, {"Ciphertext": b64(bytes(1)), "Algorithm": "RSAES_OAEP_SHA_256"}),
    "AsymmetricSm2Decrypt": (DECRYPT_SM2, {"Ciphertext": b64(bytes(1))}),
}
FINE = {"AsymmetricRsaDecrypt": "FailedOperation.DecryptError", "AsymmetricSm2Decrypt": "FailedOperation.DecryptError"}

NOT_BASE64 = ("*", "QQ", "QQ=", "QQ==\t", "Q Q=", "QR==", "密", "-_-_")
MESSAGES = [("", "Message"), (b64(b"x" * 4097), "Message"), (b64(b"x" * 100_000), "Message"),
            *((text, "Message") for text in NOT_BASE64)]

# Action, what differs from the good call, code, what the English message must name.
TABLE = [
    *((action, {"Message": text}, INVALID, name)
      for action in ("SignByAsymmetricKey", "VerifyByAsymmetricKey", "PostQuantumCryptoSign", "PostQuantumCryptoVerify")
      for text, name in MESSAGES),
    *((action, {"Algorithm": name}, INVALID, "Algorithm")
      for action in ("SignByAsymmetricKey", "VerifyByAsymmetricKey")
      for name in ("", "ECC", "ecc_p256_r1", "ECC_P256_K1", "RSA_PSS_SHA_512", "SM2", "SM2DSA ", "Dilithium",
                   *(n for n, (usage, _) in SCHEMES.items() if usage != SIGN_P256))),
    *((action, {"MessageType": kind}, INVALID, "MessageType")
      for action in ("SignByAsymmetricKey", "VerifyByAsymmetricKey")
      for kind in ("raw", "digest", "HASH", "RAW ", "密")),
    *((action, {"SignatureValue": text}, "InvalidParameterValue", "SignatureValue")
      for action in ("VerifyByAsymmetricKey", "PostQuantumCryptoVerify")
      for text in NOT_BASE64),
    *(("AsymmetricRsaDecrypt", {"Algorithm": name}, INVALID, "Algorithm")
      for name in ("", "RSA", "RSA_2048", "RSAES_OAEP_SHA_512", "rsaes_oaep_sha_1", "SM2")),
    *(("AsymmetricRsaDecrypt", {"Ciphertext": text}, INVALID, "Ciphertext") for text in (*NOT_BASE64, "A" * 8000)),
    *(("AsymmetricSm2Decrypt", {"Ciphertext": text}, INVALID, "Ciphertext")
      for text in ("", *NOT_BASE64, b64(bytes(257)), b64(bytes(3000)), "A" * 4100)),
    *(("PostQuantumCryptoEncrypt", {"PlainText": text}, BAD_PLAINTEXT, "")
      for text in ("", *NOT_BASE64, b64(b"x" * 4097), b64(b"x" * 100_000))),
    *((action, {name: ABSENT}, MISSING, name)
      for action, (_, fields) in GOOD.items() for name in ("KeyId", *fields) if name != "MessageType"),
    *((action, {name: None}, MISSING, name) for action, (_, fields) in GOOD.items() for name in ("KeyId", *fields)),
    *((action, {name: "x"}, UNKNOWN, name)
      for action in GOOD for name in ("Nonsense", "keyId", "EncryptionContext", "EncryptionPublicKey")),
    # The two families spell it differently.
    ("PostQuantumCryptoEncrypt", {"PlainText": ABSENT, "Plaintext": b64(b"x")}, UNKNOWN, "Plaintext"),
    ("PostQuantumCryptoSign", {"Algorithm": "Dilithium"}, UNKNOWN, "Algorithm"),
    ("PostQuantumCryptoSign", {"MessageType": "RAW"}, UNKNOWN, "MessageType"),
    *((action, {name: wrong}, INVALID, name)
      for action, (_, fields) in GOOD.items() for name in ("KeyId", *fields) for wrong in (1, True, ["x"], {"a": "x"})),
    *((action, {"KeyId": wrong}, BAD_KEY_ID, "KeyId")
      for action in GOOD for wrong in ("", "x", NOBODY + "0", "密" * 12)),
    *((action, {"KeyId": NOBODY}, NOT_FOUND, "") for action in GOOD),
    # Values come before existence.
    ("SignByAsymmetricKey", {"KeyId": NOBODY, "Algorithm": "x"}, INVALID, "Algorithm"),
    ("AsymmetricRsaDecrypt", {"KeyId": NOBODY, "Algorithm": "x"}, INVALID, "Algorithm"),
    ("AsymmetricSm2Decrypt", {"KeyId": NOBODY, "Ciphertext": b64(bytes(257))}, INVALID, "Ciphertext"),
]


def test_the_good_calls_are_good(kms, keys):
    """Else the refusals below could have another cause than the one they name."""
    for action, (usage, fields) in GOOD.items():
        assert kms.code(action, KeyId=keys[usage], **fields) == FINE.get(action), action


@pytest.mark.parametrize("action", GOOD)
def test_table(server, keys, action):
    english, chinese = server.client(MAIN), server.client(MAIN, language="zh-CN")
    usage, fields = GOOD[action]
    rows = [row for row in TABLE if row[0] == action]
    assert len(rows) > 10
    for _, changes, code, name in rows:
        request = {"KeyId": keys[usage]} | fields | changes
        request = {k: v for k, v in request.items() if v is not ABSENT}
        answer = english.ask(action, request)
        what = (action, {k: repr(v)[:40] for k, v in changes.items()})
        assert answer.code == code, (what, answer.code, answer.message)
        assert answer.message.isascii() and name in answer.message, (what, answer.message)
        translated = chinese.ask(action, request)
        assert translated.code == code and name in translated.message, (what, translated.message)
        assert any("\u4e00" <= c <= "\u9fff" for c in translated.message), (what, translated.message)
    english.close()
    chinese.close()


@pytest.mark.parametrize("algorithm", SCHEMES)
def test_length_of_a_digest(kms, keys, algorithm):
    usage, length = SCHEMES[algorithm]
    fields = {"KeyId": keys[usage], "Algorithm": algorithm, "MessageType": "DIGEST"}
    for size in (1, 20, 28, 31, 32, 33, 47, 48, 49, 64, 4096):
        message = b64(os.urandom(size))
        for action, more in (("SignByAsymmetricKey", {}), ("VerifyByAsymmetricKey", {"SignatureValue": b64(b"x")})):
            answer = kms.ask(action, fields | more | {"Message": message})
            assert answer.code == (None if size == length else INVALID), (action, size)
            assert size == length or f"{length} bytes" in answer.message


@pytest.mark.parametrize("algorithm", SCHEMES)
@pytest.mark.parametrize("usage", [u for u in USAGES if "SIGN_VERIFY" in u and u != SIGN_DILITHIUM])
def test_algorithms_of_other_keys(kms, keys, algorithm, usage):
    fields = {"KeyId": keys[usage], "Algorithm": algorithm, "Message": b64(b"text")}
    expected = None if SCHEMES[algorithm][0] == usage else INVALID
    assert kms.code("SignByAsymmetricKey", **fields) == expected
    assert kms.code("VerifyByAsymmetricKey", **fields, SignatureValue=b64(b"x")) == expected


def test_message_types(kms, keys):
    """RAW is the default, and an empty text is as good as none."""
    fields = {"KeyId": keys[SIGN_RSA], "Algorithm": "RSA_PKCS1_SHA_256", "Message": b64(b"x" * 32)}
    sign = lambda **more: kms.call("SignByAsymmetricKey", **fields, **more)["Signature"]  # noqa: E731
    assert sign() == sign(MessageType="RAW") == sign(MessageType="") == sign(MessageType=None)
    assert sign() != sign(MessageType="DIGEST")


@pytest.mark.parametrize("usage", USAGES)
def test_what_asymmetric_keys_do_not_do(kms, keys, alias, usage):
    refused = kms.ask("CreateKey", {"Alias": alias("ext"), "KeyUsage": usage, "Type": 2})
    assert refused.code == "InvalidParameterValue.InvalidType" and "Type" in refused.message
    key = keys[usage]
    for action, fields, code in (
        ("EnableKeyRotation", {}, "UnsupportedOperation.RotateNotSupported"),
        ("EnableKeyRotation", {"RotateDays": 30}, "UnsupportedOperation.RotateNotSupported"),
        ("RotateKey", {}, "UnsupportedOperation.RotateNotSupported"),
        ("GetParametersForImport", {"WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"},
         "UnsupportedOperation.NotExternalCmk"),
        ("DeleteImportedKeyMaterial", {}, "UnsupportedOperation.NotExternalCmk"),
        ("Encrypt", {"Plaintext": b64(b"x")}, INVALID),
        ("GenerateDataKey", {"KeySpec": "AES_256"}, "InvalidParameterValue.InvalidKeyUsage"),
    ):
        assert kms.code(action, KeyId=key, **fields) == code, action
    # What changes nothing is accepted, as for every key.
    assert kms.code("DisableKeyRotation", KeyId=key) is None
    assert kms.call("GetKeyRotationStatus", KeyId=key)["KeyRotationEnabled"] is False


def test_usages_are_spelt_exactly(kms, alias):
    for wrong in ("asymmetric_sign_verify_sm2", "ASYMMETRIC_SIGN_VERIFY_SM2 ", "ASYMMETRIC_SIGN_VERIFY_RSA",
                  "ASYMMETRIC_DECRYPT_KYBER", "ASYMMETRIC_SIGN_VERIFY_ECC_P256", "Dilithium"):
        assert kms.code("CreateKey", Alias=alias(), KeyUsage=wrong) == "InvalidParameterValue.InvalidKeyUsage"


def test_a_refusal_does_not_repeat_what_was_sent(kms, keys):
    """A message to be signed or decrypted may be a secret."""
    marker = b"marker-" + os.urandom(12).hex().encode()
    for action, usage, fields in (
        ("SignByAsymmetricKey", SIGN_SM2, {"Algorithm": "SM2DSA", "MessageType": "DIGEST", "Message": b64(marker)}),
        ("SignByAsymmetricKey", SIGN_SM2, {"Algorithm": marker.decode(), "Message": b64(marker)}),
        ("PostQuantumCryptoEncrypt", DECRYPT_KYBER, {"PlainText": b64(marker) + "*"}),
        ("AsymmetricSm2Decrypt", DECRYPT_SM2, {"Ciphertext": b64(marker * 9)}),
        ("AsymmetricRsaDecrypt", DECRYPT_RSA, {"Ciphertext": b64(marker), "Algorithm": "RSAES_PKCS1_V1_5"}),
    ):
        answer = kms.ask(action, {"KeyId": keys[usage]} | fields)
        assert answer.code is not None
        for form in (marker, b64(marker).encode().rstrip(b"="), marker.hex().encode()):
            assert form[:16] not in answer.body, (action, answer.body)
