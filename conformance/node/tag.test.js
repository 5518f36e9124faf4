// The tag service by the official Node SDK: it is told apart from the KMS by its version alone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { alias, client, code } from "./client.js";

const region = process.env.JADESEAL_REGION;

for (const [sign, method] of [["TC3-HMAC-SHA256", "POST"], ["TC3-HMAC-SHA256", "GET"], ["HmacSHA256", "GET"]]) {
  test(`tags change after creation (${sign}, ${method})`, async () => {
    const kms = client(sign, method);
    const tag = client(sign, method, { version: "2018-08-13" });
    const { KeyId } = await kms.request("CreateKey", { Alias: alias() });
    const { ResourceId } = (await kms.request("DescribeKey", { KeyId })).KeyMetadata;
    const resource = `qcs::kms:${region}:uin/:key/${ResourceId}`;
    const mark = alias();
    const tags = [{ TagKey: mark, TagValue: "a b+c&d" }];
    const done = await tag.request("TagResources", { ResourceList: [resource], Tags: tags });
    assert.deepEqual(done.FailedResources, []);
    const filters = [{ TagKey: mark, TagValue: ["a b+c&d"] }];
    const found = await tag.request("GetResources", { TagFilters: filters });
    assert.equal(found.ResourceTagMappingList.length, 1);
    assert.equal(found.ResourceTagMappingList[0].Tags[0].TagValue, "a b+c&d");
    const listed = await kms.request("ListKeyDetail", { TagFilters: filters });
    assert.equal(listed.KeyMetadatas[0].KeyId, KeyId);
    await tag.request("ModifyResourceTags", { Resource: resource, DeleteTags: [{ TagKey: mark }] });
    const described = await tag.request("DescribeResourceTagsByResourceIds", {
      ServiceType: "kms", ResourcePrefix: "key", ResourceIds: [ResourceId], ResourceRegion: region, Offset: 0, Limit: 20,
    });
    assert.equal(described.TotalCount, 0);
    assert.equal(await code(tag.request("ListKeys", {})), "InvalidAction");
  });
}
