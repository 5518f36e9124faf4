"""Asymmetric keys as clients know them: names, and the checks that a strict client makes with its own library."""

import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

from . import der
from .wire import unb64

DECRYPT_RSA = "ASYMMETRIC_DECRYPT_RSA_2048"
DECRYPT_SM2 = "ASYMMETRIC_DECRYPT_SM2"
DECRYPT_KYBER = "ASYMMETRIC_DECRYPT_KYBER_AES"
SIGN_RSA = "ASYMMETRIC_SIGN_VERIFY_RSA_2048"
SIGN_SM2 = "ASYMMETRIC_SIGN_VERIFY_SM2"
SIGN_P256 = "ASYMMETRIC_SIGN_VERIFY_ECC"
SIGN_P384 = "ASYMMETRIC_SIGN_VERIFY_ECDSA384"
SIGN_DILITHIUM = "ASYMMETRIC_SIGN_VERIFY_DILITHIUM"

# Algorithm of ListAlgorithms by KeyUsage, as its two lists show them.
DECRYPTING = {DECRYPT_RSA: "RSA_2048", DECRYPT_SM2: "SM2", DECRYPT_KYBER: "Kyber_AES"}
SIGNING = {SIGN_SM2: "SM2", SIGN_RSA: "RSA_2048", SIGN_P256: "ECC_P256_R1", SIGN_P384: "ECC_P384_R1",
           SIGN_DILITHIUM: "Dilithium"}
USAGES = tuple(DECRYPTING | SIGNING)

# Algorithms of SignByAsymmetricKey: usage of their keys, length of a digest.
SCHEMES = {
    "RSA_PSS_SHA_256": (SIGN_RSA, 32),
    "RSA_PKCS1_SHA_256": (SIGN_RSA, 32),
    "ECC_P256_R1": (SIGN_P256, 32),
    "ECC_P384_R1": (SIGN_P384, 48),
    "SM2DSA": (SIGN_SM2, 32),
    "SM2DSA_ASN1": (SIGN_SM2, 32),
    "SM2DSA_RAW": (SIGN_SM2, 32),
}
# Those that `cryptography` knows.
CLASSIC = ("RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256", "ECC_P256_R1", "ECC_P384_R1")

_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P384 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
_ORDERS = {"ECC_P256_R1": _P256, "ECC_P384_R1": _P384}
_PEM = re.compile(
    r"-----BEGIN PUBLIC KEY-----\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2}\n)-----END PUBLIC KEY-----\n"
)


def spki(answer):
    """The DER of a GetPublicKey answer, whose PEM must be one block of the same and nothing else."""
    match = _PEM.fullmatch(answer.PublicKeyPem)
    assert match, repr(answer.PublicKeyPem)
    assert match[1].replace("\n", "") == answer.PublicKey
    data = unb64(answer.PublicKey)
    der.whole(data, der.SEQUENCE)
    return data


def load(data):
    """The key of an SPKI by `cryptography`; writing it again gives the same bytes."""
    key = serialization.load_der_public_key(data)
    again = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert again == data, "the SPKI is not in its canonical form"
    return key


def digest(algorithm, message):
    """What MessageType DIGEST takes."""
    state = hashes.Hash(_hash(algorithm))
    state.update(message)
    return state.finalize()


def _hash(algorithm):
    return hashes.SHA384() if algorithm == "ECC_P384_R1" else hashes.SHA256()


def holds(key, algorithm, message, signature, prehashed=False):
    """Whether `cryptography` takes a signature. Of ECDSA only strict DER with R and S in range is shown to it, and of
    PSS only a salt of 32 bytes."""
    how = _hash(algorithm)
    how = utils.Prehashed(how) if prehashed else how
    try:
        if algorithm in _ORDERS:
            r, s = der.signature(signature)
            assert 0 < r < _ORDERS[algorithm] and 0 < s < _ORDERS[algorithm]
            key.verify(signature, message, ec.ECDSA(how))
        elif algorithm == "RSA_PSS_SHA_256":
            key.verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), how)
        else:
            key.verify(signature, message, padding.PKCS1v15(), how)
    except InvalidSignature:
        return False
    return True
