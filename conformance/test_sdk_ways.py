"""The official Python SDK in each of its ways: three signatures, GET and POST, synchronous and asynchronous."""

import asyncio
import json

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from kmslib import asymmetric, sdk
from kmslib.asymmetric import CLASSIC, DECRYPT_KYBER, DECRYPT_RSA, SCHEMES, SIGN_DILITHIUM, SIGN_P256
from kmslib.byok import WRAPPINGS, rsa_padding
from kmslib.server import MAIN
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


# In base64 these are made of what forms and queries escape: +, / and =.
AWKWARD = [bytes.fromhex(h) for h in ("fbefbe", "ffffff", "fbefbeffffff" * 8, "fb", "fbf0")]


@pytest.mark.parametrize("sign,http", sdk.WAYS)
@pytest.mark.parametrize("algorithm", [a for a in SCHEMES if a != "SM2DSA_ASN1"])
def test_signatures(server, keys, algorithm, sign, http):
    client = sdk.make(server, sign=sign, http=http)
    key = keys[SCHEMES[algorithm][0]]
    plus, slash = False, False
    for message in AWKWARD * 3:
        fields = {"KeyId": key, "Algorithm": algorithm, "Message": b64(message), "MessageType": "RAW"}
        signature = sdk.call(client, "SignByAsymmetricKey", **fields).Signature
        plus, slash = plus or "+" in signature, slash or "/" in signature
        assert sdk.call(client, "VerifyByAsymmetricKey", **fields, SignatureValue=signature).SignatureValid is True
        fields["Message"] = b64(message + b"x")
        assert sdk.call(client, "VerifyByAsymmetricKey", **fields, SignatureValue=signature).SignatureValid is False
    # Among thousands of characters; PKCS#1 v1.5 is deterministic, so of that there are five signatures only.
    assert plus and slash, "no signature was awkward"


@pytest.mark.parametrize("http", ["POST", "GET"])
@pytest.mark.parametrize("sign", ["HmacSHA256", "HmacSHA1"])
def test_signatures_in_a_form_are_what_was_sent(server, keys, sign, http):
    """The KMS signs the bytes behind the base64 of the form, seen by somebody else's verification."""
    client = server.client(MAIN)
    public = asymmetric.load(unb64(client.call("GetPublicKey", KeyId=keys[SIGN_P256])["PublicKey"]))
    for message in AWKWARD:
        fields = {"KeyId": keys[SIGN_P256], "Algorithm": "ECC_P256_R1", "Message": b64(message)}
        answer = client.send(client.v1("SignByAsymmetricKey", fields, method=http, algorithm=sign))
        signature = answer.response["Signature"]
        assert asymmetric.holds(public, "ECC_P256_R1", message, unb64(signature))
        fields["SignatureValue"] = signature
        answer = client.send(client.v1("VerifyByAsymmetricKey", fields, method=http, algorithm=sign))
        assert answer.response["SignatureValid"] is True
        # An unescaped + is a blank in a form, so not base64: never taken for what it looks like.
        blank = fields | {"SignatureValue": "+" + signature[1:]}
        request = client.v1("VerifyByAsymmetricKey", blank, method=http, algorithm=sign)
        request.target = request.target.replace("SignatureValue=%2B", "SignatureValue=+")
        request.body = request.body.replace(b"SignatureValue=%2B", b"SignatureValue=+")
        assert client.send(request).code == "AuthFailure.SignatureFailure"
    client.close()


@pytest.mark.parametrize("sign,http", sdk.WAYS)
def test_asymmetric_asynchronous(server, keys, sign, http):
    async def run():
        async with sdk.make(server, sign=sign, http=http, asynchronous=True) as client:
            shown = await sdk.call(client, "GetPublicKey", KeyId=keys[DECRYPT_RSA])
            public = asymmetric.load(asymmetric.spki(shown))
            opened = await asyncio.gather(*(
                sdk.call(client, "AsymmetricRsaDecrypt", KeyId=keys[DECRYPT_RSA], Algorithm=a,
                         Ciphertext=b64(public.encrypt(SECRET, rsa_padding(a))))
                for a in WRAPPINGS
            ))
            assert [unb64(o.Plaintext) for o in opened] == [SECRET] * 3

            async def one(algorithm, message):
                usage, _ = SCHEMES[algorithm]
                fields = {"KeyId": keys[usage], "Algorithm": algorithm, "Message": b64(message)}
                made = await sdk.call(client, "SignByAsymmetricKey", **fields)
                shown = await sdk.call(client, "GetPublicKey", KeyId=keys[usage])
                public = asymmetric.load(asymmetric.spki(shown))
                assert asymmetric.holds(public, algorithm, message, unb64(made.Signature))
                verified = await sdk.call(client, "VerifyByAsymmetricKey", **fields, SignatureValue=made.Signature)
                return verified.SignatureValid

            assert await asyncio.gather(*(one(a, m) for a in CLASSIC for m in AWKWARD)) == [True] * 20
            fields = {"KeyId": keys[DECRYPT_KYBER], "PlainText": b64(SECRET)}
            sealed = await sdk.call(client, "PostQuantumCryptoEncrypt", **fields)
            opened = await sdk.call(client, "PostQuantumCryptoDecrypt", CiphertextBlob=sealed.CiphertextBlob)
            assert unb64(opened.PlainText) == SECRET
            fields = {"KeyId": keys[SIGN_DILITHIUM], "Message": b64(SECRET)}
            made = await sdk.call(client, "PostQuantumCryptoSign", **fields)
            verified = await sdk.call(client, "PostQuantumCryptoVerify", **fields, SignatureValue=made.Signature)
            assert verified.SignatureValid is True
            with pytest.raises(TencentCloudSDKException) as error:
                fields = {"KeyId": keys[DECRYPT_RSA], "Algorithm": WRAPPINGS[1], "Ciphertext": b64(b"x")}
                await sdk.call(client, "AsymmetricRsaDecrypt", **fields)
            expect(error, "FailedOperation.DecryptError")

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
