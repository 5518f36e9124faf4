"""The whole life cycle of a key through the 32 actions, by the official SDK, with the answers' contents."""

import os
import time
import uuid

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import sdk
from kmslib.byok import WRAPPINGS, wrap
from kmslib.wire import b64, unb64

DAY = 86_400


@pytest.fixture(params=sdk.WAYS, ids=["-".join(w) for w in sdk.WAYS])
def do(server, request):
    """Calls an action by the SDK in one of its six ways."""
    client = sdk.make(server, sign=request.param[0], http=request.param[1])
    return lambda action, **fields: sdk.call(client, action, **fields)


def refused(call, *args, **fields):
    """The code that a call is refused with."""
    with pytest.raises(TencentCloudSDKException) as error:
        call(*args, **fields)
    return error.value.get_code()


def test_from_creation_to_deletion(server, do, alias):
    before = int(time.time())
    name = alias("life")
    made = do("CreateKey", Alias=name, Description="first", KeyUsage="ENCRYPT_DECRYPT", Type=1)
    key = made.KeyId
    assert uuid.UUID(key).version == 1 and key == key.lower()
    assert (made.Alias, made.Description, made.KeyState, made.KeyUsage) == (name, "first", "Enabled", "ENCRYPT_DECRYPT")
    assert (made.TagCode, made.TagMsg, made.HsmClusterId) == (0, "", "")
    assert before - 1 <= made.CreateTime <= time.time() + 1
    assert uuid.UUID(made.RequestId).version == 4

    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert (got.KeyId, got.Alias, got.KeyState, got.Type, got.Owner) == (key, name, "Enabled", 2, "user")
    assert (got.Origin, got.ValidTo, got.DeletionDate, got.HsmClusterId) == ("TENCENT_KMS", 0, 0, "")
    assert str(got.CreatorUin) == str(server.hello["owner_uin"])
    assert got.ResourceId == f"creatorUin/{got.CreatorUin}/{key}"
    assert got.KeyRotationEnabled is False and got.RotateDays == 0 and got.LastRotateTime == 0
    assert got.NextRotateTime == made.CreateTime + 365 * DAY

    do("UpdateAlias", KeyId=key, Alias=name + "-b")
    do("UpdateAlias", KeyId=key, Alias=name + "-b")
    do("UpdateKeyDescription", KeyId=key, Description="second")
    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert (got.Alias, got.Description) == (name + "-b", "second")

    sealed = do("Encrypt", KeyId=key, Plaintext=b64(b"hello")).CiphertextBlob
    assert do("Encrypt", KeyId=key, Plaintext=b64(b"hello")).CiphertextBlob != sealed

    do("DisableKey", KeyId=key)
    do("DisableKey", KeyId=key)
    assert refused(do, "Encrypt", KeyId=key, Plaintext=b64(b"x")) == "ResourceUnavailable.CmkDisabled"
    assert refused(do, "Decrypt", CiphertextBlob=sealed) == "ResourceUnavailable.CmkDisabled"
    do("EnableKey", KeyId=key)
    do("EnableKey", KeyId=key)
    assert unb64(do("Decrypt", CiphertextBlob=sealed).Plaintext) == b"hello"

    do("ArchiveKey", KeyId=key)
    do("ArchiveKey", KeyId=key)
    assert refused(do, "Encrypt", KeyId=key, Plaintext=b64(b"x")) == "ResourceUnavailable.CmkArchived"
    assert unb64(do("Decrypt", CiphertextBlob=sealed).Plaintext) == b"hello"
    do("CancelKeyArchive", KeyId=key)
    assert do("DescribeKey", KeyId=key).KeyMetadata.KeyState == "Enabled"

    assert refused(do, "ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7) == "ResourceUnavailable.CmkShouldBeDisabled"
    do("DisableKey", KeyId=key)
    due = do("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert due.KeyId == key and abs(due.DeletionDate - (time.time() + 7 * DAY)) < 5
    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert (got.KeyState, got.DeletionDate) == ("PendingDelete", due.DeletionDate)
    assert do("CancelKeyDeletion", KeyId=key).KeyId == key
    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert (got.KeyState, got.DeletionDate) == ("Disabled", 0)


def test_rotation(do, alias):
    key = do("CreateKey", Alias=alias("rotate")).KeyId
    old = do("Encrypt", KeyId=key, Plaintext=b64(b"before")).CiphertextBlob
    assert refused(do, "RotateKey", KeyId=key) == "UnsupportedOperation.RotateNotSupported"
    do("EnableKeyRotation", KeyId=key)
    assert do("GetKeyRotationStatus", KeyId=key).KeyRotationEnabled is True
    assert do("DescribeKey", KeyId=key).KeyMetadata.RotateDays == 365
    do("EnableKeyRotation", KeyId=key, RotateDays=30)
    assert do("DescribeKey", KeyId=key).KeyMetadata.RotateDays == 30

    unchanged = do("ReEncrypt", CiphertextBlob=old)
    assert unchanged.ReEncrypted is False and unchanged.CiphertextBlob == old
    now = time.time()
    assert uuid.UUID(do("RotateKey", KeyId=key).TaskId)
    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert abs(got.LastRotateTime - now) < 5 and got.NextRotateTime == got.LastRotateTime + 30 * DAY
    assert refused(do, "RotateKey", KeyId=key) == "RequestLimitExceeded.RotateRateLimited"

    assert unb64(do("Decrypt", CiphertextBlob=old).Plaintext) == b"before"
    new = do("Encrypt", KeyId=key, Plaintext=b64(b"after")).CiphertextBlob
    assert unb64(do("Decrypt", CiphertextBlob=new).Plaintext) == b"after"
    moved = do("ReEncrypt", CiphertextBlob=old)
    assert moved.ReEncrypted is True and moved.KeyId == moved.SourceKeyId == key
    assert unb64(do("Decrypt", CiphertextBlob=moved.CiphertextBlob).Plaintext) == b"before"
    assert do("ReEncrypt", CiphertextBlob=moved.CiphertextBlob).ReEncrypted is False

    do("DisableKeyRotation", KeyId=key)
    do("DisableKeyRotation", KeyId=key)
    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert got.KeyRotationEnabled is False and got.RotateDays == 0
    assert unb64(do("Decrypt", CiphertextBlob=old).Plaintext) == b"before"


def test_reencrypt_between_keys_and_contexts(do, alias):
    one = do("CreateKey", Alias=alias("re")).KeyId
    two = do("CreateKey", Alias=alias("re")).KeyId
    blob = do("Encrypt", KeyId=one, Plaintext=b64(b"moving"), EncryptionContext='{"a":"1","b":"2"}').CiphertextBlob
    # Equal contexts are equal as values, however they are written.
    same = do("ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext='{ "b":"2", "a":"1" }',
              DestinationEncryptionContext='{"a":"1","b":"2"}')
    assert same.ReEncrypted is False
    other = do("ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext='{"a":"1","b":"2"}',
               DestinationEncryptionContext='{"c":"3"}')
    assert other.ReEncrypted is True and other.CiphertextBlob != blob
    moved = do("ReEncrypt", CiphertextBlob=other.CiphertextBlob, DestinationKeyId=two,
               SourceEncryptionContext='{"c":"3"}')
    assert (moved.KeyId, moved.SourceKeyId, moved.ReEncrypted) == (two, one, True)
    opened = do("Decrypt", CiphertextBlob=moved.CiphertextBlob, EncryptionContext="{}")
    assert unb64(opened.Plaintext) == b"moving" and opened.KeyId == two
    assert refused(do, "ReEncrypt", CiphertextBlob=blob) == "InvalidParameterValue.InvalidCiphertext"


def test_lists_and_batches(do, alias):
    stem = alias("list")
    keys = [do("CreateKey", Alias=f"{stem}-{n}").KeyId for n in range(5)]
    got = do("DescribeKeys", KeyIds=[keys[3], keys[0]])
    assert [m.KeyId for m in got.KeyMetadatas] == [keys[3], keys[0]]
    found = do("ListKeyDetail", SearchKeyAlias=stem + "-", OrderType=1)
    assert found.TotalCount == 5 and {m.KeyId for m in found.KeyMetadatas} == set(keys)
    first = do("ListKeyDetail", SearchKeyAlias=stem + "-", Offset=0, Limit=2)
    rest = do("ListKeyDetail", SearchKeyAlias=stem + "-", Offset=2, Limit=200)
    assert len(first.KeyMetadatas) == 2 and len(rest.KeyMetadatas) == 3
    assert {m.KeyId for m in [*first.KeyMetadatas, *rest.KeyMetadatas]} == set(keys)
    assert do("ListKeyDetail", SearchKeyAlias=keys[1]).TotalCount == 1

    do("DisableKeys", KeyIds=keys[:3])
    assert do("ListKeyDetail", SearchKeyAlias=stem + "-", KeyState=2).TotalCount == 3
    do("EnableKeys", KeyIds=keys[1:3])
    assert do("ListKeyDetail", SearchKeyAlias=stem + "-", KeyState=1).TotalCount == 4
    do("ScheduleKeyDeletion", KeyId=keys[0], PendingWindowInDays=30)
    assert do("ListKeyDetail", SearchKeyAlias=stem + "-", KeyState=3).TotalCount == 1
    do("ArchiveKey", KeyId=keys[4])
    assert do("ListKeyDetail", SearchKeyAlias=stem + "-", KeyState=5).TotalCount == 1
    assert do("ListKeyDetail", SearchKeyAlias=stem + "-", Origin="EXTERNAL").TotalCount == 0

    listed, offset = set(), 0
    while True:
        page = do("ListKeys", Offset=offset, Limit=200)
        listed |= {k.KeyId for k in page.Keys or []}
        offset += 200
        if offset >= page.TotalCount:
            break
    assert set(keys[1:4]) <= listed and keys[0] not in listed and keys[4] not in listed

    # All or nothing: the pending key refuses the whole batch.
    assert refused(do, "DisableKeys", KeyIds=[keys[1], keys[0]]) == "ResourceUnavailable.CmkStateNotSupport"
    assert do("DescribeKey", KeyId=keys[1]).KeyMetadata.KeyState == "Enabled"
    assert refused(do, "EnableKeys", KeyIds=[keys[1], keys[1]]) == "InvalidParameterValue.DuplicatedKeyId"


@pytest.mark.parametrize("algorithm", WRAPPINGS)
def test_imported_material(do, alias, algorithm):
    material = os.urandom(32)
    key = do("CreateKey", Alias=alias("byok"), Type=2).KeyId
    got = do("DescribeKey", KeyId=key).KeyMetadata
    assert (got.KeyState, got.Origin) == ("PendingImport", "EXTERNAL")
    parameters = do("GetParametersForImport", KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")
    assert parameters.KeyId == key and abs(parameters.ParametersValidTo - (time.time() + DAY)) < 5
    sealed = {"KeyId": key, "ImportToken": parameters.ImportToken,
              "EncryptedKeyMaterial": wrap(material, parameters.PublicKey, algorithm)}
    do("ImportKeyMaterial", **sealed)
    blob = do("Encrypt", KeyId=key, Plaintext=b64(b"imported")).CiphertextBlob
    until = int(time.time()) + 3600
    do("ImportKeyMaterial", **sealed, ValidTo=until)
    assert do("DescribeKey", KeyId=key).KeyMetadata.ValidTo == until
    do("BindCloudResource", KeyId=key, ProductId="cos", ResourceId="bucket/one")
    do("BindCloudResource", KeyId=key, ProductId="cos", ResourceId="bucket/one")
    assert do("DescribeKey", KeyId=key).KeyMetadata.ValidTo == 0
    assert refused(do, "DisableKey", KeyId=key) == "FailedOperation.CmkUsedByCloudProduct"
    assert refused(do, "DeleteImportedKeyMaterial", KeyId=key) == "FailedOperation.CmkUsedByCloudProduct"
    do("UnbindCloudResource", KeyId=key, ProductId="cos", ResourceId="bucket/one")
    again = refused(do, "UnbindCloudResource", KeyId=key, ProductId="cos", ResourceId="bucket/one")
    assert again == "ResourceUnavailable.CloudResourceBindingNotFound"
    do("DeleteImportedKeyMaterial", KeyId=key)
    assert do("DescribeKey", KeyId=key).KeyMetadata.KeyState == "PendingImport"
    assert refused(do, "Decrypt", CiphertextBlob=blob) == "ResourceUnavailable.CmkDisabled"
    sealed["EncryptedKeyMaterial"] = wrap(os.urandom(32), parameters.PublicKey, algorithm)
    assert refused(do, "ImportKeyMaterial", **sealed) == "InvalidParameterValue.MaterialNotMatch"
    sealed["EncryptedKeyMaterial"] = wrap(material, parameters.PublicKey, algorithm)
    do("ImportKeyMaterial", **sealed)
    assert unb64(do("Decrypt", CiphertextBlob=blob).Plaintext) == b"imported"
    assert refused(do, "EnableKeyRotation", KeyId=key) == "UnsupportedOperation.ExternalCmkCanNotRotate"
    assert refused(do, "RotateKey", KeyId=key) == "UnsupportedOperation.RotateNotSupported"


def test_service(server, do):
    status = do("GetServiceStatus")
    assert status.ServiceEnabled is True and status.InvalidType == 1
    assert do("GetRegions").Regions == [r.split(":")[0] for r in server.regions]
    usages = {a.KeyUsage for a in do("ListAlgorithms").SymmetricAlgorithms}
    assert usages == {"ENCRYPT_DECRYPT"}
    lengths = [len(unb64(do("GenerateRandom", NumberOfBytes=n).Plaintext)) for n in (1, 32, 1024)]
    assert lengths == [1, 32, 1024]
    assert do("GenerateRandom", NumberOfBytes=32).Plaintext != do("GenerateRandom", NumberOfBytes=32).Plaintext
