"""Sessions: temporary access keys of roles and for federated users, by the official SDK and on the wire."""

import base64
import tempfile
import time
from urllib.parse import quote, quote_plus

import pytest
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118 import kms_client

from kmslib import sdk
from kmslib.cam import (
    DEAD, DRY_RUN, REFUSED, Account, allow, deny, document, fresh, other_account, outlive, record, source, trust,
)
from kmslib.server import MAIN, Server
from kmslib.wire import KMS, STS, Creds, b64

NAME = {"RoleSessionName": "s1"}
OVER_TIME = "InvalidParameter.OverTimeError"
NO_SESSION = "FailedOperation.TempKeyNotAllowed"
BAD_POLICY = "InvalidParameter.StrategyFormatError"


def sts_sdk(server, creds=None, **how):
    return sdk.Product(server, "sts", "20180813", creds, **how)


@pytest.fixture(scope="module")
def taker(account):
    """A user who may take every role that lets him."""
    return account.user([allow("sts:AssumeRole")])


@pytest.fixture(scope="module")
def by_taker(account, taker):
    return account.as_user(taker)


@pytest.fixture(scope="module")
def role(account, taker):
    """A role of the user's that may do everything with keys."""
    return account.role(trust(account.named(taker)), [allow("kms:*")])


@pytest.fixture
def alive(account):
    """Code of a call that needs no policy, from an address of its own."""

    def code(creds):
        client = account.as_user(creds, source=source()).sts
        try:
            return client.code("GetCallerIdentity")
        finally:
            client.close()

    return code


# Who may take a role


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_a_user_takes_a_role(server, account, taker, role, sign, http):
    """By the SDK in each of its ways, and so is the session used."""
    got = sts_sdk(server, taker.creds, sign=sign, http=http).call(
        "AssumeRole", RoleArn=role.arn, RoleSessionName="build-7", DurationSeconds=600
    )
    assert abs(got.ExpiredTime - time.time() - 600) < 5
    assert got.Expiration == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(got.ExpiredTime))
    assert got.Credentials.TmpSecretId.startswith("AKID")
    profile = ClientProfile(signMethod=sign, httpProfile=HttpProfile(
        protocol="http", endpoint=server.host, reqMethod=http, reqTimeout=20))
    who = credential.Credential(got.Credentials.TmpSecretId, got.Credentials.TmpSecretKey, got.Credentials.Token)
    kms = kms_client.KmsClient(who, MAIN, profile)
    key = sdk.call(kms, "CreateKey", Alias=fresh("by-session")).KeyId
    sealed = sdk.call(kms, "Encrypt", KeyId=key, Plaintext=b64(b"by a role"))
    assert sdk.call(kms, "Decrypt", CiphertextBlob=sealed.CiphertextBlob).Plaintext == b64(b"by a role")
    metadata = sdk.call(kms, "DescribeKey", KeyId=key).KeyMetadata
    assert (str(metadata.CreatorUin), metadata.CreatorUinString) == (role.id, role.id)
    me = sts_sdk(server, Creds(who.secret_id, who.secret_key, who.token), sign=sign, http=http).call("GetCallerIdentity")
    assert (me.AccountId, me.UserId, me.Type) == (str(account.account), f"{role.id}:build-7", "CAMRole")
    # The role may do nothing else.
    other = sdk.Product(server, "cam", "20190116", Creds(who.secret_id, who.secret_key, who.token), sign=sign, http=http)
    assert other.code("ListUsers") == REFUSED


def test_both_spellings_of_a_role(account, by_taker, role):
    for last in (f"role/{role.id}", f"roleName/{role.name}"):
        by_taker.assume(f"qcs::cam::uin/{account.account}:{last}")
        by_taker.assume(f"qcs::cam::uin/:{last}")
    for wrong in (role.name, role.id, "", f"qcs::cam:uin/{account.account}:role/{role.id}",
                  f"qcs::cam::uin/0{account.account}:role/{role.id}", f"qcs::cam::uin/{account.account}:uin/{role.id}"):
        assert by_taker.sts.code("AssumeRole", RoleArn=wrong, **NAME) == "InvalidParameter.ParamError", wrong


def test_policy_and_trust_are_both_asked_for(account, role, taker):
    """Without a policy on the role, or without the role's trust, it cannot be taken."""
    unnamed = account.user([allow("sts:AssumeRole")])
    powerless = account.user()
    narrow = account.user([allow("sts:AssumeRole", role.arn)])
    by_number = account.user([allow("sts:AssumeRole", f"qcs::cam::uin/{account.account}:role/{role.id}")])
    elsewhere = account.user([allow("sts:AssumeRole", account.role().arn)])
    denied = account.user([allow("sts:*"), deny("sts:AssumeRole", role.arn)])

    def code(user, arn=role.arn):
        return account.as_user(user).sts.code("AssumeRole", RoleArn=arn, **NAME)

    assert code(taker) is None and code(unnamed) == REFUSED
    everyone = [taker, unnamed, powerless, narrow, by_number, elsewhere, denied]
    account.cam.call("UpdateAssumeRolePolicy", RoleId=role.id, PolicyDocument=trust(*map(account.named, everyone)))
    other_spelling = f"qcs::cam::uin/{account.account}:role/{role.id}"
    for arn in (role.arn, other_spelling):
        assert [code(user, arn) for user in everyone] == [None, None, REFUSED, None, None, REFUSED, REFUSED]
    # The main account needs no policy; but the role has to name it.
    assert account.sts.code("AssumeRole", RoleArn=role.arn, **NAME) == REFUSED
    account.cam.call("UpdateAssumeRolePolicy", RoleId=role.id, PolicyDocument=trust(account.named(taker)))
    assert [code(user) for user in everyone] == [None] + [REFUSED] * 6
    assert account.sts.code("AssumeRole", RoleArn=account.role().arn, **NAME) is None


def test_a_trust_that_denies(account, taker, by_taker):
    named = account.named(taker)
    statements = [
        {"effect": e, "action": "name/sts:AssumeRole", "principal": {"qcs": [who]}}
        for e, who in (("allow", account.root), ("deny", named))
    ]
    role = account.role(document(*statements))
    assert by_taker.sts.code("AssumeRole", RoleArn=role.arn, **NAME) == REFUSED
    assert account.sts.code("AssumeRole", RoleArn=role.arn, **NAME) is None


def test_external_id(account, by_taker):
    role = account.role(trust(account.root, condition={"string_equal": {"sts:external_id": ["红-7", "8"]}}))
    for external_id, expected in (("红-7", None), ("8", None), ("9", REFUSED), ("", REFUSED), (None, REFUSED)):
        fields = NAME | ({} if external_id is None else {"ExternalId": external_id})
        assert by_taker.sts.code("AssumeRole", RoleArn=role.arn, **fields) == expected, external_id
    # One that nobody asks for does no harm.
    assert by_taker.sts.code("AssumeRole", RoleArn=account.role().arn, ExternalId="x", **NAME) is None


def test_a_trust_by_address(account, taker):
    role = account.role(trust(account.root, condition={"ip_equal": {"qcs:ip": "127.6.0.0/16"}}))
    for address, expected in (("127.6.1.2", None), ("127.5.1.2", REFUSED)):
        client = account.as_user(taker, source=address).sts
        client_code = client.ask("AssumeRole", {"RoleArn": role.arn, "RoleSessionName": f"from-{address}"}).code
        assert client_code == expected
        client.close()


@pytest.mark.parametrize("seconds,expected", [
    (1, None), (7200, None), (43200, OVER_TIME), (7201, OVER_TIME), (0, None), (-1, "InvalidParameter"),
])
def test_duration_of_a_role_by_default(account, by_taker, seconds, expected):
    role = account.role()
    assert by_taker.sts.code("AssumeRole", RoleArn=role.arn, DurationSeconds=seconds, **NAME) == expected


def test_duration_of_a_role_that_says(account, by_taker):
    long, short = account.role(SessionDuration=43200), account.role(SessionDuration=60)
    for role, seconds, expected in ((long, 43200, None), (long, 43201, OVER_TIME), (short, 60, None), (short, 61, OVER_TIME)):
        assert by_taker.sts.code("AssumeRole", RoleArn=role.arn, DurationSeconds=seconds, **NAME) == expected
    for role, seconds in ((long, 7200), (short, 60)):
        for left_out in ({}, {"DurationSeconds": 0}, {"DurationSeconds": None}):
            got = by_taker.sts.call("AssumeRole", RoleArn=role.arn, **NAME, **left_out)
            assert abs(got["ExpiredTime"] - time.time() - seconds) < 5


@pytest.mark.parametrize("name,good", [
    ("ab", True), ("a" * 128, True), ("a+=,.@_-1", True), ("a", False), ("a" * 129, False), ("a b", False), ("会话", False),
])
def test_names_of_sessions(account, by_taker, name, good):
    code = by_taker.sts.code("AssumeRole", RoleArn=account.role().arn, RoleSessionName=name)
    assert code is None if good else code.startswith("InvalidParameter"), code


def test_what_is_not_served_is_refused(account, by_taker):
    """Rather than to begin a session that is not what was asked for."""
    arn = account.role().arn
    for more in ({"Tags": [{"Key": "a", "Value": "b"}]}, {"SourceIdentity": "x"}, {"SerialNumber": "1"}, {"TokenCode": "1"}):
        assert by_taker.sts.code("AssumeRole", RoleArn=arn, **NAME, **more) == "InvalidParameter", more
    assert by_taker.sts.code("AssumeRole", RoleArn=arn, Tags=[], SourceIdentity="", TokenCode="", **NAME) is None
    for action in ("GetSessionToken", "QueryApiKey", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"):
        assert account.sts.code(action) == "InvalidAction"


# Session policies


@pytest.mark.parametrize("encode", [str, quote, quote_plus, lambda text: quote(text, safe=""), lambda text: "  " + text])
def test_a_session_policy_narrows(account, by_taker, role, key, encode):
    policy = document(allow(["kms:DescribeKey", "kms:GenerateRandom"]))
    kms = account.as_user(by_taker.assume(role, Policy=encode(policy))).kms
    assert kms.code("DescribeKey", KeyId=key) is None and kms.code("GenerateRandom", NumberOfBytes=8) is None
    refused = kms.ask("Encrypt", {"KeyId": key, "Plaintext": "eA=="} | DRY_RUN)
    assert refused.code == REFUSED and "the session policy does not allow it" in refused.message


def test_a_session_policy_never_widens(account, by_taker, key):
    other = account.key()
    on_key = f"qcs::kms::uin/{account.account}:key/creatorUin/*/{key}"
    role = account.role(None, [allow("kms:*", on_key), deny("kms:DisableKey")])
    for policy in (allow("*"), allow("kms:*"), allow(["kms:DisableKey", "kms:DescribeKey"]),
                   allow("kms:DescribeKey", f"qcs::kms::uin/{account.account}:key/creatorUin/*/*")):
        who = account.as_user(by_taker.assume(role, Policy=document(policy)))
        assert who.kms.code("DescribeKey", KeyId=key) is None
        assert who.kms.code("DescribeKey", KeyId=other) == REFUSED
        assert who.kms.code("DisableKey", KeyId=key) == REFUSED
        assert who.kms.code("ListKeys") == REFUSED
        assert who.cam.code("ListUsers") == REFUSED
    who = account.as_user(by_taker.assume(role, Policy=document(allow("*"), deny("kms:*"))))
    assert who.kms.code("DescribeKey", KeyId=key) == REFUSED


def test_changes_of_a_role_count_for_its_sessions(account, by_taker):
    role = account.role()
    kms = account.as_user(by_taker.assume(role)).kms
    assert kms.code("ListKeys") == REFUSED
    policy = account.attach(role, [allow("kms:ListKeys")])
    assert kms.code("ListKeys") is None
    account.rewrite(policy, allow("kms:*"), deny("kms:ListKeys"))
    assert kms.code("ListKeys") == REFUSED and kms.code("GetRegions") is None
    account.cam.call("DeletePolicy", PolicyId=[policy])
    assert kms.code("GetRegions") == REFUSED
    # Who may take it is asked when it is taken.
    account.cam.call("UpdateAssumeRolePolicy", RoleId=role.id, PolicyDocument=trust("qcs::cam::uin/7:root"))
    assert kms.code("GetRegions") == REFUSED


@pytest.mark.parametrize("policy,place", [
    ("x", "Policy"), ("%7", "Policy"), ("{", "Policy"), ("%7B%ff", "Policy"),
    (document(allow("kms:NoSuch")), "statement[0].action"),
    (document(allow("kms:Encrypt", "key/*")), "statement[0].resource"),
    (trust("qcs::cam::uin/7:root"), "statement[0].principal"),
    (document(allow("kms:Encrypt", condition={"is": {"qcs:ip": "::1"}})), "statement[0].condition.is"),
])
def test_invalid_session_policies(account, by_taker, role, policy, place):
    for client, action, fields in ((by_taker.sts, "AssumeRole", NAME | {"RoleArn": role.arn}),
                                   (account.sts, "GetFederationToken", {"Name": "guest"})):
        answer = client.ask(action, fields | {"Policy": policy})
        assert answer.code == BAD_POLICY and place in answer.message, answer.message


def test_a_session_policy_as_long_as_it_may_be(account, by_taker, role):
    """6144 characters; percent-encoded, these may be many more."""
    policy = document(allow("kms:ListKeys"), allow("kms:*", condition={"string_equal": {"qcs:uin": ["密" * 4000]}}))
    policy = policy[:-1] + " " * (6144 - len(policy)) + "}"
    kms = account.as_user(by_taker.assume(role, Policy=quote(policy, safe=""))).kms
    assert kms.code("ListKeys") is None and kms.code("GetRegions") == REFUSED
    longer = quote(policy[:-1] + " }", safe="")
    assert by_taker.sts.code("AssumeRole", RoleArn=role.arn, Policy=longer, **NAME) == BAD_POLICY


# Chains and accounts


def test_a_chain_of_roles(server, account, by_taker):
    """Each role is taken by a session of the one before; the last session ends with each of them."""
    first = account.role(None, [allow("sts:AssumeRole")])
    second = account.role(trust(f"qcs::cam::uin/{account.account}:role/{first.id}"), [allow("sts:AssumeRole")])
    third = account.role(trust(f"qcs::cam::uin/{account.account}:roleName/{second.name}"), [allow("kms:*")])
    assert by_taker.sts.code("AssumeRole", RoleArn=second.arn, **NAME) == REFUSED
    assert by_taker.sts.code("AssumeRole", RoleArn=third.arn, **NAME) == REFUSED
    one = account.as_user(by_taker.assume(first, DurationSeconds=100))
    assert one.sts.code("AssumeRole", RoleArn=third.arn, **NAME) == REFUSED
    got = one.sts.call("AssumeRole", RoleArn=second.arn, **NAME)
    assert got["ExpiredTime"] <= time.time() + 100, "it outlives nothing that led to it"
    two = account.as_user(one.assume(second))
    three = account.as_user(two.assume(third))
    assert three.kms.code("ListKeys") is None and two.kms.code("ListKeys") == REFUSED
    me = three.identity()
    assert me["UserId"].split(":")[0] == third.id and me["PrincipalId"] == by_taker.identity()["UserId"]
    account.cam.call("DeleteRole", RoleId=first.id)
    assert [who.kms.code("ListKeys") for who in (one, two, three)] == [DEAD] * 3
    assert by_taker.sts.code("GetCallerIdentity") is None


def test_a_chain_ends_somewhere(account, by_taker):
    role = account.role(None, [allow("*")])
    who, codes = by_taker, []
    while len(codes) < 40:
        answer = who.sts.ask("AssumeRole", NAME | {"RoleArn": role.arn})
        codes.append(answer.code)
        if answer.code:
            break
        got = answer.response["Credentials"]
        who = account.as_user(Creds(got["TmpSecretId"], got["TmpSecretKey"], got["Token"]))
    assert codes[-1] == NO_SESSION and len(codes) > 3


@pytest.fixture(scope="module")
def abroad(server):
    return other_account(server, fresh("abroad"))


def test_a_role_of_another_account(server, account, abroad, taker, by_taker, key):
    """What it may do is what its own account says; it sees nothing of the account that it came from."""
    theirs = abroad.role(trust(account.root), [allow("kms:*")])
    their_key = abroad.key()
    session = account.as_user(by_taker.assume(theirs))
    assert session.kms.code("DescribeKey", KeyId=their_key) is None
    assert session.kms.code("DescribeKey", KeyId=key) == "ResourceUnavailable.CmkNotFound"
    assert by_taker.kms.code("DescribeKey", KeyId=their_key) == REFUSED
    assert session.identity()["AccountId"] == str(abroad.account)
    got = record(server, session.kms.call("ListKeys")["RequestId"])
    assert (got["account"], got["uin"], got["principal"]) == (str(abroad.account), theirs.id, "role")
    # A user of the account by his number alone; and none of the others.
    abroad.cam.call("UpdateAssumeRolePolicy", RoleId=theirs.id, PolicyDocument=trust(account.named(taker)))
    assert by_taker.sts.code("AssumeRole", RoleArn=theirs.arn, **NAME) is None
    assert account.sts.code("AssumeRole", RoleArn=theirs.arn, **NAME) == REFUSED
    # The user's own account has a say, too: a policy on the role.
    refused = account.user([allow("sts:*"), deny("sts:AssumeRole", theirs.arn)])
    abroad.cam.call("UpdateAssumeRolePolicy", RoleId=theirs.id, PolicyDocument=trust(account.root))
    assert account.as_user(refused).sts.code("AssumeRole", RoleArn=theirs.arn, **NAME) == REFUSED
    by_number = f"qcs::cam::uin/{abroad.account}:role/{theirs.id}"
    assert account.as_user(refused).sts.code("AssumeRole", RoleArn=by_number, **NAME) == REFUSED, "by either spelling"
    narrow = account.user([allow("sts:AssumeRole", theirs.arn)])
    assert account.as_user(narrow).sts.code("AssumeRole", RoleArn=theirs.arn, **NAME) is None
    # It ends with the access key that it began with, in the other account.
    ending = account.as_user(narrow).assume(theirs)
    assert account.as_user(ending).kms.code("ListKeys") is None
    account.cam.call("DeleteUser", Name=narrow.name, Force=1)
    assert account.as_user(ending).kms.code("ListKeys") == DEAD


def test_whether_another_account_has_a_role_is_not_told(server, account, abroad, by_taker):
    """There or not, trusting or not, whichever account: the same answer, but for the role's own name."""
    there = abroad.role(trust("qcs::cam::uin/7:root"))
    for who in (by_taker, account):
        for extra in ({}, DRY_RUN) if who is by_taker else ({},):
            answers = {}
            for what, number, last in (
                ("there", abroad.account, f"roleName/{there.name}"), ("there by number", abroad.account, f"role/{there.id}"),
                ("none", abroad.account, "roleName/none-at-all"), ("none by number", abroad.account, "role/7"),
                ("no account", 7, f"roleName/{there.name}"),
            ):
                arn = f"qcs::cam::uin/{number}:{last}"
                answer = who.sts.ask("AssumeRole", NAME | {"RoleArn": arn} | extra)
                assert arn in answer.message or extra
                answers[what] = (answer.code, answer.message.replace(arn, "ARN"))
            assert len(set(answers.values())) == 1, answers
            assert answers["there"][0] == ("DryRunOperation" if extra else REFUSED)
    # A policy that knows roles by their numbers alone must not tell which names have one.
    by_number = account.as_user(account.user([allow("sts:AssumeRole", f"qcs::cam::uin/{abroad.account}:role/*")]))
    for more in ({}, DRY_RUN, {"Nonsense": 1}, {"DurationSeconds": "x"}):
        arns = [f"qcs::cam::uin/{abroad.account}:roleName/{name}" for name in (there.name, "none-at-all")]
        answers = [by_number.sts.ask("AssumeRole", NAME | more | {"RoleArn": arn}) for arn in arns]
        assert answers[0].code == answers[1].code, more
    # Of the own account it is told, to who may take all roles.
    missing = f"qcs::cam::uin/{account.account}:roleName/none-at-all"
    assert by_taker.sts.code("AssumeRole", RoleArn=missing, **NAME) == "ResourceNotFound.RoleNotFound"
    nobody = account.as_user(account.user())
    assert nobody.sts.code("AssumeRole", RoleArn=missing, **NAME) == REFUSED


def test_the_audit_names_role_and_session(server, account, abroad, by_taker, taker, role):
    """Version 3: who took which role, and what was done by the session; whoever was refused, too."""
    began = by_taker.sts.call("AssumeRole", RoleArn=role.arn, RoleSessionName="build@7")
    got = record(server, began["RequestId"])
    assert {k: got[k] for k in ("v", "principal", "uin", "session", "subjects", "service", "version", "access")} == {
        "v": 3, "principal": "user", "uin": str(taker.uin), "session": "",
        "subjects": [f"role/{role.id}", "session/build@7", f"accesskey/{began['Credentials']['TmpSecretId']}"],
        "service": "sts", "version": "2018-08-13", "access": "write",
    }
    creds = Creds(*(began["Credentials"][n] for n in ("TmpSecretId", "TmpSecretKey", "Token")))
    got = record(server, account.as_user(creds).kms.call("ListKeys")["RequestId"])
    assert {k: got[k] for k in ("v", "account", "principal", "uin", "session", "secret_id", "subjects")} == {
        "v": 3, "account": str(account.account), "principal": "role", "uin": role.id, "session": "build@7",
        "secret_id": creds.secret_id, "subjects": [],
    }
    guest = account.as_user(account.federate(allow("kms:*"), name="anna"))
    got = record(server, guest.kms.call("ListKeys")["RequestId"])
    assert (got["v"], got["principal"], got["uin"], got["session"]) == (3, "federated", str(account.account), "anna")
    text = server.audit_text()
    for secret in (creds.secret_key, creds.token, creds.token[40:80]):
        assert secret.encode() not in text and secret.encode() not in server.log_text()
    # Not even the SecretId of one whose token is wrong: it may be anything.
    client = account.as_user(Creds(creds.secret_id, creds.secret_key, creds.token[:-2]), source=source()).kms
    got = record(server, client.ask("ListKeys").response["RequestId"])
    assert (got["principal"], got["secret_id"], got["code"], got["uin"]) == ("anonymous", "", DEAD, "")


# Tokens


def test_wrong_tokens(account, by_taker, role, taker):
    """Truncated, altered, of another SecretId, none, one that needs none; by all signatures."""
    good, other = by_taker.assume(role), by_taker.assume(role)
    raw = bytearray(base64.urlsafe_b64decode(good.token + "=" * (-len(good.token) % 4)))

    def altered(at):
        changed = bytearray(raw)
        changed[at] ^= 1
        return base64.urlsafe_b64encode(bytes(changed)).decode().rstrip("=")

    cases = [(Creds(good.secret_id, good.secret_key, token), DEAD) for token in (
        good.token[:-1], good.token[:20], good.token + "A", good.token + "=", "." + good.token, "x",
        other.token, good.token * 2, "A" * 60_000, *(altered(at) for at in range(0, len(raw), max(1, len(raw) // 60))),
    )]
    cases += [
        (Creds(good.secret_id, good.secret_key), "AuthFailure.SecretIdNotFound"),
        (Creds(good.secret_id, good.secret_key, ""), "AuthFailure.SecretIdNotFound"),
        (Creds(good.secret_id, other.secret_key, good.token), "AuthFailure.SignatureFailure"),
        (Creds(other.secret_id, good.secret_key, good.token), DEAD),
        (Creds(taker.creds.secret_id, taker.creds.secret_key, good.token), DEAD),
        (Creds(taker.creds.secret_id, taker.creds.secret_key, "x"), DEAD),
        (Creds(taker.creds.secret_id, "wrong", good.token), "AuthFailure.SignatureFailure"),
        (Creds("AKIDnobodyatall", "x", good.token), DEAD),
        (good, None), (taker.creds, None), (Creds(taker.creds.secret_id, taker.creds.secret_key, ""), None),
    ]
    for n, (creds, expected) in enumerate(cases):
        client = account.as_user(creds, source=source()).sts
        token = creds.token or ""
        if len(token) < 50_000:
            assert client.ask("GetCallerIdentity").code == expected, (n, creds.token)
        for method in ("POST", "GET"):
            if method == "GET" and len(token) > 20_000:
                continue
            answer = client.send(client.v1("GetCallerIdentity", method=method))
            assert answer.code == expected, (n, method, creds.token)
        client.close()


@pytest.mark.parametrize("algorithm", ["HmacSHA256", "HmacSHA1"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_version_1_with_a_token(account, by_taker, role, key, method, algorithm):
    kms = account.as_user(by_taker.assume(role)).kms
    answer = kms.send(kms.v1("DescribeKey", {"KeyId": key}, method=method, algorithm=algorithm))
    assert answer.response["KeyMetadata"]["KeyId"] == key
    # The token is signed.
    other = by_taker.assume(role)
    request = kms.v1("DescribeKey", {"KeyId": key}, method="GET")
    request.target = request.target.replace(kms.creds.token, other.token)
    assert kms.send(request).code in (DEAD, "AuthFailure.SignatureFailure")


def test_a_token_goes_with_one_signature_of_its_own(account, by_taker, role):
    """A captured request is of no use with another token, nor is a captured token without the key."""
    mine = by_taker.assume(role)
    kms = account.as_user(mine, source=source()).kms
    request = kms.tc3("ListKeys")
    assert kms.send(request).code is None
    request.headers["x-tc-token"] = by_taker.assume(role).token
    assert kms.send(request).code == DEAD
    assert kms.ask("ListKeys", creds=Creds(mine.secret_id, "guessed", mine.token)).code == "AuthFailure.SignatureFailure"


def test_tokens_end_at_once(account, role, alive):
    """With the role, with the access key or the user that they go back to; and not for a detour."""
    users = [account.user([allow("sts:*")]) for _ in range(4)]
    doomed = account.role(None, [allow("kms:*")])
    by_role = account.as_user(users[0]).assume(doomed)
    by_key, by_user, by_deleted_key = (account.as_user(u).assume(account.role()) for u in users[1:])
    guest = account.as_user(users[1]).federate(allow("kms:*"))
    for creds in (by_role, by_key, by_user, by_deleted_key, guest):
        assert alive(creds) is None

    account.cam.call("DeleteRole", RoleId=doomed.id)
    assert alive(by_role) == DEAD
    account.role(None, [allow("kms:*")], name=doomed.name)
    assert alive(by_role) == DEAD, "a new role of the same name is another one"

    on = {"AccessKeyId": users[1].creds.secret_id, "TargetUin": users[1].uin}
    account.cam.call("UpdateAccessKey", Status="Inactive", **on)
    assert alive(by_key) == DEAD and alive(guest) == DEAD
    account.cam.call("UpdateAccessKey", Status="Active", **on)
    assert alive(by_key) is None and alive(guest) is None

    account.cam.call("DeleteUser", Name=users[2].name, Force=1)
    assert alive(by_user) == DEAD
    on = {"AccessKeyId": users[3].creds.secret_id, "TargetUin": users[3].uin}
    account.cam.call("UpdateAccessKey", Status="Inactive", **on)
    account.cam.call("DeleteAccessKey", **on)
    account.cam.call("CreateAccessKey", TargetUin=users[3].uin)
    assert alive(by_deleted_key) == DEAD


def test_expiry(account, by_taker, role, alive):
    creds = by_taker.assume(role, DurationSeconds=1)
    guest = account.federate(allow("kms:*"), DurationSeconds=1)
    assert alive(creds) is None and alive(guest) is None
    outlive(1)
    assert alive(creds) == DEAD and alive(guest) == DEAD
    # Who goes on with a session that has ended makes no guesses, so nobody is held up.
    client, began = account.as_user(creds, source=source()).sts, time.monotonic()
    assert {client.code("GetCallerIdentity") for _ in range(60)} == {DEAD} and time.monotonic() - began < 2
    client.close()


def test_a_restart_ends_no_session():
    """Nothing is kept of a session but its token; a role that was deleted stays so."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-sessions-") as base:
        server = Server(f"{base}/data", regions=(MAIN,)).start()
        try:
            owner = Account(server.endpoint, server.creds)
            user = owner.user([allow("sts:*")])
            role, doomed = (owner.role(None, [allow("kms:ListKeys")]) for _ in range(2))
            kept, lost = (owner.as_user(user).assume(r) for r in (role, doomed))
            guest = owner.as_user(user).federate(allow("sts:*"))
            owner.cam.call("DeleteRole", RoleId=doomed.id)
            assert server.stop() == 0
            server.start()
            owner = Account(server.endpoint, server.creds)
            assert owner.as_user(kept).kms.code("ListKeys") is None
            assert owner.as_user(kept).kms.code("GetRegions") == REFUSED
            assert owner.as_user(guest).identity()["UserId"] == f"{user.uin}:guest"
            assert owner.as_user(lost).kms.code("ListKeys") == DEAD
            server.kill()
            server.start()
            owner = Account(server.endpoint, server.creds)
            assert owner.as_user(kept).kms.code("ListKeys") is None
            owner.cam.call("DeleteUser", Name=user.name, Force=1)
            assert owner.as_user(kept).kms.code("ListKeys") == DEAD
        finally:
            if server.process is not None:
                assert server.stop() == 0


# Federated sessions


def test_federation_of_the_main_account(server, account, key):
    got = sts_sdk(server).call("GetFederationToken", Name="anna", Policy=document(allow("kms:DescribeKey")))
    assert abs(got.ExpiredTime - time.time() - 1800) < 5
    creds = Creds(got.Credentials.TmpSecretId, got.Credentials.TmpSecretKey, got.Credentials.Token)
    guest = account.as_user(creds)
    assert guest.kms.code("DescribeKey", KeyId=key) is None and guest.kms.code("ListKeys") == REFUSED
    assert guest.identity() == {
        "Arn": f"qcs::sts:{account.account}:federated-user/{account.account}", "AccountId": str(account.account),
        "UserId": f"{account.account}:anna", "PrincipalId": str(account.account), "Type": "CAMUser",
    }


def test_federation_of_a_user(account, key):
    """No more than he may, and no more than he says; nor after he lost it."""
    user = account.user([allow(["kms:DescribeKey", "kms:ListKeys", "sts:GetFederationToken"])])
    by_user = account.as_user(user)
    guest = account.as_user(by_user.federate(allow(["kms:DescribeKey", "kms:Encrypt"])))
    assert guest.kms.code("DescribeKey", KeyId=key) is None
    assert guest.kms.code("Encrypt", KeyId=key, Plaintext="eA==") == REFUSED
    assert guest.kms.code("ListKeys") == REFUSED
    everything = account.as_user(by_user.federate(allow("*")))
    assert everything.kms.code("ListKeys") is None and everything.kms.code("GetRegions") == REFUSED
    account.attach(user, [deny("kms:DescribeKey")])
    assert guest.kms.code("DescribeKey", KeyId=key) == REFUSED
    nobody = account.as_user(account.user([allow("kms:*")]))
    assert nobody.sts.code("GetFederationToken", Name="x", Policy=document(allow("*"))) == REFUSED


def test_federation_has_its_limits(account):
    user = account.as_user(account.user([allow("*")]))
    policy = {"Policy": document(allow("*"))}
    for who, seconds, expected in ((account, 7200, None), (account, 7201, OVER_TIME), (account, 0, None),
                                   (user, 129_600, None), (user, 129_601, OVER_TIME)):
        assert who.sts.code("GetFederationToken", Name="g", DurationSeconds=seconds, **policy) == expected, seconds
    for name, good in (("g", True), ("a=,.@_-", True), ("a" * 128, True), ("", False), ("a" * 129, False), ("a b", False)):
        code = user.sts.code("GetFederationToken", Name=name, **policy)
        assert code is None if good else code.startswith("InvalidParameter"), name


def test_sessions_begin_no_sessions_that_they_may_not(account, by_taker):
    """A federated session begins none, a session of a role no federated one, whatever they may."""
    role = account.role(None, [allow("*")])
    policy = {"Name": "guest", "Policy": document(allow("*"))}
    guest, session = account.as_user(account.federate(allow("*"))), account.as_user(by_taker.assume(role))
    assert guest.sts.code("AssumeRole", RoleArn=role.arn, **NAME) == NO_SESSION
    assert guest.sts.code("GetFederationToken", **policy) == NO_SESSION
    assert session.sts.code("GetFederationToken", **policy) == NO_SESSION
    assert session.sts.code("AssumeRole", RoleArn=role.arn, **NAME) is None


def test_guests_change_no_principals(account):
    """What a guest makes would outlive his session and what narrows it, whoever let him in."""
    for host in (account, account.as_user(account.user("AdministratorAccess"))):
        guest = account.as_user(host.federate(allow("*")))
        assert guest.kms.code("ListKeys") is None and guest.tag.code("GetTagKeys") is None
        for action, fields in (("CreateAccessKey", {}), ("CreateAccessKey", {"TargetUin": account.account}), ("ListUsers", {}),
                               ("CreatePolicy", {"PolicyName": fresh("p"), "PolicyDocument": document(allow("*"))}),
                               ("AttachUserPolicy", {"PolicyId": 1, "AttachUin": account.account})):
            assert guest.cam.code(action, **fields) == NO_SESSION, action


# Who somebody is


def test_who_the_caller_is(server, account, taker, by_taker, role):
    own, number = str(account.account), str(taker.uin)
    session = account.as_user(by_taker.assume(role, RoleSessionName="build-7"))
    for who, expected in (
        (account, {"Arn": f"qcs::cam:{own}:uin/{own}", "UserId": own, "PrincipalId": own, "Type": "CAMUser"}),
        (by_taker, {"Arn": f"qcs::cam:{own}:uin/{number}", "UserId": number, "PrincipalId": number, "Type": "CAMUser"}),
        (session, {"Arn": f"qcs::sts:{own}:assumed-role/{role.id}", "UserId": f"{role.id}:build-7", "PrincipalId": number,
                   "Type": "CAMRole"}),
    ):
        assert who.identity() == expected | {"AccountId": own}
        typed = sts_sdk(server, who.creds).call("GetCallerIdentity")
        assert typed.Arn == expected["Arn"]
        numbers = who.cam.call("GetUserAppId")
        assert (numbers["OwnerUin"], numbers["Uin"]) == (own, expected["UserId"].split(":")[0])
        assert numbers["AppId"] == account.cam.call("GetUserAppId")["AppId"]
    # Whatever is denied to him.
    denied = account.user([deny("*")])
    assert account.as_user(denied).sts.code("GetCallerIdentity") is None
    assert account.as_user(denied).cam.code("GetUserAppId") is None


def test_quick_successions(account, by_taker, role, key):
    """Many sessions at once, each with a secret of its own."""
    many = [by_taker.assume(role, RoleSessionName=f"n{n}") for n in range(50)]
    assert len({c.secret_id for c in many}) == len({c.secret_key for c in many}) == len({c.token for c in many}) == 50
    for n, creds in enumerate(many):
        assert account.as_user(creds).identity()["UserId"] == f"{role.id}:n{n}"


def test_sdk_credentials_of_a_dead_session(server, account, by_taker):
    """What a program sees when its session ends under way."""
    role = account.role(None, [allow("kms:*")])
    creds = by_taker.assume(role)
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=server.host, reqTimeout=20))
    kms = kms_client.KmsClient(credential.Credential(creds.secret_id, creds.secret_key, creds.token), MAIN, profile)
    sdk.call(kms, "CreateKey", Alias=fresh("by-session"))
    account.cam.call("DeleteRole", RoleName=role.name)
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(kms, "ListKeys")
    assert error.value.get_code() == DEAD


def test_keys_outlive_the_role_that_made_them(account, by_taker):
    role = account.role(None, [allow("kms:*")])
    key = account.as_user(by_taker.assume(role)).kms.call("CreateKey", Alias=fresh("key"))["KeyId"]
    account.cam.call("DeleteRole", RoleId=role.id)
    metadata = account.kms.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert metadata["CreatorUinString"] == role.id and metadata["Owner"] == "user"


def test_sessions_are_not_told_apart_by_the_product(account, by_taker):
    """One token for every product; the tag service shares its version with sts."""
    role = account.role(None, [allow(["kms:*", "tag:*", "cam:GetUser", "sts:*"])])
    who = account.as_user(by_taker.assume(role))
    assert who.tag.code("GetTagKeys") is None and who.client(STS).code("GetTagKeys") is None
    assert who.client(KMS).code("ListKeys") is None
    assert who.cam.code("GetUser", Name="nobody-at-all") == "ResourceNotFound.UserNotExist"
