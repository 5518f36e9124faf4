"""Quotas and rate limits by the official Python SDK, against servers with small figures."""

import contextlib
import pathlib
import subprocess
import tempfile
import time

import pytest
from tencentcloud.common import retry
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import sdk
from kmslib.server import GM, MAIN, Configured, binary
from kmslib.wire import b64

RATE = "RequestLimitExceeded"
TOTAL = "RequestLimitExceeded.UinLimitExceeded"
CMKS = "LimitExceeded.CmkLimitExceeded"
DATA_KEYS = "LimitExceeded.DataKeyLimitExceeded"
NONE = 2**31 - 1


@contextlib.contextmanager
def serving(settings):
    with tempfile.TemporaryDirectory(prefix="jadeseal-limits-") as base:
        server = Configured(pathlib.Path(base), regions=(MAIN, f"{GM}:gm")).start(settings)
        try:
            yield server
            assert server.stop() == 0
        finally:
            server.kill()


def code(client, action, **fields):
    """The error code of a call, or None where it succeeds."""
    try:
        sdk.call(client, action, **fields)
    except TencentCloudSDKException as error:
        assert len(error.get_request_id()) == 36
        return error.get_code()
    return None


def burst(client, action, times):
    """The codes of calls in a row, and how long they took."""
    began = time.monotonic()
    codes = [code(client, action) for _ in range(times)]
    return codes, time.monotonic() - began


def test_rates():
    settings = "[limits]\ntotal_rate = 60\n[limits.rates]\ndefault = 50\nGetRegions = 5\n"
    with serving(settings) as server:
        client, there = sdk.make(server), sdk.make(server, region=GM)
        codes, took = burst(client, "GetRegions", 20)
        assert codes[:5] == [None] * 5 and set(codes[5:]) <= {None, RATE}
        assert codes.count(RATE) >= 1 and 5 <= codes.count(None) <= 5 * (1 + took) + 1
        # One limit for all regions, and none of another action.
        assert code(there, "GetRegions") == RATE
        assert code(client, "ListAlgorithms") is None
        time.sleep(1.1)
        codes, _ = burst(client, "GetRegions", 5)
        assert codes == [None] * 5

        time.sleep(1.1)
        began = time.monotonic()
        codes = [code(client, action) for _ in range(100) for action in ("ListAlgorithms", "ListKeys")]
        took = time.monotonic() - began
        assert TOTAL in codes and 60 <= codes.count(None) <= 60 * (1 + took) + 1
        time.sleep(1.1)
        assert code(client, "ListKeys") is None
        with pytest.raises(TencentCloudSDKException) as error:
            for _ in range(20):
                sdk.call(client, "GetRegions")
        assert "GetRegions 5 times" in error.value.get_message()
        status = sdk.call(client, "GetServiceStatus")
        assert (status.QpsLimit, status.QpsTotalLimit) == (50, 60)
        assert [(r.Region, r.Qps) for r in status.RegionsQps] == [(MAIN, 50), (GM, 50)]
        refused = server.audit_text().count(b'"RequestLimitExceeded')
        assert refused >= 10, "refusals are on record"


def test_the_sdk_takes_both_refusals_for_worth_a_retry():
    with serving("[limits]\ntotal_rate = 5\n[limits.rates]\nListKeys = 2\n") as server:
        client, seen = sdk.make(server), set()
        for action in ["ListKeys"] * 4 + ["GetRegions"] * 8:
            try:
                sdk.call(client, action)
            except TencentCloudSDKException as error:
                assert retry.StandardRetryer.should_retry(None, error), error
                seen.add(error.get_code())
        assert seen == {RATE, TOTAL}


class Retryer(retry.StandardRetryer):
    """The one of docs/limits.md: the SDK's own raises an error that a later attempt has got over."""

    def send_request(self, fn):
        for n in range(self._max_attempts):
            try:
                return fn()
            except TencentCloudSDKException as error:
                if n + 1 == self._max_attempts or not self.should_retry(None, error):
                    raise
                time.sleep(self._backoff_fn(n))


def test_a_client_that_retries_gets_through():
    with serving("[limits.rates]\nListKeys = 4\n") as server:
        client = sdk.make(server)
        client.profile.retryer = Retryer(max_attempts=6, backoff_fn=lambda n: 0.2)
        began = time.monotonic()
        for _ in range(10):
            assert sdk.call(client, "ListKeys").TotalCount == 0
        # Four at once and four in each second.
        assert time.monotonic() - began >= 1.2


def test_quotas():
    settings = "[limits]\npreset = \"tencent\"\ncmks = 1\ndata_keys = 2\n[[limits.account]]\nuin = {uin}\ncmks = 2\n"
    with serving(settings) as server:
        client, there = sdk.make(server), sdk.make(server, region=GM)
        status = sdk.call(client, "GetServiceStatus")
        assert (status.CmkUserCount, status.CmkLimit) == (0, 2), "the account's own figure"
        assert (status.DataKeyLimit, status.FreeDataKeyLimit, status.DataKeyUsedCount) == (2, 2, 0)
        assert (status.QpsLimit, status.QpsTotalLimit) == (100, NONE)
        assert status.ExclusiveHSMEnabled is False and not status.ExclusiveHSMList

        key = sdk.call(client, "CreateKey", Alias="a").KeyId
        sdk.call(client, "CreateKey", Alias="b", Type=2)
        for usage in ("ENCRYPT_DECRYPT", "ASYMMETRIC_DECRYPT_RSA_2048", "ASYMMETRIC_SIGN_VERIFY_SM2"):
            assert code(client, "CreateKey", Alias="c", KeyUsage=usage) == CMKS
        sdk.call(there, "CreateKey", Alias="c")
        listed = sdk.call(client, "ListKeys")
        assert listed.TotalCount == 2
        # What is to be deleted makes room; coming back needs none.
        old = next(k.KeyId for k in listed.Keys if k.KeyId != key)
        sdk.call(client, "ScheduleKeyDeletion", KeyId=old, PendingWindowInDays=7)
        sdk.call(client, "CreateKey", Alias="c")
        assert code(client, "CreateKey", Alias="d") == CMKS
        sdk.call(client, "CancelKeyDeletion", KeyId=old)
        assert sdk.call(client, "GetServiceStatus").CmkUserCount == 3

        hosted = {"KeyId": key, "KeySpec": "AES_256", "IsHostedByKms": 1}
        imported = {"KeyId": key, "ImportType": 2, "ImportKeyMaterial": b64(b"12345")}
        first = sdk.call(client, "GenerateDataKey", DataKeyName="a", **hosted).DataKeyId
        second = sdk.call(client, "ImportDataKey", DataKeyName="b", **imported).DataKeyId
        assert code(client, "GenerateDataKey", DataKeyName="c", **hosted) == DATA_KEYS
        assert code(client, "ImportDataKey", DataKeyName="c", **imported) == DATA_KEYS
        assert code(client, "GenerateDataKey", KeyId=key, KeySpec="AES_256") is None
        sdk.call(client, "DisableDataKey", DataKeyId=first)
        assert code(client, "GenerateDataKey", DataKeyName="c", **hosted) == DATA_KEYS, "a disabled one counts"
        sdk.call(client, "ScheduleDataKeyDeletion", DataKeyId=first, PendingWindowInDays=7)
        sdk.call(client, "GenerateDataKey", DataKeyName="c", **hosted)
        assert code(client, "CancelDataKeyDeletion", DataKeyId=first) == DATA_KEYS
        assert sdk.call(client, "GetServiceStatus").DataKeyUsedCount == 2
        sdk.call(client, "DisableDataKey", DataKeyId=second)
        sdk.call(client, "ScheduleDataKeyDeletion", DataKeyId=second, PendingWindowInDays=7)
        assert code(client, "CancelDataKeyDeletion", DataKeyId=first) is None

        # Other figures from the next start on.
        assert server.stop() == 0
        server.start("[limits]\ncmks = 4\n")
        client = sdk.make(server)
        status = sdk.call(client, "GetServiceStatus")
        assert (status.CmkUserCount, status.CmkLimit, status.DataKeyLimit) == (3, 4, NONE)
        assert status.QpsLimit == NONE and not status.RegionsQps
        sdk.call(client, "CreateKey", Alias="e")
        assert code(client, "CreateKey", Alias="f") == CMKS


@pytest.mark.parametrize("settings,words", [
    ("[limits.rates]\nEncrypts = 3\n", "Encrypts"),
    ("[limits.rates]\nEncrypt = 0\n", "Encrypt"),
    ("[limits]\npreset = \"x\"\n", "preset"),
    ("[[limits.account]]\nuin = 0\n", "uin"),
    ("[[limits.account]]\nuin = 1\n[[limits.account]]\nuin = 1\n", "twice"),
])
def test_mistakes_are_refused_at_the_start(tmp_path, settings, words):
    config = tmp_path / "jadeseal.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n[root]\nkind = "file"\npath = "{tmp_path}/k"\n{settings}')
    done = subprocess.run(
        [str(binary()), "serve", "--config", str(config)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode != 0 and words in done.stderr
