"""Events of the audit log by the official SDK and `tccli`: conditions, pages, two tenants, policies."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from kmslib import sdk
from kmslib.cam import REFUSED, allow, fresh, other_account
from kmslib.wire import b64

TCCLI = pathlib.Path(sys.executable).parent / "tccli"


class Audit(sdk.Product):
    """The SDK's client, with answers as they are on the wire."""

    def call(self, action, **fields):
        return json.loads(super().call(action, **fields).to_json_string())


def by(server, creds=None, **how):
    return Audit(server, "cloudaudit", "20190319", creds, **how)


def span(**more):
    now = int(time.time())
    return {"StartTime": now - 3600, "EndTime": now + 60, "MaxResults": 50} | more


def where(**conditions):
    return span(LookupAttributes=[{"AttributeKey": k, "AttributeValue": v} for k, v in conditions.items()])


def names(answer):
    return [e["EventName"] for e in answer["Events"]]


@pytest.fixture(scope="module")
def audit(server):
    return by(server)


@pytest.fixture
def used(account):
    """A key that has been used once and disabled."""
    key = account.key()
    account.kms.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))
    account.kms.call("DisableKey", KeyId=key)
    return key


@pytest.mark.parametrize("action", ["LookUpEvents", "DescribeEvents"])
@pytest.mark.parametrize("how", [{}, {"http": "GET"}, {"sign": "HmacSHA256"}])
def test_a_key_has_its_story(server, used, action, how):
    answer = by(server, **how).call(action, **where(ResourceName=used))
    assert names(answer) == ["DisableKey", "Encrypt", "CreateKey"]
    assert answer["ListOver"] is True and answer["NextToken"] in ("", 0)
    event = answer["Events"][1]
    detail = json.loads(event["CloudAuditEvent"])
    assert event["EventId"].endswith("-" + event["RequestID"]) and detail["eventID"] == event["EventId"]
    assert event["Resources"] == {"ResourceType": "kms", "ResourceName": used}
    assert (event["ErrorCode"], event["EventSource"]) == (0, "kms.tencentcloudapi.com")
    assert abs(int(event["EventTime"]) - time.time()) < 120 and detail["eventTime"] == int(event["EventTime"])
    assert detail["userIdentity"]["secretId"] == server.creds.secret_id == event["SecretId"]
    assert (detail["userIdentity"]["type"], detail["actionType"], detail["requestParameters"]) == ("Root", "Read", "")
    one = by(server, **how).call(action, **where(RequestId=event["RequestID"]))
    assert [e["EventId"] for e in one["Events"]] == [event["EventId"]]


def test_pages_to_the_end(audit, account, used):
    for _ in range(11):
        account.kms.call("DescribeKey", KeyId=used)
    for action in ("LookUpEvents", "DescribeEvents"):
        params, seen = where(ResourceId=used) | {"MaxResults": 3}, []
        while True:
            page = audit.call(action, **params)
            seen += [e["EventId"] for e in page["Events"]]
            account.kms.call("DescribeKey", KeyId=used)
            if page["ListOver"]:
                break
            params["NextToken"] = page["NextToken"]
        indices = [int(e.split("-")[0]) for e in seen]
        assert indices == sorted(set(indices), reverse=True)
        assert len(seen) >= 14


def test_another_account_sees_nothing_of_it(server, audit, account, used):
    other = other_account(server, fresh("audit"))
    theirs = by(server, other.creds)
    assert theirs.call("LookUpEvents", **where(ResourceName=used))["Events"] == []
    mine = audit.call("LookUpEvents", **where(ResourceName=used))["Events"]
    request = mine[0]["RequestID"]
    for conditions in ({"RequestId": request}, {"AccessKeyId": server.creds.secret_id}, {"EventName": "CreateKey"}):
        assert theirs.call("DescribeEvents", **where(**conditions))["Events"] == []
    token = theirs.call("LookUpEvents", **span(NextToken=str(2**63)))
    own = {e["AccountID"] for e in token["Events"]}
    assert own and own.isdisjoint({mine[0]["AccountID"]})


def test_policies(server, account, audit):
    user = account.user()
    look = by(server, user.creds)
    assert look.code("LookUpEvents", **span()) == REFUSED
    account.attach(user, account.policy(allow("cloudaudit:LookUpEvents")))
    time.sleep(1)
    assert look.call("LookUpEvents", **span())["Events"]
    assert look.code("DescribeEvents", **span()) == REFUSED
    refusals = audit.call("LookUpEvents", **where(PrincipalId=str(user.uin), CamErrorCode="4102"))
    assert names(refusals) == ["DescribeEvents", "LookUpEvents"]


def test_refusals(audit):
    now = int(time.time())
    assert audit.code("LookUpEvents", StartTime=now, EndTime=now - 1) == "InvalidParameterValue.Time"
    assert audit.code("LookUpEvents", StartTime=now - 8 * 86400, EndTime=now) == "LimitExceeded.OverTime"
    assert audit.code("DescribeEvents", StartTime=now - 31 * 86400, EndTime=now) == "LimitExceeded.OverTime"
    assert audit.code("DescribeEvents", **span(MaxResults=51)) == "InvalidParameterValue.MaxResult"
    assert audit.code("DescribeEvents", **where(Colour="red")) == "InvalidParameterValue.attributeKey"


def test_keys_of_conditions(audit):
    details = audit.call("GetAttributeKey", WebsiteType="en")["AttributeKeyDetails"]
    assert {"RequestId", "EventName", "ResourceName", "AccessKeyId"} <= {d["Value"] for d in details}
    for detail in details:
        assert audit.call("LookUpEvents", **where(**{detail["Value"]: ""}))["Events"]


def test_tccli(server, used, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TENCENTCLOUD_")} | {
        "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", "TENCENTCLOUD_REGION": server.hello["region"],
        "TENCENTCLOUD_SECRET_ID": server.creds.secret_id, "TENCENTCLOUD_SECRET_KEY": server.creds.secret_key,
    }
    params = where(ResourceName=used, EventName="Encrypt")
    command = [sys.executable, str(TCCLI), "cloudaudit", "LookUpEvents", "--endpoint", server.endpoint]
    for name, value in params.items():
        command += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(json.loads(done.stdout)) == ["Encrypt"]
