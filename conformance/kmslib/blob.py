"""Ciphertext blobs by their description (docs/formats.md and, for post-quantum keys, crates/crypto/src/pq.rs): whoever
has the key needs no server."""

import hashlib
import hmac
import os
import uuid

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def _derive(key, label, salt):
    """Message key and commitment of the suites with AES-256."""
    fixed = label + b"\0" + salt + (512).to_bytes(4, "big")
    return (hmac.new(key, n.to_bytes(4, "big") + fixed, hashlib.sha256).digest() for n in (1, 2))


def open_aes(material, blob):
    """Plaintext of a blob of suite 1 without an encryption context."""
    assert blob[:4] == b"JS\x01\x01"
    message_key, commitment = _derive(material, b"jadeseal/blob1", blob[24:56])
    assert hmac.compare_digest(commitment, blob[56:88]), "the blob is of another key"
    return AESGCM(message_key).decrypt(bytes(12), blob[88:], blob[:88])


def seal_to(public, key_id, text, version=1):
    """Encrypts to an ML-KEM-1024 public key, in the name of a KMS key."""
    shared, sealed = public.encapsulate()
    assert (len(shared), len(sealed)) == (32, 1568)
    salt = os.urandom(32)
    message_key, commitment = _derive(shared, b"jadeseal/kem01", salt)
    head = b"JS\x01\x03" + uuid.UUID(key_id).bytes + version.to_bytes(4, "big") + sealed + salt + commitment
    return head + AESGCM(message_key).encrypt(bytes(12), text, head)
