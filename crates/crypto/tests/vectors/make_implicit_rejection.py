#!/usr/bin/env python3
"""Writes rsa_implicit_rejection.json: RSAES-PKCS1-v1_5 decryption with implicit rejection.

The answers come from OpenSSL (3.2 or newer), as it is bundled with the Python package `cryptography`,
which is told nothing but key and ciphertext. The ciphertexts are made here: an encoded block of any form
is raised to the public exponent. Of the file as it is committed, the Rust crate `rsa` 0.10.0 gives the
same 212 answers.

    python3 make_implicit_rejection.py > rsa_implicit_rejection.json
"""

import json
import secrets
import sys

from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

KEYS = 4
SIZE = 256


def nonzero(count):
    return bytes(1 + secrets.randbelow(255) for _ in range(count))


def block(message, first=0, kind=2):
    return bytes([first, kind]) + nonzero(SIZE - 3 - len(message)) + b"\0" + message


def message(size):
    """Without zero bytes, so that the separator is where it is meant to be."""
    return nonzero(size)


def blocks():
    """What the block is like, its bytes, and its message when the padding is good."""
    for size in (0, 1, 2, 16, 32, 48, 100, 128, 200, 243, 244, 245):
        text = secrets.token_bytes(size)
        yield f"good padding, {size} bytes", block(text), text
    for size in (0, 16, 245):
        text = bytes(size)
        yield f"good padding, {size} bytes of zero", block(text), text
    for _ in range(9):
        text = secrets.token_bytes(secrets.randbelow(246))
        yield "good padding, any length", block(text), text
    for kind in (0, 1, 3, 130, 255):
        yield f"wrong type {kind}", block(message(32), kind=kind), None
    for first in (1, 2, 64):
        yield f"wrong first byte {first}", block(message(32), first=first), None
    for length in (0, 1, 4, 7):
        yield f"padding of {length} bytes", b"\0\2" + nonzero(length) + b"\0" + message(SIZE - 3 - length), None
    for at in (2, 6, 9):
        changed = bytearray(block(message(32)))
        changed[at] = 0
        yield f"good padding but for a zero at {at}", bytes(changed), None
    for _ in range(3):
        yield "no separator", b"\0\2" + nonzero(SIZE - 2), None
    yield "separator as last byte of type 1", block(b"", kind=1), None
    yield "zeros after the type", b"\0\2" + bytes(SIZE - 2), None
    yield "two", bytes(SIZE - 1) + b"\2", None


def ciphertexts(n, e):
    for what, em, text in blocks():
        yield what, pow(int.from_bytes(em, "big"), e, n), text
    yield "c = 0", 0, None
    yield "c = 1", 1, None
    yield "c = n - 1", n - 1, None
    yield "c = 2", 2, None
    yield "c = n - 2", n - 2, None
    for _ in range(3):
        yield "random", secrets.randbelow(n), None


def key(exponent):
    private = rsa.generate_private_key(exponent, 8 * SIZE)
    public = private.public_key().public_numbers()
    tests = []
    for what, c, text in ciphertexts(public.n, public.e):
        c = c.to_bytes(SIZE, "big")
        answer = private.decrypt(c, padding.PKCS1v15())
        assert answer == private.decrypt(c, padding.PKCS1v15()), "not implicit rejection"
        if text is not None:
            assert answer == text, what
        tests.append({"what": what, "good": text is not None, "ciphertext": c.hex(), "plaintext": answer.hex()})
    for c in (public.n, public.n + 1, 2 ** (8 * SIZE) - 1):
        try:
            private.decrypt(c.to_bytes(SIZE, "big"), padding.PKCS1v15())
            raise SystemExit("a number not below the modulus decrypts")
        except ValueError:
            pass
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return {"pkcs8": der.hex(), "modulus": f"{public.n:x}", "tests": tests}


version = backend.openssl_version_text()
source = f"made by make_implicit_rejection.py with {version}; byte strings in hexadecimal"
keys = [key(65537) for _ in range(KEYS - 1)] + [key(3)]
json.dump({"source": source, "keys": keys}, sys.stdout, indent=1)
print()
