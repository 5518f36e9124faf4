"""Principals and policies of an account by the official Python SDK."""

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kmslib import sdk
from kmslib.cam import PRESETS, REFUSED, Account, allow, deny, document, fresh, other_account, record, records, source, trust
from kmslib.published import check
from kmslib.published import table as published
from kmslib.server import MAIN
from kmslib.wire import CAM, KMS, STS, Creds

MIXED = "备注 a+b&c=d/😀"
PLAIN = document(allow("kms:Encrypt"))


def cam_sdk(server, creds=None, **how):
    return sdk.Product(server, "cam", "20190116", creds, **how)


@pytest.fixture(scope="module")
def cam(server):
    return cam_sdk(server)


@pytest.fixture(params=sdk.WAYS, ids=lambda way: "-".join(way))
def each_way(server, request):
    """The SDK in each of its ways to sign and send."""
    return cam_sdk(server, sign=request.param[0], http=request.param[1])


def usable(account, creds):
    """Code of a call that needs no policy."""
    client = account.as_user(creds, source=source()).client(STS)
    try:
        return client.code("GetCallerIdentity")
    finally:
        client.close()


# Users and access keys


def test_life_of_a_user(account, each_way):
    cam, name = each_way, fresh("user+=,.@_-")
    fields = {"Remark": MIXED, "PhoneNum": "13800000000", "CountryCode": "86", "Email": "a@example.com"}
    made = cam.call("AddUser", Name=name, UseApi=1, ConsoleLogin=1, **fields)
    assert (made.Name, made.Uid, made.Password) == (name, made.Uin, "") and made.Uin != account.account
    assert usable(account, Creds(made.SecretId, made.SecretKey)) is None
    assert cam.code("AddUser", Name=name) == "InvalidParameter.SubUserNameInUse"
    got = cam.call("GetUser", Name=name)
    assert (got.Uin, got.Name, got.Uid, got.ConsoleLogin) == (made.Uin, name, made.Uin, 1)
    assert {n: getattr(got, n) for n in fields} == fields

    cam.call("UpdateUser", Name=name, Remark="", ConsoleLogin=0)
    got = cam.call("GetUser", Name=name)
    assert (got.Remark, got.ConsoleLogin, got.Email) == ("", 0, "a@example.com"), "what is not given stays"
    listed = [u for u in cam.call("ListUsers").Data if u.Name == name]
    assert [(u.Uin, u.Email) for u in listed] == [(made.Uin, "a@example.com")]
    assert abs(time.mktime(time.strptime(listed[0].CreateTime, "%Y-%m-%d %H:%M:%S")) + time.timezone
               - time.time() - 8 * 3600) < 60 + 3600 * bool(time.daylight)
    by_number = cam.call("DescribeSubAccounts", FilterSubAccountUin=[made.Uin, 1]).SubAccounts
    assert [(u.Uin, u.Name) for u in by_number] == [(made.Uin, name)]

    assert cam.code("DeleteUser", Name=name) == "OperationDenied.HaveKeys"
    cam.call("DeleteUser", Name=name, Force=1)
    for action in ("GetUser", "UpdateUser", "DeleteUser"):
        assert cam.code(action, Name=name) == "ResourceNotFound.UserNotExist"
    assert usable(account, Creds(made.SecretId, made.SecretKey)) == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize("name", ["", "a b", "用户", "x" * 65, "a/b", "a:b", "a\n"])
def test_illegal_names_of_users(cam, name):
    assert cam.code("AddUser", Name=name) == "InvalidParameter.UserNameIllegal"


def test_passwords_are_not_served(cam):
    """Whoever sets one learns that he did not."""
    name = fresh("user")
    assert cam.code("AddUser", Name=name, Password="Secret!1") == "InvalidParameter"
    cam.call("AddUser", Name=name, Password="", NeedResetPassword=0, UseApi=0)
    assert cam.code("UpdateUser", Name=name, Password="Secret!1") == "InvalidParameter"
    assert cam.call("GetUser", Name=name).ConsoleLogin == 0


def test_life_of_an_access_key(account, each_way):
    cam, user = each_way, account.user([allow("kms:*")])
    made = cam.call("CreateAccessKey", TargetUin=user.uin, Description=MIXED).AccessKey
    second = Creds(made.AccessKeyId, made.SecretAccessKey)
    assert made.Status == "Active" and usable(account, second) is None
    assert cam.code("CreateAccessKey", TargetUin=user.uin) == "OperationDenied.AccessKeyOverLimit"
    listed = cam.call("ListAccessKeys", TargetUin=user.uin).AccessKeys
    # Of one second, so in either order.
    assert {(k.AccessKeyId, k.Status, k.Description) for k in listed} == {
        (user.creds.secret_id, "Active", ""), (second.secret_id, "Active", MIXED)
    }
    assert second.secret_key not in json.dumps([k._serialize() for k in listed])
    on = {"TargetUin": user.uin, "AccessKeyId": second.secret_id}
    cam.call("UpdateAccessKey", Status="Inactive", **on)
    assert usable(account, second) == "AuthFailure.SecretIdNotFound"
    assert cam.code("CreateAccessKey", TargetUin=user.uin) == "OperationDenied.AccessKeyOverLimit"
    cam.call("UpdateAccessKey", Status="Active", **on)
    assert usable(account, second) is None
    assert cam.code("UpdateAccessKey", Status="active", **on) == "InvalidParameter.ParamError"
    cam.call("UpdateAccessKey", Status="Inactive", **on)
    cam.call("DeleteAccessKey", **on)
    assert cam.code("DeleteAccessKey", **on) == "ResourceNotFound.SecretNotExist"
    assert usable(account, second) == "AuthFailure.SecretIdNotFound"
    assert usable(account, user.creds) is None
    # As Terraform destroys one: enabled as it is.
    cam.call("DeleteAccessKey", TargetUin=user.uin, AccessKeyId=user.creds.secret_id)
    assert usable(account, user.creds) == "AuthFailure.SecretIdNotFound"


def test_whose_an_access_key_is(server, account, cam):
    """A user's own keys are those he gets without a target; the main account's are its own affair."""
    admin, other = account.user("AdministratorAccess"), account.user()
    by_admin = cam_sdk(server, admin.creds)
    assert [k.AccessKeyId for k in by_admin.call("ListAccessKeys").AccessKeys] == [admin.creds.secret_id]
    assert [k.AccessKeyId for k in by_admin.call("ListAccessKeys", TargetUin=0).AccessKeys] == [admin.creds.secret_id]
    assert [k.AccessKeyId for k in by_admin.call("ListAccessKeys", TargetUin=other.uin).AccessKeys] \
        == [other.creds.secret_id]
    for action, fields in (
        ("ListAccessKeys", {}), ("CreateAccessKey", {}),
        ("UpdateAccessKey", {"AccessKeyId": server.creds.secret_id, "Status": "Inactive"}),
        ("DeleteAccessKey", {"AccessKeyId": server.creds.secret_id}),
    ):
        assert by_admin.code(action, TargetUin=account.account, **fields) == "OperationDenied.SubUin"
    assert [k.AccessKeyId for k in cam.call("ListAccessKeys").AccessKeys] == [server.creds.secret_id]
    # Nobody could enable it again.
    code = cam.code("UpdateAccessKey", AccessKeyId=server.creds.secret_id, Status="Inactive")
    assert code == "FailedOperation.Accesskey"
    assert cam.code("DeleteAccessKey", AccessKeyId=server.creds.secret_id) == "FailedOperation.Accesskey"
    wrong = {"AccessKeyId": other.creds.secret_id, "TargetUin": admin.uin}
    assert cam.code("UpdateAccessKey", Status="Inactive", **wrong) == "OperationDenied.UinNotMatch"
    assert cam.code("DeleteAccessKey", **wrong) == "OperationDenied.UinNotMatch"
    assert cam.code("CreateAccessKey", TargetUin=1) == "InvalidParameter.UserNotExist"


def test_the_main_account_changes_its_access_key(server):
    """Make a second one, go over to it, remove the first."""
    owner = other_account(server, fresh("owner"))
    first = owner.creds
    made = owner.cam.call("CreateAccessKey")["AccessKey"]
    assert owner.cam.code("CreateAccessKey") == "OperationDenied.AccessKeyOverLimit"
    second = Account(owner.endpoint, Creds(made["AccessKeyId"], made["SecretAccessKey"]))
    second.cam.call("UpdateAccessKey", AccessKeyId=first.secret_id, Status="Inactive")
    assert usable(second, first) == "AuthFailure.SecretIdNotFound"
    second.cam.call("DeleteAccessKey", AccessKeyId=first.secret_id)
    assert [k["AccessKeyId"] for k in second.cam.call("ListAccessKeys")["AccessKeys"]] == [made["AccessKeyId"]]


def test_last_use_of_access_keys(account, cam):
    used, unused = account.user(), account.user()
    before = int(time.time())
    account.as_user(used).sts.call("GetCallerIdentity")
    rows = cam.call("GetSecurityLastUsed", SecretIdList=[used.creds.secret_id, unused.creds.secret_id]).SecretIdLastUsedRows
    assert [r.SecretId for r in rows] == [used.creds.secret_id, unused.creds.secret_id]
    seconds = rows[0].LastSecretUsedDate / 1000
    assert before <= seconds <= time.time() and rows[1].LastSecretUsedDate == 0
    day = time.strftime("%Y-%m-%d", time.gmtime(seconds + 8 * 3600))
    assert (rows[0].LastUsedDate, rows[1].LastUsedDate) == (day, "")
    assert cam.code("GetSecurityLastUsed", SecretIdList=["AKIDnobody"]) == "ResourceNotFound.SecretNotExist"


# Groups


def test_life_of_a_group(account, each_way):
    cam, name = each_way, fresh("小组 a+b&c")
    group = cam.call("CreateGroup", GroupName=name, Remark=MIXED).GroupId
    assert cam.code("CreateGroup", GroupName=name) == "InvalidParameter.GroupNameInUse"
    users = [account.user() for _ in range(3)]
    cam.call("AddUserToGroup", Info=[{"GroupId": group, "Uin": users[0].uin}, {"GroupId": group, "Uid": users[1].uin}])
    cam.call("AddUserToGroup", Info=[{"GroupId": group, "Uin": u.uin} for u in users])
    got = cam.call("GetGroup", GroupId=group)
    assert (got.GroupId, got.GroupName, got.Remark, got.GroupNum) == (group, name, MIXED, 3)
    assert {(u.Uin, u.Uid, u.Name) for u in got.UserInfo} == {(u.uin, u.uin, u.name) for u in users}
    pages = [cam.call("ListUsersForGroup", GroupId=group, Page=p, Rp=2) for p in (1, 2, 3)]
    assert [(p.TotalNum, len(p.UserInfo)) for p in pages] == [(3, 2), (3, 1), (3, 0)]
    of_user = cam.call("ListGroupsForUser", SubUin=users[0].uin)
    assert (of_user.TotalNum, [g.GroupId for g in of_user.GroupInfo]) == (1, [group])
    assert cam.call("ListGroupsForUser", Uid=users[0].uin).TotalNum == 1

    cam.call("UpdateGroup", GroupId=group, Remark="")
    got = cam.call("GetGroup", GroupId=group)
    assert (got.GroupName, got.Remark) == (name, "")
    cam.call("UpdateGroup", GroupId=group, GroupName=name + "2")
    listed = cam.call("ListGroups", Keyword=name)
    assert [(g.GroupId, g.GroupName) for g in listed.GroupInfo] == [(group, name + "2")]
    cam.call("RemoveUserFromGroup", Info=[{"GroupId": group, "Uin": u.uin} for u in users[:2]])
    assert cam.call("GetGroup", GroupId=group).GroupNum == 1
    # All or none.
    pairs = [{"GroupId": group, "Uin": users[0].uin}, {"GroupId": group, "Uin": 1}]
    assert cam.code("AddUserToGroup", Info=pairs) == "ResourceNotFound.UserNotExist"
    assert cam.call("GetGroup", GroupId=group).GroupNum == 1
    cam.call("DeleteUser", Name=users[2].name, Force=1)
    assert cam.call("GetGroup", GroupId=group).GroupNum == 0
    cam.call("DeleteGroup", GroupId=group)
    for action in ("GetGroup", "UpdateGroup", "DeleteGroup", "ListUsersForGroup"):
        assert cam.code(action, GroupId=group) == "ResourceNotFound.GroupNotExist"


def test_no_more_than_ten_groups_of_a_user(account, cam):
    user = account.user()
    groups = [cam.call("CreateGroup", GroupName=fresh("group")).GroupId for _ in range(11)]
    pairs = [{"GroupId": g, "Uin": user.uin} for g in groups]
    assert cam.code("AddUserToGroup", Info=pairs) == "InvalidParameter.UserGroupFull"
    assert cam.call("ListGroupsForUser", SubUin=user.uin).TotalNum == 0, "all or none"
    cam.call("AddUserToGroup", Info=pairs[:10])
    assert cam.code("AddUserToGroup", Info=pairs[10:]) == "InvalidParameter.UserGroupFull"
    cam.call("AddUserToGroup", Info=pairs[:3])


def test_changes_at_once(account):
    """Many at the same time: none is lost, and of the same name there is one."""
    user, group = account.user(), account.cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
    same, mine = fresh("same"), [[fresh("at-once") for _ in range(4)] for _ in range(8)]

    def work(names):
        client, codes = account.client(CAM), []
        for name in names:
            uin = client.call("AddUser", Name=name)["Uin"]
            client.call("AddUserToGroup", Info=[{"GroupId": group, "Uin": uin}])
            number = client.call("CreatePolicy", PolicyName=name, PolicyDocument=PLAIN)["PolicyId"]
            client.call("AttachUserPolicy", PolicyId=number, AttachUin=user.uin)
        codes.append(client.code("AddUser", Name=same))
        codes.append(client.code("CreateAccessKey", TargetUin=user.uin))
        client.close()
        return codes

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(work, mine))
    assert sorted(str(c[0]) for c in codes) == ["InvalidParameter.SubUserNameInUse"] * 7 + ["None"]
    assert sorted(str(c[1]) for c in codes) == ["None"] + ["OperationDenied.AccessKeyOverLimit"] * 7
    whole = account.cam.call("ListUsersForGroup", GroupId=group, Rp=200)
    assert {u["Name"] for u in whole["UserInfo"]} == {n for names in mine for n in names} and whole["TotalNum"] == 32
    assert account.cam.call("ListAttachedUserPolicies", TargetUin=user.uin)["TotalNum"] == 32


# Policies


def test_life_of_a_policy(account, each_way):
    """As Terraform goes about it: make, read back, attach, change, detach, delete."""
    cam, name, user = each_way, fresh("terraform"), account.user()
    text = json.dumps(json.loads(document(allow(["name/kms:Encrypt", "kms:Describe*"]))), indent=2) + "\n"
    policy = cam.call("CreatePolicy", PolicyName=name, PolicyDocument=text, Description=MIXED).PolicyId
    got = cam.call("GetPolicy", PolicyId=policy)
    assert (got.PolicyName, got.PolicyDocument, got.Description, got.Type) == (name, text, MIXED, 1)
    assert cam.code("CreatePolicy", PolicyName=name, PolicyDocument=text) == "FailedOperation.PolicyNameInUse"
    listed = cam.call("ListPolicies", Keyword=name, Scope="Local")
    assert [(p.PolicyId, p.Attachments, p.IsAttached, p.Type) for p in listed.List] == [(policy, 0, 0, 1)]

    for _ in range(2):
        cam.call("AttachUserPolicy", PolicyId=policy, AttachUin=user.uin)
    attached = cam.call("ListAttachedUserPolicies", TargetUin=user.uin, Page=1, Rp=20)
    assert [(p.PolicyId, p.PolicyName, p.PolicyType) for p in attached.List] == [(policy, name, "User")]
    assert cam.call("ListPolicies", Keyword=name).List[0].AttachEntityCount == 1

    changed = document(allow("kms:ListKeys"), deny("kms:Encrypt"))
    assert cam.call("UpdatePolicy", PolicyId=policy, PolicyDocument=changed).PolicyId == policy
    got = cam.call("GetPolicy", PolicyId=policy)
    assert (got.PolicyName, got.PolicyDocument, got.Description) == (name, changed, MIXED), "what is not given stays"
    assert account.as_user(user).kms.code("ListKeys") is None
    cam.call("UpdatePolicy", PolicyId=policy, PolicyName=name + ".2", Description="")
    got = cam.call("GetPolicy", PolicyId=policy)
    assert (got.PolicyName, got.PolicyDocument, got.Description) == (name + ".2", changed, "")

    for _ in range(2):
        cam.call("DetachUserPolicy", PolicyId=policy, DetachUin=user.uin)
    assert cam.call("ListAttachedUserPolicies", TargetUin=user.uin).TotalNum == 0
    assert account.as_user(user).kms.code("ListKeys") == REFUSED
    # What still has it loses it.
    cam.call("AttachUserPolicy", PolicyId=policy, AttachUin=user.uin)
    cam.call("DeletePolicy", PolicyId=[policy])
    assert cam.call("ListAttachedUserPolicies", TargetUin=user.uin).TotalNum == 0
    for action, fields in (("GetPolicy", {"PolicyId": policy}), ("DeletePolicy", {"PolicyId": [policy]}),
                           ("UpdatePolicy", {"PolicyId": policy, "Description": "x"}),
                           ("AttachUserPolicy", {"PolicyId": policy, "AttachUin": user.uin})):
        gone = "ResourceNotFound.PolicyIdNotFound" if action == "GetPolicy" else "InvalidParameter.PolicyIdNotExist"
        assert cam.code(action, **fields) == gone, action


INVALID = [
    # (document or statement, code behind `InvalidParameter.`, place in the message)
    ("", "PolicyDocumentError", ""),
    ("{", "PolicyDocumentError", ""),
    ("[]", "PolicyDocumentError", ""),
    ('{"version":"2.0","version":"2.0","statement":[]}', "PolicyDocumentError", ""),
    ('{"version":"2.0","statement":[],"id":"x"}', "PolicyDocumentError", "id"),
    ("{" + " " * 6143 + "}", "PolicyDocumentLengthOverLimit", ""),
    ('{"statement":[]}', "VersionError", "version"),
    ('{"version":"1.0","statement":[]}', "VersionError", "version"),
    ('{"version":"2.0"}', "StatementError", "statement"),
    ('{"version":"2.0","statement":[]}', "StatementError", "statement"),
    ('{"version":"2.0","statement":["allow"]}', "StatementError", "statement[0]"),
    ({"sid": "x"}, "StatementError", "statement[1].sid"),
    ({"effect": "permit"}, "EffectError", "statement[1].effect"),
    ({"effect": None}, "EffectError", "statement[1].effect"),
    ({"principal": {"qcs": ["*"]}}, "PrincipalError", "statement[1].principal"),
    ({"action": []}, "ActionError", "statement[1].action"),
    ({"action": None}, "ActionError", "statement[1].action"),
    ({"action": ["kms:Encrypt", "Encrypt"]}, "ActionError", "statement[1].action[1]"),
    ({"action": ["kms:Encrypt", "kms:NoSuch"]}, "ActionNotExist", "statement[1].action[1]"),
    ({"action": "kms:encrypt"}, "ActionNotExist", "statement[1].action"),
    ({"action": "cvmm:RunInstances"}, "ActionServiceNotExist", "statement[1].action"),
    ({"resource": []}, "ResourceError", "statement[1].resource"),
    ({"resource": "key/*"}, "ResourceQcsError", "statement[1].resource"),
    ({"resource": ["*", "qcs:7:kms::uin/:key/*"]}, "ResourceProjectError", "statement[1].resource[1]"),
    ({"resource": "qcs::cvmm::uin/:key/*"}, "ResourceServiceNotExist", "statement[1].resource"),
    ({"resource": "qcs::kms:mars:uin/:key/*"}, "ResourceRegionError", "statement[1].resource"),
    ({"resource": "qcs::kms::uin/1:key/*"}, "ResourceUinError", "statement[1].resource"),
    ({"resource": "qcs::kms::uin/:key/${nobody}/*"}, "ResourceError", "statement[1].resource"),
    ({"resource": "qcs::kms::uin/:bucket/*"}, "ResourceContentError", "statement[1].resource"),
    # Of a list of keys the policy is asked about everything, never about one of them.
    ({"action": "kms:ListKeys", "resource": "qcs::kms::uin/:key/*"}, "ResourceContentError", "statement[1].resource"),
    ({"action": ["kms:Encrypt", "kms:CreateKey"], "resource": "qcs::kms::uin/:key/*"}, "ResourceContentError",
     "statement[1].action[1]"),
    ({"condition": []}, "ConditionError", "statement[1].condition"),
    ({"condition": {"equals": {"qcs:ip": "::1"}}}, "ConditionTypeError", "statement[1].condition.equals"),
    ({"condition": {"ip_equal": {}}}, "ConditionError", "statement[1].condition.ip_equal"),
    ({"condition": {"ip_equal": {"kms:ip": "::1"}}}, "ConditionError", "statement[1].condition.ip_equal.kms:ip"),
    ({"condition": {"ip_equal": {"qcs:ip": ["::1", "10.0.0.0/33"]}}}, "ConditionContentError",
     "statement[1].condition.ip_equal.qcs:ip[1]"),
    ({"condition": {"string_equal": {"qcs:resource_tag": "red"}}}, "ConditionContentError",
     "statement[1].condition.string_equal.qcs:resource_tag"),
    ({"condition": {"string_equal": {"sts:external_id": "x"}}}, "ConditionError",
     "statement[1].condition.string_equal.sts:external_id"),
    ({"condition": {"date_less_than": {"qcs:current_time": "tomorrow"}}}, "ConditionContentError",
     "statement[1].condition.date_less_than.qcs:current_time"),
]


def broken(what):
    """A document whose second statement is wrong in one member."""
    if isinstance(what, str):
        return what
    merged = allow("kms:Encrypt") | what
    return document(allow("kms:Encrypt"), {k: v for k, v in merged.items() if v is not None})


@pytest.mark.parametrize("what,code,place", INVALID, ids=[f"{n}-{c}" for n, (_, c, _) in enumerate(INVALID)])
def test_invalid_documents(server, account, cam, what, code, place):
    """Code, and the place in the document, in both languages; nothing is made or changed."""
    name = fresh("invalid")
    for language, start in (("en-US", f"PolicyDocument{', ' if place else ': '}{place}"), ("zh-CN", "PolicyDocument")):
        client = cam_sdk(server, language=language)
        got, message = client.error("CreatePolicy", PolicyName=name, PolicyDocument=broken(what))
        assert got == f"InvalidParameter.{code}", message
        assert message.startswith(start) and place in message, message
    good = account.policy(allow("kms:Encrypt"), name=name)
    if broken(what):
        assert cam.code("UpdatePolicy", PolicyId=good, PolicyDocument=broken(what)) == f"InvalidParameter.{code}"
    else:
        cam.call("UpdatePolicy", PolicyId=good, PolicyDocument="")
    assert cam.call("GetPolicy", PolicyId=good).PolicyDocument == PLAIN


@pytest.mark.parametrize("fields,code", [
    ({"PolicyName": ""}, "InvalidParameter.PolicyNameError"),
    ({"PolicyName": "策略"}, "InvalidParameter.PolicyNameError"),
    ({"PolicyName": "x" * 129}, "InvalidParameter.PolicyNameError"),
    ({"PolicyName": "QcloudKMSFullAccess"}, "FailedOperation.PolicyNameInUse"),
    ({"Description": "x" * 301}, "InvalidParameter.DescriptionLengthOverlimit"),
])
def test_invalid_policies(cam, fields, code):
    assert cam.code("CreatePolicy", **{"PolicyName": fresh("p"), "PolicyDocument": PLAIN} | fields) == code


def test_a_document_as_long_as_it_may_be(cam):
    text = PLAIN[:-1] + " " * (6144 - len(PLAIN)) + "}"
    policy = cam.call("CreatePolicy", PolicyName=fresh("long"), PolicyDocument=text).PolicyId
    assert cam.call("GetPolicy", PolicyId=policy).PolicyDocument == text


def test_presets_cannot_be_changed(account, cam):
    listed = cam.call("ListPolicies", Scope="QCS", Rp=200)
    assert {p.PolicyName: p.PolicyId for p in listed.List} == PRESETS
    assert {p.Type for p in listed.List} == {2}
    before = {i: cam.call("GetPolicy", PolicyId=i).PolicyDocument for i in PRESETS.values()}
    own = account.policy(allow("kms:Encrypt"))
    for name, number in PRESETS.items():
        assert cam.code("UpdatePolicy", PolicyId=number, PolicyDocument=PLAIN) == "FailedOperation.Unmodifiable"
        assert cam.code("UpdatePolicy", PolicyName=name, PolicyDocument=PLAIN) == "FailedOperation.Unmodifiable"
        assert cam.code("UpdatePolicy", PolicyId=number, PolicyName=fresh("p")) == "FailedOperation.Unmodifiable"
        # All or none.
        assert cam.code("DeletePolicy", PolicyId=[own, number]) == "FailedOperation.Unmodifiable"
    assert {i: cam.call("GetPolicy", PolicyId=i).PolicyDocument for i in PRESETS.values()} == before
    assert cam.call("GetPolicy", PolicyId=own).PolicyDocument == PLAIN


# Attachments


def test_attachments(account, each_way):
    cam = each_way
    user, role = account.user(), account.role()
    group = cam.call("CreateGroup", GroupName=fresh("group")).GroupId
    cam.call("AddUserToGroup", Info=[{"GroupId": group, "Uin": user.uin}])
    own, preset = account.policy(allow("kms:Encrypt")), PRESETS["QcloudKMSReadOnlyAccess"]
    name = cam.call("GetPolicy", PolicyId=own).PolicyName
    cam.call("AttachUserPolicy", PolicyId=own, AttachUin=user.uin)
    cam.call("AttachGroupPolicy", PolicyId=own, AttachGroupId=group)
    cam.call("AttachGroupPolicy", PolicyId=preset, AttachGroupId=group)
    cam.call("AttachRolePolicy", PolicyId=own, AttachRoleId=role.id)
    cam.call("AttachRolePolicy", PolicyName="QcloudKMSReadOnlyAccess", AttachRoleName=role.name)

    entities = cam.call("ListEntitiesForPolicy", PolicyId=own)
    assert entities.TotalNum == 3 and {(e.Id, e.Name, e.Uin, e.RelatedType) for e in entities.List} == {
        (str(user.uin), user.name, user.uin, 1), (str(group), cam.call("GetGroup", GroupId=group).GroupName, 0, 2),
        (role.id, role.name, 0, 3),
    }
    for kind, related in (("User", 1), ("Group", 2), ("Role", 3)):
        assert [e.RelatedType for e in cam.call("ListEntitiesForPolicy", PolicyId=own, EntityFilter=kind).List] == [related]
    assert cam.code("ListEntitiesForPolicy", PolicyId=own, EntityFilter="x") == "InvalidParameter.EntityFilterError"

    of_group = cam.call("ListAttachedGroupPolicies", TargetGroupId=group)
    assert {(p.PolicyId, p.PolicyType) for p in of_group.List} == {(own, "User"), (preset, "QCS")}
    of_role = cam.call("ListAttachedRolePolicies", RoleName=role.name, Page=1, Rp=20)
    assert {(p.PolicyId, p.PolicyType) for p in of_role.List} == {(own, "User"), (preset, "QCS")}
    of_role = cam.call("ListAttachedRolePolicies", RoleId=role.id, Page=1, Rp=20, PolicyType="QCS")
    assert [p.PolicyId for p in of_role.List] == [preset] and of_role.TotalNum == 1
    paged = {"TargetUin": user.uin, "Rp": 20, "Page": 1}
    for kind, expected in ((0, {(own, 1), (preset, 1)}), (1, {(own, 0)}), (2, {(own, 1), (preset, 1)})):
        got = cam.call("ListAttachedUserAllPolicies", AttachType=kind, **paged)
        assert {(int(p.PolicyId), len(p.Groups)) for p in got.PolicyList} == expected, kind
    got = cam.call("ListAttachedUserAllPolicies", AttachType=0, StrategyType=2, **paged)
    assert [p.PolicyName for p in got.PolicyList] == ["QcloudKMSReadOnlyAccess"]
    assert cam.call("ListAttachedUserAllPolicies", AttachType=0, Keyword=name, **paged).TotalNum == 1

    cam.call("DetachGroupPolicy", PolicyId=own, DetachGroupId=group)
    cam.call("DetachRolePolicy", PolicyName=name, DetachRoleName=role.name)
    cam.call("DetachRolePolicy", PolicyId=preset, DetachRoleId=role.id)
    assert cam.call("ListAttachedRolePolicies", RoleName=role.name, Page=1, Rp=20).TotalNum == 0
    assert [e.RelatedType for e in cam.call("ListEntitiesForPolicy", PolicyId=own).List] == [1]
    assert cam.code("AttachUserPolicy", PolicyId=own, AttachUin=1) == "InvalidParameter.UserNotExist"
    assert cam.code("AttachUserPolicy", PolicyId=own, AttachUin=account.account) == "InvalidParameter.UserNotExist"
    assert cam.code("AttachGroupPolicy", PolicyId=own, AttachGroupId=1) == "ResourceNotFound.GroupNotExist"
    assert cam.code("AttachRolePolicy", PolicyId=own, AttachRoleId="1") == "InvalidParameter.RoleNotExist"
    assert cam.code("AttachUserPolicy", PolicyId=7, AttachUin=user.uin) == "InvalidParameter.PolicyIdNotExist"


def test_no_more_than_fifty_policies(account, cam):
    user = account.user()
    numbers = [account.policy(allow("kms:Encrypt")) for _ in range(51)]
    for number in numbers[:50]:
        cam.call("AttachUserPolicy", PolicyId=number, AttachUin=user.uin)
    assert cam.code("AttachUserPolicy", PolicyId=numbers[50], AttachUin=user.uin) == "InvalidParameter.AttachmentFull"
    cam.call("DeletePolicy", PolicyId=numbers)
    assert cam.call("ListAttachedUserPolicies", TargetUin=user.uin).TotalNum == 0


# Roles


def test_life_of_a_role(account, each_way):
    cam, name = each_way, fresh("role+=,.@_-")
    trusted = trust(account.root)
    made = cam.call("CreateRole", RoleName=name, PolicyDocument=trusted, Description=MIXED, SessionDuration=3600,
                    ConsoleLogin=0, Tags=[{"Key": "team", "Value": "红"}])
    assert cam.code("CreateRole", RoleName=name, PolicyDocument=trusted) == "InvalidParameter.RoleNameInUse"
    by_name, by_id = cam.call("GetRole", RoleName=name).RoleInfo, cam.call("GetRole", RoleId=made.RoleId).RoleInfo
    assert by_name._serialize() == by_id._serialize()
    assert (by_id.RoleId, by_id.RoleName, by_id.PolicyDocument, by_id.Description, by_id.SessionDuration) == (
        made.RoleId, name, trusted, MIXED, 3600
    )
    assert [(t.Key, t.Value) for t in by_id.Tags] == [("team", "红")]
    assert by_id.RoleArn == f"qcs::cam::uin/{account.account}:roleName/{name}"

    user = account.user()
    changed = trust(account.named(user))
    cam.call("UpdateAssumeRolePolicy", RoleName=name, PolicyDocument=changed)
    cam.call("UpdateRoleDescription", RoleId=made.RoleId, Description="")
    cam.call("UpdateRoleSessionDuration", RoleId=int(made.RoleId), SessionDuration=43200)
    cam.call("UpdateRoleConsoleLogin", RoleName=name, ConsoleLogin=1)
    cam.call("TagRole", RoleName=name, Tags=[{"Key": "team", "Value": "blue"}, {"Key": "b", "Value": ""}])
    got = cam.call("GetRole", RoleName=name).RoleInfo
    assert (got.PolicyDocument, got.Description, got.SessionDuration, got.ConsoleLogin) == (changed, "", 43200, 1)
    assert {t.Key: t.Value for t in got.Tags} == {"team": "blue", "b": ""}
    cam.call("UntagRole", RoleName=name, TagKeys=["team", "none"])
    found = cam.call("DescribeRoleList", Page=1, Rp=200, Tags=[{"Key": "b", "Value": ""}]).List
    assert made.RoleId in {r.RoleId for r in found}
    found = cam.call("DescribeRoleList", Page=1, Rp=200, Tags=[{"Key": "team", "Value": "blue"}]).List
    assert made.RoleId not in {r.RoleId for r in found or []}

    # Numbers and names that are of two roles are of none.
    assert cam.code("GetRole", RoleId=made.RoleId, RoleName=account.role().name) == "InvalidParameter.RoleNotExist"
    cam.call("DeleteRole", RoleName=name)
    for action, fields in (("GetRole", {}), ("DeleteRole", {}), ("UpdateRoleDescription", {"Description": "x"}),
                           ("UpdateAssumeRolePolicy", {"PolicyDocument": trusted}),
                           ("UpdateRoleSessionDuration", {"SessionDuration": 60})):
        assert cam.code(action, RoleName=name, **fields) == "InvalidParameter.RoleNotExist", action


def test_tags_of_a_role_by_the_tag_service(server, account, cam):
    """As Terraform goes about it: tags are set after creation, and read, by the tag service."""
    role, tags = account.role(), sdk.Product(server, "tag", "20180813")
    resource = f"qcs::cam:{MAIN}:uin/:role/{role.id}"
    tags.call("ModifyResourceTags", Resource=resource,
              ReplaceTags=[{"TagKey": "env", "TagValue": "值 &=+"}, {"TagKey": "b", "TagValue": ""}])
    asked = {"ServiceType": "cam", "ResourcePrefix": "role", "ResourceIds": [role.id], "ResourceRegion": MAIN}
    got = tags.call("DescribeResourceTagsByResourceIds", Offset=0, Limit=20, **asked)
    assert {t.TagKey: t.TagValue for t in got.Tags} == {"env": "值 &=+", "b": ""} and got.TotalCount == 2
    assert {(t.ResourceId, t.ServiceType) for t in got.Tags} == {(role.id, "cam")}
    assert {t.Key: t.Value for t in cam.call("GetRole", RoleId=role.id).RoleInfo.Tags} == {"env": "值 &=+", "b": ""}
    tags.call("ModifyResourceTags", Resource=resource, ReplaceTags=[], DeleteTags=[{"TagKey": "env"}])
    assert [t.Key for t in cam.call("GetRole", RoleId=role.id).RoleInfo.Tags] == ["b"]
    done = tags.call("TagResources", ResourceList=[resource, f"qcs::cam::uin/:uin/{account.account}"],
                     Tags=[{"TagKey": "env", "TagValue": "x"}])
    assert [f.Code for f in done.FailedResources] == ["InvalidParameterValue.ResourceDescriptionError"]
    found = tags.call("GetResources", ResourceList=[resource]).ResourceTagMappingList
    assert [f.Resource for f in found] == [f"qcs::cam::uin/{account.account}:role/{role.id}"]
    tags.call("UnTagResources", ResourceList=[resource], TagKeys=["env", "b"])
    assert tags.call("DescribeResourceTagsByResourceIds", **asked).TotalCount == 0


def principal(**named):
    return document({"effect": "allow", "action": "sts:AssumeRole", "principal": named})


@pytest.mark.parametrize("text,code", [
    (PLAIN, "PrincipalError"),
    (principal(), "PrincipalError"),
    (principal(qcs=[]), "PrincipalError"),
    (document({"effect": "allow", "action": "sts:AssumeRole", "principal": "*"}), "PrincipalQcsError"),
    (principal(qcs=["*"]), "PrincipalQcsError"),
    (principal(qcs=["qcs::cam::uin/*:root"]), "PrincipalQcsError"),
    (principal(qcs=["qcs::cam::uin/{own}:uin/7"]), "PrincipalQcsNotExist"),
    (principal(qcs=["qcs::cam::uin/{own}:role/7"]), "PrincipalQcsNotExist"),
    (principal(qcs=["qcs::cam::uin/{own}:roleName/nobody"]), "PrincipalQcsNotExist"),
    (principal(service=["cvm.qcloud.com"]), "PrincipalServiceNotExist"),
    (principal(federated=["qcs::cam::uin/{own}:saml-provider/x"]), "PrincipalError"),
    (trust("qcs::cam::uin/{own}:root", action="kms:Encrypt"), "ActionError"),
    (trust("qcs::cam::uin/{own}:root", effect="maybe"), "EffectError"),
    (trust("qcs::cam::uin/{own}:root", resource="qcs::kms::uin/:key/*"), "ResourceError"),
    (trust("qcs::cam::uin/{own}:root", condition={"string_equal": {"qcs:resource_tag": "a&b"}}), "ConditionError"),
    (trust("qcs::cam::uin/{own}:root", condition={"is": {"qcs:ip": "::1"}}), "ConditionTypeError"),
])
def test_invalid_trust(account, cam, text, code):
    text = text.replace("{own}", str(account.account))
    assert cam.code("CreateRole", RoleName=fresh("role"), PolicyDocument=text) == f"InvalidParameter.{code}"
    role = account.role()
    assert cam.code("UpdateAssumeRolePolicy", RoleId=role.id, PolicyDocument=text) == f"InvalidParameter.{code}"
    assert cam.call("GetRole", RoleId=role.id).RoleInfo.PolicyDocument == trust(account.root)


def test_foreign_principals_are_not_looked_for(server, account, cam):
    """Who is there in another account is told to nobody."""
    other = other_account(server, fresh("other"))
    there = other.user()
    for uin in (there.uin, 7):
        cam.call("CreateRole", RoleName=fresh("role"), PolicyDocument=trust(f"qcs::cam::uin/{other.account}:uin/{uin}"))
    cam.call("CreateRole", RoleName=fresh("role"), PolicyDocument=trust("qcs::cam::uin/7:root"))


@pytest.mark.parametrize("fields,code", [
    ({"RoleName": "角色"}, "InvalidParameter.RoleNameError"), ({"RoleName": ""}, "InvalidParameter.RoleNameError"),
    ({"Description": "x" * 301}, "InvalidParameter.DescriptionLengthOverlimit"),
    ({"SessionDuration": 43201}, "InvalidParameter"), ({"ConsoleLogin": 2}, "InvalidParameter"),
    ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "InvalidParameter.TagParamError"),
])
def test_invalid_roles(account, cam, fields, code):
    assert cam.code("CreateRole", **{"RoleName": fresh("r"), "PolicyDocument": trust(account.root)} | fields) == code


# Lists


@pytest.mark.parametrize("action,key,total,fields", [
    ("ListGroups", "GroupInfo", "TotalNum", {}), ("ListPolicies", "List", "TotalNum", {}),
    ("ListPolicies", "List", "TotalNum", {"Scope": "Local"}), ("DescribeRoleList", "List", "TotalNum", {}),
])
def test_paging(account, cam, action, key, total, fields):
    """All are found, each once, in one order; what is behind the end is empty."""
    for _ in range(3):
        account.role()
        account.policy(allow("kms:Encrypt"))
        cam.call("CreateGroup", GroupName=fresh("group"))
    whole = cam.call(action, Page=1, Rp=200, **fields)
    assert getattr(whole, total) >= 3
    seen, page = [], 1
    while rows := getattr(cam.call(action, Page=page, Rp=7, **fields), key):
        assert len(rows) == 7 or len(seen) + len(rows) == getattr(whole, total)
        seen += [r._serialize() for r in rows]
        page += 1
    assert seen[:200] == [r._serialize() for r in getattr(whole, key)] and len(seen) == getattr(whole, total)
    first = [r._serialize() for r in getattr(cam.call(action, Page=1, Rp=20, **fields), key)]
    assert [r._serialize() for r in getattr(cam.call(action, Page=0, Rp=0, **fields), key)] == first
    too_many = "InvalidParameter" if action == "ListGroups" else "InvalidParameter.ParamError"
    assert cam.code(action, Page=1, Rp=201, **fields) == too_many
    assert not getattr(cam.call(action, Page=10**12, Rp=200, **fields), key)


def test_summary(server):
    owner = other_account(server, fresh("counted"))
    cam = cam_sdk(server, owner.creds)
    owner.user([allow("kms:*")])
    owner.role()
    group = cam.call("CreateGroup", GroupName="g").GroupId
    cam.call("AddUserToGroup", Info=[{"GroupId": group, "Uin": owner.user().uin}])
    got = cam.call("GetAccountSummary")
    assert (got.Policies, got.Roles, got.User, got.Group, got.Member) == (1, 1, 2, 1, 1)


# Every action against the published table


@pytest.fixture(scope="module")
def world(account):
    """Something of everything, for calls of every action."""

    class World:
        user, group_user = account.user("QcloudKMSFullAccess"), account.user()
        role = account.role(None, "QcloudKMSFullAccess", Tags=[{"Key": "a", "Value": "b"}])
        policy = account.policy(allow("kms:Encrypt"))
        group = account.cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
        info = [{"GroupId": group, "Uin": group_user.uin}]

    account.cam.call("AddUserToGroup", Info=World.info)
    account.cam.call("AttachGroupPolicy", AttachGroupId=World.group, PolicyId=World.policy)
    account.cam.call("AttachUserPolicy", AttachUin=World.user.uin, PolicyId=World.policy)
    account.cam.call("AttachRolePolicy", AttachRoleId=World.role.id, PolicyId=World.policy)
    return World


PAGE = {"Page": 1, "Rp": 20}
CALLS = {
    "AddUser": lambda w, a: {"Name": fresh("u"), "UseApi": 1},
    "AddUserToGroup": lambda w, a: {"Info": w.info},
    "AttachGroupPolicy": lambda w, a: {"PolicyId": w.policy, "AttachGroupId": w.group},
    "AttachRolePolicy": lambda w, a: {"PolicyId": w.policy, "AttachRoleId": w.role.id},
    "AttachUserPolicy": lambda w, a: {"PolicyId": w.policy, "AttachUin": w.user.uin},
    "CreateAccessKey": lambda w, a: {"TargetUin": a.user().uin, "Description": "d"},
    "CreateGroup": lambda w, a: {"GroupName": fresh("g")},
    "CreatePolicy": lambda w, a: {"PolicyName": fresh("p"), "PolicyDocument": PLAIN},
    "CreateRole": lambda w, a: {"RoleName": fresh("r"), "PolicyDocument": trust(a.root)},
    "DeleteAccessKey": lambda w, a: disabled_key(a),
    "DeleteGroup": lambda w, a: {"GroupId": a.cam.call("CreateGroup", GroupName=fresh("g"))["GroupId"]},
    "DeletePolicy": lambda w, a: {"PolicyId": [a.policy(allow("kms:Encrypt"))]},
    "DeleteRole": lambda w, a: {"RoleId": a.role().id},
    "DeleteUser": lambda w, a: {"Name": a.user().name, "Force": 1},
    "DescribeRoleList": lambda w, a: PAGE,
    "DescribeSubAccounts": lambda w, a: {"FilterSubAccountUin": [w.user.uin]},
    "DetachGroupPolicy": lambda w, a: {"PolicyId": 101, "DetachGroupId": w.group},
    "DetachRolePolicy": lambda w, a: {"PolicyId": 101, "DetachRoleId": w.role.id},
    "DetachUserPolicy": lambda w, a: {"PolicyId": 101, "DetachUin": w.user.uin},
    "GetAccountSummary": lambda w, a: {},
    "GetGroup": lambda w, a: {"GroupId": w.group},
    "GetPolicy": lambda w, a: {"PolicyId": w.policy},
    "GetRole": lambda w, a: {"RoleId": w.role.id},
    "GetSecurityLastUsed": lambda w, a: {"SecretIdList": [w.user.creds.secret_id]},
    "GetUser": lambda w, a: {"Name": w.user.name},
    "GetUserAppId": lambda w, a: {},
    "ListAccessKeys": lambda w, a: {"TargetUin": w.user.uin},
    "ListAttachedGroupPolicies": lambda w, a: {"TargetGroupId": w.group},
    "ListAttachedRolePolicies": lambda w, a: PAGE | {"RoleId": w.role.id},
    "ListAttachedUserAllPolicies": lambda w, a: PAGE | {"TargetUin": w.user.uin, "AttachType": 0},
    "ListAttachedUserPolicies": lambda w, a: {"TargetUin": w.user.uin},
    "ListEntitiesForPolicy": lambda w, a: {"PolicyId": w.policy},
    "ListGroups": lambda w, a: {},
    "ListGroupsForUser": lambda w, a: {"SubUin": w.group_user.uin},
    "ListPolicies": lambda w, a: {},
    "ListUsers": lambda w, a: {},
    "ListUsersForGroup": lambda w, a: {"GroupId": w.group},
    "RemoveUserFromGroup": lambda w, a: {"Info": [{"GroupId": w.group, "Uin": w.user.uin}]},
    "TagRole": lambda w, a: {"RoleId": w.role.id, "Tags": [{"Key": "a", "Value": "b"}]},
    "UntagRole": lambda w, a: {"RoleId": w.role.id, "TagKeys": ["none"]},
    "UpdateAccessKey": lambda w, a: {"AccessKeyId": w.user.creds.secret_id, "Status": "Active", "TargetUin": w.user.uin},
    "UpdateAssumeRolePolicy": lambda w, a: {"RoleId": w.role.id, "PolicyDocument": trust(a.root)},
    "UpdateGroup": lambda w, a: {"GroupId": w.group, "Remark": "r"},
    "UpdatePolicy": lambda w, a: {"PolicyId": w.policy, "Description": "d"},
    "UpdateRoleConsoleLogin": lambda w, a: {"RoleName": w.role.name, "ConsoleLogin": 0},
    "UpdateRoleDescription": lambda w, a: {"RoleId": w.role.id, "Description": "d"},
    "UpdateRoleSessionDuration": lambda w, a: {"RoleName": w.role.name, "SessionDuration": 7200},
    "UpdateUser": lambda w, a: {"Name": w.user.name, "Remark": "r"},
    "AssumeRole": lambda w, a: {"RoleArn": w.role.arn, "RoleSessionName": "s1"},
    "GetCallerIdentity": lambda w, a: {},
    "GetFederationToken": lambda w, a: {"Name": "guest", "Policy": PLAIN},
}
OF_STS = {"AssumeRole", "GetCallerIdentity", "GetFederationToken"}


def disabled_key(account):
    user = account.user()
    on = {"AccessKeyId": user.creds.secret_id, "TargetUin": user.uin}
    account.cam.call("UpdateAccessKey", Status="Inactive", **on)
    return on


def test_every_action_has_a_call(account):
    # Each from an address of its own: unknown actions slow down whoever asks for them.
    served = [
        a for a in published("cam-2019-01-16")["actions"]
        if account.client(CAM, source=source()).ask(a, {}).code != "InvalidAction"
    ]
    assert set(served) | OF_STS == set(CALLS), "an action was added: give it a call"


@pytest.mark.parametrize("action", CALLS)
def test_answers_have_the_published_members(account, world, action):
    """Names, types and nullability of a successful answer; and that there is something in every list."""
    table = published("sts-2018-08-13" if action in OF_STS else "cam-2019-01-16")
    client = account.sts if action in OF_STS else account.cam
    got = client.call(action, **CALLS[action](world, account))
    check(got, table["actions"][action]["response"], table["types"], action)
    always_empty = {"ServiceTypeList"} | ({"Tags"} if action == "GetPolicy" else set())
    assert all(v for k, v in got.items() if isinstance(v, list) and k not in always_empty), got


@pytest.mark.parametrize("action", CALLS)
def test_missing_and_ill_typed_parameters(account, world, action):
    table = published("sts-2018-08-13" if action in OF_STS else "cam-2019-01-16")
    client = account.sts if action in OF_STS else account.cam
    good = CALLS[action](world, account)
    assert client.code(action, **good | {"Nonsense": "x"}) == "UnknownParameter"
    for field in table["actions"][action]["request"]:
        name = field["name"]
        if field.get("required"):
            answer = client.ask(action, {k: v for k, v in good.items() if k != name})
            assert answer.code == "MissingParameter" and name in answer.message, name
        wrong = {"string": [1], "uint64": "x", "int64": "x"}.get(field["type"], 1)
        assert client.code(action, **good | {name: wrong}) == "InvalidParameter", name


# Two accounts


@pytest.fixture(scope="module")
def twins(server):
    """Two accounts with the same names for everything."""

    def furnish(name):
        owner = other_account(server, name)
        owner.mark = name.encode().hex()
        remark = {"Remark": owner.mark}
        made = owner.cam.call("AddUser", Name="same", UseApi=1, **remark)
        owner.the_user = made["Uin"]
        owner.user_creds = Creds(made["SecretId"], made["SecretKey"])
        owner.the_group = owner.cam.call("CreateGroup", GroupName="same", **remark)["GroupId"]
        owner.the_policy = owner.cam.call(
            "CreatePolicy", PolicyName="same", PolicyDocument=document(allow("*")), Description=owner.mark
        )["PolicyId"]
        owner.the_role = owner.cam.call(
            "CreateRole", RoleName="same", PolicyDocument=trust(owner.root), Description=owner.mark
        )["RoleId"]
        owner.cam.call("AttachUserPolicy", PolicyId=owner.the_policy, AttachUin=owner.the_user)
        owner.cam.call("AttachGroupPolicy", PolicyId=owner.the_policy, AttachGroupId=owner.the_group)
        owner.cam.call("AttachRolePolicy", PolicyId=owner.the_policy, AttachRoleId=owner.the_role)
        owner.cam.call("AddUserToGroup", Info=[{"GroupId": owner.the_group, "Uin": owner.the_user}])
        tags = [{"TagKey": "same", "TagValue": "same"}]
        owner.the_key = owner.kms.call("CreateKey", Alias="same", Description=owner.mark, Tags=tags)["KeyId"]
        return owner

    return furnish(fresh("twin-a")), furnish(fresh("twin-b"))


def traces(owner):
    """What only answers about this account may hold."""
    return {str(n) for n in (owner.account, owner.the_user, owner.the_group, owner.the_policy, owner.the_role,
                             owner.the_key, owner.mark, owner.creds.secret_id, owner.user_creds.secret_id)}


def test_lists_of_two_accounts_with_the_same_names(twins):
    """Neither the main account nor a user who may everything sees anything of the other account."""
    for one, other in (twins, twins[::-1]):
        for who in (one, one.as_user(one.user_creds)):
            for client, action, fields, own in (
                (who.cam, "ListUsers", {}, one.the_user), (who.cam, "GetUser", {"Name": "same"}, one.the_user),
                (who.cam, "ListGroups", {}, one.the_group), (who.cam, "ListPolicies", {"Scope": "Local"}, one.the_policy),
                (who.cam, "DescribeRoleList", PAGE, one.the_role), (who.cam, "GetRole", {"RoleName": "same"}, one.the_role),
                (who.cam, "ListAccessKeys", {"TargetUin": one.the_user}, one.user_creds.secret_id),
                (who.cam, "ListEntitiesForPolicy", {"PolicyId": one.the_policy}, one.the_role),
                (who.cam, "ListEntitiesForPolicy", {"PolicyId": 101}, ""),
                (who.cam, "GetAccountSummary", {}, ""),
                (who.cam, "DescribeSubAccounts", {"FilterSubAccountUin": [one.the_user, other.the_user]}, one.the_user),
                (who.cam, "ListAttachedRolePolicies", PAGE | {"RoleName": "same"}, one.the_policy),
                (who.kms, "ListKeys", {}, one.the_key), (who.kms, "ListKeyDetail", {"SearchKeyAlias": "same"}, one.the_key),
                (who.kms, "ListKeyDetail", {"TagFilters": [{"TagKey": "same", "TagValue": ["same"]}]}, one.the_key),
                (who.tag, "GetResources", {"TagFilters": [{"TagKey": "same"}]}, one.the_key),
                (who.tag, "GetTagKeys", {}, "same"),
            ):
                got = client.call(action, **fields)
                text = json.dumps(got, ensure_ascii=False)
                assert str(own) in text, (action, text)
                assert not [t for t in traces(other) if t in text], (action, text)
                assert got.get("TotalNum", 1) in (0, 1, 3) and got.get("TotalCount", 1) == 1, (action, text)
        summary = one.cam.call("GetAccountSummary")
        assert [summary[k] for k in ("Policies", "Roles", "User", "Group", "Member")] == [1, 1, 1, 1, 1]


def test_ids_of_another_account_are_as_unknown_as_any(twins):
    """Same code and same message as for an id that nobody has."""
    one, other = twins
    unknown = {"user": 7, "group": 7, "policy": 77_777_777, "role": "7", "key": "00000000-0000-11f0-8000-000000000001",
               "secret": "AKID" + "x" * 32, "account": 7}
    foreign = {"user": other.the_user, "group": other.the_group, "policy": other.the_policy, "role": other.the_role,
               "key": other.the_key, "secret": other.user_creds.secret_id, "account": other.account}
    calls = [
        ("CreateAccessKey", lambda i: {"TargetUin": i["user"]}), ("ListAccessKeys", lambda i: {"TargetUin": i["user"]}),
        ("CreateAccessKey", lambda i: {"TargetUin": i["account"]}), ("ListAccessKeys", lambda i: {"TargetUin": i["account"]}),
        ("UpdateAccessKey", lambda i: {"TargetUin": i["user"], "AccessKeyId": i["secret"], "Status": "Inactive"}),
        ("UpdateAccessKey", lambda i: {"TargetUin": one.the_user, "AccessKeyId": i["secret"], "Status": "Inactive"}),
        ("UpdateAccessKey", lambda i: {"AccessKeyId": i["secret"], "Status": "Inactive"}),
        ("DeleteAccessKey", lambda i: {"TargetUin": i["user"], "AccessKeyId": i["secret"]}),
        ("DeleteAccessKey", lambda i: {"AccessKeyId": i["secret"]}),
        ("GetSecurityLastUsed", lambda i: {"SecretIdList": [i["secret"]]}),
        ("GetGroup", lambda i: {"GroupId": i["group"]}), ("UpdateGroup", lambda i: {"GroupId": i["group"], "Remark": ""}),
        ("DeleteGroup", lambda i: {"GroupId": i["group"]}), ("ListUsersForGroup", lambda i: {"GroupId": i["group"]}),
        ("AddUserToGroup", lambda i: {"Info": [{"GroupId": one.the_group, "Uin": i["user"]}]}),
        ("AddUserToGroup", lambda i: {"Info": [{"GroupId": i["group"], "Uin": one.the_user}]}),
        ("RemoveUserFromGroup", lambda i: {"Info": [{"GroupId": i["group"], "Uin": i["user"]}]}),
        ("ListGroupsForUser", lambda i: {"SubUin": i["user"]}),
        ("GetPolicy", lambda i: {"PolicyId": i["policy"]}), ("DeletePolicy", lambda i: {"PolicyId": [i["policy"]]}),
        ("UpdatePolicy", lambda i: {"PolicyId": i["policy"], "PolicyDocument": PLAIN}),
        ("ListEntitiesForPolicy", lambda i: {"PolicyId": i["policy"]}),
        ("AttachUserPolicy", lambda i: {"PolicyId": i["policy"], "AttachUin": one.the_user}),
        ("AttachUserPolicy", lambda i: {"PolicyId": one.the_policy, "AttachUin": i["user"]}),
        ("DetachUserPolicy", lambda i: {"PolicyId": i["policy"], "DetachUin": i["user"]}),
        ("AttachGroupPolicy", lambda i: {"PolicyId": one.the_policy, "AttachGroupId": i["group"]}),
        ("AttachRolePolicy", lambda i: {"PolicyId": one.the_policy, "AttachRoleId": i["role"]}),
        ("AttachRolePolicy", lambda i: {"PolicyId": i["policy"], "AttachRoleName": "same"}),
        ("ListAttachedUserPolicies", lambda i: {"TargetUin": i["user"]}),
        ("ListAttachedUserAllPolicies", lambda i: PAGE | {"TargetUin": i["user"], "AttachType": 0}),
        ("ListAttachedGroupPolicies", lambda i: {"TargetGroupId": i["group"]}),
        ("ListAttachedRolePolicies", lambda i: PAGE | {"RoleId": i["role"]}),
        ("GetRole", lambda i: {"RoleId": i["role"]}), ("DeleteRole", lambda i: {"RoleId": i["role"]}),
        ("GetRole", lambda i: {"RoleId": i["role"], "RoleName": "same"}),
        ("UpdateRoleDescription", lambda i: {"RoleId": i["role"], "Description": "x"}),
        ("UpdateAssumeRolePolicy", lambda i: {"RoleId": i["role"], "PolicyDocument": trust(one.root)}),
        ("UpdateRoleSessionDuration", lambda i: {"RoleId": int(i["role"]), "SessionDuration": 60}),
        ("TagRole", lambda i: {"RoleId": i["role"], "Tags": [{"Key": "a", "Value": "b"}]}),
        ("CreateRole", lambda i: {"RoleName": fresh("r"), "PolicyDocument": trust(f"qcs::cam::uin/{one.account}:uin/{i['user']}")}),
        ("CreateRole", lambda i: {"RoleName": fresh("r"), "PolicyDocument": trust(f"qcs::cam::uin/{one.account}:role/{i['role']}")}),
        ("CreatePolicy", lambda i: {"PolicyName": fresh("p"), "PolicyDocument": document(
            allow("kms:Encrypt", f"qcs::kms::uin/{i['account']}:key/*"))}),
    ]
    nobody = one.as_user(one.user())
    before = snapshot(other)
    for who in (one, one.as_user(one.user_creds), nobody):
        for action, fields in calls:
            answers = [who.cam.ask(action, fields(ids)) for ids in (foreign, unknown)]
            codes = [a.code for a in answers]
            assert codes[0] is not None and codes[0] == codes[1], (action, codes)
            messages = [a.message for a in answers]
            for n, ids in enumerate((foreign, unknown)):
                for what in {str(v) for v in ids.values()}:
                    messages[n] = re.sub(rf"/{what}(?!\w)", "/ID", messages[n])
            assert messages[0] == messages[1], action
            if who is nobody:
                assert codes[0] == REFUSED, action
    assert snapshot(other) == before
    # The same name means the own one.
    for action, name in (("GetUser", "Name"), ("GetRole", "RoleName")):
        assert str(other.account) not in json.dumps(one.cam.call(action, **{name: "same"}))


def snapshot(owner):
    """All principals and policies of an account."""
    calls = [("ListUsers", {}), ("ListGroups", {}), ("ListPolicies", {"Scope": "Local"}), ("DescribeRoleList", PAGE),
             ("ListAccessKeys", {}), ("ListAccessKeys", {"TargetUin": owner.the_user}),
             ("GetGroup", {"GroupId": owner.the_group}), ("GetPolicy", {"PolicyId": owner.the_policy}),
             ("ListEntitiesForPolicy", {"PolicyId": owner.the_policy})]
    return [{k: v for k, v in owner.cam.call(a, **p).items() if k != "RequestId"} for a, p in calls]


def test_one_account_survives_what_the_other_removes(server, twins):
    """Deletions by name hit the own one."""
    doomed, other = other_account(server, fresh("doomed")), twins[1]
    doomed.cam.call("AddUser", Name="same")
    doomed.cam.call("CreateRole", RoleName="same", PolicyDocument=trust(doomed.root))
    doomed.cam.call("CreatePolicy", PolicyName="same", PolicyDocument=PLAIN)
    before = snapshot(other)
    doomed.cam.call("UpdatePolicy", PolicyName="same", PolicyDocument=document(deny("*")))
    doomed.cam.call("DeleteUser", Name="same", Force=1)
    doomed.cam.call("DeleteRole", RoleName="same")
    assert snapshot(other) == before
    assert other.as_user(other.user_creds).kms.code("DescribeKey", KeyId=other.the_key) is None


# Audit


def test_audit_records_of_principals(server, account):
    """Who did it, and to whom; never a secret."""
    user = account.user([allow("cam:*"), allow("kms:*")], name=fresh("audited"))
    by_user = account.as_user(user)
    made = by_user.cam.call("AddUser", Name=fresh("made"), UseApi=1)
    seen = record(server, made["RequestId"])
    assert {k: seen[k] for k in ("v", "account", "uin", "principal", "secret_id", "session", "service", "version",
                                 "action", "access", "code", "resources")} == {
        "v": 3, "account": str(account.account), "uin": str(user.uin), "principal": "user",
        "secret_id": user.creds.secret_id, "session": "", "service": "cam", "version": "2019-01-16",
        "action": "AddUser", "access": "write", "code": "", "resources": [],
    }
    assert seen["subjects"] == [f"uin/{made['Uin']}", f"accesskey/{made['SecretId']}"]
    members = ["v", "time", "request_id", "account", "uin", "targets", "principal", "secret_id", "session", "source",
               "user_agent", "service", "version", "action", "region", "resources", "subjects", "access", "code"]
    assert list(seen) == members
    assert made["SecretKey"].encode() not in server.audit_text()

    group = by_user.cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
    policy, role = account.policy(allow("kms:Encrypt")), account.role()
    uin = made["Uin"]
    for action, params, subjects in (
        ("AttachUserPolicy", {"PolicyId": policy, "AttachUin": uin}, [f"uin/{uin}", f"policyid/{policy}"]),
        ("AttachGroupPolicy", {"PolicyId": 101, "AttachGroupId": group}, [f"groupid/{group}", "policyid/101"]),
        ("AttachRolePolicy", {"PolicyId": policy, "AttachRoleName": role.name}, [f"role/{role.id}", f"policyid/{policy}"]),
        ("AddUserToGroup", {"Info": [{"GroupId": group, "Uin": uin}]}, [f"groupid/{group}", f"uin/{uin}"]),
        ("UpdatePolicy", {"PolicyId": policy, "Description": "d"}, [f"policyid/{policy}"]),
        ("UpdateAccessKey", {"TargetUin": uin, "AccessKeyId": made["SecretId"], "Status": "Inactive"},
         [f"uin/{uin}", f"accesskey/{made['SecretId']}"]),
        ("DeleteUser", {"Name": made["Name"], "Force": 1}, [f"uin/{uin}", f"accesskey/{made['SecretId']}"]),
        ("DeleteGroup", {"GroupId": group}, [f"groupid/{group}"]),
        ("DeletePolicy", {"PolicyId": [policy]}, [f"policyid/{policy}"]),
        ("DeleteRole", {"RoleName": role.name}, [f"role/{role.id}"]),
    ):
        got = record(server, by_user.cam.call(action, **params)["RequestId"])
        assert (got["v"], got["subjects"], got["code"]) == (3, subjects, ""), action

    # A call of the KMS by a user is a record as ever.
    got = record(server, by_user.kms.call("ListKeys")["RequestId"])
    assert (got["v"], got["principal"], got["uin"]) == (1, "user", str(user.uin))


def test_audit_records_of_refusals(server, account):
    user = account.user()
    answer = account.as_user(user).cam.ask("DeleteUser", {"Name": "nobody-at-all", "Force": 1})
    got = record(server, answer.response["RequestId"])
    assert (got["code"], got["principal"], got["uin"], got["action"]) == (REFUSED, "user", str(user.uin), "DeleteUser")


def test_audit_records_are_of_the_right_account(server, twins):
    first = len(records(server))
    for owner in twins:
        owner.cam.call("GetUser", Name="same")
        owner.as_user(owner.user_creds).cam.call("GetRole", RoleName="same")
        owner.as_user(owner.user_creds).client(KMS).call("DescribeKey", KeyId=owner.the_key)
    seen = [(r["account"], r["uin"]) for r in records(server)[first:] if r["principal"] != "service"]
    assert seen == [(str(o.account), str(u)) for o in twins for u in (o.account, o.the_user, o.the_user)]
    for owner in twins:
        mine = [r for r in records(server) if r["secret_id"] in (owner.creds.secret_id, owner.user_creds.secret_id)]
        assert {r["account"] for r in mine} == {str(owner.account)}
        other = twins[0] if owner is twins[1] else twins[1]
        made = {f"uin/{other.the_user}", f"groupid/{other.the_group}", f"policyid/{other.the_policy}"}
        assert not [r for r in mine if r["code"] == "" and made & set(r.get("subjects", []))]


def test_versions_are_told_apart(account):
    """cam has a version of its own; its actions are unknown to the others."""
    assert account.client(KMS).code("ListUsers") == "InvalidAction"
    assert account.client(STS).code("ListUsers") == "InvalidAction"
    assert account.client(CAM).code("ListKeys") == "InvalidAction"
    assert account.client(CAM).ask("ListUsers", version="2018-07-24").code == "NoSuchVersion"
