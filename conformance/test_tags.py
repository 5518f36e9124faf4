"""The tag service by the official SDKs: CMKs and hosted data keys, over regions and accounts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tag.v20180813 import models, tag_client

from kmslib import sdk
from kmslib.server import GM, MAIN, binary
from kmslib.wire import Client, Creds


def tag_sdk(server, creds=None, sign="TC3-HMAC-SHA256", http="POST", language="en-US"):
    creds = creds or server.creds
    profile = ClientProfile(
        signMethod=sign, language=language,
        httpProfile=HttpProfile(protocol="http", endpoint=server.host, reqMethod=http, reqTimeout=20),
    )
    return tag_client.TagClient(credential.Credential(creds.secret_id, creds.secret_key), MAIN, profile)


def call(client, action, **fields):
    request = getattr(models, f"{action}Request")()
    request._deserialize(fields)
    return getattr(client, action)(request)


def code(client, action, **fields):
    with pytest.raises(TencentCloudSDKException) as error:
        call(client, action, **fields)
    assert len(error.value.get_request_id()) == 36
    return error.value.get_code()


@pytest.fixture
def tags(server):
    return tag_sdk(server)


def resource(kms, key, region=MAIN):
    return f"qcs::kms:{region}:uin/:key/{kms.call('DescribeKey', KeyId=key)['KeyMetadata']['ResourceId']}"


def pairs(items):
    return {t.TagKey: t.TagValue for t in items}


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_tags_of_a_key_and_a_data_key_change_after_creation(server, kms, key, alias, sign, http):
    client = tag_sdk(server, sign=sign, http=http)
    mark = alias("mark")
    made = kms.call("GenerateDataKey", KeyId=key, KeySpec="AES_256", IsHostedByKms=1, DataKeyName=alias("data"),
                    Tags=[{"TagKey": "from", "TagValue": "creation"}])
    data = kms.call("DescribeDataKey", DataKeyId=made["DataKeyId"])["DataKeyMetadata"]
    names = [resource(kms, key), f"qcs::kms:{MAIN}:uin/{server.hello['owner_uin']}:key/{data['ResourceId']}"]
    done = call(client, "TagResources", ResourceList=names, Tags=[{"TagKey": mark, "TagValue": "值 &=+"}])
    assert done.FailedResources == []

    seen = call(client, "GetResources", ResourceList=names).ResourceTagMappingList
    assert [pairs(r.Tags) for r in seen] == [{mark: "值 &=+"}, {mark: "值 &=+", "from": "creation"}]
    assert seen[0].Resource == names[0].replace("uin/:", f"uin/{server.hello['owner_uin']}:")
    by_id = call(client, "DescribeResourceTagsByResourceIds", ServiceType="kms", ResourcePrefix="key",
                 ResourceIds=[data["ResourceId"]], ResourceRegion=MAIN, Offset=0, Limit=20)
    assert pairs(by_id.Tags) == {mark: "值 &=+", "from": "creation"} and by_id.TotalCount == 2
    assert len(by_id.Tags[0].TagKeyMd5) == 32 and by_id.Tags[0].ServiceType == "kms"

    # The lists of the KMS find them by it.
    filters = [{"TagKey": mark, "TagValue": ["值 &=+"]}]
    assert [k["KeyId"] for k in kms.call("ListKeyDetail", TagFilters=filters)["KeyMetadatas"]] == [key]
    listed = kms.call("ListDataKeyDetail", TagFilters=filters)["DataKeyMetadatas"]
    assert [k["DataKeyId"] for k in listed] == [made["DataKeyId"]]

    call(client, "ModifyResourceTags", Resource=names[1], ReplaceTags=[{"TagKey": "from", "TagValue": "later"}],
         DeleteTags=[{"TagKey": mark}])
    assert pairs(call(client, "GetResources", ResourceList=names[1:]).ResourceTagMappingList[0].Tags) == {"from": "later"}
    call(client, "UnTagResources", ResourceList=names, TagKeys=[mark, "from"])
    assert kms.call("ListKeyDetail", TagFilters=filters)["TotalCount"] == 0


def test_keys_and_values_in_pages(tags, kms, alias):
    stem = alias("page")
    for n in range(5):
        one = kms.call("CreateKey", Alias=alias(), Tags=[{"TagKey": f"{stem}-{n % 3}", "TagValue": f"v{n}"}])["KeyId"]
        assert one
    found, token = [], ""
    while True:
        page = call(tags, "GetTagKeys", MaxResults=2, PaginationToken=token)
        assert len(page.TagKeys) <= 2
        found += page.TagKeys
        token = page.PaginationToken
        if not token:
            break
    assert found == sorted(found) and [k for k in found if k.startswith(stem)] == [f"{stem}-{n}" for n in range(3)]
    values = call(tags, "GetTagValues", TagKeys=[f"{stem}-0", f"{stem}-1"]).Tags
    assert [(t.TagKey, t.TagValue) for t in values] == [
        (f"{stem}-0", "v0"), (f"{stem}-0", "v3"), (f"{stem}-1", "v1"), (f"{stem}-1", "v4"),
    ]
    resources, token = [], ""
    while True:
        page = call(tags, "GetResources", MaxResults=1, PaginationToken=token,
                    TagFilters=[{"TagKey": f"{stem}-0", "TagValue": ["v0", "v3"]}])
        resources += page.ResourceTagMappingList
        token = page.PaginationToken
        if not token:
            break
    assert sorted(r.Tags[0].TagValue for r in resources) == ["v0", "v3"]
    for bad in ("AAAA", "!", "W10"):
        assert code(tags, "GetTagKeys", PaginationToken=bad) == "InvalidParameter.PaginationTokenInvalid"
    assert code(tags, "GetTagKeys", PaginationToken="x" * 5000) == "InvalidParameter"


def test_refusals(server, tags, kms, gm, key, alias):
    good = resource(kms, key)
    one = [{"TagKey": "a", "TagValue": "b"}]
    for wrong in ("", "key", good.replace(":kms:", ":cvm:"), good.replace("uin/:", "uin/1:"), good + "x"):
        assert code(tags, "ModifyResourceTags", Resource=wrong, ReplaceTags=one).startswith("InvalidParameter")
    assert code(tags, "ModifyResourceTags", Resource=good) == "InvalidParameter", "neither sets nor deletes"
    assert code(tags, "ModifyResourceTags", Resource=good, ReplaceTags=one, DeleteTags=[{"TagKey": "a"}])
    assert code(tags, "ModifyResourceTags", Resource=good, ReplaceTags=one + one) == "InvalidParameterValue.TagKeyDuplicate"
    # A region that the key is not in, and one that nobody serves.
    elsewhere = good.replace(MAIN, GM)
    assert code(tags, "ModifyResourceTags", Resource=elsewhere, ReplaceTags=one).startswith("ResourceNotFound")
    assert code(tags, "ModifyResourceTags", Resource=good.replace(MAIN, "ap-nowhere"), ReplaceTags=one)
    # Each resource of a batch for itself.
    done = call(tags, "TagResources", ResourceList=[good, elsewhere, "odd"], Tags=one)
    assert [f.Resource for f in done.FailedResources] == [elsewhere, "odd"]
    assert all(f.Code and f.Message for f in done.FailedResources)
    chinese = call(tag_sdk(server, language="zh-CN"), "TagResources", ResourceList=["odd"], Tags=one)
    assert any(ord(c) > 127 for c in chinese.FailedResources[0].Message)
    assert code(tags, "TagResources", ResourceList=[good] * 11, Tags=one) == "LimitExceeded.ResourceNumPerRequest"
    # 50 tags and no more.
    many = [{"TagKey": f"k{n}", "TagValue": "v"} for n in range(49)]
    call(tags, "ModifyResourceTags", Resource=good, ReplaceTags=many)
    full = call(tags, "TagResources", ResourceList=[good], Tags=[{"TagKey": "one-more", "TagValue": "v"}])
    assert len(full.FailedResources) == 1
    call(tags, "ModifyResourceTags", Resource=good, ReplaceTags=[{"TagKey": "one-more", "TagValue": "v"}],
         DeleteTags=[{"TagKey": "k0"}])
    # Another region's key by its own name.
    there = gm.call("CreateKey", Alias=alias())["KeyId"]
    call(tags, "ModifyResourceTags", Resource=resource(gm, there, GM), ReplaceTags=one)
    # The version names the service: no action of one is found under the other.
    assert kms.ask("TagResources", {}).code == "InvalidAction"
    assert kms.ask("ListKeys", {}, version="2018-08-13").code == "InvalidAction"
    assert kms.ask("ListKeys", {}, version="2018-08-14").code == "NoSuchVersion"


def test_accounts_do_not_see_each_others_tags(server, tags, kms, key, alias):
    done = subprocess.run(
        [str(binary()), "account", "create", "--data-dir", str(server.data_dir), "--name", "other", "-o", "json"],
        capture_output=True, text=True, timeout=60, check=True,
    )
    made = json.loads(done.stdout)
    creds = Creds(made["secret_id"], made["secret_key"])
    other = tag_sdk(server, creds)
    mark = alias("secret")
    good = resource(kms, key)
    call(tags, "ModifyResourceTags", Resource=good, ReplaceTags=[{"TagKey": mark, "TagValue": "v"}])
    assert call(other, "GetTagKeys").TagKeys == []
    assert call(other, "GetTagValues", TagKeys=[mark]).Tags == []
    assert call(other, "GetResources", TagFilters=[{"TagKey": mark}]).ResourceTagMappingList == []
    assert code(other, "ModifyResourceTags", Resource=good, ReplaceTags=[{"TagKey": "a", "TagValue": "b"}]).startswith(
        "ResourceNotFound"
    )
    foreign = good.replace("uin/:", f"uin/{server.hello['owner_uin']}:")
    failed = call(other, "TagResources", ResourceList=[good, foreign], Tags=[{"TagKey": "a", "TagValue": "b"}])
    assert len(failed.FailedResources) == 2
    meta = kms.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert call(other, "DescribeResourceTagsByResourceIds", ServiceType="kms", ResourcePrefix="key",
                ResourceIds=[meta["ResourceId"], key], ResourceRegion=MAIN).TotalCount == 0
    own = Client(server.endpoint, creds, MAIN)
    assert own.call("ListKeys")["TotalCount"] == 0
    own.close()


def test_tccli(server, kms, key, tmp_path):
    environment = os.environ | {
        "HOME": str(tmp_path), "TENCENTCLOUD_SECRET_ID": server.creds.secret_id,
        "TENCENTCLOUD_SECRET_KEY": server.creds.secret_key, "TENCENTCLOUD_REGION": MAIN, "NO_PROXY": "127.0.0.1",
    }

    def run(action, **fields):
        command = [sys.executable, str(pathlib.Path(sys.executable).parent / "tccli"), "tag", action, "--endpoint",
                   server.endpoint]
        for name, value in fields.items():
            command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    name = resource(kms, key)
    assert run("TagResources", ResourceList=[name], Tags=[{"TagKey": "cli", "TagValue": "yes"}])["FailedResources"] == []
    seen = run("GetResources", TagFilters=[{"TagKey": "cli", "TagValue": ["yes"]}])["ResourceTagMappingList"]
    assert [r["Tags"] for r in seen] == [[{"TagKey": "cli", "TagValue": "yes", "Category": None}]]
    assert "cli" in run("GetTagKeys")["TagKeys"]
    assert run("GetTagValues", TagKeys=["cli"])["Tags"][0]["TagValue"] == "yes"
    ids = [kms.call("DescribeKey", KeyId=key)["KeyMetadata"]["ResourceId"]]
    described = run("DescribeResourceTagsByResourceIds", ServiceType="kms", ResourcePrefix="key", ResourceIds=ids,
                    ResourceRegion=MAIN)
    assert described["Tags"][0]["TagKey"] == "cli"
    run("ModifyResourceTags", Resource=name, DeleteTags=[{"TagKey": "cli"}])
    run("UnTagResources", ResourceList=[name], TagKeys=["cli"])
    assert run("GetResources", ResourceList=[name])["ResourceTagMappingList"][0]["Tags"] == []
