"""The audit log as a Merkle log, from outside: an independent reader, the verifier's answers, witnesses, kill -9."""

import base64
import http.server
import itertools
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

from kmslib import tlog
from kmslib.server import GM, MAIN, Configured, Server, binary
from kmslib.wire import b64


@pytest.fixture
def base():
    with tempfile.TemporaryDirectory(prefix="jadeseal-audit-") as path:
        yield pathlib.Path(path)


def audit(*args, code=0):
    """Runs `jadeseal audit`; returns its standard output and error."""
    done = subprocess.run([str(binary()), "audit", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def use(server, count, key=None):
    """Makes a key and encrypts; returns the key's id and the request ids."""
    client = server.client()
    ids = []
    if key is None:
        key = client.call("CreateKey", Alias=f"a{random.getrandbits(60)}")["KeyId"]
    for n in range(count):
        answer = client.call("Encrypt", KeyId=key, Plaintext=b64(f"{n}".encode()))
        ids.append(answer["RequestId"])
    client.close()
    return key, ids


def test_an_independent_reader_agrees(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    key, ids = use(server, 600)
    time.sleep(1.5)
    use(server, 5, key)
    assert server.stop() == 0
    directory = server.data_dir / "audit"
    records = tlog.records(directory)
    leaves = [tlog.leaf(record) for record in records]
    # Before them, that the account was made.
    assert len(records) == 607
    (vkey,) = (directory / "keys").read_text().splitlines()
    notes = tlog.history(directory) + [tlog.Note((directory / "checkpoint").read_bytes())]
    assert len(notes) >= 3 and notes[-1].size == 607
    for note in notes:
        assert note.origin == vkey.split("+")[0] and note.signed_by(vkey)
        assert note.root == tlog.root(leaves[: note.size])
    assert (directory / "tree-0").read_bytes() == b"".join(leaves)
    blocks = [tlog.root(leaves[n : n + 256]) for n in (0, 256)]
    assert (directory / "tree-1").read_bytes() == b"".join(blocks)
    # A proof is checked by other code than made it.
    at = 2 + 300
    proof, _ = audit("prove", directory, "--request-id", ids[300])
    head, extra, index, *hashes = proof.split("\n\n")[0].splitlines()
    assert (head, index) == ("c2sp.org/tlog-proof@v1", f"index {at}")
    record = base64.b64decode(extra.removeprefix("extra "))
    assert json.loads(record)["request_id"] == ids[300]
    note = tlog.Note(proof.split("\n\n", 1)[1].encode())
    assert note.signed_by(vkey)
    path = [base64.b64decode(line) for line in hashes]
    assert tlog.check_inclusion(at, note.size, tlog.leaf(record), path, note.root)
    assert not tlog.check_inclusion(at + 1, note.size, tlog.leaf(record), path, note.root)
    # Static files.
    audit("tiles", directory, "--to", base / "tiles")
    assert (base / "tiles/tile/0/000").read_bytes() == b"".join(leaves[:256])
    assert (base / "tiles/tile/0/002.p/95").read_bytes() == b"".join(leaves[512:])
    assert (base / "tiles/tile/1/000.p/2").read_bytes() == b"".join(blocks)
    bundle = (base / "tiles/tile/entries/002.p/95").read_bytes()
    for record in records[512:]:
        length = int.from_bytes(bundle[:2], "big")
        assert bundle[2 : 2 + length] == record
        bundle = bundle[2 + length :]
    assert not bundle


def test_uses_of_a_key_are_complete(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    key, ids = use(server, 30)
    use(server, 20)
    directory = server.data_dir / "audit"
    # Beside the running service, then after it.
    time.sleep(1.5)
    live, _ = audit("verify", directory, "-o", "json")
    assert json.loads(live)["end"] == 53
    assert server.stop() == 0
    out, err = audit("uses", directory, "--key-id", key)
    listed = [json.loads(line)["record"] for line in out.splitlines()]
    assert [record["action"] for record in listed] == ["CreateKey"] + 30 * ["Encrypt"]
    assert [record["request_id"] for record in listed][1:] == ids
    assert "31 uses" in err and "complete up to there" in err


def test_what_the_verifier_says(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    use(server, 40)
    assert server.stop() == 0
    directory = server.data_dir / "audit"
    keys = base / "keys"
    shutil.copy(directory / "keys", keys)
    kept = base / "kept"
    shutil.copy(directory / "checkpoint", kept)
    segment = directory / "audit-0000000000000000.log"
    lines = segment.read_bytes().splitlines(keepends=True)
    flipped = lines[9][:60] + bytes([lines[9][60] ^ 1]) + lines[9][61:]
    for changed, words in [
        (lines[:9] + [flipped] + lines[10:], "record 8 ("),
        (lines[:9] + lines[10:], "record 8 ("),
        (lines[:9] + [lines[10], lines[9]] + lines[11:], "record 8 ("),
        (lines[:9] + [lines[9]] + lines[9:], "record 9 ("),
        (lines[:-1], "has 41 records, but"),
    ]:
        copy = base / "copy"
        shutil.copytree(directory, copy)
        (copy / segment.name).write_bytes(b"".join(changed))
        _, err = audit("verify", copy, "--key", keys, code=1)
        assert words in err, err
        shutil.rmtree(copy)
    # Everything of the last run taken away; only what was kept elsewhere tells.
    anew = Server(base / "other", regions=(MAIN,)).start()
    use(anew, 3)
    assert anew.stop() == 0
    _, err = audit("verify", anew.data_dir / "audit", "--key", keys, code=1)
    assert "not signed by a key of this log" in err
    audit("verify", directory, "--key", keys, "--since", kept)
    # A service does not start on it either, and touches nothing.
    segment.write_bytes(b"".join(lines[:-1]))
    with pytest.raises(RuntimeError, match="records are missing at its end"):
        server.start()
    assert segment.read_bytes() == b"".join(lines[:-1])


def test_a_log_that_is_cut_with_its_own_files_is_noticed_by_the_store(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    use(server, 10)
    assert server.stop() == 0
    earlier = base / "earlier"
    shutil.copytree(server.data_dir / "audit", earlier)
    server.start()
    use(server, 10)
    assert server.stop() == 0
    shutil.rmtree(server.data_dir / "audit")
    shutil.copytree(earlier, server.data_dir / "audit")
    with pytest.raises(RuntimeError, match="the store remembers it"):
        server.start()
    # The way out: another log, and the old one set aside.
    done = subprocess.run(
        [str(binary()), "audit", "begin-anew", "--data-dir", str(server.data_dir), "--i-know-what-this-gives-up"],
        capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0 and "audit.1" in done.stdout, done.stderr
    server.start()
    use(server, 1)
    assert server.stop() == 0
    names = [(server.data_dir / d / "keys").read_text() for d in ("audit", "audit.1")]
    assert names[0].split("+")[0] != names[1].split("+")[0]
    audit("verify", server.data_dir / "audit")
    audit("verify", server.data_dir / "audit.1")


def test_a_strict_deployment_signs_with_sm2(base):
    server = Server(base / "data", regions=(f"{GM}:gm-strict",)).start()
    use(server, 5)
    assert server.stop() == 0
    directory = server.data_dir / "audit"
    raw = base64.b64decode((directory / "keys").read_text().strip().split("+", 2)[2])
    assert raw.startswith(b"\xffjadeseal/sm2-sm3\x30\x59")
    audit("verify", directory)
    note = tlog.Note((directory / "checkpoint").read_bytes())
    # GmSSL's Python package, an implementation of others.
    from gmssl import sm2
    point = raw[-64:].hex()
    verifier = sm2.CryptSM2(private_key="", public_key=point)
    ((_, _, signature),) = note.signatures
    assert verifier.verify_with_sm3(signature.hex(), note.text.encode())


class Witness(http.server.BaseHTTPRequestHandler):
    """C2SP tlog-witness, for one log."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers["content-length"]))
        head, _, raw = body.partition(b"\n\n")
        old, *proof = head.decode().splitlines()
        old, note = int(old.removeprefix("old ")), tlog.Note(raw)
        if state["down"]:
            return self.answer(503, "")
        if not note.signed_by(state["log"]()):
            return self.answer(403, "")
        if old != state["size"]:
            return self.answer(409, f"{state['size']}\n")
        hashes = [base64.b64decode(line) for line in proof]
        if not tlog.check_consistency(old, note.size, state["root"], note.root, hashes):
            state["refused"] += 1
            return self.answer(422, "")
        state["size"], state["root"] = note.size, note.root
        self.answer(200, state["key"].cosign(note.text, int(time.time())))

    def answer(self, status, text):
        self.send_response(status)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def test_witnesses(base):
    key = tlog.WitnessKey("witness.example/w")
    server = Configured(base)
    directory = server.data_dir / "audit"
    state = {
        "key": key, "size": 0, "root": tlog.sha256(b""), "down": True, "refused": 0,
        "log": lambda: (directory / "keys").read_text().splitlines()[0],
    }
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Witness)
    listener.state = state
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    settings = (
        "[audit]\nrequire_witnesses = 1\nwitness_seconds = 1\n"
        f'[[audit.witness]]\nkey = "{key.vkey}"\nurl = "http://127.0.0.1:{listener.server_address[1]}/w"\n'
    )
    try:
        server.start(settings)
        used, _ = use(server, 20)
        time.sleep(2.5)
        # Requests go on, checkpoints wait.
        assert tlog.Note((directory / "checkpoint").read_bytes()).size == 1, "from before there were witnesses"
        metrics = subprocess.run(["curl", "-s", f"{server.endpoint}/metrics"], capture_output=True, text=True).stdout
        (failures,) = [l for l in metrics.splitlines() if l.startswith("jadeseal_audit_witness_failures_total")]
        assert int(failures.split()[1]) >= 1
        state["down"] = False
        for n in itertools.count():
            use(server, 3, used)
            time.sleep(0.5)
            if n > 8:
                break
        note = tlog.Note((directory / "checkpoint").read_bytes())
        assert note.signed_by(key.vkey) and note.signed_by(state["log"]()) and note.size >= 21
        assert state["refused"] == 0 and len(tlog.history(directory)) >= 2
        assert server.stop() == 0
        wkey = base / "witness"
        wkey.write_text(key.vkey)
        audit("verify", directory, "--witness", wkey, "--require-witness")
        other = base / "stranger"
        other.write_text(tlog.WitnessKey("witness.example/other").vkey)
        _, err = audit("verify", directory, "--witness", other, "--require-witness", code=1)
        assert "too few witnesses" in err
    finally:
        server.kill()
        listener.shutdown()


def test_kill_9_no_record_too_few_and_none_too_many(base):
    """Each request names itself in its user agent. After kills: each acknowledged one has its record, each record is
    of a request that was sent, none stands twice, and the log verifies."""
    server = Server(base / "data", regions=(MAIN,)).start()
    key, _ = use(server, 0)
    rng = random.Random(7)
    sent, acknowledged = set(), {}
    for round_ in range(8):
        stop = threading.Event()

        def work(name):
            client = server.client()
            for n in itertools.count():
                mark = f"mark-{name}-{n}"
                request = client.tc3("Encrypt", {"KeyId": key, "Plaintext": b64(mark.encode())},
                                     extra={"x-tc-requestclient": mark})
                sent.add(mark)
                try:
                    answer = client.send(request)
                except OSError:
                    return
                except Exception:  # the connection broke in the middle
                    return
                assert answer.code is None, answer
                acknowledged[mark] = answer.response["RequestId"]
                if stop.is_set():
                    return

        workers = [threading.Thread(target=work, args=(f"{round_}.{n}",)) for n in range(4)]
        for worker in workers:
            worker.start()
        time.sleep(rng.uniform(0.05, 0.9))
        server.kill()
        stop.set()
        for worker in workers:
            worker.join(20)
        server.start()
    assert server.stop() == 0
    found = {}
    for record in map(json.loads, tlog.records(server.data_dir / "audit")):
        mark = record["user_agent"]
        if mark.startswith("mark-"):
            assert mark in sent, f"a record of a request that was never made: {record}"
            assert mark not in found, f"two records: {record}"
            found[mark] = record["request_id"]
    missing = [mark for mark, request_id in acknowledged.items() if found.get(mark) != request_id]
    assert len(acknowledged) > 100 and not missing, missing[:5]
    audit("verify", server.data_dir / "audit")


def test_rekey_keeps_the_signing_key(base):
    server = Server(base / "data", regions=(MAIN,)).start()
    use(server, 3)
    done = subprocess.run([str(binary()), "rekey", "--data-dir", str(server.data_dir)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert server.stop() == 0
    before = (server.data_dir / "audit/keys").read_text()
    server.start()
    use(server, 3)
    assert server.stop() == 0
    assert (server.data_dir / "audit/keys").read_text() == before
    audit("verify", server.data_dir / "audit", "--key", server.data_dir / "audit/keys")
