"""Imported key material: what is refused, and how tokens, expiry and key length behave."""

import os
import time

import pytest

from kmslib import blob as blobs
from kmslib.byok import WRAPPINGS, import_material, parameters, wrap
from kmslib.wire import ApiError, b64, unb64


@pytest.fixture
def external(kms, alias):
    """Id of a fresh EXTERNAL key without material."""
    return kms.call("CreateKey", Alias=alias("ext"), Type=2)["KeyId"]


def code(call, *args, **fields):
    with pytest.raises(ApiError) as error:
        call(*args, **fields)
    return error.value.code


def test_expired_import_goes_back_to_pending_import(kms, external):
    import_material(kms, external, os.urandom(32), valid_to=int(time.time()) + 3)
    blob = kms.call("Encrypt", KeyId=external, Plaintext=b64(b"short-lived"))["CiphertextBlob"]
    # The promise holds at the second of ValidTo, whenever the background job comes by to change the row.
    time.sleep(4.2)
    assert kms.code("Decrypt", CiphertextBlob=blob) == "ResourceUnavailable.CmkDisabled"
    end = time.time() + 90
    while kms.call("DescribeKey", KeyId=external)["KeyMetadata"]["KeyState"] != "PendingImport":
        assert time.time() < end, "the job did not notice that the material expired"
        time.sleep(0.5)


@pytest.mark.parametrize("algorithm", WRAPPINGS)
@pytest.mark.parametrize("length", [0, 15, 16, 31, 33, 64])
def test_length_of_material(kms, external, algorithm, length):
    refused = code(import_material, kms, external, os.urandom(length), algorithm)
    assert refused in ("InvalidParameter", "InvalidParameter.DecryptMaterialError")
    assert kms.call("DescribeKey", KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"


def test_sm4_material_is_16_bytes(gm, alias):
    key = gm.call("CreateKey", Alias=alias("sm"), Type=2)["KeyId"]
    assert code(import_material, gm, key, os.urandom(32)) in ("InvalidParameter", "InvalidParameter.DecryptMaterialError")
    import_material(gm, key, os.urandom(16))
    blob = gm.call("Encrypt", KeyId=key, Plaintext=b64(b"sm4"))["CiphertextBlob"]
    assert unb64(gm.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"sm4"


def test_same_material_in_two_keys_keeps_them_apart(kms, alias):
    material = os.urandom(32)
    one, two = (kms.call("CreateKey", Alias=alias("twin"), Type=2)["KeyId"] for _ in range(2))
    import_material(kms, one, material)
    import_material(kms, two, material)
    blob = bytearray(unb64(kms.call("Encrypt", KeyId=one, Plaintext=b64(b"mine"))["CiphertextBlob"]))
    own, other = (bytes.fromhex(k.replace("-", "")) for k in (one, two))
    at = bytes(blob).index(own)
    blob[at : at + 16] = other
    assert kms.code("Decrypt", CiphertextBlob=b64(bytes(blob))) == "InvalidParameterValue.InvalidCiphertext"


def test_wrong_wrapping_is_refused_and_the_key_stays_empty(kms, external):
    got = parameters(kms, external, "RSAES_OAEP_SHA_256")
    common = {"KeyId": external, "ImportToken": got["ImportToken"]}
    material = os.urandom(32)
    for sealed in (
        wrap(material, got["PublicKey"], "RSAES_OAEP_SHA_1"),
        wrap(material, got["PublicKey"], "RSAES_PKCS1_V1_5"),
        b64(os.urandom(256)),
        b64(os.urandom(255)),
        b64(b""),
        b64(bytes(256)),
        b64(b"\xff" * 256),
    ):
        refused = kms.code("ImportKeyMaterial", EncryptedKeyMaterial=sealed, **common)
        assert refused in ("InvalidParameter.DecryptMaterialError", "InvalidParameter"), refused
    assert kms.code("ImportKeyMaterial", EncryptedKeyMaterial="*not base64*", **common) in (
        "InvalidParameter.DecryptMaterialError",
        "InvalidParameter",
    )
    assert kms.call("DescribeKey", KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"


def test_a_token_dies_after_ten_failures(kms, external):
    got = parameters(kms, external, "RSAES_PKCS1_V1_5")
    common = {"KeyId": external, "ImportToken": got["ImportToken"]}
    for _ in range(10):
        assert kms.code("ImportKeyMaterial", EncryptedKeyMaterial=b64(os.urandom(256)), **common) is not None
    sealed = wrap(os.urandom(32), got["PublicKey"], "RSAES_PKCS1_V1_5")
    assert kms.code("ImportKeyMaterial", EncryptedKeyMaterial=sealed, **common) == "ResourceUnavailable.TokenExpired"
    import_material(kms, external, os.urandom(32))


def test_only_the_newest_token_works(kms, external):
    old, new = parameters(kms, external), parameters(kms, external)
    material = os.urandom(32)
    sealed = wrap(material, old["PublicKey"], "RSAES_OAEP_SHA_256")
    refused = kms.code("ImportKeyMaterial", KeyId=external, ImportToken=old["ImportToken"], EncryptedKeyMaterial=sealed)
    assert refused == "ResourceUnavailable.TokenExpired"
    sealed = wrap(material, new["PublicKey"], "RSAES_OAEP_SHA_256")
    kms.call("ImportKeyMaterial", KeyId=external, ImportToken=new["ImportToken"], EncryptedKeyMaterial=sealed)


def test_a_token_belongs_to_its_key(kms, external, alias):
    other = kms.call("CreateKey", Alias=alias("ext"), Type=2)["KeyId"]
    got = parameters(kms, external)
    sealed = wrap(os.urandom(32), got["PublicKey"], "RSAES_OAEP_SHA_256")
    refused = kms.code("ImportKeyMaterial", KeyId=other, ImportToken=got["ImportToken"], EncryptedKeyMaterial=sealed)
    assert refused in ("InvalidParameter", "ResourceUnavailable.TokenExpired")
    assert kms.call("DescribeKey", KeyId=other)["KeyMetadata"]["KeyState"] == "PendingImport"


@pytest.mark.parametrize("token", ["", "AAAA", "*", b64(os.urandom(96)), "A" * 20000])
def test_made_up_tokens(kms, external, token):
    got = parameters(kms, external)
    sealed = wrap(os.urandom(32), got["PublicKey"], "RSAES_OAEP_SHA_256")
    refused = kms.code("ImportKeyMaterial", KeyId=external, ImportToken=token, EncryptedKeyMaterial=sealed)
    assert refused in ("InvalidParameter", "ResourceUnavailable.TokenExpired", "MissingParameter")


@pytest.mark.parametrize("valid_to", [1, lambda: int(time.time()) - 10, 2_147_443_201])
def test_valid_to_has_bounds(kms, external, valid_to):
    until = valid_to() if callable(valid_to) else valid_to
    assert code(import_material, kms, external, os.urandom(32), valid_to=until).startswith("InvalidParameter")


@pytest.mark.parametrize("valid_to", ["0", 0, 2_147_443_200])
def test_valid_to_is_accepted(kms, external, valid_to):
    import_material(kms, external, os.urandom(32), valid_to=valid_to)
    assert kms.call("DescribeKey", KeyId=external)["KeyMetadata"]["ValidTo"] == int(valid_to)


def test_wrapping_names(kms, external):
    for wrong in ({"WrappingAlgorithm": "RSA"}, {"WrappingKeySpec": "RSA_4096"}, {"WrappingAlgorithm": ""}):
        good = {"WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"}
        assert kms.code("GetParametersForImport", KeyId=external, **(good | wrong)) in (
            "InvalidParameter",
            "InvalidParameterValue",
        )


def test_keys_of_our_own_origin_take_no_material(kms, key, external):
    assert code(parameters, kms, key) == "UnsupportedOperation.NotExternalCmk"
    assert kms.code("DeleteImportedKeyMaterial", KeyId=key) == "UnsupportedOperation.NotExternalCmk"
    got = parameters(kms, external)
    refused = kms.code(
        "ImportKeyMaterial",
        KeyId=key,
        ImportToken=got["ImportToken"],
        EncryptedKeyMaterial=wrap(os.urandom(32), got["PublicKey"], "RSAES_OAEP_SHA_256"),
    )
    assert refused == "UnsupportedOperation.NotExternalCmk"


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_random_materials(kms, alias, algorithm):
    """What was imported is what encrypts: the blob opens with the material alone."""
    for n in range(16):
        # Materials that begin with zeros or ones too, which a wrapping that counts numbers would lose.
        material = bytes(n % 4) + os.urandom(32 - n % 4) if n % 2 else b"\xff" * (n % 4) + os.urandom(32 - n % 4)
        key = kms.call("CreateKey", Alias=alias("random"), Type=2)["KeyId"]
        import_material(kms, key, material, algorithm)
        text = os.urandom(1 + n)
        sealed = unb64(kms.call("Encrypt", KeyId=key, Plaintext=b64(text))["CiphertextBlob"])
        assert blobs.open_aes(material, sealed) == text
        assert unb64(kms.call("Decrypt", CiphertextBlob=b64(sealed))["Plaintext"]) == text


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_all_that_does_not_unwrap_has_one_answer(kms, external, algorithm):
    """Bad padding, another algorithm, another key, a wrong length: nothing tells them apart."""
    got = parameters(kms, external, algorithm)
    stale = got["PublicKey"]
    longest = {"RSAES_PKCS1_V1_5": 245, "RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190}[algorithm]
    wraps = [
        *(lambda k, n=n: unb64(wrap(os.urandom(n), k, algorithm)) for n in (0, 1, 16, 24, 31, 33, 48, 64, longest)),
        *(lambda k, a=a: unb64(wrap(os.urandom(32), k, a)) for a in WRAPPINGS if a != algorithm),
        lambda k: unb64(wrap(os.urandom(32), stale, algorithm)),
        lambda k: b"\0" + os.urandom(255),
        lambda k: unb64(wrap(os.urandom(32), k, algorithm))[:-1],
        lambda k: b"\0" + unb64(wrap(os.urandom(32), k, algorithm)),
        *(lambda k, v=v: v for v in (b"", b"\0", bytes(256), b"\xff" * 256, bytes(255) + b"\1", os.urandom(3000))),
    ]
    answers = set()
    for n, make in enumerate(wraps):
        if n % 8 == 0:
            # A token bears ten failures.
            got = parameters(kms, external, algorithm)
        fields = {"KeyId": external, "ImportToken": got["ImportToken"]}
        answer = kms.ask("ImportKeyMaterial", fields | {"EncryptedKeyMaterial": b64(make(got["PublicKey"]))})
        answers.add((answer.code, answer.message))
    assert {code for code, _ in answers} == {"InvalidParameter.DecryptMaterialError"} and len(answers) == 1, answers
    assert kms.call("DescribeKey", KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"


def test_garbage_never_becomes_a_key(kms, alias):
    """With PKCS#1 v1.5 a ciphertext of random bytes must fail: random bytes made of it would be somebody's key."""
    key = kms.call("CreateKey", Alias=alias("garbage"), Type=2)["KeyId"]
    for n in range(300):
        if n % 10 == 0:
            got = parameters(kms, key, "RSAES_PKCS1_V1_5")
        fields = {"KeyId": key, "ImportToken": got["ImportToken"], "EncryptedKeyMaterial": b64(b"\0" + os.urandom(255))}
        assert kms.code("ImportKeyMaterial", **fields) == "InvalidParameter.DecryptMaterialError"
    assert kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "PendingImport"


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_the_tenth_failure_is_the_last(kms, external, algorithm):
    got = parameters(kms, external, algorithm)
    material = os.urandom(32)
    fields = {"KeyId": external, "ImportToken": got["ImportToken"]}
    good = fields | {"EncryptedKeyMaterial": wrap(material, got["PublicKey"], algorithm)}
    bad = fields | {"EncryptedKeyMaterial": wrap(os.urandom(31), got["PublicKey"], algorithm)}
    other = fields | {"EncryptedKeyMaterial": wrap(os.urandom(32), got["PublicKey"], algorithm)}
    for _ in range(8):
        assert kms.code("ImportKeyMaterial", **bad) == "InvalidParameter.DecryptMaterialError"
    # Success gives its attempt back, other material than the first does not.
    for _ in range(4):
        kms.call("ImportKeyMaterial", **good)
    assert kms.code("ImportKeyMaterial", **other) == "InvalidParameterValue.MaterialNotMatch"
    kms.call("ImportKeyMaterial", **good)
    assert kms.code("ImportKeyMaterial", **bad) == "InvalidParameter.DecryptMaterialError"
    for fields in (good, bad, other):
        assert kms.code("ImportKeyMaterial", **fields) == "ResourceUnavailable.TokenExpired"
    # A wrong token costs the right one nothing.
    got = parameters(kms, external, algorithm)
    for _ in range(12):
        wrong = {"ImportToken": b64(os.urandom(96)), "EncryptedKeyMaterial": wrap(material, got["PublicKey"], algorithm)}
        assert kms.code("ImportKeyMaterial", KeyId=external, **wrong) == "ResourceUnavailable.TokenExpired"
    fields = {"ImportToken": got["ImportToken"], "EncryptedKeyMaterial": wrap(material, got["PublicKey"], algorithm)}
    kms.call("ImportKeyMaterial", KeyId=external, **fields)


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_reimport(kms, external, algorithm):
    """A key is bound to its first material, also when that is gone or comes by another algorithm."""
    first = os.urandom(32)
    import_material(kms, external, first, algorithm)
    sealed = kms.call("Encrypt", KeyId=external, Plaintext=b64(b"kept"))["CiphertextBlob"]
    for again in WRAPPINGS:
        import_material(kms, external, first, again)
        assert code(import_material, kms, external, os.urandom(32), again) == "InvalidParameterValue.MaterialNotMatch"
        assert unb64(kms.call("Decrypt", CiphertextBlob=sealed)["Plaintext"]) == b"kept"
    kms.call("DeleteImportedKeyMaterial", KeyId=external)
    assert code(import_material, kms, external, os.urandom(32), algorithm) == "InvalidParameterValue.MaterialNotMatch"
    assert kms.call("DescribeKey", KeyId=external)["KeyMetadata"]["KeyState"] == "PendingImport"
    import_material(kms, external, first, algorithm)
    assert unb64(kms.call("Decrypt", CiphertextBlob=sealed)["Plaintext"]) == b"kept"


def test_an_older_public_key_with_the_newest_token(kms, external):
    """Token and key are a pair: the new token does not open what was wrapped to the old key."""
    old, new = parameters(kms, external), parameters(kms, external)
    assert old["PublicKey"] != new["PublicKey"] and old["ImportToken"] != new["ImportToken"]
    material = os.urandom(32)
    fields = {"KeyId": external, "ImportToken": new["ImportToken"]}
    sealed = wrap(material, old["PublicKey"], "RSAES_OAEP_SHA_256")
    assert kms.code("ImportKeyMaterial", **fields, EncryptedKeyMaterial=sealed) == "InvalidParameter.DecryptMaterialError"
    sealed = wrap(material, new["PublicKey"], "RSAES_OAEP_SHA_256")
    kms.call("ImportKeyMaterial", **fields, EncryptedKeyMaterial=sealed)
