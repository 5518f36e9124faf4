"""The post-quantum ciphertext blob by its description (crates/crypto/src/pq.rs): whoever has the public key can make
one."""

import hashlib
import hmac
import os
import uuid

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LABEL = b"jadeseal/kem01"


def seal(public, key_id, text, version=1):
    """Encrypts to an ML-KEM-1024 public key, in the name of a KMS key."""
    shared, sealed = public.encapsulate()
    assert (len(shared), len(sealed)) == (32, 1568)
    salt = os.urandom(32)
    fixed = LABEL + b"\0" + salt + (512).to_bytes(4, "big")
    message_key, commitment = (
        hmac.new(shared, n.to_bytes(4, "big") + fixed, hashlib.sha256).digest() for n in (1, 2)
    )
    head = b"JS\x01\x03" + uuid.UUID(key_id).bytes + version.to_bytes(4, "big") + sealed + salt + commitment
    return head + AESGCM(message_key).encrypt(bytes(12), text, head)
