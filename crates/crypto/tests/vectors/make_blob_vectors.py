#!/usr/bin/env python3
"""Writes blob_v1.json: known answers for the ciphertext blobs and the wrapped secret.

A second implementation of docs/formats.md that shares no code with the server. AES-GCM, HMAC-SHA-256
and the SP 800-108 derivation come from the Python package `cryptography`; SM3, HMAC-SM3, SM4 and GCM
over it are written out below from GB/T 32905, GB/T 32907 and SP 800-38D and checked against the
standards' own examples and RFC 8998 before anything is written. ML-KEM-1024 comes from the package
`kyber-py`, in pure Python.

    python3 make_blob_vectors.py > blob_v1.json
"""

import hashlib
import json
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from kyber_py.ml_kem import ML_KEM_1024

M32 = 0xFFFFFFFF


def rol(x, n):
    n %= 32
    return ((x << n) | (x >> (32 - n))) & M32


def sm3(data):
    v = [0x7380166F, 0x4914B2B9, 0x172442D7, 0xDA8A0600, 0xA96F30BC, 0x163138AA, 0xE38DEE4D, 0xB0FB0E4E]
    msg = data + b"\x80" + bytes(-(len(data) + 9) % 64) + struct.pack(">Q", 8 * len(data))
    for at in range(0, len(msg), 64):
        w = list(struct.unpack(">16I", msg[at : at + 64]))
        for j in range(16, 68):
            x = w[j - 16] ^ w[j - 9] ^ rol(w[j - 3], 15)
            w.append(x ^ rol(x, 15) ^ rol(x, 23) ^ rol(w[j - 13], 7) ^ w[j - 6])
        a, b, c, d, e, f, g, h = v
        for j in range(64):
            t = 0x79CC4519 if j < 16 else 0x7A879D8A
            ss1 = rol((rol(a, 12) + e + rol(t, j)) & M32, 7)
            ss2 = ss1 ^ rol(a, 12)
            ff = a ^ b ^ c if j < 16 else (a & b) | (a & c) | (b & c)
            gg = e ^ f ^ g if j < 16 else (e & f) | (~e & M32 & g)
            tt1 = (ff + d + ss2 + (w[j] ^ w[j + 4])) & M32
            tt2 = (gg + h + ss1 + w[j]) & M32
            a, b, c, d = tt1, a, rol(b, 9), c
            e, f, g, h = tt2 ^ rol(tt2, 9) ^ rol(tt2, 17), e, rol(f, 19), g
        v = [p ^ q for p, q in zip(v, (a, b, c, d, e, f, g, h))]
    return struct.pack(">8I", *v)


def hmac_sm3(key, data):
    key = (sm3(key) if len(key) > 64 else key).ljust(64, b"\0")
    inner = sm3(bytes(k ^ 0x36 for k in key) + data)
    return sm3(bytes(k ^ 0x5C for k in key) + inner)


def field_multiply(a, b):
    out = 0
    while b:
        if b & 1:
            out ^= a
        a <<= 1
        if a & 256:
            a ^= 0x1F5
        b >>= 1
    return out


def sm4_affine(x):
    row, out = 0xA7, 0
    for i in range(8):
        out |= (bin(x & (((row << i) | (row >> (8 - i))) & 255)).count("1") & 1) << i
    return out ^ 0xD3


def sm4_s(x):
    x = sm4_affine(x)
    return sm4_affine(next((c for c in range(256) if field_multiply(x, c) == 1), 0))


S = [sm4_s(x) for x in range(256)]


def tau(x):
    return S[x >> 24] << 24 | S[x >> 16 & 255] << 16 | S[x >> 8 & 255] << 8 | S[x & 255]


def sm4_keys(key):
    k = [a ^ b for a, b in zip(struct.unpack(">4I", key), (0xA3B1BAC6, 0x56AA3350, 0x677D9197, 0xB27022DC))]
    for i in range(32):
        ck = int.from_bytes(bytes((4 * i + j) * 7 % 256 for j in range(4)), "big")
        t = tau(k[-3] ^ k[-2] ^ k[-1] ^ ck)
        k.append(k[-4] ^ t ^ rol(t, 13) ^ rol(t, 23))
    return k[4:]


def sm4(keys, block):
    x = list(struct.unpack(">4I", block))
    for rk in keys:
        t = tau(x[-3] ^ x[-2] ^ x[-1] ^ rk)
        x.append(x[-4] ^ t ^ rol(t, 2) ^ rol(t, 10) ^ rol(t, 18) ^ rol(t, 24))
    return struct.pack(">4I", *x[:-5:-1])


def ghash(h, data):
    y = 0
    for at in range(0, len(data), 16):
        x, y, v = y ^ int.from_bytes(data[at : at + 16], "big"), 0, h
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                y ^= v
            v = (v >> 1) ^ (0xE1 << 120 if v & 1 else 0)
    return y


def sm4_gcm(key, nonce, text, aad):
    keys = sm4_keys(key)
    h = int.from_bytes(sm4(keys, bytes(16)), "big")
    stream = b"".join(sm4(keys, nonce + struct.pack(">I", i)) for i in range(2, 2 + (len(text) + 15) // 16))
    out = bytes(a ^ b for a, b in zip(text, stream))
    pad = lambda d: d + bytes(-len(d) % 16)
    s = ghash(h, pad(aad) + pad(out) + struct.pack(">QQ", 8 * len(aad), 8 * len(out)))
    mask = int.from_bytes(sm4(keys, nonce + struct.pack(">I", 1)), "big")
    return out + (s ^ mask).to_bytes(16, "big")


def self_check():
    h = bytes.fromhex
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    key = h("0123456789abcdeffedcba9876543210")
    assert sm4(sm4_keys(key), key).hex() == "681edf34d206965e86b3e94f536e4246"
    text = b"".join(bytes([b] * 8) for b in h("aabbccddeeffeeaa"))
    aad = h("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    assert sm4_gcm(key, h("00001234567800000000abcd"), text, aad).hex() == (
        "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
        "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        "83de3541e4c2b58177e065a9bf7b62ec"
    )


def derive(suite, key, label, salt):
    """Message key and commitment."""
    if suite == 1:
        kdf = KBKDFHMAC(hashes.SHA256(), Mode.CounterMode, 64, 4, 4, CounterLocation.BeforeFixed, label, salt, None)
        out = kdf.derive(key)
        return out[:32], out[32:]
    fixed = label + b"\0" + salt + struct.pack(">I", 384)
    out = b"".join(hmac_sm3(key, struct.pack(">I", i) + fixed) for i in (1, 2))
    return out[:16], out[16:48]


def envelope(suite, key, label, header, salt, outside, text):
    message_key, commitment = derive(suite, key, label, salt)
    public = header + salt + commitment
    gcm = sm4_gcm if suite == 2 else lambda k, n, t, a: AESGCM(k).encrypt(n, t, a)
    return public + gcm(message_key, bytes(12), text, public + outside), message_key, commitment


def lengths(parts):
    return b"".join(struct.pack(">I", len(p)) + p for p in parts)


def encode_context(text):
    pairs = sorted((n.encode(), v.encode()) for n, v in (json.loads(text) if text else {}).items())
    return lengths([part for pair in pairs for part in pair])


def filler(what, size):
    """Bytes without a pattern, the same on each run."""
    return hashlib.shake_128(what.encode()).digest(size)


KEY_ID = "f73b7a61-8ff9-11f0-9c5b-525400b3a4a6"
CONTEXTS = ["", "{}", '{"key1":"value1"}', '{"b":"2","a":"1","键":"值","\U00010000":"","Ａ":"\\u0041"}']
SIZES = [0, 1, 16, 32, 33, 127, 128, 129, 300]


def blobs():
    for suite, name, size in ((1, "AES_256", 32), (2, "SM4", 16)):
        for i, length in enumerate(SIZES):
            material, salt = filler(f"material {name} {i}", size), filler(f"salt {name} {i}", 32)
            if i == 3:  # the worked example of the manual
                material, salt = bytes(range(size)), bytes(range(0x80, 0xA0))
            text = b"0123456789abcdef0123456789abcdef" if i == 3 else filler(f"text {name} {i}", length)
            context = CONTEXTS[2 if i == 3 else i % len(CONTEXTS)]
            version = (1, 2, 0, 1, 0xFFFFFFFF)[i % 5]
            header = b"JS" + bytes([1, suite]) + bytes.fromhex(KEY_ID.replace("-", "")) + struct.pack(">I", version)
            outside = encode_context(context)
            blob, message_key, _ = envelope(suite, material, b"jadeseal/blob1", header, salt, outside, text)
            yield {
                "suite": name,
                "material": material.hex(),
                "key_id": KEY_ID,
                "version": version,
                "salt": salt.hex(),
                "context": context,
                "encoded_context": outside.hex(),
                "plaintext": text.hex(),
                "message_key": message_key.hex(),
                "blob": blob.hex(),
            }


def wraps():
    for suite, name in ((1, "AES_256"), (2, "SM4")):
        for i, place in enumerate(([], ["cmk", "100000000001", "ap-guangzhou", KEY_ID], ["a", "", "bc"])):
            key, salt = filler(f"wrap key {name} {i}", 32), filler(f"wrap salt {name} {i}", 32)
            secret = filler(f"secret {name} {i}", (32, 16, 1217)[i])
            version = (1, 7, 0xFFFFFFFF)[i]
            header = b"JW" + bytes([1, suite]) + struct.pack(">I", version)
            encoded = lengths([p.encode() for p in place])
            wrapped, message_key, _ = envelope(suite, key, b"jadeseal/wrap1", header, salt, encoded, secret)
            yield {
                "suite": name,
                "key": key.hex(),
                "parent_version": version,
                "salt": salt.hex(),
                "place": place,
                "secret": secret.hex(),
                "message_key": message_key.hex(),
                "wrapped": wrapped.hex(),
            }


def pq_blobs():
    for i, length in enumerate((0, 32, 300)):
        d, z, m = (filler(f"ML-KEM {part} {i}", 32) for part in "dzm")
        public, private = ML_KEM_1024._keygen_internal(d, z)
        secret, kem_text = ML_KEM_1024._encaps_internal(public, m)
        salt, text = filler(f"salt ML-KEM {i}", 32), filler(f"text ML-KEM {i}", length)
        version = (1, 2, 0xFFFFFFFF)[i]
        header = b"JS\1\3" + bytes.fromhex(KEY_ID.replace("-", "")) + struct.pack(">I", version) + kem_text
        blob, message_key, _ = envelope(1, secret, b"jadeseal/kem01", header, salt, b"", text)
        yield {
            "decapsulation_key": private.hex(),
            "key_id": KEY_ID,
            "version": version,
            "shared_secret": secret.hex(),
            "salt": salt.hex(),
            "plaintext": text.hex(),
            "message_key": message_key.hex(),
            "blob": blob.hex(),
        }


self_check()
source = "made by make_blob_vectors.py from docs/formats.md; all byte strings in hexadecimal"
lists = {"blobs": list(blobs()), "wraps": list(wraps()), "pq_blobs": list(pq_blobs())}
json.dump({"source": source} | lists, sys.stdout, indent=1, ensure_ascii=True)
print()
