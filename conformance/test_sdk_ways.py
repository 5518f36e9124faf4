"""The official Python SDK in each of its ways: three signatures, GET and POST, synchronous and asynchronous."""

import asyncio
import json

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import sdk
from kmslib.wire import b64, unb64

# Characters that the encodings treat differently: blank, plus, slash, equals, ampersand, two and four byte UTF-8.
CONTEXT = json.dumps({"tenant": "a b+c/d=e&f", "Größe": "密钥 😀"}, ensure_ascii=False)
SECRET = "plain text + 密钥".encode()


def expect(error, code):
    assert error.value.get_code() == code
    assert len(error.value.get_request_id()) == 36
    assert error.value.get_message()


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_synchronous(server, alias, sign, http):
    client = sdk.make(server, sign=sign, http=http)
    made = sdk.call(client, "CreateKey", Alias=alias("sdk"), Description="made by the SDK, 密钥")
    assert made.KeyState == "Enabled" and len(made.RequestId) == 36
    sealed = sdk.call(client, "Encrypt", KeyId=made.KeyId, Plaintext=b64(SECRET), EncryptionContext=CONTEXT)
    opened = sdk.call(client, "Decrypt", CiphertextBlob=sealed.CiphertextBlob, EncryptionContext=CONTEXT)
    assert unb64(opened.Plaintext) == SECRET and opened.KeyId == made.KeyId
    data_key = sdk.call(client, "GenerateDataKey", KeyId=made.KeyId, NumberOfBytes=48)
    assert len(unb64(data_key.Plaintext)) == 48
    assert sdk.call(client, "Decrypt", CiphertextBlob=data_key.CiphertextBlob).Plaintext == data_key.Plaintext
    metadata = sdk.call(client, "DescribeKeys", KeyIds=[made.KeyId]).KeyMetadatas[0]
    assert metadata.Description == "made by the SDK, 密钥"
    assert sdk.call(client, "GetKeyRotationStatus", KeyId=made.KeyId).KeyRotationEnabled is False
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(client, "Decrypt", CiphertextBlob=sealed.CiphertextBlob)
    expect(error, "InvalidParameterValue.InvalidCiphertext")
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(client, "CreateKey", Alias=made.Alias)
    expect(error, "InvalidParameterValue.AliasAlreadyExists")


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_asynchronous(server, alias, sign, http):
    async def run():
        async with sdk.make(server, sign=sign, http=http, asynchronous=True) as client:
            made = await sdk.call(client, "CreateKey", Alias=alias("async"))
            texts = [f"text {n}".encode() for n in range(8)]
            blobs = await asyncio.gather(
                *(sdk.call(client, "Encrypt", KeyId=made.KeyId, Plaintext=b64(t)) for t in texts)
            )
            opened = await asyncio.gather(
                *(sdk.call(client, "Decrypt", CiphertextBlob=b.CiphertextBlob) for b in blobs)
            )
            assert [unb64(o.Plaintext) for o in opened] == texts
            with pytest.raises(TencentCloudSDKException) as error:
                await sdk.call(client, "DescribeKey", KeyId="nothing")
            expect(error, "InvalidParameterValue.InvalidKeyId")

    asyncio.run(run())


@pytest.mark.parametrize("http", ["POST", "GET"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_unsigned_payload(server, key, http, asynchronous):
    client = sdk.make(server, http=http, unsigned_payload=True, asynchronous=asynchronous)
    if asynchronous:

        async def run():
            async with client:
                return await sdk.call(client, "DescribeKey", KeyId=key)

        got = asyncio.run(run())
    else:
        got = sdk.call(client, "DescribeKey", KeyId=key)
    assert got.KeyMetadata.KeyId == key


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_credentials(server, sign, http):
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(sdk.make(server, sign=sign, http=http, secret_key="wrong"), "ListKeys")
    expect(error, "AuthFailure.SignatureFailure")
    with pytest.raises(TencentCloudSDKException) as error:
        sdk.call(sdk.make(server, sign=sign, http=http, secret_id="AKIDnobodyknowsthis"), "ListKeys")
    expect(error, "AuthFailure.SecretIdNotFound")


@pytest.mark.parametrize("sign", sdk.SIGN_METHODS)
def test_messages_follow_the_language(server, sign):
    def message(language):
        with pytest.raises(TencentCloudSDKException) as error:
            sdk.call(sdk.make(server, sign=sign, language=language), "DescribeKey", KeyId="nothing")
        return error.value.get_message()

    english, chinese = message("en-US"), message("zh-CN")
    assert english.isascii() and any("\u4e00" <= c <= "\u9fff" for c in chinese)


def test_without_keep_alive(server, key):
    client = sdk.make(server, keep_alive=False)
    for _ in range(3):
        assert sdk.call(client, "DescribeKey", KeyId=key).KeyMetadata.KeyId == key
