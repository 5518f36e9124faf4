"""Reads and checks an audit log by itself: RFC 6962, C2SP signed notes and checkpoints, without a line of the product."""

import base64
import hashlib
import pathlib
import struct

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf(record):
    return sha256(b"\0" + record)


def node(left, right):
    return sha256(b"\1" + left + right)


def root(leaves):
    """MTH of RFC 6962 section 2.1, by the letter."""
    n = len(leaves)
    if n == 0:
        return sha256(b"")
    if n == 1:
        return leaves[0]
    k = 1
    while 2 * k < n:
        k *= 2
    return node(root(leaves[:k]), root(leaves[k:]))


def check_inclusion(index, size, leaf_hash, proof, wanted):
    """RFC 9162 section 2.1.3.2."""
    fn, sn, r = index, size - 1, leaf_hash
    for p in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            r = node(r, p)
        fn >>= 1
        sn >>= 1
    return sn == 0 and r == wanted


def check_consistency(first, second, first_root, second_root, proof):
    """RFC 9162 section 2.1.4.2."""
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof
    proof = list(proof)
    if first & (first - 1) == 0:
        proof.insert(0, first_root)
    if not proof:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = proof[0]
    for c in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = node(sr, c)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == first_root and sr == second_root


def key_id(name, kind, public):
    return sha256(name.encode() + b"\n" + bytes([kind]) + public)[:4]


class Note:
    """A signed note."""

    def __init__(self, raw):
        text, _, lines = raw.decode().rpartition("\n\n")
        self.text = text + "\n"
        self.signatures = []
        for line in lines.splitlines():
            dash, name, blob = line.split(" ")
            assert dash == "\u2014", line
            blob = base64.b64decode(blob)
            self.signatures.append((name, blob[:4], blob[4:]))
        self.origin, size, digest, *_ = self.text.splitlines()
        self.size, self.root = int(size), base64.b64decode(digest)

    def signed_by(self, vkey):
        """True when a key of the form name+id+base64 has signed it."""
        name, _, key = vkey.strip().split("+", 2)
        raw = base64.b64decode(key)
        kind, public = raw[0], raw[1:]
        for signer, ident, signature in self.signatures:
            if (signer, ident) != (name, key_id(name, kind, public)):
                continue
            message = self.text.encode()
            if kind == 4:
                time, signature = struct.unpack(">Q", signature[:8])[0], signature[8:]
                message = f"cosignature/v1\ntime {time}\n".encode() + message
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
                return True
            except InvalidSignature:
                pass
        return False


class WitnessKey:
    """Key of a witness (C2SP tlog-cosignature)."""

    def __init__(self, name):
        self.name = name
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def vkey(self):
        ident = key_id(self.name, 4, self.public).hex()
        key = base64.b64encode(bytes([4]) + self.public).decode()
        return f"{self.name}+{ident}+{key}"

    def cosign(self, text, time):
        signature = self.key.sign(f"cosignature/v1\ntime {time}\n".encode() + text.encode())
        blob = key_id(self.name, 4, self.public) + struct.pack(">Q", time) + signature
        return f"\u2014 {self.name} {base64.b64encode(blob).decode()}\n"


def records(directory):
    """The records of a directory in their order, as bytes."""
    directory = pathlib.Path(directory)
    files = sorted(directory.glob("audit-[0-9]*.log"))
    out = []
    for path in files:
        head, *lines = path.read_bytes().rstrip(b"\0").split(b"\n")
        assert head == f"#jadeseal-audit v1 first={len(out)}".encode(), path
        assert lines.pop() == b"", path
        out += [line.split(b" ", 1)[1] for line in lines]
    return out


def history(directory):
    """The notes of the file `checkpoints`."""
    raw = (pathlib.Path(directory) / "checkpoints").read_bytes()
    notes = []
    while raw:
        head, _, rest = raw.partition(b"\n")
        length = int(head.removeprefix(b"#checkpoint "))
        notes.append(Note(rest[:length]))
        raw = rest[length:]
    return notes
