"""The generated matrix: every action x {unsigned, wrong signature, expired, foreign key, each key state}."""

import itertools
import json
import time

import pytest

from kmslib.actions import ON_EXTERNAL, REFUSALS, STATES, VALID, Subject, table
from kmslib.server import GM, MAIN, ROOT
from kmslib.wire import Creds

ACTIONS = table()
PUBLISHED = json.loads((ROOT / "api" / "kms-2019-01-18.json").read_text())
NAMES_A_KEY = {"KeyId", "KeyIds", "CiphertextBlob"}
KEYED = [a for a in ACTIONS if NAMES_A_KEY & {f["name"] for f in PUBLISHED["actions"][a]["request"]}]
_names = itertools.count(1)


def named(stem):
    return f"m-{stem}-{next(_names)}"


@pytest.fixture(scope="module")
def main(server):
    return server.client(MAIN)


@pytest.fixture(scope="module")
def subject(main):
    """An enabled EXTERNAL key, on which every action can be named."""
    return Subject(main, named, "Enabled", external=True)


def test_every_action_has_a_row():
    assert len(ACTIONS) >= 32
    assert set(ACTIONS) == set(VALID), "an action was added: give it a row in kmslib/actions.py"


@pytest.mark.parametrize("action", ACTIONS)
def test_unsigned(main, subject, action):
    request = main.tc3(action, VALID[action](subject))
    del request.headers["authorization"]
    assert main.send(request).code == "AuthFailure.InvalidAuthorization"
    request.headers["authorization"] = "SKIP"
    assert main.send(request).code == "AuthFailure.InvalidAuthorization"


@pytest.mark.parametrize("action", ACTIONS)
def test_wrong_signature(main, subject, action):
    params = VALID[action](subject)
    wrong = Creds(main.creds.secret_id, main.creds.secret_key + "x")
    for method in ("POST", "GET"):
        assert main.ask(action, params, method=method, creds=wrong).code == "AuthFailure.SignatureFailure"
        assert main.send(main.v1(action, params, method=method, creds=wrong)).code == "AuthFailure.SignatureFailure"
    # The body is signed.
    request = main.tc3(action, params)
    request.body += b" "
    assert main.send(request).code == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize("action", ACTIONS)
def test_unknown_secret_id(main, subject, action):
    nobody = Creds("AKIDnobodyatall", "x")
    assert main.ask(action, VALID[action](subject), creds=nobody).code == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize("action", ACTIONS)
def test_expired(main, subject, action):
    params = VALID[action](subject)
    for away in (-310, 310):
        at = int(time.time()) + away
        assert main.ask(action, params, timestamp=at).code == "AuthFailure.SignatureExpire"
        assert main.send(main.v1(action, params, timestamp=at)).code == "AuthFailure.SignatureExpire"


@pytest.mark.parametrize("action", ACTIONS)
def test_a_signature_is_bound_to_its_action(main, server, action):
    """X-TC-Action is not signed, so one who captured a request could aim it at another action; a retry stays legal."""
    other = "GetRegions" if action != "GetRegions" else "ListAlgorithms"
    request = main.tc3(other, {}, extra={"x-test": named("n")}, signed=("content-type", "host", "x-test"))
    assert main.send(request).code is None
    assert main.send(request).code is None
    thief = server.client(MAIN, source="127.0.0.2")
    assert thief.send(request).code is None
    request.headers["x-tc-action"] = action
    assert thief.send(request).code == "AuthFailure.SignatureFailure"
    thief.close()


def test_two_actions_with_one_body_in_one_second(main, subject):
    """An honest client makes one signature for both, and both must work."""
    now = int(time.time())
    for action in ("DescribeKey", "EnableKey", "GetKeyRotationStatus"):
        assert main.ask(action, {"KeyId": subject.key}, timestamp=now).code is None


@pytest.mark.parametrize("action", ACTIONS)
def test_unknown_parameter(main, subject, action):
    assert main.ask(action, VALID[action](subject) | {"Nonsense": "x"}).code == "UnknownParameter"


@pytest.mark.parametrize("action", ACTIONS)
def test_missing_and_ill_typed_parameters(main, subject, action):
    good = VALID[action](subject)
    for field in PUBLISHED["actions"][action]["request"]:
        name = field["name"]
        if field.get("required"):
            fewer = {k: v for k, v in good.items() if k != name}
            answer = main.ask(action, fewer)
            assert answer.code == "MissingParameter" and name in answer.message, name
        wrong = {"string": [1], "uint64": "x", "bool": {}}.get(field["type"], 1)
        assert main.ask(action, good | {name: wrong}).code == "InvalidParameter", name


@pytest.mark.parametrize("action", KEYED)
def test_foreign_and_unknown_keys(main, server, subject, action):
    """A key of another scope (here: of another region) is as unknown as one that never was."""
    other = server.client(GM)
    foreign = other.call("CreateKey", Alias=named("foreign"))["KeyId"]
    params = VALID[action](subject)
    if action == "Decrypt":
        sealed = other.call("Encrypt", KeyId=foreign, Plaintext="eA==")["CiphertextBlob"]
        assert main.code(action, CiphertextBlob=sealed) == "InvalidParameterValue.InvalidCiphertext"
        return
    answers = []
    for key in (foreign, "00000000-0000-11f0-8000-000000000001"):
        if "KeyIds" in params:
            params["KeyIds"] = [key]
        elif "DestinationKeyId" in params:
            params["DestinationKeyId"] = key
        else:
            params["KeyId"] = key
        answers.append(main.ask(action, params))
    assert [a.code for a in answers] == ["ResourceUnavailable.CmkNotFound"] * 2
    assert answers[0].message == answers[1].message


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("action", KEYED)
def test_key_states(main, subject, action, state):
    on = Subject(main, named, state, external=action in ON_EXTERNAL)
    params = VALID[action](on)
    if action == "ReEncrypt":
        params["CiphertextBlob"] = subject.blob
    expected = REFUSALS.get(action, {}).get(state)
    before = main.call("DescribeKey", KeyId=on.key)["KeyMetadata"]
    got = main.code(action, **params)
    assert got in expected if isinstance(expected, set) else got == expected
    if got is not None:
        assert main.call("DescribeKey", KeyId=on.key)["KeyMetadata"] == before, "a refused call changed the key"


@pytest.mark.parametrize("state", STATES)
def test_reencrypt_source_states(main, subject, state):
    on = Subject(main, named, state)
    got = main.code("ReEncrypt", CiphertextBlob=on.blob, DestinationKeyId=subject.key)
    assert got == REFUSALS["Decrypt"].get(state)


@pytest.mark.parametrize("action", ACTIONS)
def test_answers_have_the_published_members(main, action):
    """Names, types and nullability of a successful answer, recursively."""
    state = {"CancelKeyDeletion": "PendingDelete", "ScheduleKeyDeletion": "Disabled", "CancelKeyArchive": "Archived"}
    on = Subject(main, named, state.get(action, "Enabled"), external=action in ON_EXTERNAL)
    if action == "RotateKey":
        main.call("EnableKeyRotation", KeyId=on.key)
    if action == "UnbindCloudResource":
        main.call("BindCloudResource", **VALID["BindCloudResource"](on))
    check(main.call(action, **VALID[action](on)), PUBLISHED["actions"][action]["response"], action)


def check(value, fields, where):
    known = {f["name"]: f for f in fields}
    assert set(value) <= set(known), (where, set(value) - set(known))
    for name, field in known.items():
        path, kind = f"{where}.{name}", field["type"]
        assert name in value or field.get("nullable"), f"{path} is missing"
        got = value.get(name)
        if got is None:
            assert field.get("nullable"), f"{path} is null"
        elif kind.startswith("["):
            assert isinstance(got, list), path
            for item in got:
                if kind[1:-1] in PUBLISHED["types"]:
                    check(item, PUBLISHED["types"][kind[1:-1]], path)
                else:
                    assert isinstance(item, str), path
        elif kind in PUBLISHED["types"]:
            check(got, PUBLISHED["types"][kind], path)
        else:
            expected = {"string": str, "uint64": int, "int64": int, "bool": bool}[kind]
            assert type(got) is expected, (path, got)
