"""The suite's own signer against the published vectors: a wrong signer would make the refusals below it worthless."""

import hashlib

from kmslib.wire import Client, Creds, tc3_signature

KEY = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
BODY = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
HEADERS = {
    "content-type": "application/json; charset=utf-8",
    "host": "cvm.tencentcloudapi.com",
    "x-tc-action": "describeinstances",
}


def test_tc3():
    digest = hashlib.sha256(BODY).hexdigest()
    for signed, expected in (
        (["content-type", "host"], "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"),
        (["content-type", "host", "x-tc-action"], "644be983de9a8a3f00db8eadaba61467c3b429e2215758ba897b738ca469fd26"),
    ):
        scope, signature = tc3_signature(KEY, "POST", "", HEADERS, signed, digest, 1551113065, "cvm")
        assert (scope, signature) == ("2019-02-25/cvm/tc3_request", expected)


def test_v1(monkeypatch):
    monkeypatch.setattr("random.randint", lambda *_: 11886)
    client = Client("http://cvm.tencentcloudapi.com", Creds("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", KEY), "ap-guangzhou",
                    language=None)
    params = {"InstanceIds": ["ins-09dx96dg"], "Limit": 20, "Offset": 0}
    # The vector has neither SignatureMethod (so it is HmacSHA1) nor Language.
    request = client.v1("DescribeInstances", params, method="GET", algorithm=None, timestamp=1465185768,
                        version="2017-03-12")
    assert "Signature=EliP9YW3pW28FpsEdkXt%2F%2BWcGeI%3D" in request.target
