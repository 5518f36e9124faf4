"""Makes clients of the official Python SDK."""

import importlib

from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118 import kms_client, kms_client_async, models

SIGN_METHODS = ("TC3-HMAC-SHA256", "HmacSHA256", "HmacSHA1")
WAYS = [(sign, http) for sign in SIGN_METHODS for http in ("POST", "GET")]


def make(server, *, sign="TC3-HMAC-SHA256", http="POST", region=None, language="en-US", asynchronous=False,
         unsigned_payload=False, secret_id=None, secret_key=None, keep_alive=True):
    """A client of the official SDK for the server under test."""
    profile = ClientProfile(
        signMethod=sign,
        language=language,
        httpProfile=HttpProfile(
            protocol="http", endpoint=server.host, reqMethod=http, reqTimeout=20, keepAlive=keep_alive
        ),
    )
    profile.unsignedPayload = unsigned_payload
    who = credential.Credential(secret_id or server.creds.secret_id, secret_key or server.creds.secret_key)
    module = kms_client_async if asynchronous else kms_client
    return module.KmsClient(who, region or server.hello["region"], profile)


def request(action, **fields):
    """The SDK's typed request of an action."""
    made = getattr(models, f"{action}Request")()
    known = set(vars(made))
    for name, value in fields.items():
        assert f"_{name}" in known, (action, name)
        setattr(made, name, value)
    return made


def call(client, action, **fields):
    """Calls an action by the SDK's typed method."""
    return getattr(client, action)(request(action, **fields))


class Product:
    """The official SDK's client of another product than the KMS: `Product(server, "cam", "20190116")`."""

    def __init__(self, server, name, version, creds=None, *, sign="TC3-HMAC-SHA256", http="POST", language="en-US"):
        package = f"tencentcloud.{name}.v{version}"
        module = importlib.import_module(f"{package}.{name}_client")
        self.models = importlib.import_module(f"{package}.models")
        creds = creds or server.creds
        profile = ClientProfile(
            signMethod=sign, language=language,
            httpProfile=HttpProfile(protocol="http", endpoint=server.host, reqMethod=http, reqTimeout=20),
        )
        who = credential.Credential(creds.secret_id, creds.secret_key, creds.token)
        self.client = getattr(module, f"{name.capitalize()}Client")(who, server.hello["region"], profile)

    def call(self, action, **fields):
        """Calls an action by the SDK's typed method; returns the typed answer."""
        made = getattr(self.models, f"{action}Request")()
        unknown = {name for name in fields if f"_{name}" not in vars(made)}
        assert not unknown, (action, unknown)
        made._deserialize(fields)
        return getattr(self.client, action)(made)

    def error(self, action, **fields):
        """Code and message of a call that must fail."""
        try:
            answer = self.call(action, **fields)
        except TencentCloudSDKException as error:
            assert len(error.get_request_id()) == 36
            return error.get_code(), error.get_message()
        raise AssertionError(f"{action} should have failed: {answer}")

    def code(self, action, **fields):
        """The error code of a call that must fail."""
        return self.error(action, **fields)[0]
