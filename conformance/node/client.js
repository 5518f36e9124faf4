// The official Node SDK (CommonClient) for a running Jadeseal.
//
// It signs TC3 with the host without its port and with the first label of the endpoint as the service; it signs
// version 1 with the port. Both must pass. Needs JADESEAL_ENDPOINT, JADESEAL_REGION, TENCENTCLOUD_SECRET_ID and
// TENCENTCLOUD_SECRET_KEY in the environment; conformance/test_node.py sets them.

import assert from "node:assert/strict";
import sdk from "tencentcloud-sdk-nodejs-common";

const need = (name) => {
  const value = process.env[name];
  assert.ok(value, `${name} is not set`);
  return value;
};

const endpoint = new URL(need("JADESEAL_ENDPOINT")).host;
const region = need("JADESEAL_REGION");
const credential = { secretId: need("TENCENTCLOUD_SECRET_ID"), secretKey: need("TENCENTCLOUD_SECRET_KEY") };

export function client(signMethod, reqMethod, more = {}) {
  return new sdk.CommonClient(endpoint, more.version ?? "2019-01-18", {
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
export async function code(promise) {
  try {
    await promise;
  } catch (error) {
    assert.match(error.requestId ?? "", /^[0-9a-f-]{36}$/, `no request id: ${error}`);
    return error.code;
  }
  return assert.fail("the call should have failed");
}

let serial = 0;
export const alias = () => `node-${process.pid}-${++serial}`;
