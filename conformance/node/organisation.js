// Member accounts by the official Node SDK, in each of its ways; conformance/test_organisations.py runs it for an
// administrator. Not among the `*.test.js` files: it needs a deployment with an organisation.

import assert from "node:assert/strict";
import test from "node:test";
import { client, code } from "./client.js";

const MemberUin = Number(process.env.JADESEAL_MEMBER);
const stranger = Number(process.env.JADESEAL_STRANGER);
const KeyId = process.env.JADESEAL_KEY;
const DataKeyId = process.env.JADESEAL_DATA_KEY;

for (const signMethod of ["TC3-HMAC-SHA256", "HmacSHA256", "HmacSHA1"]) {
  for (const reqMethod of ["POST", "GET"]) {
    test(`${signMethod} ${reqMethod}`, async () => {
      const kms = client(signMethod, reqMethod);
      const MemberAccount = { MemberUin };
      const { KeyMetadata } = await kms.request("DescribeKey", { KeyId, MemberAccount });
      assert.equal(KeyMetadata.AccountUin, MemberUin);
      await kms.request("DisableDataKeys", { DataKeyIds: [DataKeyId], MemberAccount });
      await kms.request("EnableDataKeys", { DataKeyIds: [DataKeyId], MemberAccount });
      await kms.request("DisableKey", { KeyId, MemberAccount });
      await kms.request("ScheduleKeyDeletion", { KeyId, PendingWindowInDays: 7, MemberAccount });
      await kms.request("CancelKeyDeletion", { KeyId, MemberAccount });
      await kms.request("EnableKey", { KeyId, MemberAccount });
      const listed = await kms.request("ListKeyDetail", { MemberAccounts: [MemberAccount], SearchKeyAlias: KeyId });
      assert.deepEqual(listed.KeyMetadatas.map((m) => [m.KeyId, m.AccountUin]), [[KeyId, MemberUin]]);
      assert.equal(await code(kms.request("DescribeKey", { KeyId })), "ResourceUnavailable.CmkNotFound");
      assert.equal(
        await code(kms.request("DescribeKey", { KeyId, MemberAccount: { MemberUin: stranger } })),
        "UnsupportedOperation.NotRoleOperation",
      );
    });
  }
}
