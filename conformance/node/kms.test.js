// Symmetric keys and errors by the official Node SDK, in each of its ways.

import assert from "node:assert/strict";
import test from "node:test";
import { alias, client, code } from "./client.js";

const ways = [
  ["TC3-HMAC-SHA256", "POST"],
  ["TC3-HMAC-SHA256", "GET"],
  ["HmacSHA256", "POST"],
  ["HmacSHA256", "GET"],
  ["HmacSHA1", "POST"],
  ["HmacSHA1", "GET"],
];

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
