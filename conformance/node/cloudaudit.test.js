// Events of the audit log by the official Node SDK, in each of its ways. The SDK's client of cloudaudit is the common one
// with this version and an action for each method.

import assert from "node:assert/strict";
import { test } from "node:test";
import { alias, client, code } from "./client.js";

const CLOUDAUDIT = "2019-03-19";
const HOUR = 3600;
const now = () => Math.floor(Date.now() / 1000);
const span = (more) => ({ StartTime: now() - HOUR, EndTime: now() + 60, MaxResults: 50, ...more });
const where = (conditions, more) =>
  span({ LookupAttributes: Object.entries(conditions).map(([AttributeKey, AttributeValue]) => ({ AttributeKey, AttributeValue })), ...more });
const names = ({ Events }) => Events.map((event) => event.EventName);

for (const sign of ["TC3-HMAC-SHA256", "HmacSHA256", "HmacSHA1"]) {
  for (const method of ["POST", "GET"]) {
    const kms = client(sign, method);
    const audit = client(sign, method, { version: CLOUDAUDIT });

    // A key with a story: created, used this often, disabled.
    const used = async (times) => {
      const { KeyId } = await kms.request("CreateKey", { Alias: alias() });
      for (let n = 0; n < times; n++) await kms.request("Encrypt", { KeyId, Plaintext: "eA==" });
      const { RequestId } = await kms.request("DisableKey", { KeyId });
      return { KeyId, RequestId };
    };

    for (const action of ["LookUpEvents", "DescribeEvents"]) {
      test(`${action} tells a key's story (${sign}, ${method})`, async () => {
        const { KeyId, RequestId } = await used(1);
        const answer = await audit.request(action, where({ ResourceName: KeyId }));
        assert.deepEqual(names(answer), ["DisableKey", "Encrypt", "CreateKey"]);
        assert.equal(answer.ListOver, true);
        const [event] = answer.Events;
        assert.deepEqual(event.Resources, { ResourceType: "kms", ResourceName: KeyId });
        assert.deepEqual([event.RequestID, event.ErrorCode, event.EventSource], [RequestId, 0, "kms.tencentcloudapi.com"]);
        assert.ok(Math.abs(Number(event.EventTime) - now()) < 120, event.EventTime);
        assert.equal(event.SecretId, process.env.TENCENTCLOUD_SECRET_ID);
        const detail = JSON.parse(event.CloudAuditEvent);
        assert.deepEqual([detail.eventID, detail.userIdentity.type, detail.actionType], [event.EventId, "Root", "Write"]);
        const one = await audit.request(action, where({ RequestId }));
        assert.deepEqual(one.Events.map((found) => found.EventId), [event.EventId]);
        const both = await audit.request(action, where({ ResourceName: KeyId, EventName: "Encrypt" }));
        assert.deepEqual(names(both), ["Encrypt"]);
        assert.deepEqual((await audit.request(action, where({ ResourceName: "nobody" }))).Events, []);
      });

      test(`${action} by pages (${sign}, ${method})`, async () => {
        const { KeyId } = await used(9);
        const seen = [];
        let pages = 0;
        for (let more = {}; ; ) {
          const page = await audit.request(action, where({ ResourceName: KeyId }, { MaxResults: 3, ...more }));
          assert.ok(page.Events.length <= 3 && ++pages < 20);
          seen.push(...page.Events);
          // Newer events come between two pages and are in none of them.
          await kms.request("DescribeKey", { KeyId });
          if (page.ListOver) break;
          assert.ok(page.NextToken);
          more = { NextToken: page.NextToken };
        }
        assert.deepEqual(seen.map((event) => event.EventName), ["DisableKey", ...Array(9).fill("Encrypt"), "CreateKey"]);
        assert.equal(new Set(seen.map((event) => event.EventId)).size, 11);
        assert.ok(pages >= 4);
      });

      test(`${action} refuses (${sign}, ${method})`, async () => {
        const refused = (fields) => code(audit.request(action, span(fields)));
        assert.equal(await refused({ StartTime: now(), EndTime: now() - 1 }), "InvalidParameterValue.Time");
        assert.equal(await refused({ StartTime: now() - 31 * 24 * HOUR }), "LimitExceeded.OverTime");
        assert.equal(await refused({ MaxResults: 51 }), "InvalidParameterValue.MaxResult");
        assert.equal(await code(audit.request(action, where({ Colour: "red" }))), "InvalidParameterValue.attributeKey");
      });
    }

    test(`keys of conditions (${sign}, ${method})`, async () => {
      for (const [language, label] of [["en", /^[\x20-\x7e]+$/], ["zh", /\p{Script=Han}/u]]) {
        const { AttributeKeyDetails } = await audit.request("GetAttributeKey", { WebsiteType: language });
        const values = AttributeKeyDetails.map((detail) => detail.Value);
        for (const known of ["RequestId", "EventName", "ResourceName", "AccessKeyId"]) assert.ok(values.includes(known), known);
        assert.ok(AttributeKeyDetails.some((detail) => label.test(detail.Label)), JSON.stringify(AttributeKeyDetails));
        for (const value of values) assert.ok((await audit.request("LookUpEvents", where({ [value]: "" }))).Events.length);
      }
    });
  }
}
