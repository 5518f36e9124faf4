"""Nothing secret lies about: memory at idle, log, audit, metrics; no core, no ptrace."""

import array
import itertools
import os
import pathlib
import re
import stat
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kmslib import blob as blobs
from kmslib import sm2
from kmslib.asymmetric import DECRYPT_KYBER, DECRYPT_RSA, DECRYPT_SM2, SIGN_DILITHIUM, SIGN_P256, SIGN_SM2, USAGES, load
from kmslib.byok import WRAPPINGS, import_material, rsa_padding
from kmslib.cam import Account
from kmslib.server import GM, MAIN, Server
from kmslib.wire import b64, unb64

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
    """Returns the secrets: CMK material, plaintexts, blobs, data keys, and texts that were only ever decrypted."""
    known = {"material": [], "plaintext": [], "blob": [], "decrypted": []}
    use_asymmetric(server, known)
    for region, length in ((MAIN, 32), (GM, 16)):
        client = server.client(region)
        for n in range(3):
            material = os.urandom(length)
            key = client.call("CreateKey", Alias=f"secret-{n}", Type=2)["KeyId"]
            for algorithm in ("RSAES_OAEP_SHA_256", "RSAES_PKCS1_V1_5"):
                import_material(client, key, material, algorithm)
            known["material"].append(material)
            for _ in range(20):
                text = marker()
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
    decrypt_at_once(server, known)
    time.sleep(3)
    return known


def marker():
    return b"jadeseal marker " + os.urandom(12).hex().encode()


def use_asymmetric(server, known):
    """Decrypts and signs with keys of all usages, and has some of it refused."""
    client = server.client(MAIN)
    keys = {u: client.call("CreateKey", Alias=f"secret-{u.lower()}", KeyUsage=u)["KeyId"] for u in USAGES}
    spki = {u: unb64(client.call("GetPublicKey", KeyId=k)["PublicKey"]) for u, k in keys.items()}
    pair = sm2.Pair()

    def decrypt(action, text, sealed, **fields):
        got = client.call(action, **fields)
        assert unb64(got.get("Plaintext", got.get("PlainText"))) == text
        known["plaintext"].append(text)
        known["decrypted"].append(text)
        known["blob"].append(sealed.encode())

    for _ in range(10):
        for algorithm in WRAPPINGS:
            text = marker()
            sealed = b64(load(spki[DECRYPT_RSA]).encrypt(text, rsa_padding(algorithm)))
            fields = {"KeyId": keys[DECRYPT_RSA], "Algorithm": algorithm}
            decrypt("AsymmetricRsaDecrypt", text, sealed, **fields, Ciphertext=sealed)
            client.ask("AsymmetricRsaDecrypt", fields | {"Ciphertext": sealed[4:]})
        text = marker()
        sealed = b64(sm2.to_asn1(sm2.Public.from_spki(spki[DECRYPT_SM2]).encrypt(text)))
        decrypt("AsymmetricSm2Decrypt", text, sealed, KeyId=keys[DECRYPT_SM2], Ciphertext=sealed)
        client.ask("AsymmetricSm2Decrypt", {"KeyId": keys[DECRYPT_SM2], "Ciphertext": sealed[:-4]})
        # The server never saw this text but in its own answer.
        text = marker()
        sealed = b64(blobs.seal_to(load(spki[DECRYPT_KYBER]), keys[DECRYPT_KYBER], text))
        decrypt("PostQuantumCryptoDecrypt", text, sealed, CiphertextBlob=sealed)
        to_me = client.call("PostQuantumCryptoDecrypt", CiphertextBlob=sealed, EncryptionPublicKey=pair.public.pem)
        assert pair.decrypt(unb64(to_me["PlainText"])) == text
        # What is encrypted or signed may be as secret.
        text = marker()
        client.call("PostQuantumCryptoEncrypt", KeyId=keys[DECRYPT_KYBER], PlainText=b64(text))
        client.ask("PostQuantumCryptoEncrypt", {"KeyId": keys[DECRYPT_KYBER], "PlainText": b64(text) + "*"})
        for usage, algorithm in ((SIGN_SM2, "SM2DSA"), (SIGN_P256, "ECC_P256_R1")):
            fields = {"KeyId": keys[usage], "Algorithm": algorithm, "Message": b64(text)}
            signature = client.call("SignByAsymmetricKey", **fields)["Signature"]
            client.call("VerifyByAsymmetricKey", **fields, SignatureValue=signature)
            client.ask("SignByAsymmetricKey", fields | {"MessageType": "DIGEST"})
            client.ask("VerifyByAsymmetricKey", fields | {"SignatureValue": signature + "*"})
        client.call("PostQuantumCryptoSign", KeyId=keys[SIGN_DILITHIUM], Message=b64(text))
        known["plaintext"].append(text)
    client.close()


def decrypt_at_once(server, known):
    """Decrypts on many connections at once, and nothing behind it: later calls would cover what these leave."""
    client = server.client(MAIN)
    key = client.call("CreateKey", Alias="secret-at-once", KeyUsage=DECRYPT_KYBER)["KeyId"]
    public = load(unb64(client.call("GetPublicKey", KeyId=key)["PublicKey"]))
    client.close()

    def many(texts):
        client = server.client(MAIN)
        for text in texts:
            got = client.call("PostQuantumCryptoDecrypt", CiphertextBlob=b64(blobs.seal_to(public, key, text)))
            assert unb64(got["PlainText"]) == text
        client.close()

    texts = [marker() + os.urandom(40) for _ in range(64)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many, (texts[n::8] for n in range(8))))
    known["decrypted"] += texts


def settle(server, timeout=120):
    """Waits until no RSA key is in the making: the thread that makes one holds it as it will be stored."""
    end, quiet = time.monotonic() + timeout, 0
    while quiet < 10:
        assert time.monotonic() < end, "the pool of RSA keys is never full"
        quiet = 0 if "rsa-pool" in threads(server.pid) else quiet + 1
        time.sleep(0.1)


def threads(pid):
    names = set()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            names.add((task / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    assert names
    return names


def memory(pid):
    """The writable memory of a process, one run of used pages after the other. Most of what an allocator has reserved
    was never touched, and reading it would take longer than all the rest."""
    page = os.sysconf("SC_PAGESIZE")
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem, \
            open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in maps:
            bounds, mode = line.split()[:2]
            if not mode.startswith("rw") or "[vvar" in line or "[vsyscall" in line:
                continue
            start, end = (int(x, 16) // page for x in bounds.split("-"))
            pagemap.seek(start * 8)
            entries = array.array("Q", pagemap.read((end - start) * 8))
            assert len(entries) == end - start
            # Bit 63: in memory, bit 62: swapped out.
            for used, run in itertools.groupby(range(end - start), lambda n: entries[n] >> 62 != 0):
                if used:
                    run = list(run)
                    mem.seek((start + run[0]) * page)
                    yield line.strip(), read_all(mem, len(run) * page)


def read_all(file, size):
    data = b""
    while len(data) < size:
        got = file.read(min(size - len(data), 1 << 24))
        assert got, "memory ends early"
        data += got
    return data


def left(secret):
    """What stays of a secret in a block that was freed and not wiped: the allocator chains its free blocks through
    their first bytes."""
    return secret[len(secret) // 2 :]


@pytest.mark.skipif(os.geteuid() != 0, reason="reading a non-dumpable process needs root")
def test_no_cmk_material_in_memory_at_idle(used):
    server, known = used
    scanned, found = 0, []
    for where, region in memory(server.pid):
        scanned += len(region)
        for n, material in enumerate(known["material"]):
            for form in (material, b64(material).encode(), material.hex().encode()):
                for hit in re.finditer(re.escape(left(form)), region):
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
    assert texts["audit"].count(b"AsymmetricRsaDecrypt") >= 60 and len(known["plaintext"]) >= 150
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


# A private key in PKCS#8 up to its secret: RSA, and EC on P-256 and P-384.
PKCS8 = re.compile(
    rb"\x02\x01\x00\x30(?:\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82"
    rb"|[\x10\x13]\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06[\x05\x08][^\x04]{5,8}\x04.\x30.\x02\x01\x01\x04[\x20\x30])",
    re.DOTALL,
)


def factors(modulus, region):
    """Prime factors of an RSA-2048 modulus in memory: as numbers of the library, little-endian at addresses that are
    multiples of 8, and as integers in DER."""
    found = set()
    for at in range(0, len(region) - 127, 8):
        # Primes of such keys are odd and have their two highest bits set.
        if region[at + 127] >= 0xC0 and region[at] & 1:
            if modulus % int.from_bytes(region[at : at + 128], "little") == 0:
                found.add(("little", at, int.from_bytes(region[at : at + 128], "little")))
    for hit in re.finditer(rb"\x02\x81\x81\x00", region):
        prime = int.from_bytes(region[hit.end() : hit.end() + 128], "big")
        if prime > 1 and modulus % prime == 0:
            found.add(("DER", hit.start(), prime))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="reading a non-dumpable process needs root")
def test_private_keys_in_memory():
    """A key that has been used is open in the cache and nowhere in the form in which it is stored; after a restart it
    is not open before it is used. In no file it is ever."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-secrets-") as base:
        server = Server(pathlib.Path(base) / "data", regions=(MAIN,)).start()
        try:
            client = server.client(MAIN)
            keys = {u: client.call("CreateKey", Alias=f"k-{u.lower()}", KeyUsage=u)["KeyId"] for u in USAGES}
            spki = {u: unb64(client.call("GetPublicKey", KeyId=k)["PublicKey"]) for u, k in keys.items()}
            modulus = load(spki[DECRYPT_RSA]).public_numbers().n
            client.close()
            settle(server)
            stored, primes = [], set()
            for where, region in memory(server.pid):
                stored += [(where, hit.start()) for hit in PKCS8.finditer(region)]
                primes |= factors(modulus, region)
            # The scan works: of the key that is in use it finds the prime factors.
            assert {form for form, _, _ in primes} == {"little"}, [(f, a) for f, a, _ in primes]
            assert not stored, stored
            secrets = [p.to_bytes(128, order) for _, _, p in primes for order in ("big", "little")]
            assert server.stop() == 0

            server.start()
            settle(server)
            seen = []
            for where, region in memory(server.pid):
                seen += [(where, "PKCS#8", hit.start()) for hit in PKCS8.finditer(region)]
                seen += [(where, "prime") for s in secrets if s in region]
                # The public half is worked out when a key is opened.
                seen += [(where, usage) for usage, data in spki.items() if data[-64:] in region]
            assert not seen, seen
            shown = server.client(MAIN).call("GetPublicKey", KeyId=keys[DECRYPT_RSA])
            assert unb64(shown["PublicKey"]) == spki[DECRYPT_RSA]
            assert server.stop() == 0
            for path in [*server.data_dir.rglob("*"), server.log]:
                if path.is_file():
                    data = path.read_bytes()
                    assert not any(s in data for s in secrets) and not PKCS8.search(data), path
        finally:
            server.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="reading a non-dumpable process needs root")
def test_no_decrypted_text_in_memory_at_idle(used):
    """What a private key decrypted is wiped. Its base64 is not looked for: the HTTP library keeps a copy of the last
    answer of a connection until it needs the memory."""
    server, known = used
    assert len(known["decrypted"]) == 114
    found = []
    for where, region in memory(server.pid):
        found += [(n, where) for n, text in enumerate(known["decrypted"]) if left(text) in region]
    assert not found, (len(found), found[:5])


@pytest.mark.skipif(os.geteuid() != 0, reason="reading a non-dumpable process needs root")
def test_access_keys_are_told_once():
    """Secret halves of access keys, permanent and temporary, are in one answer and afterwards nowhere: not in memory while
    nobody signs with them, and in no file ever."""
    with tempfile.TemporaryDirectory(prefix="jadeseal-secrets-") as base:
        server = Server(pathlib.Path(base) / "data", regions=(MAIN,)).start()
        try:
            account = Account(server.endpoint, server.creds)
            role, owner = account.role(), account.user()
            secrets, used = [], []
            for n in range(20):
                made = account.user(name=f"told-once-{n}")
                second = account.cam.call("CreateAccessKey", TargetUin=made.uin)["AccessKey"]["SecretAccessKey"]
                secrets += [made.creds.secret_key, second, account.assume(role).secret_key]
                session = account.assume(role)
                used += [made.creds.secret_key, session.secret_key, session.token]
                for creds in (made.creds, session):
                    account.as_user(creds).sts.call("GetCallerIdentity")
                # What nobody signs with any more.
                on = {"AccessKeyId": made.creds.secret_id, "TargetUin": made.uin}
                account.cam.call("UpdateAccessKey", Status="Inactive", **on)
            for client in (account.cam, account.sts):
                # The HTTP library keeps a copy of the last answer of a connection.
                for _ in range(20):
                    client.call("GetCallerIdentity" if client is account.sts else "ListUsers")
                client.close()
            assert len(set(secrets)) == 60 and account.as_user(owner).sts.code("GetCallerIdentity") is None
            time.sleep(3)
            found = [(where, s[:4]) for where, region in memory(server.pid) for s in secrets[1:] if left(s).encode() in region
                     and s not in used]
            assert not found, (len(found), found[:5])
            files = [p for p in [*server.data_dir.rglob("*"), server.log] if p.is_file()]
            for path in files:
                data = path.read_bytes()
                assert not [s for s in secrets + used if s.encode() in data], path
            assert b"told-once-7" in b"".join(p.read_bytes() for p in files), "the scan works"
        finally:
            server.kill()
