"""Hosted data keys by the official Python SDK."""

import os
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.kms.v20190118 import models

from kmslib import sdk
from kmslib.byok import rsa_padding
from kmslib.server import GM
from kmslib.wire import b64, unb64

CONTEXT = '{"tenant": "a b+c", "键": "值"}'


@pytest.fixture
def client(server):
    return sdk.make(server)


def call(client, action, **fields):
    return sdk.call(client, action, **fields)


def code(client, action, **fields):
    """The error code of a call that must fail."""
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(client, action, **fields)
    assert len(error.value.get_request_id()) == 36
    return error.value.get_code()


def host(client, key, name, **more):
    return call(client, "GenerateDataKey", KeyId=key, IsHostedByKms=1, DataKeyName=name, **more)


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_from_making_to_the_end(server, key, alias, sign, http):
    client = sdk.make(server, sign=sign, http=http)
    name = alias("data")
    made = host(client, key, name, NumberOfBytes=48, EncryptionContext=CONTEXT, Description="说明")
    one = {"DataKeyId": made.DataKeyId}
    assert call(client, "GetDataKeyPlaintext", **one).Plaintext == made.Plaintext
    blob = call(client, "GetDataKeyCiphertextBlob", **one).CiphertextBlob
    assert blob == made.CiphertextBlob
    assert call(client, "Decrypt", CiphertextBlob=blob, EncryptionContext=CONTEXT).Plaintext == made.Plaintext
    seen = call(client, "DescribeDataKey", **one).DataKeyMetadata
    assert (seen.DataKeyName, seen.KeyId, seen.NumberOfBytes, seen.Description) == (name, key, 48, "说明")
    assert (seen.KeyState, seen.Origin, seen.DeletionDate) == ("Enabled", "TENCENT_KMS", 0)

    renamed = alias("data")
    call(client, "UpdateDataKeyName", DataKeyName=renamed, **one)
    call(client, "UpdateDataKeyDescription", Description="new", **one)
    assert code(client, "ScheduleDataKeyDeletion", PendingWindowInDays=7, **one) == (
        "ResourceUnavailable.DataKeyStateNotSupport"
    )
    call(client, "DisableDataKey", **one)
    assert code(client, "GetDataKeyPlaintext", **one) == "ResourceUnavailable.DataKeyDisabled"
    assert code(client, "GetDataKeyCiphertextBlob", **one) == "ResourceUnavailable.DataKeyStateNotSupport"
    call(client, "EnableDataKeys", DataKeyIds=[made.DataKeyId])
    call(client, "DisableDataKeys", DataKeyIds=[made.DataKeyId])
    before = int(time.time())
    scheduled = call(client, "ScheduleDataKeyDeletion", PendingWindowInDays=7, **one)
    assert before <= scheduled.DeletionDate - 7 * 86_400 <= time.time() + 1
    assert code(client, "GetDataKeyPlaintext", **one) == "ResourceUnavailable.DataKeyPendingDelete"
    assert call(client, "CancelDataKeyDeletion", **one).DataKeyId == made.DataKeyId
    assert code(client, "CancelDataKeyDeletion", **one) == "ResourceUnavailable.DataKeyNotPendingDelete"
    call(client, "EnableDataKey", **one)
    seen = call(client, "DescribeDataKeys", DataKeyIds=[made.DataKeyId]).DataKeyMetadatas[0]
    assert (seen.DataKeyName, seen.Description, seen.KeyState) == (renamed, "new", "Enabled")


def test_import(client, key, alias):
    made = call(client, "GenerateDataKey", KeyId=key, KeySpec="AES_256")
    of_kms = call(client, "ImportDataKey", DataKeyName=alias("d"), ImportType=1, ImportKeyMaterial=made.CiphertextBlob)
    assert of_kms.KeyId == key
    assert call(client, "GetDataKeyPlaintext", DataKeyId=of_kms.DataKeyId).Plaintext == made.Plaintext
    mine = b64(os.urandom(5))
    fields = {"ImportType": 2, "ImportKeyMaterial": mine, "KeyId": key}
    name = alias("d")
    own = call(client, "ImportDataKey", DataKeyName=name, **fields)
    assert call(client, "GetDataKeyPlaintext", DataKeyId=own.DataKeyId).Plaintext == mine
    assert call(client, "DescribeDataKey", DataKeyId=own.DataKeyId).DataKeyMetadata.Origin == "EXTERNAL"
    assert code(client, "ImportDataKey", DataKeyName=name, **fields) == (
        "InvalidParameterValue.DataKeyNameAlreadyExists"
    )
    fields = {"DataKeyName": alias("d"), "ImportType": 1, "ImportKeyMaterial": made.CiphertextBlob[:-8] + "AAAAAAA="}
    assert code(client, "ImportDataKey", **fields) == "InvalidParameterValue.InvalidImportKeyMaterial"


def test_lists(client, kms, alias):
    cmk = kms.call("CreateKey", Alias=alias("cmk"))["KeyId"]
    stem = alias("list")
    ids = [host(client, cmk, f"{stem}-{n}", NumberOfBytes=16 + n).DataKeyId for n in range(5)]
    listed = call(client, "ListDataKeyDetail", KeyId=cmk, Limit=200)
    assert listed.TotalCount == 5 and {m.DataKeyId for m in listed.DataKeyMetadatas} == set(ids)
    by_length = call(client, "ListDataKeyDetail", KeyId=cmk, DataKeyLen=18)
    assert [m.DataKeyId for m in by_length.DataKeyMetadatas] == [ids[2]]
    by_name = call(client, "ListDataKeyDetail", SearchKeyAlias=f"{stem}-3")
    assert [m.DataKeyId for m in by_name.DataKeyMetadatas] == [ids[3]]
    assert call(client, "ListDataKeyDetail", SearchKeyAlias=ids[4]).TotalCount == 1
    seen, offset = [], 0
    while page := call(client, "ListDataKeys", Offset=offset, Limit=200).DataKeys:
        seen += [k.DataKeyId for k in page]
        offset += len(page)
    assert set(ids) <= set(seen) and len(seen) == len(set(seen))


def test_cmk_states_and_rotation(client, kms, key, alias):
    one = {"DataKeyId": host(client, key, alias("d"), KeySpec="AES_128").DataKeyId}
    plaintext = call(client, "GetDataKeyPlaintext", **one).Plaintext
    kms.call("EnableKeyRotation", KeyId=key)
    kms.call("RotateKey", KeyId=key)
    assert call(client, "GetDataKeyPlaintext", **one).Plaintext == plaintext
    kms.call("ArchiveKey", KeyId=key)
    assert call(client, "GetDataKeyPlaintext", **one).Plaintext == plaintext
    kms.call("CancelKeyArchive", KeyId=key)
    kms.call("DisableKey", KeyId=key)
    assert code(client, "GetDataKeyPlaintext", **one) == "ResourceUnavailable.CmkDisabled"
    assert code(client, "EnableDataKey", **one) == "ResourceUnavailable.CmkStateNotSupport"


def test_to_a_public_key(client, key, alias):
    private = rsa.generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    made = host(client, key, alias("d"), KeySpec="AES_256")
    to_me = {"EncryptionPublicKey": pem, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    sealed = call(client, "GetDataKeyPlaintext", DataKeyId=made.DataKeyId, **to_me).Plaintext
    assert private.decrypt(unb64(sealed), rsa_padding("RSAES_OAEP_SHA_256")) == unb64(made.Plaintext)


def test_other_scopes_and_bad_ids(server, client, key, alias):
    one = {"DataKeyId": host(client, key, alias("d"), KeySpec="AES_256").DataKeyId}
    there = sdk.make(server, region=GM)
    for action in ("DescribeDataKey", "GetDataKeyPlaintext", "GetDataKeyCiphertextBlob", "DisableDataKey"):
        assert code(there, action, **one) == "ResourceUnavailable.DataKeyNotFound"
        assert code(client, action, DataKeyId=key) == "ResourceUnavailable.DataKeyNotFound"
        assert code(client, action, DataKeyId="x") == "InvalidParameterValue.InvalidDataKeyId"
    twice = [one["DataKeyId"]] * 2
    assert code(client, "DescribeDataKeys", DataKeyIds=twice) == "InvalidParameterValue.DuplicatedDataKeyId"


def test_service_status_counts_them(client, key, alias):
    before = call(client, "GetServiceStatus")
    assert before.IsAllowedDataKeyHosted is True
    host(client, key, alias("d"), KeySpec="AES_256")
    assert call(client, "GetServiceStatus").DataKeyUsedCount == before.DataKeyUsedCount + 1


def tag(key, value):
    made = models.Tag()
    made.TagKey, made.TagValue = key, value
    return made


def tag_filter(key, *values):
    made = models.TagFilter()
    made.TagKey, made.TagValue = key, list(values)
    return made


@pytest.fixture
def four(client, kms, alias):
    """A CMK with four data keys of distinct kinds: two generated, two imported, with tags; ids in order of making."""
    cmk = kms.call("CreateKey", Alias=alias("cmk"))["KeyId"]
    ids = []
    for n, tags in enumerate([{"env": "prod", "team": "a"}, {"env": "test"}, {"env": "prod"}, {}]):
        fields = {"KeyId": cmk, "DataKeyName": alias("d"), "Tags": [tag(k, v) for k, v in tags.items()]}
        if n % 2 == 0:
            made = call(client, "GenerateDataKey", IsHostedByKms=1, KeySpec="AES_128", **fields)
        else:
            made = call(client, "ImportDataKey", ImportType=2, ImportKeyMaterial=b64(os.urandom(16)), **fields)
        assert (made.TagCode, made.TagMsg) == (0, "")
        ids.append(made.DataKeyId)
        # Creation times have whole seconds, which the order goes by.
        time.sleep(1.01 - time.time() % 1)
    return cmk, ids


def test_list_filters(client, four):
    cmk, ids = four

    def listed(**fields):
        page = call(client, "ListDataKeyDetail", KeyId=cmk, Limit=200, **fields)
        assert page.TotalCount == len(page.DataKeyMetadatas)
        return [ids.index(m.DataKeyId) for m in page.DataKeyMetadatas]

    assert listed() == [3, 2, 1, 0] and listed(OrderType=0) == [3, 2, 1, 0]
    assert listed(OrderType=1) == [0, 1, 2, 3]
    assert listed(Origin="TENCENT_KMS") == [2, 0] and listed(Origin="EXTERNAL") == [3, 1]
    assert listed(Origin="ALL") == [3, 2, 1, 0]
    assert listed(Role=0) == [3, 2, 1, 0] and listed(Role=1) == []
    assert listed(HsmClusterId="default") == [3, 2, 1, 0] and listed(HsmClusterId="") == [3, 2, 1, 0]
    assert listed(TagFilters=[tag_filter("env", "prod")]) == [2, 0]
    assert listed(TagFilters=[tag_filter("env", "prod", "test")]) == [2, 1, 0]
    assert listed(TagFilters=[tag_filter("env", "prod"), tag_filter("team", "a", "b")]) == [0]
    assert listed(TagFilters=[tag_filter("team", "b")]) == []
    call(client, "DisableDataKeys", DataKeyIds=[ids[1], ids[2]])
    call(client, "ScheduleDataKeyDeletion", DataKeyId=ids[2], PendingWindowInDays=7)
    assert [listed(KeyState=n) for n in range(4)] == [[3, 2, 1, 0], [3, 0], [1], [2]]
    assert listed(KeyState=1, Origin="TENCENT_KMS", OrderType=1) == [0]

    def refused(**fields):
        return code(client, "ListDataKeyDetail", KeyId=cmk, **fields)

    assert refused(HsmClusterId="cls-hsm-none") == "InvalidParameterValue.InvalidHsmClusterId"
    assert code(client, "ListDataKeys", HsmClusterId="cls-hsm-none") == "InvalidParameterValue.InvalidHsmClusterId"
    assert call(client, "ListDataKeys", HsmClusterId="default").TotalCount >= 3
    for fields in ({"KeyState": 4}, {"Origin": "external"}, {"OrderType": 2}, {"Role": 2}, {"Limit": 201}):
        assert refused(**fields) == "InvalidParameter", fields


def test_list_data_keys_leaves_out_what_is_to_be_deleted(client, four):
    def there():
        seen, offset = set(), 0
        while page := call(client, "ListDataKeys", Offset=offset, Limit=200).DataKeys:
            seen |= {k.DataKeyId for k in page}
            offset += len(page)
        return seen

    _, ids = four
    assert set(ids) <= there()
    call(client, "DisableDataKeys", DataKeyIds=ids[:2])
    call(client, "ScheduleDataKeyDeletion", DataKeyId=ids[0], PendingWindowInDays=7)
    assert there() & set(ids) == set(ids[1:])
    call(client, "CancelDataKeyDeletion", DataKeyId=ids[0])
    assert set(ids) <= there()


def test_batches_keep_their_order_and_are_all_or_nothing(client, four):
    _, ids = four
    order = [ids[2], ids[0], ids[3], ids[1]]

    def states():
        rows = call(client, "DescribeDataKeys", DataKeyIds=order).DataKeyMetadatas
        assert [row.DataKeyId for row in rows] == order
        return [row.KeyState for row in rows]

    assert states() == ["Enabled"] * 4
    # One unknown among them, or one in a state that refuses, and nothing happens.
    unknown = "11111111-2222-1333-8444-555555555555"
    assert code(client, "DisableDataKeys", DataKeyIds=[*order, unknown]) == "ResourceUnavailable.DataKeyNotFound"
    assert states() == ["Enabled"] * 4
    assert code(client, "DescribeDataKeys", DataKeyIds=[unknown, *order]) == "ResourceUnavailable.DataKeyNotFound"
    call(client, "DisableDataKeys", DataKeyIds=[ids[1], ids[3]])
    call(client, "ScheduleDataKeyDeletion", DataKeyId=ids[3], PendingWindowInDays=7)
    mixed = ["Enabled", "Enabled", "PendingDelete", "Disabled"]
    assert states() == mixed
    for action in ("EnableDataKeys", "DisableDataKeys"):
        assert code(client, action, DataKeyIds=order) == "ResourceUnavailable.DataKeyStateNotSupport"
        assert states() == mixed
    call(client, "EnableDataKeys", DataKeyIds=[ids[1], ids[0]])
    assert states() == ["Enabled", "Enabled", "PendingDelete", "Enabled"]


def test_names_are_taken_once(client, four, alias):
    cmk, ids = four
    taken = call(client, "DescribeDataKey", DataKeyId=ids[0]).DataKeyMetadata.DataKeyName
    exists = "InvalidParameterValue.DataKeyNameAlreadyExists"
    assert code(client, "UpdateDataKeyName", DataKeyId=ids[1], DataKeyName=taken) == exists
    assert code(client, "GenerateDataKey", KeyId=cmk, KeySpec="AES_128", IsHostedByKms=1, DataKeyName=taken) == exists
    fields = {"KeyId": cmk, "ImportType": 2, "ImportKeyMaterial": b64(b"12345")}
    assert code(client, "ImportDataKey", DataKeyName=taken, **fields) == exists
    # Its own name again is no change; a name that was given up is free.
    call(client, "UpdateDataKeyName", DataKeyId=ids[0], DataKeyName=taken)
    call(client, "UpdateDataKeyName", DataKeyId=ids[0], DataKeyName=alias("d"))
    call(client, "UpdateDataKeyName", DataKeyId=ids[1], DataKeyName=taken)
    twice = [tag("k", "1"), tag("k", "2")]
    assert code(client, "ImportDataKey", DataKeyName=alias("d"), Tags=twice, **fields) == (
        "InvalidParameterValue.TagKeysDuplicated"
    )
