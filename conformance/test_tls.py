"""TLS of the real binary: reload, client certificates bound to principals, revocation, plain HTTP off loopback."""

import json
import socket
import ssl
import subprocess
import time

import httpx
import pytest
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.kms.v20190118 import kms_client, models

from kmslib.pki import Authority
from kmslib.server import Configured, binary

REFUSED = "AuthFailure.UnauthorizedOperation"


class Secured(Configured):
    """A server with TLS."""

    def __init__(self, base, authority):
        super().__init__(base)
        self.authority = authority
        self.served = authority.issue("server", "DNS:localhost,IP:127.0.0.1", "serverAuth")

    def start(self, tls="", settings=""):
        table = f'[tls]\ncertificate = "{self.served.pem}"\nkey = "{self.served.key}"\n{tls}'
        super().start(settings + table)
        self.hello["endpoint"] = self.hello["endpoint"].replace("http://", "https://")
        return self

    def context(self, client=None, **how):
        context = ssl.create_default_context(cafile=str(self.authority.pem))
        if client is not None:
            context.load_cert_chain(client.pem, client.key)
        for name, value in how.items():
            setattr(context, name, value)
        return context


def request(server, http, creds=None, action="GetRegions", **params):
    """Calls an action over a given connection pool; its error code, or None."""
    client = server.client()
    made = client.tc3(action, params, creds=creds or server.creds)
    client.close()
    answer = http.request(made.method, server.endpoint + made.target, headers=made.headers, content=made.body)
    assert answer.status_code == 200
    return answer.json()["Response"].get("Error", {}).get("Code")


def pool(server, client=None, http2=False, **how):
    return httpx.Client(verify=server.context(client, **how), http2=http2)


def eventually(check, seconds=8):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(0.2)
    return False


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def secured(tmp_path, authority):
    server = Secured(tmp_path / "server", authority)
    (tmp_path / "server").mkdir()
    yield server
    server.kill()


def records(server):
    """All audit records."""
    out = []
    for line in server.audit_text().splitlines():
        start = line.find(b"{")
        try:
            out.append(json.loads(line[start:]))
        except ValueError:
            continue
    return out


@pytest.mark.parametrize("http2", [False, True])
def test_a_bound_principal_needs_its_certificate(tmp_path, secured, authority, http2):
    mine = authority.issue("mine", "URI:spiffe://acme/main")
    other = authority.issue("other", "URI:spiffe://acme/other")
    server = secured.start(
        f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\n'
        '[[tls.client]]\nuin = {uin}\nsan = "uri:spiffe://acme/main"\n'
    )
    with pool(server, mine, http2) as http:
        assert request(server, http) is None
        assert request(server, http, action="CreateKey", Alias="a") is None
    for client in (None, other):
        with pool(server, client, http2) as http:
            assert request(server, http) == REFUSED
            assert request(server, http, action="NoSuchKeyAction") == "InvalidAction"
            # A wrong signature is a wrong signature, whatever the certificate.
            wrong = type(server.creds)(server.creds.secret_id, "x" * 32)
            assert request(server, http, creds=wrong) == "AuthFailure.SignatureFailure"
    refused = [r for r in records(server) if json.dumps(r).find(REFUSED) >= 0]
    assert len(refused) == 2, "each refusal has its record"
    assert all(server.creds.secret_id in json.dumps(r) for r in refused)


def test_others_are_not_touched_by_a_binding(secured, authority):
    server = secured.start(
        f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\n'
        '[[tls.client]]\nuin = 1\nsan = "dns:billing.example"\n'
    )
    for client in (None, authority.issue("any", "DNS:any.example")):
        with pool(server, client) as http:
            assert request(server, http) is None


def test_bindings_by_digest_and_access_key(secured, authority):
    mine = authority.issue("mine", "DNS:mine.example")
    again = authority.issue("again", "DNS:mine.example")
    server = secured.start()
    secret_id = server.creds.secret_id
    for which, ok, no in ((f'certificate = "{mine.fingerprint()}"', mine, again),
                          (f'public_key = "{mine.public_key()}"', mine, again),
                          ('san = "dns:MINE.example"', again, None)):
        server.stop()
        server.start(
            f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\n'
            f'[[tls.client]]\nsecret_id = "{secret_id}"\n{which}\n'
        )
        with pool(server, ok) as http:
            assert request(server, http) is None, which
        with pool(server, no) as http:
            assert request(server, http) == REFUSED, which


def test_a_user_is_bound_and_the_main_account_is_not(secured, authority):
    server = secured.start()
    with pool(server) as http:
        client = server.client()
        made = client.tc3("AddUser", {"Name": "worker", "UseApi": 1}, version="2019-01-16", service="cam")
        got = http.request(made.method, server.endpoint + "/", headers=made.headers, content=made.body).json()
    user = got["Response"]
    creds = type(server.creds)(user["SecretId"], user["SecretKey"])
    mine = authority.issue("worker", "email:worker@acme.example")
    server.stop()
    server.start(
        f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\n'
        f'[[tls.client]]\nuin = {user["Uin"]}\nsan = "email:worker@acme.example"\n'
    )
    with pool(server) as http:
        assert request(server, http) is None
        assert request(server, http, creds=creds) == REFUSED
    with pool(server, mine) as http:
        # Let in, and then as little as its policies allow: nothing.
        assert request(server, http, creds=creds, action="ListKeys") == "UnauthorizedOperation"


def test_required_ends_the_handshake(tmp_path, secured, authority):
    stranger = Authority(tmp_path, "stranger").issue("mine", "DNS:mine.example")
    server_cert = authority.issue("service", "DNS:service.example", "serverAuth")
    server = secured.start(f'client_certificates = "required"\nclient_ca = "{authority.pem}"\n')
    with pool(server, authority.issue("mine", "DNS:mine.example")) as http:
        assert request(server, http) is None
    for client in (None, stranger, server_cert):
        with pool(server, client) as http, pytest.raises(httpx.HTTPError):
            request(server, http)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_expired_and_revoked_certificates_are_refused(tmp_path, secured, authority, version):
    crl = tmp_path / "crl.pem"
    authority.crl(crl)
    good, bad = (authority.issue(name, f"DNS:{name}.example") for name in ("good", "bad"))
    expired = authority.issue(
        "expired", "DNS:expired.example", dates=("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"))
    server = secured.start(
        f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\nclient_crl = "{crl}"\n'
        '[[tls.client]]\nuin = {uin}\nsan = "dns:good.example"\n'
        '[[tls.client]]\nuin = {uin}\nsan = "dns:bad.example"\n'
    )
    how = {"minimum_version": version, "maximum_version": version}
    with pool(server, expired, **how) as http, pytest.raises(httpx.HTTPError):
        request(server, http)
    with pool(server, good, **how) as kept, pool(server, bad, **how) as doomed:
        assert request(server, kept) is None and request(server, doomed) is None
        authority.revoke(bad)
        authority.crl(crl)

        def is_refused():
            try:
                return request(server, doomed) == REFUSED
            except httpx.HTTPError:
                return True

        assert eventually(is_refused), "a connection that was there before the revocation"
        with pool(server, bad, **how) as fresh, pytest.raises(httpx.HTTPError):
            request(server, fresh)
        # Whoever is still in good standing is at most asked to connect again.
        assert eventually(lambda: request(server, kept) is None)
    metrics = httpx.get(server.endpoint + "/metrics", verify=server.context()).text
    expiry = next(line for line in metrics.splitlines() if line.startswith("jadeseal_tls_certificate_expiry_seconds "))
    assert time.time() < float(expiry.split()[1]) < time.time() + 8 * 86400
    assert metrics.endswith("# EOF\n") and metrics.count("# EOF") == 1
    assert "\njadeseal_data_disk_free_bytes " in metrics and "\njadeseal_backup_last_proved_seconds 0\n" in metrics


def test_another_authority_takes_over_without_a_restart(tmp_path, secured, authority):
    ca = tmp_path / "clients.pem"
    ca.write_bytes(authority.pem.read_bytes())
    following = Authority(tmp_path, "following")
    old, new = authority.issue("old", "DNS:mine.example"), following.issue("new", "DNS:mine.example")
    server = secured.start(
        f'client_certificates = "required"\nclient_ca = "{ca}"\n[[tls.client]]\nuin = {{uin}}\nsan = "dns:mine.example"\n'
    )
    with pool(server, old) as http:
        assert request(server, http) is None
        ca.write_text("garbage")
        time.sleep(3)
        assert request(server, http) is None, "what does not load changes nothing"
        ca.write_bytes(following.pem.read_bytes())

        def works():
            try:
                with pool(server, new) as fresh:
                    return request(server, fresh) is None
            except httpx.HTTPError:
                return False

        assert eventually(works)
        with pytest.raises(httpx.HTTPError):
            request(server, http)


def test_a_renewed_chain_is_served_without_a_restart(secured, authority):
    server = secured.start()
    host, port = server.host.split(":")

    def served():
        with socket.create_connection((host, int(port))) as raw:
            with server.context().wrap_socket(raw, server_hostname="localhost") as tls:
                return tls.getpeercert(binary_form=True)

    before = served()
    renewed = authority.issue("renewed", "DNS:localhost,IP:127.0.0.1", "serverAuth")
    server.served.key.write_bytes(renewed.key.read_bytes())
    # With the rest of the chain behind it.
    server.served.pem.write_bytes(renewed.pem.read_bytes() + authority.pem.read_bytes())
    assert eventually(lambda: served() != before)
    assert served() == renewed.der


def test_old_versions_of_tls_are_refused(secured):
    server = secured.start()
    host, port = server.host.split(":")
    context = server.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection((host, int(port))) as raw, pytest.raises(OSError):
        context.wrap_socket(raw, server_hostname="localhost")


def test_plain_http_off_loopback_only_when_told_so(tmp_path):
    server = Configured(tmp_path)
    server.start()
    server.stop()
    text = server.config.read_text()
    listen = f'listen = "{server.host}"'
    assert listen in text

    def check(settings, *args):
        server.config.write_text(settings + text.replace(listen, 'listen = "0.0.0.0:0"'))
        return subprocess.run([str(binary()), "serve", "--config", str(server.config), "--check", *args],
                              capture_output=True, text=True, timeout=30)

    refused = check("")
    assert refused.returncode == 1 and "[tls] is needed" in refused.stderr
    assert check("allow_plain_http = true\n").returncode == 0
    assert check("", "--allow-plain-http").returncode == 0
    assert check("allow_plain_http = false\n").returncode == 1


def test_the_official_sdk_with_a_certificate(secured, authority, monkeypatch):
    mine = authority.issue("mine", "URI:spiffe://acme/main")
    server = secured.start(
        f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\n'
        '[[tls.client]]\nuin = {uin}\nsan = "uri:spiffe://acme/main"\n'
    )

    def client(**how):
        profile = ClientProfile(httpProfile=HttpProfile(endpoint=server.host, **how))
        given = credential.Credential(server.creds.secret_id, server.creds.secret_key)
        return kms_client.KmsClient(given, "ap-guangzhou", profile)

    def code(client):
        with pytest.raises(TencentCloudSDKException) as refused:
            client.ListKeys(models.ListKeysRequest())
        return refused.value.code

    trusting = client(certification=str(authority.pem))
    assert code(trusting) == REFUSED
    trusting.request.conn._session.close()
    trusting.request.conn._session.cert = (str(mine.pem), str(mine.key))
    assert trusting.ListKeys(models.ListKeysRequest()).TotalCount == 0
    # As docs/tls.md says: not read.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.pem))
    assert code(client()) == "ClientNetworkError"


def test_a_slip_in_a_binding_is_told(secured, authority):
    server = secured.start()
    server.stop()
    server.start(
        f'client_certificates = "optional"\nclient_ca = "{authority.pem}"\n'
        '[[tls.client]]\nuin = {uin}\nsan = "dns:a"\n[[tls.client]]\nuin = 17\nsan = "dns:a"\n'
        '[[tls.client]]\nsecret_id = "AKIDnobody"\nsan = "dns:a"\n'
    )
    assert b'"AKIDnobody"' in server.log_text() and b'"17"' in server.log_text()
    assert server.log_text().count(b"names a principal or an access key that does not exist") == 2
    done = subprocess.run([str(binary()), "doctor", "--config", str(server.config), "-o", "json"], capture_output=True,
                          text=True, timeout=60)
    slip, = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "tls.bindings"]
    assert done.returncode == 1 and slip["level"] == "problem" and "17, AKIDnobody" in slip["what"]
