"""The calls that the Terraform provider makes for its KMS resources, in its order and as the Go SDK sends them.

Written from the facts of its source: TC3 over JSON POST with `content-type;host` signed, the product in the scope
(`kms`, `tag`), CreateKey without tags, DisableKey at once unless `is_enabled`, tags by the tag service with an empty uin,
a read after every change, deletion as DisableKey, ScheduleKeyDeletion and polling.
"""

import os
import time

import pytest

from kmslib.byok import wrap
from kmslib.server import MAIN
from kmslib.wire import ApiError, b64

TAG = {"version": "2018-08-13", "service": "tag"}
# What the provider retries for minutes: these prefixes must not come where nothing will change.
RETRIED = ("RequestLimitExceeded", "ResourceInUse", "ResourceUnavailable", "ResourceInsufficient")


class Provider:
    """`tencentcloud_kms_key` and `tencentcloud_kms_external_key`, as far as the wire shows them."""

    def __init__(self, client):
        self.client = client

    def call(self, action, params, **how):
        answer = self.client.ask(action, params, **how)
        assert answer.status == 200 and answer.headers["content-type"] == "application/json"
        assert len(answer.response["RequestId"]) == 36
        if answer.code:
            raise ApiError(answer.code, answer.message, answer.response["RequestId"])
        return answer.response

    def read(self, key):
        """What a refresh reads: the metadata, of which ResourceId must be text, then the tags behind it."""
        meta = self.call("DescribeKey", {"KeyId": key})["KeyMetadata"]
        assert isinstance(meta["ResourceId"], str), "the provider dereferences it"
        for field in ("KeyId", "Alias", "Description", "KeyState", "KeyUsage", "KeyRotationEnabled", "Origin"):
            assert meta[field] is not None, field
        tags = self.call(
            "DescribeResourceTagsByResourceIds",
            {
                "ServiceType": "kms", "ResourcePrefix": "key", "ResourceIds": [meta["ResourceId"]],
                "ResourceRegion": MAIN, "Offset": 0, "Limit": 20,
            },
            **TAG,
        )
        assert (tags["Offset"], tags["Limit"]) == (0, 20) and tags["TotalCount"] == len(tags["Tags"])
        assert all(t["ResourceId"] == meta["ResourceId"] for t in tags["Tags"])
        return meta, {t["TagKey"]: t["TagValue"] for t in tags["Tags"]}

    def tag(self, key, replace=None, delete=()):
        """ModifyResourceTags as it was seen on the wire: the uin is left empty."""
        resource_id = self.call("DescribeKey", {"KeyId": key})["KeyMetadata"]["ResourceId"]
        params = {"Resource": f"qcs::kms:{MAIN}:uin/:key/{resource_id}"}
        params["ReplaceTags"] = [{"TagKey": k, "TagValue": v} for k, v in (replace or {}).items()]
        params["DeleteTags"] = [{"TagKey": k} for k in delete]
        self.call("ModifyResourceTags", params, **TAG)

    def create(self, alias, tags, enabled=False, **more):
        made = self.call("CreateKey", {"Alias": alias, "KeyUsage": "ENCRYPT_DECRYPT", **more})
        if not enabled and more.get("Type", 1) == 1:
            self.call("DisableKey", {"KeyId": made["KeyId"]})
        if tags:
            self.tag(made["KeyId"], tags)
        return made["KeyId"]

    def delete(self, key, days=7):
        self.call("DisableKey", {"KeyId": key})
        self.schedule(key, days)

    def schedule(self, key, days=7):
        self.call("ScheduleKeyDeletion", {"KeyId": key, "PendingWindowInDays": days})
        end = time.monotonic() + 10
        while self.call("DescribeKey", {"KeyId": key})["KeyMetadata"]["KeyState"] != "PendingDelete":
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture
def provider(kms):
    return Provider(kms)


def test_a_key_from_plan_to_destroy(provider, alias):
    name = alias("tf")
    key = provider.create(name, {"env": "test", "team": "a"}, Description="made by a plan")
    meta, tags = provider.read(key)
    assert (meta["KeyState"], meta["Alias"], meta["KeyRotationEnabled"]) == ("Disabled", name, False)
    assert tags == {"env": "test", "team": "a"}
    assert provider.read(key) == (meta, tags), "a second refresh finds no drift"

    # An update: rotation on while the key is still disabled, alias, description, enabled, tags.
    provider.call("EnableKeyRotation", {"KeyId": key})
    renamed = alias("tf")
    provider.call("UpdateAlias", {"KeyId": key, "Alias": renamed})
    provider.call("UpdateKeyDescription", {"KeyId": key, "Description": ""})
    provider.call("EnableKey", {"KeyId": key})
    provider.call("EnableKey", {"KeyId": key})
    provider.tag(key, {"env": "prod"}, delete=["team"])
    meta, tags = provider.read(key)
    assert (meta["KeyState"], meta["Alias"], meta["Description"]) == ("Enabled", renamed, "")
    assert meta["KeyRotationEnabled"] is True and tags == {"env": "prod"}
    provider.call("DisableKeyRotation", {"KeyId": key})
    provider.call("DisableKeyRotation", {"KeyId": key})

    # is_archived, and back.
    provider.call("ArchiveKey", {"KeyId": key})
    assert provider.read(key)[0]["KeyState"] == "Archived"
    provider.call("CancelKeyArchive", {"KeyId": key})
    assert provider.read(key)[0]["KeyState"] == "Enabled"

    provider.delete(key)
    meta, tags = provider.read(key)
    assert (meta["KeyState"], tags) == ("PendingDelete", {"env": "prod"})
    assert meta["DeletionDate"] > time.time()


def test_an_external_key(provider, alias):
    key = provider.create(alias("tf-ext"), {"origin": "hsm"}, Type=2)
    assert provider.read(key)[0]["KeyState"] == "PendingImport"
    material = os.urandom(32)
    for algorithm in ("RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1"):
        got = provider.call(
            "GetParametersForImport",
            {"KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"},
        )
        provider.call(
            "ImportKeyMaterial",
            {
                "KeyId": key, "ImportToken": got["ImportToken"], "ValidTo": 0,
                "EncryptedKeyMaterial": wrap(material, got["PublicKey"], algorithm),
            },
        )
        meta, tags = provider.read(key)
        assert (meta["KeyState"], meta["Origin"], meta["ValidTo"]) == ("Enabled", "EXTERNAL", 0)
        assert tags == {"origin": "hsm"}
    blob = provider.call("Encrypt", {"KeyId": key, "Plaintext": b64(b"x")})["CiphertextBlob"]
    provider.call("DeleteImportedKeyMaterial", {"KeyId": key})
    assert provider.read(key)[0]["KeyState"] == "PendingImport"
    with pytest.raises(ApiError) as refused:
        provider.call("Decrypt", {"CiphertextBlob": blob})
    assert refused.value.code == "ResourceUnavailable.CmkDisabled"
    provider.schedule(key, days=30)
    assert provider.read(key)[0]["KeyState"] == "PendingDelete"


def test_data_sources_page_by_200(provider, alias):
    stem = alias("tf-list")
    made = {provider.create(f"{stem}-{n}", {"list": stem}, enabled=True) for n in range(3)}
    found, offset = [], 0
    while True:
        page = provider.call(
            "ListKeyDetail",
            {
                "Offset": offset, "Limit": 200, "OrderType": 0, "KeyState": 0, "SearchKeyAlias": stem,
                "Origin": "ALL", "KeyUsage": "ALL", "Role": 0,
                "TagFilters": [{"TagKey": "list", "TagValue": [stem]}],
            },
        )
        found += [k["KeyId"] for k in page["KeyMetadatas"]]
        if len(page["KeyMetadatas"]) < 200:
            break
        offset += 200
    assert set(found) == made and page["TotalCount"] == 3


def test_what_is_not_there_is_told_apart(provider, kms):
    """A refresh of a key that is gone removes it from the state; anything else must not look like that."""
    gone = "00000000-0000-11ee-8000-000000000000"
    with pytest.raises(ApiError) as refused:
        provider.call("DescribeKey", {"KeyId": gone})
    assert refused.value.code == "ResourceUnavailable.CmkNotFound"
    with pytest.raises(ApiError) as refused:
        provider.call("ModifyResourceTags", {
            "Resource": f"qcs::kms:{MAIN}:uin/:key/creatorUin/1/{gone}", "ReplaceTags": [{"TagKey": "a", "TagValue": "b"}],
        }, **TAG)
    assert not refused.value.code.startswith(RETRIED), refused.value.code
    # Tags of what is not there are no tags, as after a deletion.
    assert provider.call("DescribeResourceTagsByResourceIds", {
        "ServiceType": "kms", "ResourcePrefix": "key", "ResourceIds": [f"creatorUin/1/{gone}"], "ResourceRegion": MAIN,
        "Offset": 0, "Limit": 20,
    }, **TAG)["TotalCount"] == 0
