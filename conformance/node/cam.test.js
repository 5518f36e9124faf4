// Users, roles and sessions by the official Node SDK, in each of its ways. It has one client for all products and tells
// them apart by version alone.

import assert from "node:assert/strict";
import { test } from "node:test";
import { alias, client, code } from "./client.js";

const CAM = "2019-01-16";
const STS = "2018-08-13";
const REFUSED = "UnauthorizedOperation";
const document = (...statement) => JSON.stringify({ version: "2.0", statement });
const allow = (action, resource = "*") => ({ effect: "allow", action, resource });
const temporary = ({ Credentials: c }) => ({ secretId: c.TmpSecretId, secretKey: c.TmpSecretKey, token: c.Token });

for (const sign of ["TC3-HMAC-SHA256", "HmacSHA256", "HmacSHA1"]) {
  for (const method of ["POST", "GET"]) {
    const of = (credential, version) => client(sign, method, { credential, version });

    test(`a user with a policy, and a role (${sign}, ${method})`, async () => {
      const [kms, cam, sts] = [undefined, CAM, STS].map((version) => of({}, version));
      const { KeyId } = await kms.request("CreateKey", { Alias: alias() });
      const name = alias();
      const made = await cam.request("AddUser", { Name: name, UseApi: 1, Remark: "备注 a+b&c" });
      const user = { secretId: made.SecretId, secretKey: made.SecretKey };
      assert.equal((await cam.request("GetUser", { Name: name })).Remark, "备注 a+b&c");
      const byUser = of(user);
      const encrypt = { KeyId, Plaintext: "eA==" };
      assert.equal(await code(byUser.request("Encrypt", encrypt)), REFUSED);

      const text = document(allow("kms:Encrypt"), allow("sts:AssumeRole"));
      const { PolicyId } = await cam.request("CreatePolicy", { PolicyName: name, PolicyDocument: text });
      assert.equal((await cam.request("GetPolicy", { PolicyId })).PolicyDocument, text);
      await cam.request("AttachUserPolicy", { PolicyId, AttachUin: made.Uin });
      const { CiphertextBlob } = await byUser.request("Encrypt", encrypt);
      assert.equal(await code(byUser.request("Decrypt", { CiphertextBlob })), REFUSED);

      const { OwnerUin } = await cam.request("GetUserAppId", {});
      const trust = document({
        effect: "allow", action: "sts:AssumeRole", principal: { qcs: [`qcs::cam::uin/${OwnerUin}:uin/${made.Uin}`] },
      });
      // Numbers of roles are texts: they are above 2^53.
      const { RoleId } = await cam.request("CreateRole", { RoleName: name, PolicyDocument: trust });
      await cam.request("AttachRolePolicy", { PolicyName: "JadesealKMSDecryptOnlyAccess", AttachRoleName: name });
      const role = { RoleArn: `qcs::cam::uin/${OwnerUin}:role/${RoleId}`, RoleSessionName: "node" };
      assert.equal(await code(sts.request("AssumeRole", role)), REFUSED);
      const session = temporary(await of(user, STS).request("AssumeRole", role));
      assert.equal((await of(session).request("Decrypt", { CiphertextBlob })).Plaintext, "eA==");
      assert.equal(await code(of(session).request("Encrypt", encrypt)), REFUSED);
      const me = await of(session, STS).request("GetCallerIdentity", {});
      assert.deepEqual([me.AccountId, me.UserId, me.Type], [OwnerUin, `${RoleId}:node`, "CAMRole"]);

      await cam.request("DeleteRole", { RoleName: name });
      assert.equal(await code(of(session).request("Decrypt", { CiphertextBlob })), "AuthFailure.TokenFailure");
      await cam.request("DeleteUser", { Name: name, Force: 1 });
      assert.equal(await code(byUser.request("Encrypt", encrypt)), "AuthFailure.SecretIdNotFound");
    });

    test(`a guest with a policy (${sign}, ${method})`, async () => {
      const policy = document(allow("kms:ListKeys"));
      const got = await of({}, STS).request("GetFederationToken", { Name: "guest", Policy: encodeURIComponent(policy) });
      const guest = of(temporary(got));
      assert.ok(Number.isInteger((await guest.request("ListKeys", {})).TotalCount));
      assert.equal(await code(guest.request("GetServiceStatus", {})), REFUSED);
    });

    test(`what is wrong with a policy (${sign}, ${method})`, async () => {
      const cam = of({}, CAM);
      const bad = { PolicyName: alias(), PolicyDocument: document(allow(["kms:Encrypt", "kms:Encypt"])) };
      await assert.rejects(cam.request("CreatePolicy", bad), (error) => {
        assert.equal(error.code, "InvalidParameter.ActionNotExist");
        assert.match(error.message, /statement\[0\]\.action\[1\]/);
        return true;
      });
    });
  }
}
