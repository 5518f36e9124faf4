"""Users, roles and sessions on the official command line, as an operator goes about it."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from kmslib.cam import PRESETS, allow, document, fresh, trust
from kmslib.cam import session as temporary
from kmslib.wire import Creds, b64, unb64

TCCLI = pathlib.Path(sys.executable).parent / "tccli"


@pytest.fixture(scope="module")
def tccli(server, tmp_path_factory):
    """Runs `tccli PRODUCT ACTION --Name value …` with an access key; the answer, or the error text."""
    home = tmp_path_factory.mktemp("home")

    def run(creds, product, action, **fields):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TENCENTCLOUD_")} | {
            "HOME": str(home), "NO_PROXY": "127.0.0.1", "TENCENTCLOUD_REGION": server.hello["region"],
            "TENCENTCLOUD_SECRET_ID": creds.secret_id, "TENCENTCLOUD_SECRET_KEY": creds.secret_key,
        } | ({"TENCENTCLOUD_TOKEN": creds.token} if creds.token else {})
        command = [sys.executable, str(TCCLI), product, action, "--endpoint", server.endpoint]
        for name, value in fields.items():
            command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.returncode == 0 else done.stdout + done.stderr

    return run


def test_a_user_who_encrypts_and_a_role_that_decrypts(tccli, server, account, alias):
    root = server.creds
    key = tccli(root, "kms", "CreateKey", Alias=alias("tccli"))["KeyId"]
    made = tccli(root, "cam", "AddUser", Name=fresh("tccli"), UseApi=1, Remark="命令行")
    user = Creds(made["SecretId"], made["SecretKey"])
    assert "UnauthorizedOperation" in tccli(user, "kms", "Encrypt", KeyId=key, Plaintext=b64(b"x"))

    presets = tccli(root, "cam", "ListPolicies", Keyword="EncryptOnly")["List"]
    assert [p["PolicyId"] for p in presets] == [PRESETS["JadesealKMSEncryptOnlyAccess"]]
    tccli(root, "cam", "AttachUserPolicy", PolicyId=presets[0]["PolicyId"], AttachUin=made["Uin"])
    blob = tccli(user, "kms", "Encrypt", KeyId=key, Plaintext=b64(b"by tccli"))["CiphertextBlob"]
    refused = tccli(user, "kms", "Decrypt", CiphertextBlob=blob)
    assert "UnauthorizedOperation" in refused and "(kms:Decrypt)" in refused
    assert tccli(user, "sts", "GetCallerIdentity")["UserId"] == str(made["Uin"])
    assert tccli(user, "cam", "GetUserAppId")["Uin"] == str(made["Uin"])

    name = fresh("tccli-role")
    policy = document(allow("kms:Decrypt", f"qcs::kms::uin/{account.account}:key/creatorUin/*/{key}"))
    policy = tccli(root, "cam", "CreatePolicy", PolicyName=fresh("tccli"), PolicyDocument=policy)["PolicyId"]
    trusted = trust(f"qcs::cam::uin/{account.account}:uin/{made['Uin']}")
    role = tccli(root, "cam", "CreateRole", RoleName=name, PolicyDocument=trusted, Description="解密")["RoleId"]
    tccli(root, "cam", "AttachRolePolicy", PolicyId=policy, AttachRoleName=name)
    info = tccli(root, "cam", "GetRole", RoleName=name)["RoleInfo"]
    assert info["RoleId"] == role and json.loads(info["PolicyDocument"]) == json.loads(trusted)
    fields = {"RoleArn": info["RoleArn"], "RoleSessionName": "tccli"}
    assert "UnauthorizedOperation" in tccli(user, "sts", "AssumeRole", **fields), "the user has no policy for it"
    takes = document(allow("sts:AssumeRole", info["RoleArn"]))
    takes = tccli(root, "cam", "CreatePolicy", PolicyName=fresh("tccli"), PolicyDocument=takes)["PolicyId"]
    tccli(root, "cam", "AttachUserPolicy", PolicyId=takes, AttachUin=made["Uin"])

    session = temporary(tccli(user, "sts", "AssumeRole", **fields))
    assert unb64(tccli(session, "kms", "Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"by tccli"
    assert "UnauthorizedOperation" in tccli(session, "kms", "Encrypt", KeyId=key, Plaintext=b64(b"x"))
    assert tccli(session, "sts", "GetCallerIdentity")["UserId"] == f"{role}:tccli"
    assert "AuthFailure.SecretIdNotFound" in tccli(Creds(session.secret_id, session.secret_key), "kms", "ListKeys")
    short = tccli(user, "sts", "AssumeRole", DurationSeconds=1, **fields)
    time.sleep(max(0.0, short["ExpiredTime"] + 0.05 - time.time()))
    assert "AuthFailure.TokenFailure" in tccli(temporary(short), "kms", "Decrypt", CiphertextBlob=blob)
    tccli(root, "cam", "DeleteRole", RoleId=role)
    assert "AuthFailure.TokenFailure" in tccli(session, "kms", "Decrypt", CiphertextBlob=blob)

    tccli(root, "cam", "DetachUserPolicy", PolicyId=presets[0]["PolicyId"], DetachUin=made["Uin"])
    assert "UnauthorizedOperation" in tccli(user, "kms", "Encrypt", KeyId=key, Plaintext=b64(b"x"))
    assert "OperationDenied.HaveKeys" in tccli(root, "cam", "DeleteUser", Name=made["Name"])
    tccli(root, "cam", "DeleteUser", Name=made["Name"], Force=1)
    assert "AuthFailure.SecretIdNotFound" in tccli(user, "kms", "ListKeys")


def test_groups(tccli, server, account):
    """Lists of objects on the command line."""
    root, user = server.creds, account.user()
    group = tccli(root, "cam", "CreateGroup", GroupName=fresh("组"))["GroupId"]
    tccli(root, "cam", "AttachGroupPolicy", PolicyId=PRESETS["QcloudKMSReadOnlyAccess"], AttachGroupId=group)
    tccli(root, "cam", "AddUserToGroup", Info=[{"GroupId": group, "Uin": user.uin}])
    assert [u["Uin"] for u in tccli(root, "cam", "ListUsersForGroup", GroupId=group)["UserInfo"]] == [user.uin]
    assert "TotalCount" in tccli(user.creds, "kms", "ListKeys")
    tccli(root, "cam", "RemoveUserFromGroup", Info=[{"GroupId": group, "Uin": user.uin}])
    assert "UnauthorizedOperation" in tccli(user.creds, "kms", "ListKeys")


def test_errors_name_the_place(tccli, server):
    text = tccli(server.creds, "cam", "CreatePolicy", PolicyName=fresh("bad"), PolicyDocument=document(allow("kms:Encypt")))
    assert "InvalidParameter.ActionNotExist" in text and "statement[0].action" in text


def test_federation(tccli, server):
    got = tccli(server.creds, "sts", "GetFederationToken", Name="guest", Policy=document(allow("kms:ListKeys")))
    guest = temporary(got)
    assert "TotalCount" in tccli(guest, "kms", "ListKeys")
    assert "UnauthorizedOperation" in tccli(guest, "kms", "GetServiceStatus")
