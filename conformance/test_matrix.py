"""The generated matrix: every action x {unsigned, wrong signature, expired, foreign key, each key state}."""

import itertools
import time

import pytest

from kmslib.actions import ON_EXTERNAL, REFUSALS, STATES, USAGE, VALID, Subject, states, table
from kmslib.asymmetric import SIGN_DILITHIUM, USAGES
from kmslib.cam import source
from kmslib.published import check
from kmslib.published import table as table_of
from kmslib.server import GM, INTL, MAIN
from kmslib.wire import Creds

ACTIONS = table()
PUBLISHED = table_of("kms-2019-01-18")
NAMES_A_KEY = {"KeyId", "KeyIds", "CiphertextBlob"}
KEYED = [a for a in ACTIONS if NAMES_A_KEY & {f["name"] for f in PUBLISHED["actions"][a]["request"]}]
_names = itertools.count(1)


def named(stem):
    return f"m-{stem}-{next(_names)}"


@pytest.fixture(scope="module")
def main(server):
    return server.client(MAIN)


@pytest.fixture
def stranger(server):
    """A client at an address of its own: who is refused before he is known slows down whoever shares one."""
    client = server.client(MAIN, source=source())
    yield client
    client.close()


@pytest.fixture(scope="module")
def subjects(main):
    """An enabled key for an action. EXTERNAL where it is symmetric, so that every action on it can be named."""
    made = {}

    def of(action):
        usage = USAGE.get(action, "ENCRYPT_DECRYPT")
        if usage not in made:
            made[usage] = Subject(main, named, "Enabled", external=action not in USAGE, usage=usage)
        return made[usage]

    return of


def test_every_action_has_a_row():
    assert len(ACTIONS) >= 41
    assert set(ACTIONS) == set(VALID), "an action was added: give it a row in kmslib/actions.py"


@pytest.mark.parametrize("action", ACTIONS)
def test_unsigned(stranger, subjects, action):
    request = stranger.tc3(action, VALID[action](subjects(action)))
    del request.headers["authorization"]
    assert stranger.send(request).code == "AuthFailure.InvalidAuthorization"
    request.headers["authorization"] = "SKIP"
    assert stranger.send(request).code == "AuthFailure.InvalidAuthorization"


@pytest.mark.parametrize("action", ACTIONS)
def test_wrong_signature(stranger, subjects, action):
    params = VALID[action](subjects(action))
    wrong = Creds(stranger.creds.secret_id, stranger.creds.secret_key + "x")
    for method in ("POST", "GET"):
        assert stranger.ask(action, params, method=method, creds=wrong).code == "AuthFailure.SignatureFailure"
        assert stranger.send(stranger.v1(action, params, method=method, creds=wrong)).code == "AuthFailure.SignatureFailure"
    # The body is signed.
    request = stranger.tc3(action, params)
    request.body += b" "
    assert stranger.send(request).code == "AuthFailure.SignatureFailure"


@pytest.mark.parametrize("action", ACTIONS)
def test_unknown_secret_id(stranger, subjects, action):
    nobody = Creds("AKIDnobodyatall", "x")
    assert stranger.ask(action, VALID[action](subjects(action)), creds=nobody).code == "AuthFailure.SecretIdNotFound"


@pytest.mark.parametrize("action", ACTIONS)
def test_expired(stranger, subjects, action):
    params = VALID[action](subjects(action))
    for away in (-310, 310):
        at = int(time.time()) + away
        assert stranger.ask(action, params, timestamp=at).code == "AuthFailure.SignatureExpire"
        assert stranger.send(stranger.v1(action, params, timestamp=at)).code == "AuthFailure.SignatureExpire"


@pytest.mark.parametrize("action", ACTIONS)
def test_a_signature_is_bound_to_its_action(main, server, action):
    """X-TC-Action is not signed, so one who captured a request could aim it at another action; a retry stays legal."""
    other = "GetRegions" if action != "GetRegions" else "ListAlgorithms"
    request = main.tc3(other, {}, extra={"x-test": named("n")}, signed=("content-type", "host", "x-test"))
    assert main.send(request).code is None
    assert main.send(request).code is None
    thief = server.client(MAIN, source=source())
    assert thief.send(request).code is None
    request.headers["x-tc-action"] = action
    assert thief.send(request).code == "AuthFailure.SignatureFailure"
    thief.close()


def test_two_actions_with_one_body_in_one_second(main, key):
    """An honest client makes one signature for both, and both must work."""
    now = int(time.time())
    for action in ("DescribeKey", "EnableKey", "GetKeyRotationStatus"):
        assert main.ask(action, {"KeyId": key}, timestamp=now).code is None


@pytest.mark.parametrize("action", ACTIONS)
def test_unknown_parameter(main, subjects, action):
    assert main.ask(action, VALID[action](subjects(action)) | {"Nonsense": "x"}).code == "UnknownParameter"


@pytest.mark.parametrize("action", ACTIONS)
def test_missing_and_ill_typed_parameters(main, subjects, action):
    good = VALID[action](subjects(action))
    for field in PUBLISHED["actions"][action]["request"]:
        name = field["name"]
        if field.get("required"):
            fewer = {k: v for k, v in good.items() if k != name}
            answer = main.ask(action, fewer)
            assert answer.code == "MissingParameter" and name in answer.message, name
        wrong = {"string": [1], "uint64": "x", "bool": {}}.get(field["type"], 1)
        assert main.ask(action, good | {name: wrong}).code == "InvalidParameter", name


@pytest.mark.parametrize("action", KEYED)
def test_foreign_and_unknown_keys(main, server, subjects, action):
    """A key of another scope (here: of another region) is as unknown as one that never was."""
    other = server.client(GM)
    foreign = other.call("CreateKey", Alias=named("foreign"))["KeyId"]
    params = VALID[action](subjects(action))
    if action == "PostQuantumCryptoDecrypt":
        elsewhere = Subject(server.client(INTL), named, "Enabled", usage=USAGE[action])
        assert main.code(action, CiphertextBlob=elsewhere.blob) == "InvalidParameterValue.InvalidCiphertext"
        return
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


@pytest.mark.parametrize("action,state", [(a, s) for a in KEYED for s in states(a)])
def test_key_states(main, subjects, action, state):
    on = Subject(main, named, state, external=action in ON_EXTERNAL, usage=USAGE.get(action, "ENCRYPT_DECRYPT"))
    params = VALID[action](on)
    if action == "ReEncrypt":
        params["CiphertextBlob"] = subjects(action).blob
    expected = REFUSALS.get(action, {}).get(state)
    before = main.call("DescribeKey", KeyId=on.key)["KeyMetadata"]
    got = main.code(action, **params)
    assert got in expected if isinstance(expected, set) else got == expected
    if got is not None:
        assert main.call("DescribeKey", KeyId=on.key)["KeyMetadata"] == before, "a refused call changed the key"


# The usages of the keys that an action takes, and its refusal of all others: the code that its page lists.
FITTING = {action: {usage} for action, usage in USAGE.items()} | {
    "GetPublicKey": set(USAGES),
    "SignByAsymmetricKey": {u for u in USAGES if "SIGN_VERIFY" in u} - {SIGN_DILITHIUM},
    "VerifyByAsymmetricKey": {u for u in USAGES if "SIGN_VERIFY" in u} - {SIGN_DILITHIUM},
} | {action: {"ENCRYPT_DECRYPT"} for action in ("Encrypt", "GenerateDataKey", "ReEncrypt")}
LISTS_USAGE = {"GenerateDataKey", "AsymmetricRsaDecrypt", "AsymmetricSm2Decrypt"}


@pytest.mark.parametrize("usage", ("ENCRYPT_DECRYPT", *USAGES))
@pytest.mark.parametrize("action", sorted(set(FITTING) - {"PostQuantumCryptoDecrypt"}))
def test_keys_of_another_usage(main, keys, key, subjects, action, usage):
    on = key if usage == "ENCRYPT_DECRYPT" else keys[usage]
    name = "DestinationKeyId" if action == "ReEncrypt" else "KeyId"
    got = main.code(action, **VALID[action](subjects(action)) | {name: on})
    if usage not in FITTING[action]:
        assert got == ("InvalidParameterValue.InvalidKeyUsage" if action in LISTS_USAGE else "InvalidParameter")
    elif action not in ("SignByAsymmetricKey", "VerifyByAsymmetricKey"):
        # The ciphertext is of another key, but the usage was taken.
        assert got in (None, "FailedOperation.DecryptError")
    else:
        assert got == (None if usage == USAGE[action] else "InvalidParameter")


@pytest.mark.parametrize("state", STATES)
def test_reencrypt_source_states(main, subjects, state):
    on = Subject(main, named, state)
    got = main.code("ReEncrypt", CiphertextBlob=on.blob, DestinationKeyId=subjects("ReEncrypt").key)
    assert got == REFUSALS["Decrypt"].get(state)


@pytest.mark.parametrize("action", ACTIONS)
def test_answers_have_the_published_members(main, action):
    """Names, types and nullability of a successful answer, recursively."""
    state = {"CancelKeyDeletion": "PendingDelete", "ScheduleKeyDeletion": "Disabled", "CancelKeyArchive": "Archived"}
    usage = USAGE.get(action, "ENCRYPT_DECRYPT")
    on = Subject(main, named, state.get(action, "Enabled"), external=action in ON_EXTERNAL, usage=usage)
    if action == "RotateKey":
        main.call("EnableKeyRotation", KeyId=on.key)
    if action == "UnbindCloudResource":
        main.call("BindCloudResource", **VALID["BindCloudResource"](on))
    on.bring_data_key({"CancelDataKeyDeletion": "PendingDelete", "ScheduleDataKeyDeletion": "Disabled"}.get(action))
    check(main.call(action, **VALID[action](on)), PUBLISHED["actions"][action]["response"], PUBLISHED["types"], action)
