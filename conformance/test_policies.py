"""The generated matrix of policies: every action x {none, another key, wildcard, deny, tag, address, session, dry run}."""

import re
import time

import pytest

from kmslib.actions import ON_EXTERNAL, USAGE, VALID, Subject, table
from kmslib.cam import (
    DEAD, DRY_RUN, REFUSED, allow, deny, document, fresh, other_account, outlive, records, source, trust,
)
from kmslib.published import table as published
from kmslib.wire import CAM, KMS, STS, TAG, Creds, b64, unb64

ACTIONS = table()
TABLE = published("kms-2019-01-18")
NAMES_A_KEY = {"KeyId", "KeyIds", "DataKeyId", "DataKeyIds", "CiphertextBlob"}
# A filter of a list; what is listed is the account's.
OF_THE_ACCOUNT = {"ListDataKeyDetail", "ListDataKeys"}
KEYED = [
    a for a in ACTIONS
    if NAMES_A_KEY & {f["name"] for f in TABLE["actions"][a]["request"]} and a not in OF_THE_ACCOUNT
]
UNKNOWN = "00000000-0000-11f0-8000-000000000001"
RED = {"for_any_value:string_equal": {"qcs:resource_tag": "team&red"}}
# Who calls from two addresses in one second signs what the request is for.
WHOLE = ("content-type", "host", "x-tc-action", "x-tc-region", "x-tc-version")
# Not a refusal by policies: the call was let through to the action.
LET = re.compile(r"ResourceUnavailable|InvalidParameter|UnsupportedOperation|FailedOperation|RequestLimitExceeded.Rot")


def is_let(answer):
    return answer.code is None or LET.match(answer.code) is not None


def refuses(answer, action, service="kms"):
    assert (answer.code, f"({service}:{action})" in (answer.message or "")) == (REFUSED, True), (action, answer.body)


@pytest.fixture(scope="module")
def subjects(account):
    """A key with its data key for each usage, of a team; no policy names one of them by its id."""
    made = {}

    def of(action, team="red"):
        usage = USAGE.get(action, "ENCRYPT_DECRYPT")
        external = action in ON_EXTERNAL
        if (usage, external, team) not in made:
            on = made[usage, external, team] = Subject(account.kms, fresh, "Enabled", external=external, usage=usage)
            names = [f"qcs::kms:{account.kms.region}:uin/:key/creatorUin/{account.account}/{on.key}"]
            if on.data_key:
                names.append(names[0].replace(on.key, on.data_key))
            done = account.tag.call(
                "TagResources", ResourceList=names, Tags=[{"TagKey": "team", "TagValue": team}]
            )
            assert done["FailedResources"] == []
        return made[usage, external, team]

    return of


@pytest.fixture(scope="module")
def user(account):
    """Our own clients for a user with these policies; one user for each kind of policy."""

    def make(*policies, **how):
        return account.as_user(account.user(*policies), **how)

    return make


@pytest.fixture(scope="module")
def nobody(user):
    return user().kms


@pytest.fixture(scope="module")
def elsewhere(account, user):
    """May do everything with another key, and everything of another product."""
    other = f"qcs::kms::uin/:key/creatorUin/{account.account}/{account.key()}"
    return user([allow("kms:*", other), allow("tag:*")]).kms


@pytest.fixture(scope="module")
def everything(user):
    return user([allow("kms:*")]).kms


@pytest.fixture(scope="module")
def rewritten(account):
    """A user with one policy, whose statements the test chooses."""
    user = account.user()
    policy = account.attach(user, [allow("kms:*")])
    client = account.as_user(user).kms

    def having(*statements):
        account.rewrite(policy, *statements)
        return client

    return having


def test_there_are_actions_on_keys_and_others():
    assert len(KEYED) >= 45 and len(ACTIONS) - len(KEYED) >= 9


@pytest.mark.parametrize("action", ACTIONS)
def test_no_policy(nobody, subjects, action):
    params = VALID[action](subjects(action))
    refuses(nobody.ask(action, params), action)
    # Before anything else is looked at.
    refuses(nobody.ask(action, {}), action)
    refuses(nobody.ask(action, params | {"Nonsense": 1}), action)
    refuses(nobody.send(nobody.v1(action, params, method="GET")), action)


@pytest.mark.parametrize("action", ACTIONS)
def test_another_key(elsewhere, subjects, action):
    answer = elsewhere.ask(action, VALID[action](subjects(action)))
    refuses(answer, action)
    assert ("\nqcs::kms:ap-guangzhou:uin/" if action in KEYED else "\n*") in answer.message


@pytest.mark.parametrize("action", ACTIONS)
def test_everything(everything, subjects, action):
    answer = everything.ask(action, VALID[action](subjects(action)))
    assert is_let(answer), answer.body


@pytest.mark.parametrize("spelling", ["kms:{}*", "name/kms:{}*"])
@pytest.mark.parametrize("action", ACTIONS)
def test_wildcards(rewritten, subjects, action, spelling):
    client = rewritten(allow(spelling.format(action[:len(action) // 2])))
    answer = client.ask(action, VALID[action](subjects(action)))
    assert is_let(answer), answer.body


@pytest.mark.parametrize("action", ACTIONS)
def test_deny_beside_allow(rewritten, subjects, action):
    client = rewritten(allow("kms:*"), deny(f"kms:{action}"))
    params = VALID[action](subjects(action))
    refuses(client.ask(action, params), action)
    other = "GetRegions" if action != "GetRegions" else "GenerateRandom"
    assert is_let(client.ask(other, VALID[other](subjects(other))))


@pytest.mark.parametrize("action", ACTIONS)
def test_tag_condition(by_tag, subjects, action):
    """One who may do everything with keys of the red team."""
    red, blue = (VALID[action](subjects(action, team)) for team in ("red", "blue"))
    refuses(by_tag.ask(action, blue), action)
    if action not in KEYED:
        # About no key, so no tag of one fulfils the condition.
        refuses(by_tag.ask(action, red), action)
        return
    assert is_let(by_tag.ask(action, red))
    for name in {"KeyIds", "DataKeyIds"} & set(red):
        refuses(by_tag.ask(action, {name: red[name] + blue[name]}), action)


@pytest.fixture(scope="module")
def by_tag(user):
    return user([allow("kms:*", condition=RED)]).kms


def test_both_keys_of_a_reencryption_count(by_tag, subjects):
    red, blue = (subjects("ReEncrypt", team) for team in ("red", "blue"))
    for source_key, destination in ((red, blue), (blue, red)):
        fields = {"CiphertextBlob": source_key.blob, "DestinationKeyId": destination.key}
        refuses(by_tag.ask("ReEncrypt", fields), "ReEncrypt")


@pytest.mark.parametrize("kind", [1, "1", "01", "+1", 1.0, " 1", "1.0", True])
def test_the_key_of_an_imported_ciphertext_counts(by_tag, subjects, kind):
    """However its kind is written: what is read as a ciphertext is asked about as one."""
    red, blue = (subjects("Encrypt", team) for team in ("red", "blue"))
    params = {"KeyId": red.key, "DataKeyName": fresh("data"), "ImportType": kind, "ImportKeyMaterial": blue.blob}
    for answer in (by_tag.ask("ImportDataKey", params), by_tag.send(by_tag.v1("ImportDataKey", params))):
        assert answer.code == REFUSED or answer.code.startswith("InvalidParameter"), answer.body


def test_policies_on_single_principals(account, user):
    """Names and numbers of one call are asked about, whichever of them the action then goes by."""
    mine, other = account.policy(allow("kms:Encrypt")), account.policy(allow("kms:Encrypt"))
    name = {p: account.cam.call("GetPolicy", PolicyId=p)["PolicyName"] for p in (mine, other)}
    role, foe = account.role(), account.role()
    somebody, victim = account.user(), account.user()
    group, theirs = (account.cam.call("CreateGroup", GroupName=fresh("g"))["GroupId"] for _ in range(2))
    own = f"qcs::cam::uin/{account.account}:"
    cam = user([allow("cam:*", [own + last for last in (
        f"policyid/{mine}", f"roleName/{role.name}", f"uin/{somebody.uin}", f"groupid/{group}")])]).cam
    for action, params, expected in (
        ("UpdatePolicy", {"PolicyId": mine, "Description": "d"}, None),
        ("UpdatePolicy", {"PolicyName": name[mine], "Description": "d"}, None),
        ("UpdatePolicy", {"PolicyName": name[other], "Description": "d"}, REFUSED),
        ("UpdatePolicy", {"PolicyId": mine, "PolicyName": name[other]}, "FailedOperation.PolicyNameInUse"),
        ("UpdatePolicy", {"PolicyId": other, "PolicyName": name[mine]}, REFUSED),
        ("DeletePolicy", {"PolicyId": [mine, other]}, REFUSED),
        ("DeletePolicy", {"PolicyId": []}, REFUSED),
        ("GetRole", {"RoleId": role.id}, None), ("GetRole", {"RoleName": role.name}, None),
        ("GetRole", {"RoleId": foe.id}, REFUSED), ("GetRole", {"RoleId": foe.id, "RoleName": role.name}, REFUSED),
        ("GetRole", {"RoleId": role.id, "RoleName": foe.name}, REFUSED),
        ("GetRole", {"RoleId": "", "RoleName": foe.name}, REFUSED), ("GetRole", {}, REFUSED),
        ("UpdateRoleSessionDuration", {"RoleId": int(foe.id), "RoleName": role.name, "SessionDuration": 9}, REFUSED),
        ("AttachRolePolicy", {"AttachRoleName": role.name, "PolicyId": mine}, None),
        ("AttachRolePolicy", {"AttachRoleName": role.name, "PolicyId": mine, "PolicyName": "AdministratorAccess"}, REFUSED),
        ("AttachRolePolicy", {"AttachRoleName": role.name, "PolicyName": "AdministratorAccess"}, REFUSED),
        ("AttachRolePolicy", {"AttachRoleId": foe.id, "AttachRoleName": role.name, "PolicyId": mine}, REFUSED),
        ("AttachUserPolicy", {"AttachUin": somebody.uin, "PolicyId": mine}, None),
        ("AttachUserPolicy", {"AttachUin": str(somebody.uin), "PolicyId": "1"}, REFUSED),
        ("AttachUserPolicy", {"AttachUin": victim.uin, "PolicyId": mine}, REFUSED),
        ("AttachGroupPolicy", {"AttachGroupId": theirs, "PolicyId": mine}, REFUSED),
        ("AddUserToGroup", {"Info": [{"GroupId": group, "Uin": somebody.uin}]}, None),
        ("AddUserToGroup", {"Info": [{"GroupId": group, "Uin": somebody.uin, "Uid": victim.uin}]}, REFUSED),
        ("AddUserToGroup", {"Info": [{"GroupId": group, "Uin": somebody.uin}, {"GroupId": theirs, "Uin": somebody.uin}]},
         REFUSED),
        ("ListGroupsForUser", {"Uid": victim.uin, "SubUin": somebody.uin}, REFUSED),
        ("DeleteUser", {"Name": victim.name, "Force": 1}, REFUSED), ("GetUser", {"Name": somebody.name}, None),
        ("GetUser", {"Name": "nobody-at-all"}, REFUSED), ("CreateAccessKey", {"TargetUin": victim.uin}, REFUSED),
        ("CreateAccessKey", {}, REFUSED), ("CreateAccessKey", {"TargetUin": None}, REFUSED),
        ("CreateAccessKey", {"TargetUin": somebody.uin}, None), ("ListUsers", {}, REFUSED),
        ("UpdateAccessKey", {"AccessKeyId": victim.creds.secret_id, "Status": "Inactive", "TargetUin": somebody.uin},
         "OperationDenied.UinNotMatch"),
    ):
        assert cam.ask(action, params).code == expected, (action, params)
        if expected == REFUSED:
            for method in ("POST", "GET"):
                got = cam.send(cam.v1(action, {k: v for k, v in params.items() if v is not None}, method=method)).code
                assert got == REFUSED, (action, params, method)


def test_tags_of_the_request(account, user):
    """Who may only make red keys."""
    red = {"for_any_value:string_equal": {"qcs:request_tag": "team&red"}}
    kms = user([allow("kms:CreateKey", condition=red)]).kms
    for tags, expected in ((["red"], None), (["blue"], REFUSED), ([], REFUSED)):
        tags = [{"TagKey": "team", "TagValue": tag} for tag in tags]
        assert kms.code("CreateKey", Alias=fresh("key"), Tags=tags) == expected


def test_tags_that_change_count_at_once(account, by_tag):
    key = account.key(team="blue")
    resource = f"qcs::kms:{account.kms.region}:uin/{account.account}:key/creatorUin/{account.account}/{key}"
    for value, expected in (("red", None), ("blue", REFUSED), ("red", None)):
        account.tag.call("ModifyResourceTags", Resource=resource, ReplaceTags=[{"TagKey": "team", "TagValue": value}])
        assert by_tag.code("DescribeKey", KeyId=key) == expected


@pytest.fixture(scope="module")
def by_address(account):
    """Clients of one user, within and without the network that he may call from."""
    made = account.user([allow("kms:*", condition={"ip_equal": {"qcs:ip": ["127.8.0.0/16", "::1"]}})])
    return tuple(account.as_user(made, source=s).kms for s in ("127.8.9.10", "127.9.9.10"))


@pytest.mark.parametrize("action", ACTIONS)
def test_address_condition(by_address, subjects, action):
    inside, outside = by_address
    params = VALID[action](subjects(action))
    refuses(outside.ask(action, params, signed=WHOLE), action)
    assert is_let(inside.ask(action, params, signed=WHOLE))


@pytest.fixture(scope="module")
def dead(account):
    """Temporary access keys that have ended: by time, with their role, with the access key that they go back to."""
    role, doomed = (account.role(None, [allow("kms:*")]) for _ in range(2))
    user = account.user([allow("sts:AssumeRole")])
    began = account.as_user(user)
    ended = {
        "expired": account.assume(role, DurationSeconds=1),
        "role deleted": account.assume(doomed),
        "origin disabled": began.assume(role),
    }
    for creds in ended.values():
        assert account.as_user(creds).kms.code("GetRegions") is None
    account.cam.call("DeleteRole", RoleId=doomed.id)
    account.cam.call("UpdateAccessKey", AccessKeyId=user.creds.secret_id, Status="Inactive", TargetUin=user.uin)
    outlive(1)
    return ended


@pytest.mark.parametrize("action", ACTIONS)
def test_sessions_that_have_ended(account, dead, subjects, action):
    params = VALID[action](subjects(action))
    client = account.client(KMS, source=source())
    for why, creds in dead.items():
        assert client.ask(action, params, creds=creds).code == DEAD, why
    assert client.send(client.v1(action, params, creds=dead["role deleted"])).code == DEAD
    client.close()


@pytest.mark.parametrize("action", ACTIONS)
def test_dry_run(everything, nobody, rewritten, subjects, action):
    params = VALID[action](subjects(action))
    allowed = everything.ask(action, params | DRY_RUN)
    assert (allowed.code, allowed.message) == ("DryRunOperation", "The request would have succeeded.")
    for off in (False, None):
        assert nobody.ask(action, params | {"DryRun": off}).code == REFUSED
    assert everything.ask(action, params | {"DryRun": "yes"}).code == "InvalidParameter"
    assert everything.send(everything.v1(action, params | DRY_RUN)).code == "DryRunOperation"
    refused = nobody.ask(action, params | DRY_RUN)
    refuses(refused, action)
    assert "no policy of the principal allows it" in refused.message
    denied = rewritten(allow("kms:*"), deny(["kms:GetRegions", f"kms:{action}"])).ask(action, params | DRY_RUN)
    refuses(denied, action)
    assert re.search(r"denied by statement 1 of policy policy_\d+\.$", denied.message), denied.message


def test_dry_runs_change_nothing(account, server):
    def state():
        seen = [account.kms.call("ListKeyDetail", Limit=200), account.kms.call("ListDataKeyDetail", Limit=200)]
        return [(s["TotalCount"], s.get("KeyMetadatas") or s.get("DataKeyMetadatas")) for s in seen]

    made = {}
    for action in ACTIONS:
        usage = USAGE.get(action, "ENCRYPT_DECRYPT")
        if (usage, action in ON_EXTERNAL) not in made:
            made[usage, action in ON_EXTERNAL] = Subject(
                account.kms, fresh, "Enabled", external=action in ON_EXTERNAL, usage=usage
            )
    before = state()
    for action in ACTIONS:
        params = VALID[action](made[USAGE.get(action, "ENCRYPT_DECRYPT"), action in ON_EXTERNAL])
        answer = account.kms.ask(action, params | DRY_RUN)
        assert (answer.code, set(answer.response)) == ("DryRunOperation", {"Error", "RequestId"}), action
    assert state() == before
    users = account.cam.call("ListUsers")["Data"]
    assert account.cam.ask("AddUser", {"Name": fresh("dry")} | DRY_RUN).code == "DryRunOperation"
    assert account.cam.call("ListUsers")["Data"] == users
    assert ("AddUser", "DryRunOperation") in {(r["action"], r["code"]) for r in records(server)[-10:]}


@pytest.mark.parametrize("how", ["creator", "tag", "dry run"])
def test_a_refusal_does_not_tell_whether_a_key_exists(server, account, subjects, user, how):
    """The policy depends on what the key is; a key of the account, one of another account and none look alike."""
    by = {"creator": allow("kms:*", "qcs::kms::uin/:key/creatorUin/${uin}/*")}.get(how, allow("kms:*", condition=RED))
    client = user([by]).kms
    other = other_account(server, fresh("other"))
    theirs = Subject(other.kms, fresh, "Enabled")
    extra = DRY_RUN if how == "dry run" else {}
    for action in KEYED:
        on = subjects(action, "blue")
        params, seen = VALID[action](on), {}
        for what, cmk, data in (("own", on.key, on.data_key), ("foreign", theirs.key, theirs.data_key),
                                ("unknown", UNKNOWN, UNKNOWN)):
            changed, named = retarget(params, cmk, data)
            answer = client.ask(action, changed | extra)
            refuses(answer, action)
            seen[what] = answer.message.replace(named, "ID")
            assert seen[what] != answer.message, (action, answer.message)
        assert len(set(seen.values())) == 1, (action, seen)


def test_nor_does_one_of_the_tag_service(server, account, subjects, user):
    """Whatever is written of region and creator."""
    client = user([allow("tag:*", condition=RED)]).tag
    other = other_account(server, fresh("other"))
    keys = {"own": subjects("Encrypt", "blue").key, "data": subjects("Encrypt", "blue").data_key, "foreign": other.key(),
            "unknown": UNKNOWN}
    for owner in ("", account.account):
        for creator in (account.account, 7):
            for region in ("ap-guangzhou", "ap-beijing"):
                seen = {}
                for what, key in keys.items():
                    name = f"qcs::kms:{region}:uin/{owner}:key/creatorUin/{creator}/{key}"
                    answer = client.ask("ModifyResourceTags", {"Resource": name, "DeleteTags": [{"TagKey": "x"}]})
                    refuses(answer, "ModifyResourceTags", "tag")
                    seen[what] = answer.message.replace(key, "ID")
                assert len(set(seen.values())) == 1, seen


def retarget(params, cmk, data):
    """The parameters with other keys in the place of theirs, and the id of the one that is refused first."""
    out, named = dict(params), cmk
    for name, value in params.items():
        if name == "CiphertextBlob":
            blob = unb64(value)
            out[name] = b64(blob[:4] + bytes.fromhex(cmk.replace("-", "")) + blob[20:])
        elif name in ("KeyId", "DestinationKeyId"):
            out[name] = cmk
        elif name == "KeyIds":
            out[name] = [cmk]
        elif name in ("DataKeyId", "DataKeyIds"):
            out[name], named = data if name == "DataKeyId" else [data], data
    return out, named


def test_own_keys(account, user):
    """One who may do everything with what he made."""
    mine = user([allow("kms:CreateKey"), allow("kms:*", "qcs::kms::uin/:key/creatorUin/${uin}/*")])
    key = mine.kms.call("CreateKey", Alias=fresh("key"))["KeyId"]
    metadata = mine.kms.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert metadata["CreatorUin"] == int(mine.identity()["UserId"]) != account.account
    assert metadata["Owner"] == account.kms.call("DescribeKey", KeyId=account.key())["KeyMetadata"]["Owner"]
    blob = mine.kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    assert unb64(mine.kms.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"x"
    assert mine.kms.code("DescribeKey", KeyId=account.key()) == REFUSED
    assert account.kms.code("DescribeKey", KeyId=key) is None


def test_former_names_of_actions(account, user, key):
    kms = user([allow(["kms:GetKeyAttributes", "name/kms:ListKey"])]).kms
    assert [kms.code(a, **p) for a, p in (("DescribeKey", {"KeyId": key}), ("ListKeys", {}), ("DisableKey", {"KeyId": key}))] \
        == [None, None, REFUSED]


@pytest.mark.parametrize("spelling,reaches", [
    ("*", True), ("qcs::kms::uin/{owner}:key/*", True), ("qcs::kms::uin/:key/*", True), ("qcs::kms:*:*:key/*", True),
    ("qcs::kms:ap-guangzhou:uin/${{owner_uin}}:key/creatorUin/*/{key}", True),
    ("qcs::kms:ap-guangzhou:uin/{owner}:key/creatorUin/{owner}/{key}", True),
    ("qcs::kms:ap-beijing:uin/{owner}:key/creatorUin/{owner}/{key}", False),
    ("qcs::kms::uin/{owner}:key/creatorUin/7/{key}", False),
    ("qcs::kms::uin/{owner}:key/creatorUin/{owner}/" + UNKNOWN, False),
])
def test_spellings_of_resources(account, rewritten, key, spelling, reaches):
    resource = spelling.format(owner=account.account, key=key)
    code = rewritten(allow("kms:DescribeKey", resource)).code("DescribeKey", KeyId=key)
    assert code == (None if reaches else REFUSED), resource


def test_the_language_of_refusals(account, nobody, key):
    nobody = account.as_user(nobody.creds, language="zh-CN").kms
    answer = nobody.ask("DescribeKey", {"KeyId": key})
    assert answer.code == REFUSED and "(kms:DescribeKey)" in answer.message and "没有" in answer.message


# Who somebody is he is told without a policy.
NEEDS_NONE = {"GetCallerIdentity", "GetUserAppId"}


@pytest.mark.parametrize("api,served", [(CAM, 48), (TAG, 7), (STS, 3)])
def test_other_products_without_a_policy(account, nobody, api, served):
    """The number is fixed: whoever serves an action more looks here."""
    user, seen = account.as_user(nobody.creds), []
    for n, action in enumerate(sorted(published(f"{api.service}-{api.version}")["actions"])):
        # Each from an address of its own, for unknown actions slow down whoever asks for them, and so with a signature of its own.
        answer = user.client(api, source=source()).ask(action, {}, timestamp=int(time.time()) - n)
        if answer.code == "InvalidAction":
            continue
        seen.append(action)
        if action in NEEDS_NONE:
            assert answer.code is None, action
        else:
            refuses(answer, action, api.service)
    assert len(seen) == served, seen


def test_presets_do_what_they_say(account, key):
    blob = account.kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    calls = {
        "Encrypt": {"KeyId": key, "Plaintext": b64(b"x")}, "Decrypt": {"CiphertextBlob": blob}, "ListKeys": {},
        "DescribeKey": {"KeyId": key}, "UpdateKeyDescription": {"KeyId": key, "Description": "x"},
    }
    for preset, allowed in {
        "AdministratorAccess": set(calls), "QcloudKMSFullAccess": set(calls),
        "QcloudKMSReadOnlyAccess": {"ListKeys", "DescribeKey"},
        "JadesealKMSEncryptOnlyAccess": {"Encrypt", "DescribeKey"},
        "JadesealKMSDecryptOnlyAccess": {"Decrypt", "DescribeKey"},
        "JadesealKMSSignOnlyAccess": {"DescribeKey"}, "JadesealSelfServiceAccess": set(),
        "JadesealSystemAdministratorAccess": set(),
        "JadesealSecurityAdministratorAccess": {"ListKeys", "DescribeKey", "UpdateKeyDescription"},
        "JadesealAuditorAccess": {"ListKeys", "DescribeKey"},
    }.items():
        kms = account.as_user(account.user(preset)).kms
        assert {a for a, params in calls.items() if kms.code(a, **params) is None} == allowed, preset


def test_three_administrators_none_of_whom_can_help_himself(account):
    """Who makes principals gives no rights; who gives rights makes none, and cannot give himself any."""
    system, security, auditor = (
        account.user(f"Jadeseal{role}Access") for role in ("SystemAdministrator", "SecurityAdministrator", "Auditor")
    )
    asked = {who.name: account.as_user(who) for who in (system, security, auditor)}
    made = asked[system.name].cam.call("AddUser", Name=fresh("made"), UseApi=0)
    group = asked[system.name].cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
    pairs = {"Info": [{"GroupId": group, "Uin": made["Uin"]}]}
    for who, action, params, expected in (
        (system, "AttachUserPolicy", {"PolicyId": 101, "AttachUin": made["Uin"]}, REFUSED),
        (system, "AttachUserPolicy", {"PolicyId": 101, "AttachUin": system.uin}, REFUSED),
        (system, "CreateAccessKey", {"TargetUin": made["Uin"]}, REFUSED),
        (system, "CreateAccessKey", {"TargetUin": security.uin}, REFUSED),
        (system, "CreateAccessKey", {}, None),
        (system, "AddUserToGroup", pairs, REFUSED),
        (security, "AddUser", {"Name": fresh("no")}, REFUSED),
        (security, "CreateAccessKey", {"TargetUin": made["Uin"]}, REFUSED),
        (security, "AttachUserPolicy", {"PolicyId": 101, "AttachUin": security.uin}, REFUSED),
        (security, "DetachUserPolicy", {"PolicyId": 202, "DetachUin": security.uin}, REFUSED),
        (security, "AddUserToGroup", {"Info": [{"GroupId": group, "Uin": security.uin}]}, REFUSED),
        (security, "AttachUserPolicy", {"PolicyId": 101, "AttachUin": made["Uin"]}, None),
        (security, "AddUserToGroup", pairs, None),
        (auditor, "ListUsers", {}, None),
        (auditor, "AddUser", {"Name": fresh("no")}, REFUSED),
        (auditor, "AttachUserPolicy", {"PolicyId": 101, "AttachUin": auditor.uin}, REFUSED),
    ):
        assert asked[who.name].cam.code(action, **params) == expected, (who.name, action)
    for who in asked.values():
        assert who.sts.code("AssumeRole", RoleArn=account.role().arn, RoleSessionName="s1") == REFUSED


@pytest.mark.parametrize("through", ["himself", "a group"])
def test_no_detour_of_the_security_administrator(account, key, through):
    """Whatever he does to policies, groups and roles, he comes to use no key, whichever way his policy came to him."""
    user = account.user(*(["JadesealSecurityAdministratorAccess"] if through == "himself" else []))
    he, group = account.as_user(user), account.cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
    account.cam.call("AddUserToGroup", Info=[{"GroupId": group, "Uin": user.uin}])
    if through == "a group":
        account.cam.call("AttachGroupPolicy", AttachGroupId=group, PolicyId=202)
    foreign = account.cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
    role = account.role(trust(account.named(user)))
    own = account.attach(user, [allow("kms:DescribeKey")])
    policy = he.cam.call("CreatePolicy", PolicyName=fresh("p"), PolicyDocument=document(allow("*")))["PolicyId"]
    for action, fields, expected in (
        ("AttachRolePolicy", {"PolicyId": policy, "AttachRoleId": role.id}, None),
        ("AttachGroupPolicy", {"PolicyId": policy, "AttachGroupId": foreign}, None),
        ("AttachGroupPolicy", {"PolicyId": policy, "AttachGroupId": group}, REFUSED),
        ("UpdatePolicy", {"PolicyId": policy, "PolicyDocument": document(allow("*"))}, None),
        ("UpdatePolicy", {"PolicyId": own, "PolicyDocument": document(allow("*"))}, REFUSED),
        ("DeletePolicy", {"PolicyId": [own]}, REFUSED),
        ("DeleteGroup", {"GroupId": group}, REFUSED),
        ("AttachUserPolicy", {"PolicyId": policy, "AttachUin": user.uin}, REFUSED),
        ("DetachUserPolicy", {"PolicyId": 202, "DetachUin": user.uin}, REFUSED),
        ("AddUserToGroup", {"Info": [{"GroupId": group, "Uin": user.uin}]}, REFUSED),
        ("RemoveUserFromGroup", {"Info": [{"GroupId": group, "Uin": user.uin}]}, REFUSED),
        ("CreateRole", {"RoleName": fresh("r"), "PolicyDocument": trust("qcs::cam::uin/7:root")}, REFUSED),
        ("UpdateAssumeRolePolicy", {"RoleId": role.id, "PolicyDocument": trust("qcs::cam::uin/7:root")}, REFUSED),
        ("AddUser", {"Name": fresh("no"), "UseApi": 1}, REFUSED),
        ("CreateAccessKey", {"TargetUin": account.user().uin}, REFUSED),
        ("DetachGroupPolicy", {"PolicyId": 202, "DetachGroupId": group}, REFUSED),
    ):
        assert he.cam.code(action, **fields) == expected, action
    assert he.kms.code("Encrypt", KeyId=key, Plaintext=b64(b"x")) == REFUSED
    assert he.sts.code("AssumeRole", RoleArn=role.arn, RoleSessionName="s1") == REFUSED
    assert he.sts.code("GetFederationToken", Name="g", Policy=document(allow("*"))) == REFUSED


def test_groups_give_and_take_policies_at_once(account, key):
    user = account.user()
    kms = account.as_user(user).kms
    group = account.cam.call("CreateGroup", GroupName=fresh("group"))["GroupId"]
    info = {"Info": [{"GroupId": group, "Uin": user.uin}]}
    on = {"PolicyId": 101}
    for action, params, expected in (
        ("AttachGroupPolicy", on | {"AttachGroupId": group}, REFUSED),
        ("AddUserToGroup", info, None),
        ("AttachUserPolicy", {"AttachUin": user.uin, "PolicyId": account.policy(deny("kms:DescribeKey"))}, REFUSED),
        ("ListUsers", {}, REFUSED),
    ):
        account.cam.call(action, **params)
        assert kms.code("DescribeKey", KeyId=key) == expected, action
    assert kms.code("ListKeys") is None
    for action, params, expected in (
        ("DetachGroupPolicy", on | {"DetachGroupId": group}, REFUSED),
        ("AttachGroupPolicy", on | {"AttachGroupId": group}, None),
        ("RemoveUserFromGroup", info, REFUSED),
        ("AddUserToGroup", info, None),
        ("DeleteGroup", {"GroupId": group}, REFUSED),
    ):
        account.cam.call(action, **params)
        assert kms.code("ListKeys") == expected, action


def test_times(rewritten):
    """The moments of a condition are those of the server."""
    now = time.time()

    def at(seconds):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + seconds))

    for operator, moment, expected in (
        ("date_less_than", at(3600), None), ("date_less_than", at(-3600), REFUSED),
        ("date_greater_than", at(-3600), None), ("date_greater_than", at(3600), REFUSED),
    ):
        kms = rewritten(allow("kms:*", condition={operator: {"qcs:current_time": moment}}))
        assert kms.code("ListKeys") == expected, (operator, moment)


def test_wrong_signatures_with_policies_are_no_oracle(account, everything, nobody):
    """A wrong signature is all that is told, whatever its owner may do."""
    client = account.client(KMS, source=source())
    for creds in (everything.creds, nobody.creds):
        answer = client.ask("ListKeys", creds=Creds(creds.secret_id, "wrong"))
        assert answer.code == "AuthFailure.SignatureFailure"
    client.close()
