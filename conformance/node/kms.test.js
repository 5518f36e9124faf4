// The official Node SDK (CommonClient) against a running Jadeseal.
//
// It signs TC3 with the host without its port and with the first label of the endpoint as the service; it signs
// version 1 with the port. Both must pass. Needs JADESEAL_ENDPOINT, JADESEAL_REGION, TENCENTCLOUD_SECRET_ID and
// TENCENTCLOUD_SECRET_KEY in the environment; conformance/test_node.py sets them.

import assert from "node:assert/strict";
import test from "node:test";
import sdk from "tencentcloud-sdk-nodejs-common";

const need = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};

const endpoint = new URL(need("JADESEAL_ENDPOINT")).host;
const region = need("JADESEAL_REGION");
const credential = { secretId: need("TENCENTCLOUD_SECRET_ID"), secretKey: need("TENCENTCLOUD_SECRET_KEY") };

const ways = [
  ["TC3-HMAC-SHA256", "POST"],
  ["TC3-HMAC-SHA256", "GET"],
  ["HmacSHA256", "POST"],
  ["HmacSHA256", "GET"],
  ["HmacSHA1", "POST"],
  ["HmacSHA1", "GET"],
];

function client(signMethod, reqMethod, more = {}) {
  return new sdk.CommonClient(endpoint, "2019-01-18", {
    credential: { ...credential, ...more.credential },
    region: more.region ?? region,
    profile: {
      signMethod,
      language: more.language ?? "en-US",
      httpProfile: { reqMethod, reqTimeout: 20, protocol: "http://", endpoint },
    },
  });
}

// The code of the error that a call ends with.
async function code(promise) {
  try {
    await promise;
  } catch (error) {
    assert.match(error.requestId ?? "", /^[0-9a-f-]{36}$/, `no request id: ${error}`);
    return error.code;
  }
  return assert.fail("the call should have failed");
}

let serial = 0;
const alias = () => `node-${process.pid}-${++serial}`;
const text = Buffer.from("plaintext + with / signs = 密钥").toString("base64");

for (const [signMethod, reqMethod] of ways) {
  test(`${signMethod} ${reqMethod}`, async (t) => {
    const kms = client(signMethod, reqMethod);
    const { KeyId } = await kms.request("CreateKey", { Alias: alias(), Description: "made by node" });
    const context = JSON.stringify({ tenant: "a b", purpose: "ö&=+" });

    await t.test("encrypt and decrypt", async () => {
      const sealed = await kms.request("Encrypt", { KeyId, Plaintext: text, EncryptionContext: context });
      assert.equal(sealed.KeyId, KeyId);
      const opened = await kms.request("Decrypt", {
        CiphertextBlob: sealed.CiphertextBlob,
        EncryptionContext: context,
      });
      assert.equal(opened.Plaintext, text);
      assert.equal(opened.KeyId, KeyId);
      assert.equal(
        await code(kms.request("Decrypt", { CiphertextBlob: sealed.CiphertextBlob })),
        "InvalidParameterValue.InvalidCiphertext",
      );
    });

    await t.test("data key", async () => {
      const made = await kms.request("GenerateDataKey", { KeyId, KeySpec: "AES_256" });
      assert.equal(Buffer.from(made.Plaintext, "base64").length, 32);
      const opened = await kms.request("Decrypt", { CiphertextBlob: made.CiphertextBlob });
      assert.equal(opened.Plaintext, made.Plaintext);
    });

    await t.test("lists and numbers", async () => {
      const other = (await kms.request("CreateKey", { Alias: alias() })).KeyId;
      const many = await kms.request("DescribeKeys", { KeyIds: [other, KeyId] });
      assert.deepEqual(many.KeyMetadatas.map((m) => m.KeyId), [other, KeyId]);
      await kms.request("DisableKeys", { KeyIds: [other] });
      const due = await kms.request("ScheduleKeyDeletion", { KeyId: other, PendingWindowInDays: 7 });
      assert.ok(due.DeletionDate > Date.now() / 1000 + 6 * 86400);
      const page = await kms.request("ListKeyDetail", { Offset: 0, Limit: 1, OrderType: 1 });
      assert.equal(page.KeyMetadatas.length, 1);
    });

    await t.test("errors", async () => {
      const nobody = "00000000-0000-11f0-8000-000000000000";
      const cases = [
        [() => kms.request("DescribeKey", { KeyId: "x" }), "InvalidParameterValue.InvalidKeyId"],
        [() => kms.request("DescribeKey", { KeyId: nobody }), "ResourceUnavailable.CmkNotFound"],
        [() => kms.request("DescribeKey", {}), "MissingParameter"],
        [() => kms.request("NoSuchThing", {}), "InvalidAction"],
        [() => kms.request("ListKeys", { Limit: 201 }), "InvalidParameter"],
        [
          () => client(signMethod, reqMethod, { credential: { secretKey: "wrong" } }).request("ListKeys", {}),
          "AuthFailure.SignatureFailure",
        ],
        [
          () => client(signMethod, reqMethod, { credential: { secretId: "AKIDnobody" } }).request("ListKeys", {}),
          "AuthFailure.SecretIdNotFound",
        ],
        [() => client(signMethod, reqMethod, { region: "ap-nowhere" }).request("ListKeys", {}), "UnsupportedRegion"],
      ];
      for (const [call, expected] of cases) {
        assert.equal(await code(call()), expected);
      }
    });
  });
}

test("messages follow the language", async () => {
  const message = async (language) => {
    try {
      await client("TC3-HMAC-SHA256", "POST", { language }).request("DescribeKey", {});
    } catch (error) {
      return error.message;
    }
    return assert.fail("the call should have failed");
  };
  assert.match(await message("en-US"), /^[\x20-\x7e]+$/);
  assert.match(await message("zh-CN"), /[\u4e00-\u9fff]/);
});
