#!/usr/bin/env python3
"""Writes sm2_gmssl.json: SM2 keys, signatures and ciphertexts made by gmssl 3.2.2 (PyPI), an implementation
in pure Python that shares no code with the server.

    pip install gmssl==3.2.2
    python3 make_sm2_gmssl.py > sm2_gmssl.json

Keys, messages and nonces are random, so each run writes another file.
"""

import json
import secrets
import sys

from gmssl import sm2

N = int(sm2.default_ecc_table["n"], 16)
COUNT = 48


def scalar():
    return 1 + secrets.randbelow(N - 2)


def key():
    """A private key and its public key; gmssl misreads public keys that begin with 0 or 4."""
    while True:
        d = f"{scalar():064x}"
        public = sm2.CryptSM2(d, "")._kg(int(d, 16), sm2.default_ecc_table["g"])
        if public[0] not in "04":
            return d, public


def vector(length):
    d, public = key()
    crypt = sm2.CryptSM2(d, public, mode=1)
    message = secrets.token_bytes(length)
    e = bytes.fromhex(crypt._sm3_z(message))
    signature = crypt.sign(e, f"{scalar():064x}")
    ciphertext = crypt.encrypt(message)
    assert crypt.verify(signature, e) and crypt.decrypt(ciphertext) == message
    return {
        "private": d,
        "public": public,
        "message": message.hex(),
        "e": e.hex(),
        "signature": signature,
        "c1c3c2": ciphertext.hex(),
    }


def main():
    # From 3 bytes, since gmssl gives up on a key stream of zeros, to what fits into 256 bytes of ASN.1.
    vectors = [vector(3 + 3 * i) for i in range(COUNT)]
    json.dump({"source": "gmssl 3.2.2 (PyPI), make_sm2_gmssl.py", "vectors": vectors}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
