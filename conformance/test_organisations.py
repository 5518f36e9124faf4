"""Member accounts by the official SDKs and `tccli`: what administrators of an organisation can do, and nobody else."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.kms.v20190118 import models

from kmslib import sdk
from kmslib.actions import table
from kmslib.cam import REFUSED, Account, allow, deny, trust
from kmslib.organisation import Deployment, run
from kmslib.server import MAIN, ROOT
from kmslib.wire import b64

ROLE = "UnsupportedOperation.NotRoleOperation"
PUBLISHED = json.loads((ROOT / "api" / "kms-2019-01-18.json").read_text())
TAKING = [
    action for action in table()
    if any(f["name"] == "MemberAccount" for f in PUBLISHED["actions"][action]["request"])
]
NODE = pathlib.Path(__file__).resolve().parent / "node"
TCCLI = pathlib.Path(sys.executable).parent / "tccli"


@pytest.fixture(scope="module")
def deployment():
    with tempfile.TemporaryDirectory(prefix="jadeseal-organisation-") as base:
        running = Deployment(base).start()
        try:
            yield running
        finally:
            assert running.stop() == 0


@pytest.fixture
def kms(deployment):
    return deployment.client(deployment.admin)


def member_account(who):
    named = models.MemberAccount()
    named.MemberUin, named.MemberAppId = who.uin, who.app_id
    return named


def client_of(deployment, who, **how):
    return sdk.make(deployment, secret_id=who.creds.secret_id, secret_key=who.creds.secret_key, **how)


def code(client, action, **fields):
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(client, action, **fields)
    return error.value.get_code()


@pytest.fixture
def owned(deployment, alias):
    """A CMK and a hosted data key of the member."""
    client = deployment.client(deployment.member)
    key = client.call("CreateKey", Alias=alias("member"))["KeyId"]
    data = client.call("GenerateDataKey", KeyId=key, KeySpec="AES_256", IsHostedByKms=1, DataKeyName=alias("d"))
    return key, data["DataKeyId"]


def test_accounts_are_listed(deployment):
    listed = run("account", "list", "--config", str(deployment.config), "-o", "json")["accounts"]
    who = (deployment.admin, deployment.delegate, deployment.member, deployment.sibling, deployment.stranger)
    seen = {a["owner_uin"]: (a["name"], a["app_id"]) for a in listed}
    assert seen == {a.uin: (a.name, a.app_id) for a in who}


@pytest.mark.parametrize("sign,http", sdk.WAYS)
@pytest.mark.parametrize("by", ["admin", "delegate"])
def test_an_administrator_manages_a_members_keys(deployment, owned, alias, by, sign, http):
    key, data = owned
    client = client_of(deployment, getattr(deployment, by), sign=sign, http=http)
    on = {"MemberAccount": member_account(deployment.member)}
    seen = sdk.call(client, "DescribeKey", KeyId=key, **on).KeyMetadata
    who = deployment.member
    assert (seen.AccountUin, seen.AccountAppId, seen.AccountName) == (who.uin, who.app_id, "项目一")
    assert sdk.call(client, "DescribeKeys", KeyIds=[key], **on).KeyMetadatas[0].AccountUin == who.uin
    renamed = alias("by-admin")
    sdk.call(client, "UpdateAlias", KeyId=key, Alias=renamed, **on)
    seen = sdk.call(client, "DescribeDataKey", DataKeyId=data, **on).DataKeyMetadata
    assert (seen.AccountUin, seen.AccountAppId, seen.AccountName) == (who.uin, who.app_id, "项目一")
    assert seen.KeyName == renamed
    sdk.call(client, "DisableDataKey", DataKeyId=data, **on)
    assert sdk.call(client, "ScheduleDataKeyDeletion", DataKeyId=data, PendingWindowInDays=7, **on).DeletionDate > 0
    sdk.call(client, "DisableKey", KeyId=key, **on)
    assert sdk.call(client, "ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7, **on).DeletionDate > 0
    mine = deployment.client(deployment.member)
    assert mine.call("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDelete"
    assert mine.call("DescribeKey", KeyId=key)["KeyMetadata"]["AccountUin"] is None
    assert mine.code("Encrypt", KeyId=key, Plaintext=b64(b"x")) == "ResourceUnavailable.CmkDisabled"


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_lists(deployment, owned, sign, http):
    key, data = owned
    client = client_of(deployment, deployment.admin, sign=sign, http=http)
    foreign = deployment.client(deployment.sibling).call("CreateKey", Alias=f"s-{sign}-{http}".replace("-", "_"))["KeyId"]
    both = [member_account(deployment.member), member_account(deployment.sibling)]
    seen, offset = {}, 0
    while page := (answer := sdk.call(client, "ListKeyDetail", MemberAccounts=both, Offset=offset, Limit=3)).KeyMetadatas:
        seen |= {m.KeyId: m.AccountUin for m in page}
        offset += len(page)
    assert offset == answer.TotalCount == len(seen)
    assert seen[key] == deployment.member.uin and seen[foreign] == deployment.sibling.uin
    of_member = sdk.call(client, "ListDataKeyDetail", MemberAccounts=both[:1], KeyId=key)
    assert [m.DataKeyId for m in of_member.DataKeyMetadatas] == [data]
    assert of_member.DataKeyMetadatas[0].AccountName == "项目一"
    assert code(client, "ListDataKeyDetail", MemberAccounts=both[1:], KeyId=key) == "ResourceUnavailable.CmkNotFound"
    own = sdk.call(client, "ListKeyDetail", Limit=200).KeyMetadatas or []
    assert key not in {m.KeyId for m in own} and all(m.AccountUin is None for m in own)
    twice = [both[0], both[0]]
    assert code(client, "ListKeyDetail", MemberAccounts=twice) == "InvalidParameter"
    for who in (deployment.member, deployment.stranger):
        other = client_of(deployment, who, sign=sign, http=http)
        assert code(other, "ListKeyDetail", MemberAccounts=both[1:]) == ROLE
        assert code(other, "ListDataKeyDetail", MemberAccounts=both[1:]) == ROLE


def test_there_are_27_actions():
    assert len(TAKING) == 27


@pytest.mark.parametrize("action", TAKING)
def test_nobody_else_acts_for_anybody(deployment, action):
    """A member cannot reach the administrator, nor his sibling; nobody a stranger; a stranger nobody."""
    admin, delegate, member, sibling, stranger = (
        getattr(deployment, n) for n in ("admin", "delegate", "member", "sibling", "stranger")
    )
    for by, to in ((member, admin), (member, sibling), (sibling, member), (member, member), (stranger, member),
                   (member, stranger), (admin, stranger), (delegate, admin), (stranger, admin)):
        client, owner = deployment.client(by), deployment.client(to)
        key = owner.call("CreateKey", Alias=f"{action}-{by.uin}-{to.uin}")["KeyId"]
        data = owner.call("GenerateDataKey", KeyId=key, KeySpec="AES_128", IsHostedByKms=1,
                          DataKeyName=f"{action}-{by.uin}-{to.uin}")["DataKeyId"]
        values = {"KeyId": key, "KeyIds": [key], "DataKeyId": data, "DataKeyIds": [data], "Alias": "stolen",
                  "DataKeyName": "stolen", "Description": "stolen", "PendingWindowInDays": 7}
        fields = PUBLISHED["actions"][action]["request"]
        params = {f["name"]: values[f["name"]] for f in fields if f.get("required")}
        before = owner.call("DescribeKey", KeyId=key)["KeyMetadata"]
        for named in ({"MemberUin": to.uin}, {"MemberAppId": to.app_id}, to.member):
            assert client.code(action, **params, MemberAccount=named) == ROLE, (by.name, to.name, named)
        assert owner.call("DescribeKey", KeyId=key)["KeyMetadata"] == before
        for opened in (client, owner):
            opened.close()


@pytest.mark.parametrize("action", TAKING)
def test_parameters_are_checked_as_ever(kms, deployment, action):
    values = {"KeyId": "x", "KeyIds": ["x"], "DataKeyId": "x", "DataKeyIds": ["x"], "Alias": "a", "DataKeyName": "a",
              "Description": "d", "PendingWindowInDays": 7}
    fields = PUBLISHED["actions"][action]["request"]
    params = {f["name"]: values[f["name"]] for f in fields if f.get("required")}
    for wrong in (7, "x", [deployment.member.uin], {"MemberUin": "x"}, {"MemberUin": -1}):
        assert kms.code(action, **params, MemberAccount=wrong) == "InvalidParameter", wrong
    stranger = {"MemberUin": deployment.stranger.uin}
    malformed = "InvalidParameterValue.Invalid" + ("DataKeyId" if "Data" in action else "KeyId")
    assert kms.code(action, **params, MemberAccount=stranger) == malformed


def test_service_status(deployment):
    for who, used in ((deployment.admin, 3), (deployment.delegate, 3), (deployment.member, 0), (deployment.stranger, 0)):
        status = sdk.call(client_of(deployment, who), "GetServiceStatus")
        assert (status.MultiAccountLimit, status.MultiAccountUsedCount) == (1000, used)


def test_the_audit_record_names_the_member(deployment, kms, owned):
    key, _ = owned
    request_id = kms.call("DescribeKey", KeyId=key, MemberAccount=deployment.member.member)["RequestId"]
    record = next(r for r in deployment.records() if r["request_id"] == request_id)
    assert (record["v"], record["account"], record["targets"]) == (
        2, str(deployment.admin.uin), [str(deployment.member.uin)]
    )
    assert record["resources"] == [key]
    request_id = kms.call("ListKeys")["RequestId"]
    record = next(r for r in deployment.records() if r["request_id"] == request_id)
    assert record["v"] == 1 and "targets" not in record


def test_tccli(deployment, owned, tmp_path):
    """Objects and lists of objects as the command line passes them."""
    key, data = owned
    environment = os.environ | {
        "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", "TENCENTCLOUD_REGION": MAIN,
        "TENCENTCLOUD_SECRET_ID": deployment.admin.creds.secret_id,
        "TENCENTCLOUD_SECRET_KEY": deployment.admin.creds.secret_key,
    }

    def tccli(action, **fields):
        command = [sys.executable, str(TCCLI), "kms", action, "--endpoint", deployment.endpoint]
        for name, value in fields.items():
            command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.returncode == 0 else done.stdout + done.stderr

    on = deployment.member.member
    assert tccli("DescribeKey", KeyId=key, MemberAccount=on)["KeyMetadata"]["AccountUin"] == deployment.member.uin
    tccli("DisableDataKey", DataKeyId=data, MemberAccount=on)
    assert "DeletionDate" in tccli("ScheduleDataKeyDeletion", DataKeyId=data, PendingWindowInDays=7, MemberAccount=on)
    assert tccli("ListKeyDetail", MemberAccounts=[on], SearchKeyAlias=key)["TotalCount"] == 1
    assert ROLE in tccli("DescribeKey", KeyId=key, MemberAccount=deployment.stranger.member)


def test_node(deployment, owned):
    key, data = owned
    environment = os.environ | {
        "JADESEAL_ENDPOINT": deployment.endpoint, "JADESEAL_REGION": MAIN, "NO_PROXY": "127.0.0.1",
        "TENCENTCLOUD_SECRET_ID": deployment.admin.creds.secret_id,
        "TENCENTCLOUD_SECRET_KEY": deployment.admin.creds.secret_key,
        "JADESEAL_MEMBER": str(deployment.member.uin), "JADESEAL_STRANGER": str(deployment.stranger.uin),
        "JADESEAL_KEY": key, "JADESEAL_DATA_KEY": data,
    }
    done = subprocess.run(["node", "--test", "--test-reporter=spec", "organisation.js"], cwd=NODE, env=environment,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "pass 6" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def owner(deployment):
    """The administrator, as one who makes principals."""
    return Account(deployment.endpoint, deployment.admin.creds)


def test_policies_of_an_administrators_users(deployment, owner, owned):
    """To act for a member takes a policy that reaches his keys: one on the own account's does not."""
    key, data = owned
    own = owner.key()
    member, sibling = deployment.member.uin, deployment.sibling.uin
    for resource, reaches in (
        ("*", True), ("qcs::kms::uin/*:key/*", True), (f"qcs::kms::uin/{member}:key/*", True),
        (f"qcs::kms::uin/{member}:key/creatorUin/*/{key}", True),
        ("qcs::kms::uin/:key/*", False), (f"qcs::kms::uin/{owner.account}:key/*", False),
        ("qcs::kms::uin/${owner_uin}:key/*", False), (f"qcs::kms::uin/{sibling}:key/*", False),
        (f"qcs::kms::uin/{member}:key/creatorUin/*/{own}", False),
    ):
        who = owner.as_user(owner.user([allow("kms:*", resource)])).kms
        answer = who.ask("DescribeKey", {"KeyId": key, "MemberAccount": deployment.member.member})
        assert answer.code == (None if reaches else REFUSED), resource
        if not reaches:
            # The Uin behind an AppId is not told.
            by_app_id = {"KeyId": key, "MemberAccount": {"MemberAppId": deployment.member.app_id}}
            answer = who.ask("DescribeKey", by_app_id)
            assert answer.code == REFUSED and str(member) not in answer.message
    account = ("*", "qcs::kms::uin/*:key/*", "qcs::kms::uin/:key/*")
    assert [owner.as_user(owner.user([allow("kms:*", r)])).kms.code("DescribeKey", KeyId=own) for r in account] == [None] * 3
    listing = owner.as_user(owner.user([allow(["kms:ListKeyDetail", "kms:DescribeDataKey"])])).kms
    assert listing.code("ListKeyDetail", MemberAccounts=[deployment.member.member]) is None
    assert listing.code("DescribeDataKey", DataKeyId=data, MemberAccount=deployment.member.member) is None
    denied = owner.user([allow("kms:*"), deny("kms:*", f"qcs::kms::uin/{member}:key/*")])
    denied = owner.as_user(denied).kms
    assert denied.code("DescribeKey", KeyId=key, MemberAccount=deployment.member.member) == REFUSED
    assert denied.code("DescribeKey", KeyId=own) is None


def test_sessions_of_an_administrator_act_for_members(deployment, owner, owned):
    """A role of the administrator may, one that a member lent him is the member's own."""
    key, _ = owned
    role = owner.role(None, [allow("kms:*")])
    session = owner.as_user(owner.assume(role)).kms
    request_id = session.call("DescribeKey", KeyId=key, MemberAccount=deployment.member.member)["RequestId"]
    record = next(r for r in deployment.records() if r["request_id"] == request_id)
    assert (record["v"], record["account"], record["targets"], record["principal"], record["uin"], record["session"]) == (
        3, str(owner.account), [str(deployment.member.uin)], "role", role.id, "session"
    )
    theirs = Account(deployment.endpoint, deployment.member.creds)
    lent = theirs.role(trust(owner.root), [allow("kms:*")])
    session = owner.as_user(owner.assume(lent)).kms
    assert session.code("DescribeKey", KeyId=key) is None
    assert session.code("DescribeKey", KeyId=key, MemberAccount=deployment.member.member) == ROLE
    assert session.code("DescribeKey", KeyId=key, MemberAccount=deployment.sibling.member) == ROLE


def test_whether_somebody_is_a_member_is_not_told_to_users_without_policies(deployment, owner, owned):
    key, _ = owned
    nobody = owner.as_user(owner.user([allow("kms:*", f"qcs::kms::uin/:key/creatorUin/*/{owner.key()}")])).kms
    answers = [
        nobody.ask("DescribeKey", {"KeyId": key, "MemberAccount": {kind: number}})
        for who in (deployment.member, deployment.sibling, deployment.stranger)
        for kind, number in (("MemberUin", who.uin), ("MemberAppId", who.app_id))
    ] + [nobody.ask("DescribeKey", {"KeyId": key, "MemberAccount": {"MemberUin": 7}})]
    assert {a.code for a in answers} == {REFUSED}
    messages = {a.message for a in answers}
    assert len(messages) == 1, messages


def test_users_of_members_act_for_nobody(deployment, owned):
    key, _ = owned
    theirs = Account(deployment.endpoint, deployment.member.creds)
    user = theirs.as_user(theirs.user("AdministratorAccess")).kms
    assert user.code("DescribeKey", KeyId=key) is None
    assert user.code("DescribeKey", KeyId=key, MemberAccount=deployment.member.member) == ROLE
    assert user.code("DescribeKey", KeyId=key, MemberAccount={"MemberUin": deployment.admin.uin}) == ROLE
