"""Nothing secret lies about: memory at idle, log, audit, metrics; no core, no ptrace."""

import os
import pathlib
import re
import stat
import tempfile
import time

import pytest

from kmslib.byok import import_material
from kmslib.server import GM, MAIN, Server
from kmslib.wire import b64

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def used():
    """A server of its own that has done a bit of everything with secrets that we know, and now is idle."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-secrets-") as base:
        server = Server(pathlib.Path(base) / "data", regions=(MAIN, f"{GM}:gm")).start()
        try:
            yield server, use(server)
        finally:
            server.kill()


def use(server):
    """Returns the secrets: CMK material, plaintexts, blobs, data keys."""
    known = {"material": [], "plaintext": [], "blob": []}
    for region, length in ((MAIN, 32), (GM, 16)):
        client = server.client(region)
        for n in range(3):
            material = os.urandom(length)
            key = client.call("CreateKey", Alias=f"secret-{n}", Type=2)["KeyId"]
            for algorithm in ("RSAES_OAEP_SHA_256", "RSAES_PKCS1_V1_5"):
                import_material(client, key, material, algorithm)
            known["material"].append(material)
            for _ in range(20):
                text = b"jadeseal marker " + os.urandom(12).hex().encode()
                blob = client.call("Encrypt", KeyId=key, Plaintext=b64(text), EncryptionContext='{"who":"marker-context"}')
                client.call("Decrypt", CiphertextBlob=blob["CiphertextBlob"], EncryptionContext='{"who":"marker-context"}')
                known["plaintext"].append(text)
                known["blob"].append(blob["CiphertextBlob"].encode())
            made = client.call("GenerateDataKey", KeyId=key, KeySpec="AES_256")
            known["plaintext"].append(made["Plaintext"].encode())
            # Refusals must not tell either.
            client.ask("Encrypt", {"KeyId": key, "Plaintext": b64(text) + "*"})
            client.ask("Decrypt", {"CiphertextBlob": blob["CiphertextBlob"]})
            client.ask("Encrypt", {"KeyId": "x", "Plaintext": b64(text), text.decode(): "1"})
        client.close()
    time.sleep(3)
    return known


def memory(pid):
    """The writable memory of a process, region by region."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            bounds, mode = line.split()[:2]
            if not mode.startswith("rw") or "[vvar" in line or "[vsyscall" in line:
                continue
            start, end = (int(x, 16) for x in bounds.split("-"))
            try:
                mem.seek(start)
                left = end - start
                region = b""
                while left:
                    got = mem.read(min(left, 1 << 24))
                    if not got:
                        break
                    region += got
                    left -= len(got)
                yield line.strip(), region
            except OSError:
                continue  # a guard page or a mapping without memory behind it


@pytest.mark.skipif(os.geteuid() != 0, reason="reading a non-dumpable process needs root")
def test_no_cmk_material_in_memory_at_idle(used):
    server, known = used
    scanned, found = 0, []
    for where, region in memory(server.pid):
        scanned += len(region)
        for n, material in enumerate(known["material"]):
            for form in (material, b64(material).encode(), material.hex().encode()):
                for hit in re.finditer(re.escape(form), region):
                    found.append((n, len(form), where, hit.start()))
    assert scanned > 1 << 20, "the scan saw no memory"
    # The scan works: the SecretId is public, always in memory, and must be seen.
    assert any(server.creds.secret_id.encode() in region for _, region in memory(server.pid))
    assert not found, found
    print(f"memory scan: {scanned >> 20} MiB, {len(known['material'])} keys, nothing found")


def test_nothing_in_log_and_audit(used):
    server, known = used
    texts = {"log": server.log_text(), "audit": server.audit_text()}
    assert texts["audit"].count(b"Encrypt") >= 100
    forbidden = [server.creds.secret_key.encode()]
    for secret in known["material"]:
        forbidden += [secret, b64(secret).encode(), secret.hex().encode()]
    for text in known["plaintext"]:
        forbidden += [text, b64(text).encode().rstrip(b"="), text.hex().encode()]
    forbidden += [blob[:60] for blob in known["blob"]] + [b"marker-context"]
    for where, text in texts.items():
        for secret in forbidden:
            assert secret not in text, (where, secret[:20])


def test_files_are_closed_to_others(used):
    server, _ = used
    for path in [server.data_dir, *server.data_dir.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, (path, oct(mode))


def test_secret_key_is_not_in_the_data_directory(used):
    """Sealed at rest: neither the SecretKey nor any CMK material is in a file in clear."""
    server, known = used
    secrets = [server.creds.secret_key.encode(), *known["material"]]
    for path in server.data_dir.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data for secret in secrets), path


def test_the_process_is_not_dumpable(used):
    server, _ = used
    limits = pathlib.Path(f"/proc/{server.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4] == "0", core
    # A non-dumpable process's files in /proc belong to root, whoever runs it; as root the owner tells nothing.
    if os.geteuid() != 0:
        assert os.stat(f"/proc/{server.pid}/mem").st_uid == 0


def test_secret_key_is_not_on_the_command_line_or_in_the_environment(used):
    server, _ = used
    for name in ("cmdline", "environ"):
        assert server.creds.secret_key.encode() not in pathlib.Path(f"/proc/{server.pid}/{name}").read_bytes()
