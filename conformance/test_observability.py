"""Log lines with request ids, the line for each request, traces and metrics by OTLP against a collector of our own that
reads them with the official classes."""

import http.server
import json
import secrets
import socket
import threading
import time

import httpx
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as collected
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as collector

from kmslib.server import MAIN, Configured, Server
from kmslib.wire import Creds


class Sink:
    """An OTLP/HTTP collector; with `delay` a slow one, with `status` one that refuses."""

    def __init__(self, delay=0, status=200):
        self.spans, self.metrics, self.headers = [], [], []
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(delay)
                assert self.headers["content-type"] == "application/x-protobuf"
                sink.headers.append({k.lower(): v for k, v in self.headers.items()})
                if self.path == "/v1/traces":
                    sink.spans += parsed(collector.ExportTraceServiceRequest, body).resource_spans
                elif self.path == "/v1/metrics":
                    sink.metrics.append(parsed(collected.ExportMetricsServiceRequest, body).resource_metrics)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def all_spans(self):
        return [span for resource in self.spans for scope in resource.scope_spans for span in scope.spans]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def parsed(kind, body):
    message = kind()
    message.ParseFromString(body)
    # What the official classes do not know would be silently kept aside.
    assert message.SerializeToString(deterministic=True) and len(message.SerializeToString()) == len(body)
    return message


def attributes(of):
    return {a.key: a.value.string_value or a.value.int_value for a in of.attributes}


def wait_for(check, seconds=15):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


@pytest.fixture
def server(tmp_path):
    running = Configured(tmp_path)
    yield running
    running.kill()


@pytest.fixture
def json_log(monkeypatch):
    monkeypatch.setenv("JADESEAL_LOG_FORMAT", "json")


def lines(server):
    return [json.loads(line) for line in server.log_text().splitlines() if line.startswith(b"{")]


def test_a_line_for_each_request(server, json_log):
    server.start("[log]\nrequests = true\n")
    client = server.client()
    key = client.call("CreateKey", Alias="a")["KeyId"]
    plaintext = "c2VjcmV0IHBsYWludGV4dA=="
    answer = client.ask("Encrypt", {"KeyId": key, "Plaintext": plaintext})
    refused = client.ask("DescribeKey", {"KeyId": "wrong"})
    unknown = client.ask("NoSuchAction")
    put = client.tc3("GetRegions")
    put.method = "PUT"
    put = client.send(put)
    server.stop()
    text = server.log_text().decode()
    for secret in (plaintext, answer.response["CiphertextBlob"], server.creds.secret_key, key):
        assert secret not in text
    by_id = {line["request_id"]: line for line in lines(server) if line["target"] == "jadeseal::requests"}
    assert len(by_id) == 5
    for got, action, code in ((answer, "Encrypt", ""), (refused, "DescribeKey", refused.code),
                              (unknown, "unknown", "InvalidAction"), (put, "unknown", "UnsupportedProtocol")):
        line = by_id[got.response["RequestId"]]
        fields = line["fields"]
        assert (line["level"], line["action"], fields["code"]) == ("INFO", action, code)
        assert fields["source"] == "127.0.0.1" and 0 < fields["duration_us"] < 10_000_000
        assert fields["bytes_out"] == len(got.body)
        assert set(fields) == {"message", "code", "duration_us", "source", "bytes_in", "bytes_out"}


def test_no_line_for_each_request_by_default(server, json_log):
    server.start()
    server.client().call("GetRegions")
    server.stop()
    assert not [line for line in lines(server) if line["target"] == "jadeseal::requests"]
    assert lines(server), "others are there"
    assert b"request_id" not in server.log_text()


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_is_logged_within_a_request_carries_it(tmp_path, monkeypatch, log_format):
    monkeypatch.setenv("JADESEAL_LOG_FORMAT", log_format)
    server = Server(tmp_path / "data", regions=(MAIN,), args=["--product", "cos"]).start()
    try:
        product, = server.hello["products"]
        client = server.client()
        client.creds = Creds(product["secret_id"], product["secret_key"])
        # A product without a key of its own for the account gets one, which the log tells.
        answer = client.ask("GenerateDataKey", {"KeySpec": "AES_256"})
        assert answer.code is None, answer.message
        server.stop()
        line, = [x for x in server.log_text().decode().splitlines() if "product key made" in x]
        request_id = answer.response["RequestId"]
        if log_format == "json":
            line = json.loads(line)
            assert (line["request_id"], line["action"]) == (request_id, "GenerateDataKey")
        else:
            assert line.endswith(f" request_id={request_id} action=GenerateDataKey")
    finally:
        server.kill()


def test_spans_and_metrics_arrive(server, tmp_path):
    sink = Sink()
    headers = tmp_path / "headers"
    token = secrets.token_hex(16)
    headers.write_text(f"authorization: Bearer {token}\n")
    headers.chmod(0o600)
    server.start(f'[telemetry]\notlp_endpoint = "{sink.endpoint}"\nsample_ratio = 1.0\nmetrics_seconds = 1\n'
                 f'headers_file = "{headers}"\n')
    client = server.client()
    before = time.time_ns()
    answer = client.ask("GenerateRandom", {"NumberOfBytes": 16})
    refused = client.ask("DescribeKey", {"KeyId": "wrong"})

    def both():
        spans = {attributes(s)["jadeseal.request_id"]: s for s in sink.all_spans()}
        wanted = [a.response["RequestId"] for a in (answer, refused)]
        return all(w in spans for w in wanted) and [spans[w] for w in wanted]

    good, bad = wait_for(both)
    assert good.name == "GenerateRandom" and good.kind == 2 and not good.parent_span_id
    assert (len(good.trace_id), len(good.span_id)) == (16, 8) and good.trace_id != bad.trace_id
    assert before <= good.start_time_unix_nano <= good.end_time_unix_nano <= time.time_ns()
    assert attributes(good)["http.response.body.size"] == len(answer.body)
    assert attributes(bad)["error.type"] == refused.code and bad.status.code == 0
    assert attributes(sink.spans[0].resource)["service.name"] == "jadeseal"

    def counted():
        for resources in reversed(sink.metrics):
            named = {m.name: m for r in resources for s in r.scope_metrics for m in s.metrics}
            points = named["jadeseal_requests"].sum.data_points
            mine = [p for p in points if attributes(p) == {"action": "GenerateRandom", "code": 0} or
                    {a.key: a.value.string_value for a in p.attributes} == {"action": "GenerateRandom", "code": ""}]
            if mine and mine[0].as_double == 1:
                return named
        return None

    named = wait_for(counted)
    requests = named["jadeseal_requests"].sum
    assert requests.is_monotonic and requests.aggregation_temporality == 2
    histogram = named["jadeseal_request_duration_seconds"].histogram
    assert named["jadeseal_request_duration_seconds"].unit == "s"
    point, = [p for p in histogram.data_points if attributes(p)["action"] == "GenerateRandom"]
    assert point.count == 1 == sum(point.bucket_counts) and len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert named["jadeseal_data_disk_free_bytes"].gauge.data_points[0].as_double > 0
    assert all(h["authorization"] == f"Bearer {token}" for h in sink.headers)
    assert token.encode() not in server.log_text()
    sink.close()


def test_a_callers_trace_goes_on(server):
    sink = Sink()
    server.start(f'[telemetry]\notlp_endpoint = "{sink.endpoint}"\nsample_ratio = 0\nmetrics = false\n')
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    client = server.client()
    sampled = client.send(client.tc3("GetRegions", extra={"traceparent": f"00-{trace}-{parent}-01"}))
    for header in (f"00-{trace}-{parent}-00", "nonsense", f"00-{'0' * 32}-{parent}-01"):
        assert client.send(client.tc3("GetRegions", extra={"traceparent": header})).code is None
    assert server.stop() == 0, "what is left is sent at the end"
    span, = sink.all_spans()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
    assert attributes(span)["jadeseal.request_id"] == sampled.response["RequestId"]
    assert not sink.metrics
    sink.close()


def took(client, n=100):
    begin = time.monotonic()
    for _ in range(n):
        client.call("GetRegions")
    return time.monotonic() - begin


@pytest.mark.parametrize("kind", ["dead", "slow", "refusing", "silent"])
def test_a_collector_that_does_not_work_slows_nobody(server, kind):
    silent = socket.create_server(("127.0.0.1", 0))
    sink = {"slow": lambda: Sink(delay=30), "refusing": lambda: Sink(status=503)}.get(kind, lambda: None)()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    endpoint = {"dead": dead, "silent": f"http://127.0.0.1:{silent.getsockname()[1]}"}.get(kind) or sink.endpoint
    server.start()
    client = server.client()
    took(client)
    usual = took(client)
    client.close()
    server.stop()
    server.start(f'[telemetry]\notlp_endpoint = "{endpoint}"\nsample_ratio = 1\nmetrics_seconds = 1\n')
    client = server.client()
    took(client)
    # Generous, for machines that do other things besides; one that waited would take 100 times five seconds.
    assert took(client) < 3 * usual + 2
    if kind in ("dead", "refusing"):
        def dropped():
            text = httpx.get(server.endpoint + "/metrics").text
            line = next(x for x in text.splitlines() if x.startswith("jadeseal_telemetry_dropped_total "))
            return float(line.split()[1]) >= 100

        wait_for(dropped)
        told = server.log_text().count(b"the collector did not take telemetry")
        assert 1 <= told <= 2, "now and then, not each time"
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 10
    silent.close()
    if sink:
        sink.server.server_close()
