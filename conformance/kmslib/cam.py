"""Principals and policies of an account, and clients that act as one of them."""

import itertools
import json
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property

from .server import MAIN, binary
from .wire import CAM, KMS, STS, TAG, Client, Creds

PRESETS = {
    "AdministratorAccess": 1,
    "ReadOnlyAccess": 2,
    "QcloudKMSFullAccess": 101,
    "QcloudKMSReadOnlyAccess": 102,
    "JadesealKMSEncryptOnlyAccess": 103,
    "JadesealKMSDecryptOnlyAccess": 104,
    "JadesealKMSSignOnlyAccess": 105,
    "JadesealSelfServiceAccess": 106,
    "QcloudKMSCreaterFullAccess": 107,
    "QcloudCamFullAccess": 108,
    "QcloudCamReadOnlyAccess": 109,
    "QcloudSTSFullAccess": 110,
    "QcloudTagFullAccess": 111,
    "JadesealSystemAdministratorAccess": 201,
    "JadesealSecurityAdministratorAccess": 202,
    "JadesealAuditorAccess": 203,
}
DRY_RUN = {"DryRun": True}
REFUSED = "UnauthorizedOperation"
DEAD = "AuthFailure.TokenFailure"

_serial = itertools.count(1)


def fresh(stem="p"):
    """A name that nobody else in the session has."""
    return f"{stem}_{next(_serial)}"


def source():
    """An address of this machine that nobody has called from. Wrong credentials slow down all who share an address."""
    n = next(_serial)
    return f"127.77.{n >> 8 & 255}.{n & 255 or 1}"


def statement(effect, action, resource="*", **more):
    return {"effect": effect, "action": action, "resource": resource} | more


def allow(action, resource="*", **more):
    """`condition=` among the further members."""
    return statement("allow", action, resource, **more)


def deny(action, resource="*", **more):
    return statement("deny", action, resource, **more)


def document(*statements):
    """The text of a policy."""
    return json.dumps({"version": "2.0", "statement": list(statements)}, ensure_ascii=False)


def trust(*principals, **more):
    """The text of a policy that lets principals take a role."""
    named = {"effect": "allow", "action": "sts:AssumeRole", "principal": {"qcs": list(principals)}}
    return document(named | more)


@dataclass(frozen=True)
class User:
    name: str
    uin: int
    creds: Creds


@dataclass(frozen=True)
class Role:
    id: str
    name: str
    arn: str


class As:
    """Clients of all products that are signed by one access key."""

    def __init__(self, endpoint, creds, **how):
        self.endpoint, self.creds, self.how = endpoint, creds, how

    def client(self, api, **how):
        return Client(self.endpoint, self.creds, MAIN, api=api, **self.how | how)

    @cached_property
    def kms(self):
        return self.client(KMS)

    @cached_property
    def tag(self):
        return self.client(TAG)

    @cached_property
    def cam(self):
        return self.client(CAM)

    @cached_property
    def sts(self):
        return self.client(STS)

    def identity(self):
        got = self.sts.call("GetCallerIdentity")
        got.pop("RequestId")
        return got

    @cached_property
    def account(self):
        """Number of the account."""
        return int(self.identity()["AccountId"])

    def assume(self, role, **fields):
        """The temporary access key of a session of a role."""
        arn = role.arn if isinstance(role, Role) else role
        got = self.sts.call("AssumeRole", RoleArn=arn, **{"RoleSessionName": "session"} | fields)
        return session(got)

    def federate(self, *statements, name="guest", **fields):
        return session(self.sts.call("GetFederationToken", Name=name, Policy=document(*statements), **fields))

    def as_user(self, creds, **how):
        """The same deployment by another access key: a User, or credentials."""
        return As(self.endpoint, creds.creds if isinstance(creds, User) else creds, **how)


class Account(As):
    """The main account, and what it does for its principals."""

    def user(self, *policies, name=None):
        """A user with an access key and policies: each a preset's name, a number, or a list of statements."""
        got = self.cam.call("AddUser", Name=name or fresh("user"), UseApi=1)
        made = User(got["Name"], got["Uin"], Creds(got["SecretId"], got["SecretKey"]))
        for policy in policies:
            self.attach(made, policy)
        return made

    def policy(self, *statements, name=None):
        """Number of a new policy."""
        text = document(*statements)
        return self.cam.call("CreatePolicy", PolicyName=name or fresh("policy"), PolicyDocument=text)["PolicyId"]

    def rewrite(self, policy, *statements):
        self.cam.call("UpdatePolicy", PolicyId=policy, PolicyDocument=document(*statements))

    def number(self, policy):
        if isinstance(policy, list):
            return self.policy(*policy)
        return PRESETS.get(policy, policy)

    def attach(self, to, policy):
        number = self.number(policy)
        if isinstance(to, Role):
            self.cam.call("AttachRolePolicy", PolicyId=number, AttachRoleId=to.id)
        else:
            self.cam.call("AttachUserPolicy", PolicyId=number, AttachUin=to.uin)
        return number

    def role(self, trusted=None, *policies, name=None, **fields):
        """A role that principals may take who are named by `trust`; without, everybody in the account whose policies
        allow it."""
        trusted = trusted or trust(self.root)
        name = name or fresh("role")
        got = self.cam.call("CreateRole", RoleName=name, PolicyDocument=trusted, **fields)
        made = Role(got["RoleId"], name, f"qcs::cam::uin/{self.account}:roleName/{name}")
        for policy in policies:
            self.attach(made, policy)
        return made

    @property
    def root(self):
        """The account as trust policies name it."""
        return f"qcs::cam::uin/{self.account}:root"

    def named(self, who):
        """A user as trust policies name him."""
        return f"qcs::cam::uin/{self.account}:uin/{who.uin}"

    def key(self, **tags):
        """Id of a fresh key with tags."""
        tags = [{"TagKey": k, "TagValue": v} for k, v in tags.items()]
        return self.kms.call("CreateKey", Alias=fresh("key"), Tags=tags)["KeyId"]


def session(got):
    """Credentials of the answer that begins a session."""
    got = got["Credentials"]
    return Creds(got["TmpSecretId"], got["TmpSecretKey"], got["Token"])


def other_account(server, name):
    """A further account of the deployment."""
    done = subprocess.run(
        [str(binary()), "account", "create", "--data-dir", str(server.data_dir), "--name", name, "-o", "json"],
        capture_output=True, text=True, timeout=60, check=True,
    )
    made = json.loads(done.stdout)
    return Account(server.endpoint, Creds(made["secret_id"], made["secret_key"]))


def outlive(seconds=1):
    """Waits until a session of so many seconds that began just now has ended."""
    time.sleep(seconds + 0.05)


def records(server):
    """The audit records of a server so far."""
    lines = b"".join(p.read_bytes() for p in sorted((server.data_dir / "audit").glob("audit-*.log"))).splitlines()
    return [json.loads(line[9:]) for line in lines if line.strip(b"\0") and not line.startswith(b"#")]


def record(server, request_id):
    """The audit record of one request."""
    return next(r for r in records(server) if r["request_id"] == request_id)
