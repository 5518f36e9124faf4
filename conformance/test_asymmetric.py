"""Asymmetric keys by the official SDK, against libraries that share nothing with the server: `cryptography`, the
`openssl` command and gmssl."""

import os
import random

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mldsa, mlkem, rsa
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import asymmetric, blob as blobs, der, openssl, sdk, sm2
from kmslib.asymmetric import (
    CLASSIC, DECRYPT_KYBER, DECRYPT_RSA, DECRYPT_SM2, SCHEMES, SIGN_DILITHIUM, SIGN_P256, SIGN_P384, SIGN_RSA, SIGN_SM2,
    USAGES,
)
from kmslib.byok import WRAPPINGS, rsa_padding
from kmslib.wire import b64, unb64

DECRYPT_ERROR = "FailedOperation.DecryptError"
ROUNDS = 24


@pytest.fixture(scope="module")
def do(server):
    """Calls an action by the SDK."""
    client = sdk.make(server)
    return lambda action, **fields: sdk.call(client, action, **fields)


@pytest.fixture
def spki(do, keys):
    """The public key of the shared key of a usage, in DER."""
    return lambda usage: asymmetric.spki(do("GetPublicKey", KeyId=keys[usage]))


def refused(call, *args, **fields):
    """Code and message of a refusal."""
    with pytest.raises(TencentCloudSDKException) as error:
        call(*args, **fields)
    return error.value.get_code(), error.value.get_message()


def texts(shortest, longest, rounds=ROUNDS):
    """Random messages of random lengths, the shortest and the longest among them."""
    sizes = [shortest, longest] + [random.randint(shortest, longest) for _ in range(rounds - 2)]
    return [os.urandom(size) for size in sizes]


@pytest.mark.parametrize("usage", USAGES)
def test_create(do, alias, usage):
    name = alias("asym")
    made = do("CreateKey", Alias=name, KeyUsage=usage, Type=1)
    assert (made.Alias, made.KeyUsage, made.KeyState) == (name, usage, "Enabled")
    got = do("DescribeKey", KeyId=made.KeyId).KeyMetadata
    assert (got.KeyUsage, got.KeyState, got.Origin, got.Type) == (usage, "Enabled", "TENCENT_KMS", 2)
    assert got.KeyRotationEnabled is False and got.NextRotateTime == made.CreateTime + 365 * 86_400
    # Two keys of a usage are two keys.
    other = do("CreateKey", Alias=alias("asym"), KeyUsage=usage)
    first, second = (do("GetPublicKey", KeyId=k.KeyId).PublicKey for k in (made, other))
    assert first != second and do("GetPublicKey", KeyId=made.KeyId).PublicKey == first
    # An empty KeyUsage lists the symmetric keys alone.
    listed = {
        which: {m.KeyId for m in do("ListKeyDetail", KeyUsage=which, Limit=200, OrderType=0).KeyMetadatas}
        for which in ("", usage, "ALL")
    }
    assert {made.KeyId, other.KeyId} <= listed[usage] & listed["ALL"] and made.KeyId not in listed[""]


@pytest.mark.parametrize("usage", USAGES)
def test_public_key(do, keys, usage):
    answer = do("GetPublicKey", KeyId=keys[usage])
    assert answer.KeyId == keys[usage]
    data = asymmetric.spki(answer)
    if usage in (DECRYPT_SM2, SIGN_SM2):
        assert sm2.Public.from_spki(data).pem == answer.PublicKeyPem
        shown = openssl.ok("pkey", "-pubin", "-in", "@key", "-noout", "-text", key=answer.PublicKeyPem.encode())
        assert b"ASN1 OID: SM2" in shown
        return
    kind, check = {
        DECRYPT_RSA: (rsa.RSAPublicKey, lambda k: (k.key_size, k.public_numbers().e) == (2048, 65537)),
        SIGN_RSA: (rsa.RSAPublicKey, lambda k: (k.key_size, k.public_numbers().e) == (2048, 65537)),
        SIGN_P256: (ec.EllipticCurvePublicKey, lambda k: k.curve.name == "secp256r1"),
        SIGN_P384: (ec.EllipticCurvePublicKey, lambda k: k.curve.name == "secp384r1"),
        DECRYPT_KYBER: (mlkem.MLKEM1024PublicKey, lambda k: len(k.public_bytes_raw()) == 1568),
        SIGN_DILITHIUM: (mldsa.MLDSA87PublicKey, lambda k: len(k.public_bytes_raw()) == 2592),
    }[usage]
    key = asymmetric.load(data)
    assert isinstance(key, kind) and check(key)
    # The PEM by another parser than ours.
    again = serialization.load_pem_public_key(answer.PublicKeyPem.encode())
    assert again.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) == data


def test_symmetric_keys_have_no_public_key(do, key):
    assert refused(do, "GetPublicKey", KeyId=key)[0] == "InvalidParameter"


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_rsa_decrypt(do, keys, spki, algorithm):
    public = asymmetric.load(spki(DECRYPT_RSA))
    longest = {"RSAES_PKCS1_V1_5": 245, "RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190}[algorithm]
    for text in [b"", *texts(1, longest)]:
        sealed = public.encrypt(text, rsa_padding(algorithm))
        opened = do("AsymmetricRsaDecrypt", KeyId=keys[DECRYPT_RSA], Ciphertext=b64(sealed), Algorithm=algorithm)
        assert opened.KeyId == keys[DECRYPT_RSA] and unb64(opened.Plaintext) == text


def test_spoilt_oaep(do, keys, spki):
    """Whatever is wrong: one code, one text."""
    public = asymmetric.load(spki(DECRYPT_RSA))
    modulus = public.public_numbers().n
    answers = set()

    def take(sealed, algorithm):
        fields = {"KeyId": keys[DECRYPT_RSA], "Ciphertext": b64(sealed), "Algorithm": algorithm}
        answers.add(refused(do, "AsymmetricRsaDecrypt", **fields))

    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        good = public.encrypt(b"secret", rsa_padding(algorithm))
        for at in (0, 1, 100, 255):
            spoilt = bytearray(good)
            spoilt[at] ^= 1
            take(bytes(spoilt), algorithm)
        for other in set(WRAPPINGS) - {algorithm}:
            take(public.encrypt(b"secret", rsa_padding(other)), algorithm)
        for wrong in (b"", good[1:], good[:-1], b"\0" + good, good + b"\0", bytes(256), b"\xff" * 256,
                      modulus.to_bytes(256, "big"), (modulus - 1).to_bytes(256, "big"), os.urandom(1000)):
            take(wrong, algorithm)
    assert {code for code, _ in answers} == {DECRYPT_ERROR} and len(answers) == 1, answers


def test_spoilt_pkcs1_is_no_oracle(do, keys, spki):
    """Bad padding gives bytes that look like a plaintext, always the same for the same ciphertext."""
    public = asymmetric.load(spki(DECRYPT_RSA))
    numbers = public.public_numbers()

    def opened(sealed):
        fields = {"KeyId": keys[DECRYPT_RSA], "Ciphertext": b64(sealed), "Algorithm": "RSAES_PKCS1_V1_5"}
        first, second = (unb64(do("AsymmetricRsaDecrypt", **fields).Plaintext) for _ in range(2))
        assert first == second, "the answer to one ciphertext differs from call to call"
        assert len(first) <= 245
        return first

    seen = set()
    # Messages that are RSA values of a malformed padding, chosen byte by byte, and values that are nothing at all.
    fill = bytes(random.randint(1, 255) for _ in range(253))
    blocks = {
        "first byte": b"\1\2" + fill[:247] + b"\0secret",
        "block type": b"\0\1" + fill[:247] + b"\0secret",
        "no zero": b"\0\2" + fill + b"\1",
        "seven bytes of padding": b"\0\2" + fill[:7] + b"\0" + fill[:246],
        "all zero": bytes(256),
        "one": bytes(255) + b"\1",
    }
    for name, block in blocks.items():
        assert len(block) == 256
        sealed = pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(256, "big")
        got = opened(sealed)
        assert b"secret" not in got, name
        seen.add(got)
    for _ in range(ROUNDS):
        seen.add(opened(b"\0" + os.urandom(255)))
    good = public.encrypt(b"secret", rsa_padding("RSAES_PKCS1_V1_5"))
    for at in (1, 128, 255):
        # A first byte of 0 keeps the value below the modulus.
        spoilt = bytearray(b"\0" + good[1:])
        spoilt[at] ^= 1
        seen.add(opened(bytes(spoilt)))
    # Of 33 answers hardly two are the same, and they are not all of one length.
    assert len(seen) > ROUNDS and len({len(s) for s in seen}) > 3
    # One byte less of eight bytes of padding is where right and wrong part.
    right = b"\0\2" + fill[:8] + b"\0" + fill[:245]
    sealed = pow(int.from_bytes(right, "big"), numbers.e, numbers.n).to_bytes(256, "big")
    assert opened(sealed) == fill[:245]


def test_what_is_no_rsa_ciphertext(do, keys, spki):
    """Lengths and values that RSA cannot have are refused with the text of all other failures."""
    public = asymmetric.load(spki(DECRYPT_RSA))
    modulus = public.public_numbers().n
    good = public.encrypt(b"secret", rsa_padding("RSAES_PKCS1_V1_5"))
    answers = set()
    for wrong in (b"", b"\0", good[1:], good[:-1], b"\0" + good, good + b"\0", modulus.to_bytes(256, "big"),
                  (modulus + 1).to_bytes(256, "big"), b"\xff" * 256, os.urandom(1000)):
        fields = {"KeyId": keys[DECRYPT_RSA], "Ciphertext": b64(wrong), "Algorithm": "RSAES_PKCS1_V1_5"}
        answers.add(refused(do, "AsymmetricRsaDecrypt", **fields))
    oaep = {"KeyId": keys[DECRYPT_RSA], "Ciphertext": b64(good), "Algorithm": "RSAES_OAEP_SHA_256"}
    answers.add(refused(do, "AsymmetricRsaDecrypt", **oaep))
    answers.add(refused(do, "AsymmetricSm2Decrypt", KeyId=keys[DECRYPT_SM2], Ciphertext=b64(b"\x30\x00")))
    assert {code for code, _ in answers} == {DECRYPT_ERROR} and len(answers) == 1, answers


def test_sm2_decrypt(do, keys, spki):
    public = sm2.Public.from_spki(spki(DECRYPT_SM2))

    def opened(sealed):
        return unb64(do("AsymmetricSm2Decrypt", KeyId=keys[DECRYPT_SM2], Ciphertext=b64(sealed)).Plaintext)

    for text in texts(1, 140):
        assert opened(openssl.sm2_encrypt(public.pem, text)) == text
        assert opened(sm2.to_asn1(public.encrypt(text))) == text
    # 256 bytes of ciphertext are the most, whatever the integers' lengths make of it.
    sealed = next(s for s in (sm2.to_asn1(public.encrypt(b"x" * 146)) for _ in range(1000)) if len(s) == 256)
    assert opened(sealed) == b"x" * 146


def test_spoilt_sm2(do, keys, spki):
    public = sm2.Public.from_spki(spki(DECRYPT_SM2))
    raw = public.encrypt(b"secret message")
    good = sm2.to_asn1(raw)
    off_curve = bytearray(raw)
    off_curve[63] ^= 1
    x, rest = der.read(der.whole(good, der.SEQUENCE), der.INTEGER)
    wrong = [
        *(raw, b"\x04" + raw, good[:-1], good + b"\0", b"\x30\x00", b"\0", os.urandom(200)),
        # C1C2C3 instead of C1C3C2.
        sm2.to_asn1(raw[:64] + raw[96:] + bytes(18) + raw[64:96]),
        sm2.to_asn1(bytes(off_curve)),
        sm2.to_asn1(bytes(64) + raw[64:]),
        sm2.to_asn1(raw[:96]),
        # To another key.
        sm2.to_asn1(sm2.Pair().public.encrypt(b"secret message")),
        # Not DER: a length in long form, an integer with a zero too many, a member too many.
        b"\x30\x81" + good[1:],
        der.put(der.SEQUENCE, der.put(der.INTEGER, b"\0" + x) + rest),
        der.put(der.SEQUENCE, der.whole(good, der.SEQUENCE) + der.put(der.OCTET_STRING, b"x")),
    ]
    for at in range(len(good)):
        spoilt = bytearray(good)
        spoilt[at] ^= 1 << (at % 8)
        wrong.append(bytes(spoilt))
    fields = [{"KeyId": keys[DECRYPT_SM2], "Ciphertext": b64(w)} for w in wrong]
    answers = {refused(do, "AsymmetricSm2Decrypt", **f) for f in fields}
    assert {code for code, _ in answers} == {DECRYPT_ERROR} and len(answers) == 1, answers


def sign(do, key, algorithm, message, kind=None):
    fields = {"KeyId": key, "Algorithm": algorithm, "Message": b64(message)} | ({"MessageType": kind} if kind else {})
    return unb64(do("SignByAsymmetricKey", **fields).Signature)


def verified(do, key, algorithm, message, signature, kind=None):
    fields = {"KeyId": key, "Algorithm": algorithm, "Message": b64(message), "SignatureValue": b64(signature)}
    return do("VerifyByAsymmetricKey", **fields | ({"MessageType": kind} if kind else {})).SignatureValid


@pytest.mark.parametrize("algorithm", CLASSIC)
def test_sign(do, keys, spki, algorithm):
    usage, digest_len = SCHEMES[algorithm]
    key, public = keys[usage], asymmetric.load(spki(usage))
    for text in texts(1, 4096):
        digest = asymmetric.digest(algorithm, text)
        assert len(digest) == digest_len
        for signature in (sign(do, key, algorithm, text), sign(do, key, algorithm, text, "RAW"),
                          sign(do, key, algorithm, digest, "DIGEST")):
            assert asymmetric.holds(public, algorithm, text, signature)
            assert asymmetric.holds(public, algorithm, digest, signature, prehashed=True)
            assert not asymmetric.holds(public, algorithm, text + b"x", signature)
            assert verified(do, key, algorithm, text, signature) is True
            assert verified(do, key, algorithm, digest, signature, "DIGEST") is True
            assert verified(do, key, algorithm, text[:-1] + bytes([text[-1] ^ 1]), signature) is False
    # PKCS#1 v1.5 is deterministic, the others are not.
    same = sign(do, key, algorithm, b"twice") == sign(do, key, algorithm, b"twice")
    assert same == (algorithm == "RSA_PKCS1_SHA_256")


@pytest.mark.parametrize("algorithm", ["SM2DSA", "SM2DSA_ASN1", "SM2DSA_RAW"])
def test_sign_with_sm2(do, keys, spki, algorithm):
    key = keys[SIGN_SM2]
    public = sm2.Public.from_spki(spki(SIGN_SM2))
    for text in texts(1, 4096, rounds=12):
        digest = public.digest(text)
        for signature in (sign(do, key, algorithm, text), sign(do, key, algorithm, digest, "DIGEST")):
            raw = signature if algorithm == "SM2DSA_RAW" else sm2.raw_signature(signature)
            assert len(raw) == 64
            assert public.verify_digest(digest, raw) and public.verify(text, raw)
            assert openssl.sm2_verify(public.pem, text, sm2.der_signature(raw))
            assert not openssl.sm2_verify(public.pem, text + b"x", sm2.der_signature(raw))
            for form in (raw, sm2.der_signature(raw)):
                assert verified(do, key, algorithm, text, form) is True
                assert verified(do, key, algorithm, digest, form, "DIGEST") is True
                assert verified(do, key, algorithm, text + b"x" if len(text) < 4096 else b"x", form) is False


@pytest.mark.parametrize("algorithm", SCHEMES)
def test_wrong_signatures(do, keys, algorithm):
    """What is base64 is at worst not valid, whatever it is."""
    usage, _ = SCHEMES[algorithm]
    key, text = keys[usage], b"a message"
    good = sign(do, key, algorithm, text)
    wrong = [b"", b"\0", good[:-1], good + b"\0", bytes(len(good)), b"\xff" * len(good), os.urandom(64), os.urandom(96),
             os.urandom(256), os.urandom(4096), bytes(64), bytes(96), b"\x30\x06\x02\x01\x00\x02\x01\x00",
             b"\x30\x06\x02\x01\x01\x02\x01\x01", bytes(8193), bytes(100_000)]
    if good[0] == 0x30 and algorithm != "RSA_PKCS1_SHA_256" and len(good) < 256:
        r, s = der.signature(good)
        members = der.whole(good, der.SEQUENCE)
        wrong += [
            # Signatures that are right but for their form, by which one signature would have many spellings.
            der.put(der.SEQUENCE, members + der.unsigned(0)),
            b"\x30\x81" + good[1:],
            der.put(der.SEQUENCE, b"\x02" + bytes([members[1] + 1]) + b"\0" + members[2:]),
            der.put(der.SEQUENCE, der.unsigned(s) + der.unsigned(r)),
        ]
        size = 48 if algorithm == "ECC_P384_R1" else 32
        raw = sm2.raw_signature(good, size)
        assert verified(do, key, algorithm, text, raw) is True
        wrong += [raw[:-1], raw + b"\0", raw[size:] + raw[:size], b"\x04" + raw]
    for at in range(0, len(good), 7):
        spoilt = bytearray(good)
        spoilt[at] ^= 1 << (at % 8)
        wrong.append(bytes(spoilt))
    for signature in wrong:
        assert verified(do, key, algorithm, text, signature) is False, signature.hex()
    assert verified(do, key, algorithm, text, good) is True
    for text64 in ("*", "AAA", "AAAA=", "A A=", b64(good) + "\t", "密", "*" * 20_000):
        fields = {"KeyId": key, "Algorithm": algorithm, "Message": b64(text), "SignatureValue": text64}
        assert refused(do, "VerifyByAsymmetricKey", **fields)[0] == "InvalidParameterValue", text64[:20]


def test_a_signature_is_of_one_key_and_one_algorithm(do, keys, alias):
    other = do("CreateKey", Alias=alias("other"), KeyUsage=SIGN_RSA).KeyId
    pss = sign(do, keys[SIGN_RSA], "RSA_PSS_SHA_256", b"text")
    assert verified(do, keys[SIGN_RSA], "RSA_PSS_SHA_256", b"text", pss) is True
    assert verified(do, keys[SIGN_RSA], "RSA_PKCS1_SHA_256", b"text", pss) is False
    assert verified(do, other, "RSA_PSS_SHA_256", b"text", pss) is False


def test_signatures_of_other_libraries_verify_in_form_only(do, keys):
    """A right signature of another key is a well-formed one, and not valid."""
    private = ec.generate_private_key(ec.SECP256R1())
    foreign = private.sign(b"text", ec.ECDSA(hashes.SHA256()))
    assert verified(do, keys[SIGN_P256], "ECC_P256_R1", b"text", foreign) is False
    pair = sm2.Pair()
    raw = pair.sign_digest(pair.public.digest(b"text"))
    assert pair.public.verify(b"text", raw)
    assert verified(do, keys[SIGN_SM2], "SM2DSA", b"text", raw) is False


# Encryption of results to a caller's key.


@pytest.fixture(scope="module")
def rsa_private():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module", params=["gmssl", "openssl"])
def pair(request):
    """An SM2 key pair of the caller, made by either."""
    return sm2.Pair() if request.param == "gmssl" else openssl.sm2_pair()


def pem_of(private):
    encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(encoding, kind).decode()


@pytest.fixture
def results(do, key, keys):
    """Every action that can encrypt its result: the result as sealed for a recipient, and what must be in it."""

    def run(text, **to):
        blob = do("Encrypt", KeyId=key, Plaintext=b64(text)).CiphertextBlob
        yield unb64(do("Decrypt", CiphertextBlob=blob, **to).Plaintext), text
        blob = do("PostQuantumCryptoEncrypt", KeyId=keys[DECRYPT_KYBER], PlainText=b64(text)).CiphertextBlob
        yield unb64(do("PostQuantumCryptoDecrypt", CiphertextBlob=blob, **to).PlainText), text
        made = do("GenerateDataKey", KeyId=key, NumberOfBytes=len(text), **to)
        yield unb64(made.Plaintext), unb64(do("Decrypt", CiphertextBlob=made.CiphertextBlob).Plaintext)

    return run


@pytest.mark.parametrize("algorithm", [None, "SM2", "SM2_C1C3C2_ASN1"])
def test_results_to_sm2_keys(results, pair, algorithm):
    to = {"EncryptionPublicKey": pair.public.pem} | ({"EncryptionAlgorithm": algorithm} if algorithm else {})
    for text in texts(1, 300, rounds=5):
        for sealed, expected in results(text, **to):
            assert len(expected) == len(text)
            if algorithm == "SM2_C1C3C2_ASN1":
                raw, encoded = sm2.from_asn1(sealed), sealed
            else:
                # C1 without its prefix byte, so 96 bytes more than the text.
                assert len(sealed) == 96 + len(text)
                raw, encoded = sealed, sm2.to_asn1(sealed)
            assert pair.decrypt(raw) == expected
            assert openssl.sm2_decrypt(pair.private_pem, encoded) == expected


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_results_to_rsa_keys(results, rsa_private, algorithm):
    longest = {"RSAES_PKCS1_V1_5": 245, "RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190}[algorithm]
    for text in texts(1, longest, rounds=6):
        for sealed, expected in results(text, EncryptionPublicKey=pem_of(rsa_private), EncryptionAlgorithm=algorithm):
            assert len(sealed) == 256 and rsa_private.decrypt(sealed, rsa_padding(algorithm)) == expected


def test_recipients_that_do_not_fit(do, key, keys, rsa_private):
    public = pem_of(rsa_private)
    sm2_public = sm2.Pair().public.pem
    p256 = pem_of(ec.generate_private_key(ec.SECP256R1()))
    off_curve = sm2.Public(sm2.Pair().public.point[:32] + bytes(32)).pem
    blob = do("Encrypt", KeyId=key, Plaintext=b64(b"x")).CiphertextBlob
    pq = do("PostQuantumCryptoEncrypt", KeyId=keys[DECRYPT_KYBER], PlainText=b64(b"x")).CiphertextBlob
    for pem, algorithm in (
        # Without an algorithm it is SM2, whatever the key is (decision 15).
        *((public, None), (public, ""), (public, "SM2"), (public, "SM2_C1C3C2_ASN1")),
        *((sm2_public, "RSAES_PKCS1_V1_5"), (sm2_public, "RSAES_OAEP_SHA_1"), (sm2_public, "RSAES_OAEP_SHA_256")),
        *((p256, None), (p256, "SM2"), (p256, "RSAES_OAEP_SHA_1"), (off_curve, "SM2")),
        *((sm2_public, "sm2"), (sm2_public, "SM2_C1C2C3"), (sm2_public, "RSA"), (public, "RSAES_OAEP_SHA_512")),
        *(("nonsense", "SM2"), (sm2_public[:-40], "SM2"), (sm2_public + sm2_public, "SM2")),
    ):
        to = {"EncryptionPublicKey": pem} | ({} if algorithm is None else {"EncryptionAlgorithm": algorithm})
        for action, fields in (
            ("Decrypt", {"CiphertextBlob": blob}),
            ("PostQuantumCryptoDecrypt", {"CiphertextBlob": pq}),
            ("GenerateDataKey", {"KeyId": key, "NumberOfBytes": 16}),
        ):
            code, message = refused(do, action, **fields, **to)
            assert code == "InvalidParameter", (action, algorithm, pem[:60])
            assert "Encryption" in message


def test_a_result_too_long_for_rsa(do, keys, rsa_private):
    blob = do("PostQuantumCryptoEncrypt", KeyId=keys[DECRYPT_KYBER], PlainText=b64(b"x" * 215)).CiphertextBlob
    to = {"EncryptionPublicKey": pem_of(rsa_private), "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}
    assert refused(do, "PostQuantumCryptoDecrypt", CiphertextBlob=blob, **to)[0] == "FailedOperation.EncryptionError"


# Post-quantum keys.


def test_post_quantum_encryption(do, keys, spki):
    key = keys[DECRYPT_KYBER]
    public = asymmetric.load(spki(DECRYPT_KYBER))
    for text in texts(1, 4096):
        sealed = do("PostQuantumCryptoEncrypt", KeyId=key, PlainText=b64(text))
        assert sealed.KeyId == key
        opened = do("PostQuantumCryptoDecrypt", CiphertextBlob=sealed.CiphertextBlob)
        assert (opened.KeyId, unb64(opened.PlainText)) == (key, text)
        # A blob that a client made of the public key: its format is public, and the key behind it the one shown.
        made = blobs.seal_to(public, key, text)
        assert len(made) == len(unb64(sealed.CiphertextBlob))
        assert unb64(do("PostQuantumCryptoDecrypt", CiphertextBlob=b64(made)).PlainText) == text


def test_spoilt_post_quantum_ciphertext(do, keys, key):
    blob = unb64(do("PostQuantumCryptoEncrypt", KeyId=keys[DECRYPT_KYBER], PlainText=b64(b"secret")).CiphertextBlob)
    symmetric = unb64(do("Encrypt", KeyId=key, Plaintext=b64(b"x")).CiphertextBlob)
    wrong = [b"", b"JS", symmetric, blob[:-1], blob + b"\0", blob[:1592], os.urandom(len(blob)), os.urandom(6000)]
    for at in [*range(24), *range(24, len(blob) - 1, 61), len(blob) - 1]:
        spoilt = bytearray(blob)
        spoilt[at] ^= 1 << (at % 8)
        wrong.append(bytes(spoilt))
    answers = {refused(do, "PostQuantumCryptoDecrypt", CiphertextBlob=b64(w)) for w in wrong}
    assert {c for c, _ in answers} == {"InvalidParameterValue.InvalidCiphertext"} and len(answers) == 1, answers
    # Neither family reads the other's.
    assert refused(do, "Decrypt", CiphertextBlob=b64(blob))[0] == "InvalidParameterValue.InvalidCiphertext"


def test_post_quantum_signatures(do, keys, spki):
    key = keys[SIGN_DILITHIUM]
    public = asymmetric.load(spki(SIGN_DILITHIUM))
    for text in texts(1, 4096, rounds=12):
        signature = unb64(do("PostQuantumCryptoSign", KeyId=key, Message=b64(text)).Signature)
        assert len(signature) == 4627
        public.verify(signature, text)

        def valid(message, value):
            fields = {"Message": b64(message), "SignatureValue": b64(value)}
            return do("PostQuantumCryptoVerify", KeyId=key, **fields).SignatureValid

        assert valid(text, signature) is True
        assert valid(text[:-1] + bytes([text[-1] ^ 1]), signature) is False
        for spoilt in (b"", b"x", signature[:-1], signature + b"\0", bytes(4627), b"\xff" * 4627, os.urandom(4627),
                       signature[:100] + bytes([signature[100] ^ 1]) + signature[101:]):
            assert valid(text, spoilt) is False


@pytest.mark.parametrize("value", ["*", "AAA", "密", "*" * 20_000])
def test_post_quantum_signatures_that_are_not_base64(do, keys, value):
    fields = {"KeyId": keys[SIGN_DILITHIUM], "Message": b64(b"x"), "SignatureValue": value}
    assert refused(do, "PostQuantumCryptoVerify", **fields)[0] == "InvalidParameterValue"


def test_states(do, alias):
    """An archived key still shows its public key, decrypts and verifies; a disabled one does nothing."""
    key = do("CreateKey", Alias=alias("state"), KeyUsage=SIGN_P256).KeyId
    signature = sign(do, key, "ECC_P256_R1", b"text")
    public = do("GetPublicKey", KeyId=key).PublicKey
    do("ArchiveKey", KeyId=key)
    assert do("GetPublicKey", KeyId=key).PublicKey == public
    assert verified(do, key, "ECC_P256_R1", b"text", signature) is True
    assert refused(sign, do, key, "ECC_P256_R1", b"text")[0] == "ResourceUnavailable.CmkStateNotSupport"
    do("CancelKeyArchive", KeyId=key)
    do("DisableKey", KeyId=key)
    assert refused(verified, do, key, "ECC_P256_R1", b"text", signature)[0] == "ResourceUnavailable.CmkStateNotSupport"
    do("EnableKey", KeyId=key)
    assert verified(do, key, "ECC_P256_R1", b"text", signature) is True
