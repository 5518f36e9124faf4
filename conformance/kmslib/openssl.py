"""The `openssl` command as a client: the recipes that users of SM2 keys follow."""

import pathlib
import subprocess
import tempfile

from . import sm2


def run(*args, **files):
    """Runs openssl. `@name` in an argument is the path of a file with the bytes given for that name. Returns the
    exit status and standard output."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-openssl-") as folder:
        for name, data in files.items():
            (pathlib.Path(folder) / name).write_bytes(data)
        command = ["openssl", *(f"{folder}/{a[1:]}" if a.startswith("@") else a for a in args)]
        done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr


def ok(*args, **files):
    """As `run`, but openssl must succeed; returns standard output."""
    status, out, err = run(*args, **files)
    assert status == 0, err.decode(errors="replace")
    return out


def sm2_pair():
    """A new SM2 key pair."""
    made = ok("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2", "-outform", "DER")
    return sm2.Pair(int.from_bytes(made[made.index(b"\x02\x01\x01\x04\x20") + 5 :][:32], "big"))


def sm2_encrypt(public_pem, message):
    """SM2 ciphertext in ASN.1."""
    files = {"key": public_pem.encode(), "in": message}
    return ok("pkeyutl", "-encrypt", "-pubin", "-inkey", "@key", "-in", "@in", **files)


def sm2_decrypt(private_pem, ciphertext):
    """Message of an SM2 ciphertext in ASN.1."""
    return ok("pkeyutl", "-decrypt", "-inkey", "@key", "-in", "@in", key=private_pem.encode(), **{"in": ciphertext})


SM2_ID = ("-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678")


def sm2_sign(private_pem, message):
    """SM2 signature in DER, under the usual user id."""
    return ok("pkeyutl", "-sign", "-inkey", "@key", "-in", "@in", *SM2_ID, key=private_pem.encode(), **{"in": message})


def sm2_verify(public_pem, message, signature):
    """True for a right SM2 signature in DER, under the usual user id."""
    status, out, _ = run(
        "pkeyutl", "-verify", "-pubin", "-inkey", "@key", "-in", "@in", "-sigfile", "@sig", *SM2_ID,
        key=public_pem.encode(), sig=signature, **{"in": message},
    )
    return status == 0 and b"Verified Successfully" in out
