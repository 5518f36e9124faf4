"""Refusals and their exact codes."""

import json
import os
import textwrap
import time

import pytest

from kmslib.wire import ApiError, Client, Creds, b64, unb64

NOBODY = "00000000-0000-11f0-8000-000000000000"
BAD_CIPHERTEXT = "InvalidParameterValue.InvalidCiphertext"
BAD_PLAINTEXT = "InvalidParameterValue.InvalidPlaintext"


@pytest.mark.parametrize(
    "key_id", ["", "x", NOBODY[:-1], NOBODY + "0", "{" + NOBODY + "}", NOBODY.replace("-", ""), "g" + NOBODY[1:], "密" * 12]
)
def test_malformed_key_id(kms, key_id):
    # Under plain JSON an empty string is a value like any other, so it is malformed rather than missing.
    assert kms.code("DescribeKey", KeyId=key_id) == "InvalidParameterValue.InvalidKeyId"


@pytest.mark.parametrize("action", ["DescribeKey", "EnableKey", "DisableKey", "GetKeyRotationStatus", "CancelKeyArchive"])
def test_unknown_key_id(kms, action):
    assert kms.code(action, KeyId=NOBODY) == "ResourceUnavailable.CmkNotFound"


def test_key_of_another_region_is_unknown(kms, intl, key):
    assert intl.code("DescribeKey", KeyId=key) == "ResourceUnavailable.CmkNotFound"
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    assert intl.code("Decrypt", CiphertextBlob=blob) == BAD_CIPHERTEXT
    assert intl.code("ReEncrypt", CiphertextBlob=blob) == BAD_CIPHERTEXT


@pytest.mark.parametrize("wrong", ["", "_x", "-x", "a b", "a.b", "密钥", "a" * 61, "kms-own", "KMS-own"])
def test_aliases(kms, key, wrong):
    assert kms.code("CreateKey", Alias=wrong) == "InvalidParameterValue.InvalidAlias"
    assert kms.code("UpdateAlias", KeyId=key, Alias=wrong) == "InvalidParameterValue.InvalidAlias"


def test_longest_alias_and_duplicates(kms, intl, alias):
    name = alias("a") + "x" * 40
    name = (name + "y" * 60)[:60]
    kms.call("CreateKey", Alias=name)
    assert kms.code("CreateKey", Alias=name) == "InvalidParameterValue.AliasAlreadyExists"
    other = kms.call("CreateKey", Alias=alias())["KeyId"]
    assert kms.code("UpdateAlias", KeyId=other, Alias=name) == "InvalidParameterValue.AliasAlreadyExists"
    intl.call("CreateKey", Alias=name)


def test_description_length(kms, key):
    kms.call("UpdateKeyDescription", KeyId=key, Description="d" * 1024)
    kms.call("UpdateKeyDescription", KeyId=key, Description="")
    assert kms.code("UpdateKeyDescription", KeyId=key, Description="d" * 1025) == "InvalidParameter"
    # Bytes count, not characters.
    assert kms.code("UpdateKeyDescription", KeyId=key, Description="密" * 342) == "InvalidParameter"


@pytest.mark.parametrize("kind", [0, 3])
def test_type(kms, alias, kind):
    assert kms.code("CreateKey", Alias=alias(), Type=kind) == "InvalidParameterValue.InvalidType"


def test_key_usage(kms, alias):
    assert kms.code("CreateKey", Alias=alias(), KeyUsage="SOMETHING") == "InvalidParameterValue.InvalidKeyUsage"
    assert kms.code("CreateKey", Alias=alias(), HsmClusterId="cls-hsm-none") == "InvalidParameterValue.InvalidHsmClusterId"


def test_duplicate_tags(kms, alias):
    tags = [{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}]
    assert kms.code("CreateKey", Alias=alias(), Tags=tags) == "InvalidParameterValue.TagKeysDuplicated"


def test_tag_filters(kms, alias):
    one, two = (
        kms.call("CreateKey", Alias=alias(), Tags=[{"TagKey": "stage", "TagValue": v}, {"TagKey": "team", "TagValue": "a"}])
        for v in ("dev", "prod")
    )

    def found(*filters):
        got = kms.call("ListKeyDetail", TagFilters=[{"TagKey": k, "TagValue": v} for k, v in filters], Limit=200)
        return {m["KeyId"] for m in got["KeyMetadatas"] or []}

    one, two = one["KeyId"], two["KeyId"]
    assert found(("stage", ["dev"])) == {one}
    assert found(("stage", ["dev", "prod"])) == {one, two}
    assert found(("stage", ["dev"]), ("team", ["a"])) == {one}
    assert found(("stage", ["dev"]), ("team", ["b"])) == set()


@pytest.mark.parametrize("limit", [201, -1, 1 << 63, "x", "1.5", 1.5, True, [1], {"a": 1}])
@pytest.mark.parametrize("action", ["ListKeys", "ListKeyDetail"])
def test_limit(kms, action, limit):
    assert kms.code(action, Limit=limit) == "InvalidParameter"


@pytest.mark.parametrize("limit", [1, 200, "10"])
def test_good_limit(kms, limit):
    assert kms.code("ListKeys", Limit=limit, Offset="0") is None


def test_offset_past_the_end(kms):
    got = kms.call("ListKeyDetail", Offset=1_000_000)
    assert not got["KeyMetadatas"] and got["TotalCount"] >= 0


def test_enumerated_list_parameters(kms):
    for wrong in ({"OrderType": 2}, {"KeyState": 6}, {"Origin": "external"}, {"KeyUsage": "NOTHING"}, {"Role": 2}):
        assert kms.code("ListKeyDetail", **wrong) in (
            "InvalidParameter",
            "InvalidParameterValue",
            "InvalidParameterValue.InvalidKeyUsage",
        ), wrong


@pytest.mark.parametrize("days", [0, 6, 31, -1, "6", "x"])
def test_deletion_window(kms, alias, days):
    key = kms.call("CreateKey", Alias=alias())["KeyId"]
    kms.call("DisableKey", KeyId=key)
    code = kms.code("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=days)
    if days in (0, 6, 31, "6"):
        assert code == "InvalidParameter.InvalidPendingWindowInDays"
    else:
        assert code.startswith("InvalidParameter")
    assert kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


def test_deletion_window_as_text(kms, alias):
    key = kms.call("CreateKey", Alias=alias())["KeyId"]
    kms.call("DisableKey", KeyId=key)
    due = kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays="30")["DeletionDate"]
    assert abs(due - time.time() - 30 * 86400) < 5


def test_the_alias_of_a_pending_key_is_not_free(kms, alias):
    name = alias()
    key = kms.call("CreateKey", Alias=name)["KeyId"]
    kms.call("DisableKey", KeyId=key)
    kms.call("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert kms.code("CreateKey", Alias=name) == "InvalidParameterValue.AliasAlreadyExists"


@pytest.mark.parametrize("days", [0, 6, 366, -7])
def test_rotate_days(kms, key, days):
    assert kms.code("EnableKeyRotation", KeyId=key, RotateDays=days) in ("InvalidParameter", "InvalidParameterValue")
    assert kms.call("GetKeyRotationStatus", KeyId=key)["KeyRotationEnabled"] is False


@pytest.mark.parametrize("days", [7, 365, "8"])
def test_good_rotate_days(kms, key, days):
    kms.call("EnableKeyRotation", KeyId=key, RotateDays=days)
    assert kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["RotateDays"] == int(days)


def test_plaintext(kms, key):
    for size in (1, 2, 3, 4095, 4096):
        text = os.urandom(size)
        blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(text))["CiphertextBlob"]
        assert unb64(kms.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == text
    for wrong in (b64(b"x" * 4097), "", "*", "QQ", "QQ=", "QQ==\t", "Q Q=", "QR==", "密", b64(b"x" * 100_000)):
        assert kms.code("Encrypt", KeyId=key, Plaintext=wrong) == BAD_PLAINTEXT, wrong[:20]
    # As encoders that break lines write it.
    for text in (b"x", os.urandom(4096)):
        for end in ("\n", "\r\n"):
            lines = end.join(textwrap.wrap(b64(text), 76)) + end
            blob = kms.call("Encrypt", KeyId=key, Plaintext=lines)["CiphertextBlob"]
            assert unb64(kms.call("Decrypt", CiphertextBlob=blob[:40] + end + blob[40:])["Plaintext"]) == text


def test_tampered_ciphertext(kms, key):
    blob = unb64(kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x" * 33))["CiphertextBlob"])
    assert blob[:2] == b"JS"
    messages = set()
    for at in range(len(blob)):
        spoilt = bytearray(blob)
        spoilt[at] ^= 1 << (at % 8)
        answer = kms.ask("Decrypt", {"CiphertextBlob": b64(bytes(spoilt))})
        assert answer.code == BAD_CIPHERTEXT, at
        messages.add(answer.message)
    for wrong in (blob[:-1], blob + b"\0", b"", b"JS", blob[:40], os.urandom(200), b"x" * 9000):
        answer = kms.ask("Decrypt", {"CiphertextBlob": b64(wrong)})
        assert answer.code == BAD_CIPHERTEXT
        messages.add(answer.message)
    answer = kms.ask("Decrypt", {"CiphertextBlob": b64(blob), "EncryptionContext": '{"a":"b"}'})
    assert answer.code == BAD_CIPHERTEXT
    messages.add(answer.message)
    assert len(messages) == 1, "the message tells the cases apart"
    assert kms.code("Decrypt", CiphertextBlob="*not base64*") == BAD_CIPHERTEXT


def test_equal_contexts(kms, key):
    sealed = {}
    for context in ("", "{}", ' { } '):
        sealed[context] = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext=context)["CiphertextBlob"]
    sealed[None] = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    for blob in sealed.values():
        for context in ("", "{}"):
            kms.call("Decrypt", CiphertextBlob=blob, EncryptionContext=context)
        kms.call("Decrypt", CiphertextBlob=blob)
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext='{"b":"2","a":"\\u0031"}')["CiphertextBlob"]
    kms.call("Decrypt", CiphertextBlob=blob, EncryptionContext='{"a":"1","b":"2"}')
    for wrong in ('{"a":"1"}', '{"a":"2","b":"1"}', '{"A":"1","b":"2"}', '{"a":"1","b":"2","c":""}'):
        assert kms.code("Decrypt", CiphertextBlob=blob, EncryptionContext=wrong) == BAD_CIPHERTEXT


@pytest.mark.parametrize(
    "context",
    ["x", "[]", '"a"', "1", "null", "{", '{"a":1}', '{"a":null}', '{"a":{}}', '{"a":["b"]}', '{"a":"b"}x',
     '{"a":"1","a":"2"}', "[" * 900, json.dumps({"a": "x" * 1024})],
)
def test_bad_contexts(kms, key, context):
    assert kms.code("Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext=context) == "InvalidParameter"
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    assert kms.code("Decrypt", CiphertextBlob=blob, EncryptionContext=context) == "InvalidParameter"


def test_context_of_1024_characters(kms, key):
    context = json.dumps({"a": "密" * 1024}, ensure_ascii=False)
    context = json.dumps({"a": "密" * (1024 - (len(context) - 1024))}, ensure_ascii=False)
    assert len(context) == 1024
    blob = kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext=context)["CiphertextBlob"]
    kms.call("Decrypt", CiphertextBlob=blob, EncryptionContext=context)


def test_data_keys(kms, key):
    for spec, size in (("AES_128", 16), ("AES_256", 32)):
        assert len(unb64(kms.call("GenerateDataKey", KeyId=key, KeySpec=spec)["Plaintext"])) == size
    got = kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_256", NumberOfBytes=7)
    assert len(unb64(got["Plaintext"])) == 7
    for wrong in ({"KeySpec": "AES_192"}, {"NumberOfBytes": 1025}, {"NumberOfBytes": 0}, {}, {"KeySpec": ""}):
        code = kms.code("GenerateDataKey", KeyId=key, **wrong)
        assert code in ("InvalidParameter", "InvalidParameterValue", "MissingParameter"), (wrong, code)
    blob = kms.call("GenerateDataKey", KeyId=key, NumberOfBytes=1024, EncryptionContext='{"a":"b"}')["CiphertextBlob"]
    assert kms.code("Decrypt", CiphertextBlob=blob) == BAD_CIPHERTEXT
    assert len(unb64(kms.call("Decrypt", CiphertextBlob=blob, EncryptionContext='{"a":"b"}')["Plaintext"])) == 1024


@pytest.mark.parametrize("count", [0, 1025, -1])
def test_random_bounds(kms, count):
    assert kms.code("GenerateRandom", NumberOfBytes=count) in ("InvalidParameter", "InvalidParameterValue")


def test_batches(kms, key):
    assert kms.code("DescribeKeys", KeyIds=[key, key]) == "InvalidParameterValue.DuplicatedKeyId"
    assert kms.code("DescribeKeys", KeyIds=[key, NOBODY]) == "ResourceUnavailable.CmkNotFound"
    assert kms.code("DescribeKeys", KeyIds=[key, "x"]) == "InvalidParameterValue.InvalidKeyId"
    assert kms.code("DescribeKeys", KeyIds=[f"{n:08x}{NOBODY[8:]}" for n in range(101)]) == "InvalidParameter"
    assert kms.code("DescribeKeys", KeyIds=[]) in ("InvalidParameter", "MissingParameter")
    assert kms.code("DescribeKeys", KeyIds=key) == "InvalidParameter"


def test_parameter_names_and_types(kms, key):
    def refused(action, **fields):
        answer = kms.ask(action, fields)
        return answer.code, answer.message

    code, message = refused("DescribeKey")
    assert code == "MissingParameter" and "KeyId" in message
    code, message = refused("DescribeKey", KeyId=key, Nonsense=1)
    assert code == "UnknownParameter" and "Nonsense" in message
    code, message = refused("DescribeKey", KeyId=key, keyid=key)
    assert code == "UnknownParameter"
    for wrong in (1, True, 1.5, [key], {"a": key}):
        code, message = refused("DescribeKey", KeyId=wrong)
        assert code == "InvalidParameter" and "KeyId" in message, wrong
    # An unknown name comes before a missing one, an ill-typed one last.
    assert refused("DescribeKey", Nonsense=1)[0] == "UnknownParameter"


def test_null_is_absent(kms, key):
    assert kms.code("Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext=None) is None
    assert kms.code("Encrypt", KeyId=None, Plaintext=b64(b"x")) == "MissingParameter"


def test_member_account_needs_an_organisation(kms, key):
    member = {"MemberAppId": 1, "MemberUin": 2}
    assert kms.code("DescribeKey", KeyId=key, MemberAccount=member) == "UnsupportedOperation.NotRoleOperation"


def test_common_parameters(kms):
    ask = lambda *a, **k: kms.ask(*a, **k).code  # noqa: E731
    assert ask("NoSuchAction") == "InvalidAction"
    assert ask("describekey") == "InvalidAction"
    assert ask(None) == "MissingParameter"
    assert ask("ListKeys", version="2018-01-01") == "NoSuchVersion"
    assert ask("ListKeys", version=None) == "MissingParameter"
    assert ask("ListKeys", region="ap-nowhere") == "UnsupportedRegion"
    assert ask("ListKeys", region="") == "InvalidParameterValue"
    now = int(time.time())
    for away in (-301, 301, -100_000, 100_000):
        # One second of slack: the clock may tick between signing and checking.
        at = now + away + (1 if away > 0 else -1)
        assert ask("ListKeys", timestamp=at) == "AuthFailure.SignatureExpire"
    for away in (-290, 290):
        assert ask("ListKeys", timestamp=now + away) is None
    assert ask("ListKeys", creds=Creds("AKIDnobody", "x")) == "AuthFailure.SecretIdNotFound"
    assert ask("ListKeys", creds=Creds(kms.creds.secret_id, "x")) == "AuthFailure.SignatureFailure"


def test_region_may_be_left_out(server):
    client = Client(server.endpoint, server.creds)
    assert client.code("ListKeys") is None


def test_a_hosted_data_key_needs_a_name(kms, key):
    assert kms.code("GenerateDataKey", KeyId=key, KeySpec="AES_256", IsHostedByKms=1) == "MissingParameter"
    assert kms.code("GenerateDataKey", KeyId=key, KeySpec="AES_256", IsHostedByKms=2) == "InvalidParameter"
    assert kms.code("GenerateDataKey", KeyId=key, KeySpec="AES_256", IsHostedByKms=0) is None


def test_errors_name_the_request(kms):
    with pytest.raises(ApiError) as error:
        kms.call("DescribeKey", KeyId=NOBODY)
    assert len(error.value.request_id) == 36 and error.value.request_id[14] == "4"
