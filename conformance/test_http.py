"""HTTP as it is on the wire: raw sockets, both protocol versions, sizes, encodings, hosts."""

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import uuid

import httpx
import pytest

from kmslib.cam import source
from kmslib.server import MAIN, Server
from kmslib.wire import Client, Creds, b64

MALFORMED = ("InvalidParameter", "InvalidRequest")


def exchange(server, data, timeout=20, half_close=False):
    """Sends bytes on a socket of their own and reads until the server closes."""
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as s:
        s.sendall(data)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        got = b""
        while chunk := s.recv(65536):
            got += chunk
    return got


def raw(request, length=None, last=True):
    """The bytes of a request; behind the last one on a connection the server is to close it."""
    head = [f"{request.method} {request.target} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    head.append(f"content-length: {len(request.body) if length is None else length}")
    if last:
        head.append("connection: close")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + request.body


def split(answer):
    head, body = answer.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def test_answer_head(server, kms):
    for request in (kms.tc3("GetRegions"), kms.tc3("DescribeKey"), kms.v1("NoSuch"), kms.tc3("ListKeys", method="GET")):
        status, headers, body = split(exchange(server, raw(request)))
        assert status == 200
        assert headers["content-type"] == "application/json"
        assert int(headers["content-length"]) == len(body)
        response = json.loads(body)["Response"]
        assert list(json.loads(body)) == ["Response"]
        assert uuid.UUID(response["RequestId"]).version == 4


def test_keep_alive_and_pipelining(server, kms):
    requests = [kms.tc3("GenerateRandom", {"NumberOfBytes": n}) for n in range(1, 21)]
    got = exchange(server, b"".join(raw(r, last=r is requests[-1]) for r in requests))
    bodies = re.findall(rb'"Plaintext":"([^"]*)"', got)
    assert [len(b) for b in bodies] == [len(b64(bytes(n))) for n in range(1, 21)]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods(server, kms, method):
    request = kms.tc3("GetRegions")
    request.method = method
    status, _, body = split(exchange(server, raw(request)))
    assert status == 200 and json.loads(body)["Response"]["Error"]["Code"] == "UnsupportedProtocol"


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "multipart/form-data; boundary=x"])
def test_other_content_types(kms, kind):
    request = kms.tc3("GetRegions", extra={"content-type": kind})
    assert kms.send(request).code in ("UnsupportedProtocol", "InvalidRequest")


def test_content_type_with_charset(kms):
    for kind in ("application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"):
        assert kms.send(kms.tc3("GetRegions", extra={"content-type": kind})).code is None


def test_hosts_and_service_labels(server, kms):
    port = server.host.split(":")[1]
    # tccli sends and signs a URL as Host; Node signs the host without the port that it sends.
    hosts = (server.host, f"http://{server.host}", f"http://{server.host}/", "127.0.0.1", "kms.example")
    for host in (*hosts, f"KMS.example:{port}"):
        assert kms.ask("GetRegions", host=host).code is None, host
        for method in ("POST", "GET"):
            assert kms.send(kms.v1("GetRegions", host=host, method=method)).code is None, host
    request = kms.tc3("GetRegions", host="127.0.0.1")
    request.headers["host"] = server.host
    assert kms.send(request).code is None
    request = kms.tc3("GetRegions", host=server.host)
    request.headers["host"] = f"http://{server.host}"
    assert kms.send(request).code is None
    for service in ("kms", "127", "localhost:8080", "cvm", "10"):
        assert kms.ask("GetRegions", service=service).code is None, service


def test_authorization_spellings(kms):
    assert kms.ask("GetRegions", comma=",").code is None
    lower = kms.tc3("GetRegions", extra={"x-tc-action": "getregions"}, signed=("content-type", "host", "x-tc-action"))
    lower.headers["x-tc-action"] = "GetRegions"
    assert kms.send(lower).code is None
    plain = kms.tc3("GetRegions", signed=("content-type", "host", "x-tc-action", "x-tc-timestamp"))
    assert kms.send(plain).code is None
    for wrong in ("", "Basic eDp5", "TC3-HMAC-SHA256", "TC3-HMAC-SHA256 Credential=", "TC3-HMAC-SHA256 " + "a" * 5000,
                  plain.headers["authorization"].split(", Signature")[0],
                  plain.headers["authorization"].replace("tc3_request", "tc4_request"),
                  plain.headers["authorization"].replace("content-type;", "")):
        request = kms.tc3("GetRegions")
        request.headers["authorization"] = wrong
        code = kms.send(request).code
        assert code in ("AuthFailure.InvalidAuthorization", "AuthFailure.SignatureFailure"), wrong[:60]


def test_v1_signature_with_newline(kms):
    request = kms.v1("GetRegions")
    request.body = re.sub(rb"Signature=([^&]*)", rb"Signature=\1%0A", request.body)
    assert kms.send(request).code is None


def test_v1_repeated_nonce_is_a_plain_retry(kms):
    request = kms.v1("GetRegions")
    assert kms.send(request).code is None and kms.send(request).code is None


def test_v1_signature_binds_the_action(kms, key):
    request = kms.v1("DescribeKey", {"KeyId": key})
    request.body = request.body.replace(b"Action=DescribeKey", b"Action=DisableKey")
    assert kms.send(request).code == "AuthFailure.SignatureFailure"


def test_unsigned_payload_headers(kms):
    request = kms.tc3("GenerateRandom", {"NumberOfBytes": 4}, unsigned_payload=True)
    assert kms.send(request).code is None
    request = kms.tc3("GenerateRandom", {"NumberOfBytes": 4}, unsigned_payload=True)
    request.headers["x-tc-content-sha256"] = "unsigned"
    assert kms.send(request).code == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"1", b'"x"', b"{} {}", b'{"NumberOfBytes":4,}', b"{'NumberOfBytes':4}", b"\xff\xfe",
     b'{"NumberOfBytes":4,"NumberOfBytes":4}', b'{"\xff":1}', b'{"NumberOfBytes":"\xff"}', b'{"NumberOfBytes":NaN}',
     b'{"NumberOfBytes":"\\ud800"}', b'\xef\xbb\xbf{"NumberOfBytes":4}', b'{"a":' * 100_000, b"[" * 1_000_000,
     b'{"NumberOfBytes":' + b"[" * 200 + b"]" * 200 + b"}", b'{"NumberOfBytes":4' + b"0" * 10_000 + b"}"],
    ids=range(20),
)
def test_malformed_json(kms, body):
    answer = kms.ask("GenerateRandom", body=body)
    expected = (*MALFORMED, "MissingParameter") if body == b"" else MALFORMED
    assert answer.status == 200 and answer.code in expected, answer.code


def test_malformed_forms(kms):
    good = kms.v1("GenerateRandom", {"NumberOfBytes": 4})
    deep = b"&A" + b".0" * 100 + b"=a"
    for more in (b"&NumberOfBytes=4", b"&x=%FF", b"&x=%GG", b"&x=%", b"&KeyIds.99999999999=a", deep, b"&=x"):
        request = kms.v1("GenerateRandom", {"NumberOfBytes": 4})
        request.body = good.body + more
        answer = kms.send(request)
        assert answer.status == 200 and answer.code is not None, more


def test_sizes(kms):
    pad = "d" * (40 * 1024)
    long = {"NumberOfBytes": 4, "x": pad}
    assert kms.ask("GenerateRandom", long, method="GET").code == "RequestSizeLimitExceeded"
    assert kms.send(kms.v1("GenerateRandom", long, method="GET")).code == "RequestSizeLimitExceeded"
    big = "d" * (1024 * 1024 + 1)
    # As in the field: the text of this refusal sends the caller to TC3.
    refused = kms.send(kms.v1("GenerateRandom", {"NumberOfBytes": 4, "x": big}))
    assert refused.code == "AuthFailure.SignatureFailure" and "TC3" in refused.message
    assert kms.ask("GenerateRandom", {"NumberOfBytes": 4, "x": big}).code == "UnknownParameter"
    shorter = {"NumberOfBytes": 4, "x": "d" * (20 * 1024)}
    assert kms.ask("GenerateRandom", shorter, method="GET").code == "UnknownParameter"


def test_a_body_that_is_too_long(server, kms):
    """The body is drained, within bounds, so that a client that writes before it reads sees the answer."""
    request = kms.tc3("GenerateRandom", body=b" " * (10 * 1024 * 1024 + 1))
    assert b"RequestSizeLimitExceeded" in exchange(server, raw(request))
    assert kms.code("GetRegions") is None


def test_a_chunked_body_that_is_too_long(server, kms):
    request = kms.tc3("GenerateRandom", {"NumberOfBytes": 4})
    head = f"POST / HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in request.headers.items())
    host, port = server.host.split(":")
    got = b""
    with socket.create_connection((host, int(port)), timeout=20) as s:
        try:
            s.sendall(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
            for _ in range(12):
                s.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")
            s.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # the server may answer and close before it has read all
        try:
            while chunk := s.recv(65536):
                got += chunk
                if b"RequestId" in got:
                    break
        except OSError:
            pass  # a reset may overtake the answer; what must hold is the next line
    assert got == b"" or b"RequestSizeLimitExceeded" in got
    assert kms.code("GetRegions") is None


def test_a_truncated_body_gets_no_success(server, kms):
    request = kms.tc3("CreateKey", {"Alias": f"truncated-{os.getpid()}"})
    request.body = request.body[:-1]
    got = exchange(server, raw(request, length=len(request.body) + 1), half_close=True)
    assert b'"KeyId"' not in got
    found = kms.call("ListKeyDetail", SearchKeyAlias=f"truncated-{os.getpid()}")
    assert found["TotalCount"] == 0


@pytest.mark.parametrize(
    "data",
    [b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
     b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", b"GET / HTTP/1.1\r\nx" + b"y" * 300_000,
     b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000 + b"\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ids=range(8),
)
def test_garbage_on_the_socket(server, kms, data):
    try:
        got = exchange(server, data, half_close=True)
    except OSError:
        got = b""  # it hung up on us before we had finished; all that counts is the next line
    assert b'"KeyId"' not in got
    assert kms.code("GetRegions") is None


def test_slow_clients_do_not_hold_others_up(server, kms):
    host, port = server.host.split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(200)]
    try:
        for s in slow:
            s.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
        begin = time.monotonic()
        assert kms.code("GetRegions") is None
        assert time.monotonic() - begin < 2
    finally:
        for s in slow:
            s.close()


def test_many_connections_at_once(server, key):
    failures = []

    def work():
        client = server.client(timeout=30)
        try:
            for _ in range(10):
                blob = client.call("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
                client.call("Decrypt", CiphertextBlob=blob)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
            failures.append(error)
        client.close()

    threads = [threading.Thread(target=work) for _ in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[:3]


def test_http2_by_prior_knowledge(server, kms, key):
    with httpx.Client(http1=False, http2=True, trust_env=False) as client:
        for _ in range(3):
            request = kms.tc3("Encrypt", {"KeyId": key, "Plaintext": b64(b"h2")}, host=server.host)
            got = client.post(server.endpoint + "/", headers={k: v for k, v in request.headers.items() if k != "host"},
                              content=request.body)
            assert got.http_version == "HTTP/2" and got.status_code == 200
            assert got.headers["content-type"] == "application/json"
            assert got.json()["Response"]["KeyId"] == key


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_http2_by_curl(server, kms):
    request = kms.tc3("GetRegions", host=server.host)
    command = ["curl", "-sS", "--noproxy", "*", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}"]
    for name, value in request.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["--data-binary", request.body.decode(), server.endpoint]
    done = subprocess.run(command, capture_output=True, text=True)
    body, last = done.stdout.rsplit("\n", 1)
    assert last == "2 200" and "Regions" in json.loads(body)["Response"]


def test_operator_endpoints(server):
    with httpx.Client(trust_env=False) as client:
        assert client.get(server.endpoint + "/healthz").status_code == 200
        assert client.get(server.endpoint + "/readyz").status_code == 200
        metrics = client.get(server.endpoint + "/metrics")
        assert metrics.status_code == 200
        assert "# TYPE" in metrics.text and 'Encrypt' in metrics.text
        assert server.creds.secret_id not in metrics.text


def test_default_language_is_chinese(server):
    client = Client(server.endpoint, server.creds, server.hello["region"])
    request = client.tc3("DescribeKey")
    del request.headers["x-tc-language"]
    assert any("\u4e00" <= c <= "\u9fff" for c in client.send(request).message)


def test_wrong_credentials_are_slowed_and_counted(server):
    """Guesses from one address wait longer and longer; nobody else waits, nor does a right request from there."""
    address = source()
    guesser, honest = server.client(source=address), server.client(source=address)
    elsewhere = server.client(source=source())
    codes = ("AuthFailure.SignatureFailure", "AuthFailure.SecretIdNotFound", "AuthFailure.TokenFailure")
    wrong = (
        Creds(server.creds.secret_id, "wrong"), Creds("AKIDnobodyatall", "x"),
        Creds("AKIDnobodyatall", "x", "token"),
    )

    def counted():
        text = httpx.get(server.endpoint + "/metrics").text
        found = dict(re.findall(r'^jadeseal_wrong_credentials_total\{code="([^"]+)"\} (\d+)$', text, re.M))
        slowed = int(re.search(r"^jadeseal_slowed_refusals_total (\d+)$", text, re.M)[1])
        return [int(found.get(code, 0)) for code in codes], slowed

    def took(client, creds, code):
        began = time.monotonic()
        assert client.ask("GetRegions", creds=creds).code == code
        return time.monotonic() - began

    (before, slowed), waits = counted(), []
    for n in range(30):
        waits.append(took(guesser, wrong[n % 3], codes[n % 3]))
    # Twenty are free, of which one or two are forgotten meanwhile; then each waits 50 ms more.
    assert max(waits[:20]) < 0.2 and waits[29] > 0.3 and waits[29] > waits[24] > waits[19]
    assert took(honest, server.creds, None) < 0.2
    assert took(elsewhere, wrong[0], codes[0]) < 0.2
    (after, now), expected = counted(), (11, 10, 10)
    assert tuple(b - a for a, b in zip(before, after)) == expected and 8 <= now - slowed <= 10
    for client in (guesser, honest, elsewhere):
        client.close()


def test_a_flood_is_cut_short(tmp_path):
    """From one address: requests on connections of their own, hung up at once or read to their end."""
    server = Server(tmp_path / "data", regions=(MAIN,)).start()
    try:
        neighbour, address = server.client(source=source()), ("127.0.0.1", int(server.host.split(":")[1]))
        assert neighbour.ask("GetRegions").code is None
        flooder = source()
        data = raw(neighbour.tc3("GetRegions", creds=Creds("AKID" + "x" * 32, "x")), last=False)

        def flood(count, read):
            closed = 0
            for _ in range(count):
                with socket.create_connection(address, timeout=20, source_address=(flooder, 0)) as s:
                    s.sendall(data)
                    if read:
                        closed += b"\r\nconnection: close\r\n" in s.recv(65536).lower()
            return closed

        began = time.monotonic()
        flood(1000, False)
        assert flood(300, True) > 250, "whoever has no place to wait in is sent away"
        took = time.monotonic() - began
        # The access key of an honest caller from there is in memory.
        honest = server.client(source=flooder)
        began = time.monotonic()
        assert honest.ask("GetRegions").code is None and time.monotonic() - began < 1
        recorded = left_out = 0
        while recorded + left_out < 1300 and time.monotonic() - began < 5:  # some may still be on their way
            text = httpx.get(server.endpoint + "/metrics").text
            left_out = int(re.search(r"^jadeseal_unrecorded_refusals_total (\d+)$", text, re.M)[1])
            recorded = server.audit_text().count(f'"source":"{flooder}"'.encode()) - 1
        assert recorded + left_out == 1300 and 60 <= recorded <= 62 + took
        assert b"too many refusals to record each" in server.log_text() and flooder.encode() in server.log_text()
        # Answers wait for two seconds here, and no stop waits for them.
        waiting = [socket.create_connection(address, timeout=20, source_address=(flooder, 0)) for _ in range(40)]
        for s in waiting:
            s.sendall(data)
        time.sleep(0.2)
        began = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - began < 1.5
        for s in waiting:
            s.close()
        for client in (neighbour, honest):
            client.close()
    finally:
        server.kill()
