// Asymmetric and post-quantum keys by the official Node SDK, against node:crypto.

import assert from "node:assert/strict";
import crypto from "node:crypto";
import test from "node:test";
import { alias, client, code } from "./client.js";

const kms = client("TC3-HMAC-SHA256", "POST");
const ways = [
  ["TC3-HMAC-SHA256", "POST"],
  ["TC3-HMAC-SHA256", "GET"],
  ["HmacSHA256", "POST"],
  ["HmacSHA1", "GET"],
];
const base64 = (data) => Buffer.from(data).toString("base64");
const bytes = (text) => Buffer.from(text, "base64");

const DECRYPT_RSA = "ASYMMETRIC_DECRYPT_RSA_2048";
const DECRYPT_SM2 = "ASYMMETRIC_DECRYPT_SM2";
const DECRYPT_KYBER = "ASYMMETRIC_DECRYPT_KYBER_AES";
const SIGN_RSA = "ASYMMETRIC_SIGN_VERIFY_RSA_2048";
const SIGN_SM2 = "ASYMMETRIC_SIGN_VERIFY_SM2";
const SIGN_P256 = "ASYMMETRIC_SIGN_VERIFY_ECC";
const SIGN_P384 = "ASYMMETRIC_SIGN_VERIFY_ECDSA384";
const SIGN_DILITHIUM = "ASYMMETRIC_SIGN_VERIFY_DILITHIUM";

// A fresh key: its id, its PEM and what node:crypto makes of that.
async function create(usage) {
  const { KeyId, KeyUsage } = await kms.request("CreateKey", { Alias: alias(), KeyUsage: usage });
  assert.equal(KeyUsage, usage);
  const { PublicKey, PublicKeyPem } = await kms.request("GetPublicKey", { KeyId });
  const body = PublicKeyPem.match(/^-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n$/);
  assert.equal(body?.[1].replaceAll("\n", ""), PublicKey);
  return { KeyId, PublicKey, PublicKeyPem };
}

function imported({ PublicKey, PublicKeyPem }) {
  const key = crypto.createPublicKey(PublicKeyPem);
  assert.deepEqual(key.export({ type: "spki", format: "der" }), bytes(PublicKey));
  return key;
}

const random = (rounds, longest) =>
  [1, longest, ...Array.from({ length: rounds }, () => crypto.randomInt(1, longest + 1))].map((n) => crypto.randomBytes(n));

const pss = { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
const signing = [
  ["RSA_PSS_SHA_256", SIGN_RSA, "sha256", pss],
  ["RSA_PKCS1_SHA_256", SIGN_RSA, "sha256", { padding: crypto.constants.RSA_PKCS1_PADDING }],
  ["ECC_P256_R1", SIGN_P256, "sha256", { dsaEncoding: "der" }],
  ["ECC_P384_R1", SIGN_P384, "sha384", { dsaEncoding: "der" }],
];

for (const [Algorithm, usage, hash, how] of signing) {
  test(`${Algorithm} verifies in node:crypto`, async () => {
    const made = await create(usage);
    const key = { key: imported(made), ...how };
    for (const message of random(10, 4096)) {
      const digest = crypto.createHash(hash).update(message).digest();
      for (const [MessageType, data] of [["RAW", message], ["DIGEST", digest]]) {
        const request = { KeyId: made.KeyId, Algorithm, MessageType, Message: base64(data) };
        const { Signature } = await kms.request("SignByAsymmetricKey", request);
        assert.ok(crypto.verify(hash, message, key, bytes(Signature)));
        assert.ok(!crypto.verify(hash, Buffer.concat([message, message]), key, bytes(Signature)));
        const verified = await kms.request("VerifyByAsymmetricKey", { ...request, SignatureValue: Signature });
        assert.equal(verified.SignatureValid, true);
        const other = { ...request, MessageType: "RAW", Message: base64("other"), SignatureValue: Signature };
        assert.equal((await kms.request("VerifyByAsymmetricKey", other)).SignatureValid, false);
      }
    }
  });
}

test("raw signatures of the Web Crypto form are verified", async () => {
  for (const [Algorithm, usage, hash] of signing.slice(2)) {
    const made = await create(usage);
    const message = crypto.randomBytes(100);
    const request = { KeyId: made.KeyId, Algorithm, Message: base64(message) };
    const { Signature } = await kms.request("SignByAsymmetricKey", request);
    const raw = rawSignature(bytes(Signature), usage === SIGN_P384 ? 48 : 32);
    assert.ok(crypto.verify(hash, message, { key: imported(made), dsaEncoding: "ieee-p1363" }, raw));
    const verified = await kms.request("VerifyByAsymmetricKey", { ...request, SignatureValue: base64(raw) });
    assert.equal(verified.SignatureValid, true);
  }
});

// R ‖ S of a signature in DER.
function rawSignature(der, size) {
  const members = [];
  for (let at = der[1] < 0x80 ? 2 : 3; at < der.length; at += 2 + der[at + 1]) {
    assert.equal(der[at], 2);
    const integer = der.subarray(at + 2, at + 2 + der[at + 1]);
    const number = integer[0] === 0 ? integer.subarray(1) : integer;
    members.push(Buffer.concat([Buffer.alloc(size - number.length), number]));
  }
  assert.equal(members.length, 2);
  return Buffer.concat(members);
}

test("RSA ciphertext of node:crypto", async () => {
  const made = await create(DECRYPT_RSA);
  const key = imported(made);
  const { RSA_PKCS1_PADDING: pkcs1, RSA_PKCS1_OAEP_PADDING: oaep } = crypto.constants;
  for (const [Algorithm, how, longest] of [
    ["RSAES_PKCS1_V1_5", { padding: pkcs1 }, 245],
    ["RSAES_OAEP_SHA_1", { padding: oaep, oaepHash: "sha1" }, 214],
    ["RSAES_OAEP_SHA_256", { padding: oaep, oaepHash: "sha256" }, 190],
  ]) {
    for (const text of random(10, longest)) {
      const request = { KeyId: made.KeyId, Algorithm, Ciphertext: base64(crypto.publicEncrypt({ key, ...how }, text)) };
      assert.equal((await kms.request("AsymmetricRsaDecrypt", request)).Plaintext, base64(text));
      if (Algorithm !== "RSAES_PKCS1_V1_5") {
        const spoilt = bytes(request.Ciphertext);
        spoilt[99] ^= 1;
        const wrong = kms.request("AsymmetricRsaDecrypt", { ...request, Ciphertext: base64(spoilt) });
        assert.equal(await code(wrong), "FailedOperation.DecryptError");
      }
    }
  }
});

test("SM2 signatures verify in node:crypto", async () => {
  const made = await create(SIGN_SM2);
  const key = imported(made);
  const sm3 = (...parts) => parts.reduce((hash, part) => hash.update(part), crypto.createHash("sm3")).digest();
  // node:crypto cannot be told the user id; which one it takes depends on its OpenSSL. So the digest is made here.
  const curve = Buffer.from(
    "FFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFC" +
      "28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93" +
      "32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7" +
      "BC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0",
    "hex",
  );
  const point = bytes(made.PublicKey).subarray(-64);
  for (const message of random(10, 4096)) {
    const digest = (id) => base64(sm3(sm3(Buffer.from([0, 8 * id.length]), id, curve, point), message));
    const request = { KeyId: made.KeyId, Algorithm: "SM2DSA" };
    const accepted = [];
    for (const id of ["", "1234567812345678"]) {
      const anonymous = { ...request, MessageType: "DIGEST", Message: digest(id) };
      const signature = bytes((await kms.request("SignByAsymmetricKey", anonymous)).Signature);
      if (crypto.verify("sm3", message, key, signature)) accepted.push(id);
      assert.ok(!crypto.verify("sm3", Buffer.concat([message, message]), key, signature));
    }
    assert.equal(accepted.length, 1);
    // RAW is the digest with the usual id.
    const { Signature } = await kms.request("SignByAsymmetricKey", { ...request, Message: base64(message) });
    for (const [id, valid] of [["1234567812345678", true], ["", false]]) {
      const form = { ...request, MessageType: "DIGEST", Message: digest(id), SignatureValue: Signature };
      assert.equal((await kms.request("VerifyByAsymmetricKey", form)).SignatureValid, valid);
    }
  }
});

test("results for keys of the caller", async () => {
  const { KeyId } = await kms.request("CreateKey", { Alias: alias() });
  const { publicKey, privateKey } = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
  const EncryptionPublicKey = publicKey.export({ type: "spki", format: "pem" });
  const { RSA_PKCS1_OAEP_PADDING: padding } = crypto.constants;
  for (const [EncryptionAlgorithm, oaepHash] of [["RSAES_OAEP_SHA_1", "sha1"], ["RSAES_OAEP_SHA_256", "sha256"]]) {
    const to = { EncryptionPublicKey, EncryptionAlgorithm };
    const made = await kms.request("GenerateDataKey", { KeyId, KeySpec: "AES_256", ...to });
    const mine = crypto.privateDecrypt({ key: privateKey, padding, oaepHash }, bytes(made.Plaintext));
    const opened = await kms.request("Decrypt", { CiphertextBlob: made.CiphertextBlob });
    assert.equal(opened.Plaintext, base64(mine));
  }
  // Without an algorithm it is SM2, which an RSA key is not.
  assert.equal(
    await code(kms.request("GenerateDataKey", { KeyId, KeySpec: "AES_256", EncryptionPublicKey })),
    "InvalidParameter",
  );
});

test("post-quantum keys", async () => {
  const [kyber, dilithium] = [await create(DECRYPT_KYBER), await create(SIGN_DILITHIUM)];
  for (const [signMethod, reqMethod] of ways) {
    const way = client(signMethod, reqMethod);
    for (const text of random(2, 4096)) {
      const sealed = await way.request("PostQuantumCryptoEncrypt", { KeyId: kyber.KeyId, PlainText: base64(text) });
      const opened = await way.request("PostQuantumCryptoDecrypt", { CiphertextBlob: sealed.CiphertextBlob });
      assert.deepEqual([opened.PlainText, opened.KeyId], [base64(text), kyber.KeyId]);
      const request = { KeyId: dilithium.KeyId, Message: base64(text) };
      const { Signature } = await way.request("PostQuantumCryptoSign", request);
      const verify = (more) => way.request("PostQuantumCryptoVerify", { ...request, SignatureValue: Signature, ...more });
      assert.equal((await verify({})).SignatureValid, true);
      assert.equal((await verify({ Message: base64("other") })).SignatureValid, false);
    }
  }
});

test("base64 survives every way of sending it", async () => {
  const made = await create(SIGN_P256);
  // ++++//// in base64.
  const message = Buffer.from("fbefbeffffff", "hex");
  for (const [signMethod, reqMethod] of ways) {
    const way = client(signMethod, reqMethod);
    const request = { KeyId: made.KeyId, Algorithm: "ECC_P256_R1", Message: base64(message) };
    const { Signature } = await way.request("SignByAsymmetricKey", request);
    assert.ok(crypto.verify("sha256", message, imported(made), bytes(Signature)));
    const verified = await way.request("VerifyByAsymmetricKey", { ...request, SignatureValue: Signature });
    assert.equal(verified.SignatureValid, true);
  }
});

test("asymmetric errors", async () => {
  const sm2 = await create(DECRYPT_SM2);
  const cases = [
    ["AsymmetricSm2Decrypt", { KeyId: sm2.KeyId, Ciphertext: base64("x") }, "FailedOperation.DecryptError"],
    ["AsymmetricSm2Decrypt", { KeyId: sm2.KeyId, Ciphertext: base64(Buffer.alloc(257)) }, "InvalidParameter"],
    ["RotateKey", { KeyId: sm2.KeyId }, "UnsupportedOperation.RotateNotSupported"],
    ["Encrypt", { KeyId: sm2.KeyId, Plaintext: base64("x") }, "InvalidParameter"],
  ];
  for (const [action, request, expected] of cases) {
    assert.equal(await code(kms.request(action, request)), expected, action);
  }
});
