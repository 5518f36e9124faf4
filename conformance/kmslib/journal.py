"""A client that remembers what was acknowledged, so that it can be held against the server after a crash."""

import random
import threading

from .wire import ApiError, b64, unb64


class KeyRecord:
    """What is known of one key. While a call is under way both its old and its new value are possible."""

    def __init__(self, key_id, alias):
        self.key_id = key_id
        self.alias = alias
        self.states = {"Enabled"}
        self.rotation = {False}
        self.rotated = {False}
        self.ciphertexts = []


class Worker(threading.Thread):
    """Sends a random stream of calls on keys of its own until the connection breaks."""

    def __init__(self, server, name, seed):
        super().__init__(name=name, daemon=True)
        self.client = server.client(timeout=30)
        self.random = random.Random(seed)
        self.keys = []
        self.request_ids = []
        self.maybe_created = None
        self.serial = 0
        self.error = None

    def run(self):
        try:
            while True:
                self.step()
        except (OSError, EOFError, ConnectionError):
            pass  # the server is gone: that is how a round ends
        except Exception as error:  # noqa: BLE001 - http.client has many; the test tells them apart
            if type(error).__module__ != "http.client":
                self.error = error
        self.client.close()

    def call(self, action, **fields):
        got = self.client.call(action, **fields)
        self.request_ids.append(got["RequestId"])
        return got

    def step(self):
        if not self.keys or self.random.random() < 0.15:
            self.create()
            return
        key = self.random.choice(self.keys)
        self.random.choice([self.encrypt, self.encrypt, self.data_key, self.toggle, self.enable_rotation, self.rotate])(key)

    def create(self):
        self.serial += 1
        alias = f"{self.name}-{self.serial}"
        self.maybe_created = alias
        got = self.call("CreateKey", Alias=alias)
        self.maybe_created = None
        self.keys.append(KeyRecord(got["KeyId"], alias))

    def encrypt(self, key):
        if key.states == {"Enabled"}:
            text = self.random.randbytes(24)
            got = self.call("Encrypt", KeyId=key.key_id, Plaintext=b64(text))
            key.ciphertexts.append((got["CiphertextBlob"], text))

    def data_key(self, key):
        if key.states == {"Enabled"}:
            got = self.call("GenerateDataKey", KeyId=key.key_id, KeySpec="AES_256")
            key.ciphertexts.append((got["CiphertextBlob"], unb64(got["Plaintext"])))

    def toggle(self, key):
        after = "Disabled" if key.states == {"Enabled"} else "Enabled"
        key.states = key.states | {after}
        self.call("DisableKey" if after == "Disabled" else "EnableKey", KeyId=key.key_id)
        key.states = {after}

    def enable_rotation(self, key):
        if key.states == {"Enabled"} and key.rotation == {False}:
            key.rotation = {False, True}
            self.call("EnableKeyRotation", KeyId=key.key_id)
            key.rotation = {True}

    def rotate(self, key):
        if key.states == {"Enabled"} and key.rotation == {True} and key.rotated == {False}:
            key.rotated = {False, True}
            self.call("RotateKey", KeyId=key.key_id)
            key.rotated = {True}


def verify_key(client, key):
    """Holds one key against the server; narrows what was open. Returns the number of ciphertexts opened."""
    got = client.call("DescribeKey", KeyId=key.key_id)["KeyMetadata"]
    assert got["Alias"] == key.alias
    assert got["KeyState"] in key.states, (key.key_id, got["KeyState"], key.states)
    assert got["KeyRotationEnabled"] in key.rotation, (key.key_id, key.rotation)
    assert (got["LastRotateTime"] != 0) in key.rotated, (key.key_id, key.rotated)
    key.states, key.rotation = {got["KeyState"]}, {got["KeyRotationEnabled"]}
    key.rotated = {got["LastRotateTime"] != 0}
    if key.states == {"Disabled"}:
        client.call("EnableKey", KeyId=key.key_id)
        key.states = {"Enabled"}
    for blob, text in key.ciphertexts:
        opened = client.call("Decrypt", CiphertextBlob=blob)
        assert unb64(opened["Plaintext"]) == text and opened["KeyId"] == key.key_id
    return len(key.ciphertexts)


def find_uncertain(client, alias):
    """A key whose CreateKey was not acknowledged is there whole or not at all."""
    found = client.call("ListKeyDetail", SearchKeyAlias=alias, Limit=200)["KeyMetadatas"] or []
    for metadata in found:
        if metadata["Alias"] == alias:
            blob = client.call("Encrypt", KeyId=metadata["KeyId"], Plaintext=b64(b"whole"))["CiphertextBlob"]
            assert unb64(client.call("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"whole"
            return
    try:
        client.call("CreateKey", Alias=alias)
    except ApiError as error:
        raise AssertionError(f"the alias of a key that is not there is taken: {error}") from error
