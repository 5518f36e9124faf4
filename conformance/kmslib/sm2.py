"""SM2 by gmssl, an implementation in Python that shares nothing with the server, and the forms around it."""

import base64
import secrets
import textwrap

from gmssl import sm2, sm3

from . import der

ORDER = int(sm2.default_ecc_table["n"], 16)
# SubjectPublicKeyInfo of an SM2 key up to its point: id-ecPublicKey with 1.2.156.10197.1.301.
SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
PKCS8_HEAD = bytes.fromhex("308187020100301306072a8648ce3d020106082a811ccf5501822d046d306b0201010420")
USER_ID = b"1234567812345678"


def pem(label, data):
    """PEM of 64 columns."""
    body = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


def gmssl(private="", point=b"", asn1=False):
    """gmssl's cipher for C1C3C2. Its constructor strips too much of a point that begins with 0 or 4, so it is told
    afterwards."""
    crypt = sm2.CryptSM2(private_key=private, public_key="", mode=1, asn1=asn1)
    crypt.public_key = point.hex()
    return crypt


class Public:
    """An SM2 public key: X ‖ Y, 64 bytes."""

    def __init__(self, point):
        assert len(point) == 64
        self.point = point

    @classmethod
    def from_spki(cls, spki):
        assert spki.startswith(SPKI_HEAD) and len(spki) == len(SPKI_HEAD) + 64, spki.hex()
        return cls(spki[-64:])

    @property
    def pem(self):
        return pem("PUBLIC KEY", SPKI_HEAD + self.point)

    def encrypt(self, message):
        """C1C3C2 without a prefix byte."""
        while True:
            # None where the key stream is all zeros: once in 256 messages of one byte.
            sealed = gmssl(point=self.point).encrypt(message)
            if sealed is not None:
                return sealed

    def digest(self, message):
        """e = SM3(Z ‖ M), with the usual user id."""
        table = sm2.default_ecc_table
        curve = bytes.fromhex(table["a"] + table["b"] + table["g"])
        z = sm3_hash((len(USER_ID) * 8).to_bytes(2, "big") + USER_ID + curve + self.point)
        return sm3_hash(z + message)

    def verify_digest(self, digest, signature):
        """True for a right signature (R ‖ S) of e."""
        return bool(gmssl(point=self.point).verify(signature.hex(), digest))

    def verify(self, message, signature):
        """True for a right signature (R ‖ S) of a message."""
        return bool(gmssl(point=self.point).verify_with_sm3(signature.hex(), message))


class Pair:
    """An SM2 key pair of a caller; a new one without a scalar."""

    def __init__(self, scalar=None):
        self.scalar = scalar or 1 + secrets.randbelow(ORDER - 2)
        generator = sm2.default_ecc_table["g"]
        self.public = Public(bytes.fromhex(gmssl()._kg(self.scalar, generator)))

    @property
    def private_pem(self):
        scalar = self.scalar.to_bytes(32, "big")
        return pem("PRIVATE KEY", PKCS8_HEAD + scalar + bytes.fromhex("a14403420004") + self.public.point)

    def decrypt(self, sealed):
        """Message of C1C3C2 without a prefix byte. gmssl does not look at C3, openssl does."""
        return gmssl(private=f"{self.scalar:064x}", point=self.public.point).decrypt(sealed)

    def sign_digest(self, digest):
        """R ‖ S over e."""
        nonce = f"{1 + secrets.randbelow(ORDER - 1):064x}"
        return bytes.fromhex(gmssl(private=f"{self.scalar:064x}", point=self.public.point).sign(digest, nonce))


def sm3_hash(data):
    """SM3."""
    return bytes.fromhex(sm3.sm3_hash(list(data)))


def to_asn1(sealed):
    """The ASN.1 form (GM/T 0009) of C1C3C2."""
    x, y = (int.from_bytes(sealed[at : at + 32], "big") for at in (0, 32))
    parts = [der.unsigned(x), der.unsigned(y), der.put(der.OCTET_STRING, sealed[64:96]),
             der.put(der.OCTET_STRING, sealed[96:])]
    return der.put(der.SEQUENCE, b"".join(parts))


def from_asn1(sealed):
    """C1C3C2 of the ASN.1 form, which must be DER."""
    x, rest = der.read_unsigned(der.whole(sealed, der.SEQUENCE))
    y, rest = der.read_unsigned(rest)
    c3, rest = der.read(rest, der.OCTET_STRING)
    assert len(c3) == 32
    return x.to_bytes(32, "big") + y.to_bytes(32, "big") + c3 + der.whole(rest, der.OCTET_STRING)


def raw_signature(signature, size=32):
    """R ‖ S of a signature in DER."""
    return b"".join(n.to_bytes(size, "big") for n in der.signature(signature))


def der_signature(signature):
    """DER of R ‖ S."""
    half = len(signature) // 2
    halves = (int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
    return der.put(der.SEQUENCE, b"".join(der.unsigned(n) for n in halves))
