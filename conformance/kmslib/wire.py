"""A small client of API 3.0 of our own.

The official SDKs cannot send a wrong signature, an old timestamp or a torn body; this one can. It also is an
implementation of both signature versions that shares no line with the server or with the SDKs.
"""

import base64
import hashlib
import hmac
import http.client
import json
import random
import time
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

VERSION = "2019-01-18"
# Seconds after which a connection is not used again.
IDLE = 30


@dataclass(frozen=True)
class Api:
    """A product as requests name it."""

    service: str
    version: str


KMS = Api("kms", VERSION)
TAG = Api("tag", "2018-08-13")
CAM = Api("cam", "2019-01-16")
STS = Api("sts", "2018-08-13")


@dataclass(frozen=True)
class Creds:
    """An access key; a temporary one has a token."""

    secret_id: str
    secret_key: str
    token: str | None = None


# What the client's API says, as against none at all.
_DEFAULT = object()


class ApiError(Exception):
    """An error answer of the API."""

    def __init__(self, code, message, request_id):
        super().__init__(f"{code}: {message} ({request_id})")
        self.code = code
        self.message = message
        self.request_id = request_id


@dataclass
class Request:
    """One HTTP request, ready to be sent and open to be spoilt first."""

    method: str
    target: str
    headers: dict
    body: bytes = b""


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict
    body: bytes
    response: dict = field(default_factory=dict)

    @property
    def code(self):
        """The error code, or None for a success."""
        return self.response.get("Error", {}).get("Code")

    @property
    def message(self):
        return self.response.get("Error", {}).get("Message")


def hmac256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def tc3_signature(secret_key, method, query, headers, signed, payload_hash, timestamp, service):
    """Signature of TC3-HMAC-SHA256. `headers` has lower-case names; `signed` is the list of signed ones."""
    canonical = "\n".join(
        [
            method,
            "/",
            query,
            "".join(f"{name}:{headers[name].strip()}\n" for name in signed),
            ";".join(signed),
            payload_hash,
        ]
    )
    date = time.strftime("%Y-%m-%d", time.gmtime(timestamp))
    scope = f"{date}/{service}/tc3_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}"
    key = hmac256(hmac256(hmac256(b"TC3" + secret_key.encode(), date), service), "tc3_request")
    return scope, hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def flatten(params, prefix=""):
    """Business parameters as the form encoding has them: `KeyIds.0`, `Tags.0.TagKey`."""
    out = {}
    items = params.items() if isinstance(params, dict) else enumerate(params)
    for name, value in items:
        path = f"{prefix}{name}"
        if isinstance(value, (dict, list)):
            out.update(flatten(value, path + "."))
        elif isinstance(value, bool):
            out[path] = "true" if value else "false"
        else:
            out[path] = str(value)
    return out


class Client:
    """Signs and sends; keeps one connection alive."""

    def __init__(self, endpoint, creds, region=None, language="en-US", timeout=20, source=None, api=KMS, headers=None):
        self.api = api
        # Sent with every request besides what the protocol asks for.
        self.headers = headers or {}
        self.netloc = urlsplit(endpoint).netloc
        # Address to call from; all of 127.0.0.0/8 is this machine.
        self.source = (source, 0) if source else None
        self.creds = creds
        self.region = region
        self.language = language
        self.timeout = timeout
        self.connection = None
        self.used = time.monotonic()

    def tc3(self, action, params=None, *, method="POST", timestamp=None, creds=None, region=None, version=_DEFAULT,
            host=None, service=None, body=None, unsigned_payload=False, signed=("content-type", "host"), extra=None,
            comma=", "):
        """A request signed by TC3. `body` overrides the JSON of `params`."""
        creds = creds or self.creds
        timestamp = int(time.time()) if timestamp is None else timestamp
        host = host or self.netloc
        service = service or self.api.service
        version = self.api.version if version is _DEFAULT else version
        query, content_type = "", "application/json"
        if method == "GET":
            query, content_type, body = urlencode(flatten(params or {})), "application/x-www-form-urlencoded", b""
        elif body is None:
            body = json.dumps(params or {}).encode()
        headers = {"host": host, "content-type": content_type, "x-tc-timestamp": str(timestamp)}
        headers["x-tc-language"] = self.language
        for name, value in (("x-tc-action", action), ("x-tc-version", version)):
            if value is not None:
                headers[name] = value
        region = self.region if region is None else region
        if region is not None:
            headers["x-tc-region"] = region
        if unsigned_payload:
            headers["x-tc-content-sha256"] = "UNSIGNED-PAYLOAD"
        if creds.token is not None:
            headers["x-tc-token"] = creds.token
        headers.update(self.headers | (extra or {}))
        payload = b"UNSIGNED-PAYLOAD" if unsigned_payload else body
        payload_hash = hashlib.sha256(payload).hexdigest()
        scope, signature = tc3_signature(
            creds.secret_key, method, query, headers, sorted(signed), payload_hash, timestamp, service
        )
        headers["authorization"] = (
            f"TC3-HMAC-SHA256 Credential={creds.secret_id}/{scope}{comma}"
            f"SignedHeaders={';'.join(sorted(signed))}{comma}Signature={signature}"
        )
        return Request(method, "/?" + query if query else "/", headers, body)

    def v1(self, action, params=None, *, method="POST", algorithm="HmacSHA256", timestamp=None, creds=None,
           region=None, version=_DEFAULT, host=None, extra=None):
        """A request signed by version 1: parameters in the form or in the query."""
        creds = creds or self.creds
        host = host or self.netloc
        fields = flatten(params or {})
        fields["Timestamp"] = str(int(time.time()) if timestamp is None else timestamp)
        fields["Nonce"] = str(random.randint(1, 1 << 31))
        fields["SecretId"] = creds.secret_id
        region = self.region if region is None else region
        version = self.api.version if version is _DEFAULT else version
        for name, value in (
            ("Action", action),
            ("Version", version),
            ("Region", region),
            ("Token", creds.token),
            ("SignatureMethod", algorithm),
            ("Language", self.language),
        ):
            if value is not None:
                fields[name] = value
        fields.update(extra or {})
        text = f"{method}{host}/?" + "&".join(f"{k}={fields[k]}" for k in sorted(fields))
        digest = hashlib.sha256 if algorithm == "HmacSHA256" else hashlib.sha1
        mac = hmac.new(creds.secret_key.encode(), text.encode(), digest).digest()
        fields["Signature"] = base64.b64encode(mac).decode()
        encoded = urlencode(fields, quote_via=quote)
        headers = {"host": host, "content-type": "application/x-www-form-urlencoded"} | self.headers
        if method == "GET":
            return Request("GET", "/?" + encoded, headers)
        return Request("POST", "/", headers, encoded.encode())

    def send(self, request):
        """Sends a request as it stands and reads the answer. A dropped connection raises."""
        if self.connection is not None and time.monotonic() - self.used > IDLE:
            # The server closes connections that nobody uses for a minute.
            self.close()
        self.used = time.monotonic()
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.netloc, timeout=self.timeout, source_address=self.source)
        try:
            self.connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                self.connection.putheader(name, value)
            self.connection.putheader("content-length", str(len(request.body)))
            self.connection.endheaders(request.body)
            got = self.connection.getresponse()
            body = got.read()
        except Exception:
            self.close()
            raise
        answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, body)
        if got.status == 200 and answer.headers.get("content-type") == "application/json":
            answer.response = json.loads(body)["Response"]
        return answer

    def ask(self, action, params=None, **how):
        """Signs by TC3, sends, and returns the answer, error or not."""
        return self.send(self.tc3(action, params, **how))

    def call(self, action, **params):
        """Calls an action and returns its `Response`; an error answer raises ApiError."""
        answer = self.ask(action, params)
        assert answer.status == 200, (answer.status, answer.body[:200])
        if answer.code:
            raise ApiError(answer.code, answer.message, answer.response.get("RequestId"))
        return answer.response

    def code(self, action, **params):
        """The error code of a call, or None when it succeeded."""
        answer = self.ask(action, params)
        assert answer.status == 200, (answer.status, answer.body[:200])
        return answer.code

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def b64(data):
    """Base64 text of bytes."""
    return base64.b64encode(data).decode()


def unb64(text):
    """Bytes of base64 text."""
    return base64.b64decode(text, validate=True)
