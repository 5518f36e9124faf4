"""The action table as the tests see it, and a valid call of every action."""

import json
import os

from .asymmetric import DECRYPT_KYBER, DECRYPT_RSA, DECRYPT_SM2, SIGN_DILITHIUM, SIGN_P256, load
from .byok import import_material, parameters, rsa_padding, wrap
from .server import ROOT
from .sm2 import Public, to_asn1
from .wire import b64, unb64

# The state refusals of the dossier's life-cycle table (section 3.1) with decisions 7 to 9, 11 and 16. A missing
# state is one that the action accepts. A set holds the codes among which the documents leave the choice open.
STATE = "ResourceUnavailable.CmkStateNotSupport"
OFF = "ResourceUnavailable.CmkDisabled"
ARCHIVED = "ResourceUnavailable.CmkArchived"
NOT_PENDING = "ResourceUnavailable.CmkNotPendingDelete"
ENABLED_FIRST = "ResourceUnavailable.CmkShouldBeDisabled"
NO_ROTATION = "UnsupportedOperation.RotateNotSupported"
EXTERNAL_ROTATION = "UnsupportedOperation.ExternalCmkCanNotRotate"

STATES = ("Enabled", "Disabled", "PendingImport", "PendingDelete", "Archived")

_using = {"Disabled": OFF, "PendingImport": OFF, "PendingDelete": OFF}
# Of asymmetric keys, which cannot be PendingImport: what shows, decrypts or verifies also works archived.
_showing = {"Disabled": STATE, "PendingDelete": STATE}
_signing = _showing | {"Archived": STATE}
REFUSALS = {
    "EnableKey": {"PendingImport": STATE, "PendingDelete": STATE, "Archived": STATE},
    "DisableKey": {"PendingImport": STATE, "PendingDelete": STATE, "Archived": STATE},
    "UpdateAlias": {"PendingDelete": STATE},
    "UpdateKeyDescription": {"PendingDelete": STATE},
    "ScheduleKeyDeletion": {"Enabled": ENABLED_FIRST, "PendingDelete": STATE, "Archived": ENABLED_FIRST},
    "CancelKeyDeletion": {s: NOT_PENDING for s in STATES if s != "PendingDelete"},
    "ArchiveKey": {"PendingImport": STATE, "PendingDelete": STATE},
    "CancelKeyArchive": {s: STATE for s in STATES if s != "Archived"},
    "EnableKeyRotation": {
        "PendingImport": {STATE, EXTERNAL_ROTATION}, "PendingDelete": STATE, "Archived": STATE,
    },
    "RotateKey": {
        "Enabled": NO_ROTATION, "Disabled": STATE, "PendingImport": {STATE, NO_ROTATION}, "PendingDelete": STATE,
        "Archived": STATE,
    },
    "GetParametersForImport": {"PendingDelete": STATE, "Archived": STATE},
    "ImportKeyMaterial": {"Disabled": STATE, "PendingDelete": STATE, "Archived": STATE},
    "DeleteImportedKeyMaterial": {"PendingImport": STATE, "PendingDelete": STATE, "Archived": STATE},
    "Encrypt": _using | {"Archived": ARCHIVED},
    "Decrypt": _using,
    # As destination; as source it goes with Decrypt.
    "ReEncrypt": _using | {"Archived": ARCHIVED},
    "GenerateDataKey": _using | {"PendingDelete": "ResourceUnavailable.KeyPendingDelete", "Archived": ARCHIVED},
    "GetPublicKey": _showing,
    "AsymmetricRsaDecrypt": _showing,
    "AsymmetricSm2Decrypt": _showing,
    "SignByAsymmetricKey": _signing,
    "VerifyByAsymmetricKey": _showing,
    "PostQuantumCryptoEncrypt": {"Disabled": OFF, "PendingDelete": OFF, "Archived": ARCHIVED},
    "PostQuantumCryptoDecrypt": {"Disabled": OFF, "PendingDelete": OFF},
    "PostQuantumCryptoSign": _signing,
    "PostQuantumCryptoVerify": _showing,
    "ImportDataKey": {
        "Disabled": OFF, "PendingImport": STATE, "PendingDelete": "ResourceUnavailable.KeyPendingDelete",
        "Archived": ARCHIVED,
    },
    "BindCloudResource": {s: STATE for s in STATES if s != "Enabled"},
    "UnbindCloudResource": {s: "ResourceUnavailable.CloudResourceBindingNotFound" for s in STATES},
}
REFUSALS["EnableKeys"] = REFUSALS["EnableKey"]
REFUSALS["DisableKeys"] = REFUSALS["DisableKey"]

# Actions on imported material are tried on EXTERNAL keys in every state, the others on keys of our own origin (but
# for PendingImport, which only EXTERNAL keys know).
ON_EXTERNAL = {"GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"}

# The usage of the keys that an action works on, where it is not ENCRYPT_DECRYPT.
USAGE = {
    "GetPublicKey": SIGN_P256,
    "AsymmetricRsaDecrypt": DECRYPT_RSA,
    "AsymmetricSm2Decrypt": DECRYPT_SM2,
    "SignByAsymmetricKey": SIGN_P256,
    "VerifyByAsymmetricKey": SIGN_P256,
    "PostQuantumCryptoEncrypt": DECRYPT_KYBER,
    "PostQuantumCryptoDecrypt": DECRYPT_KYBER,
    "PostQuantumCryptoSign": SIGN_DILITHIUM,
    "PostQuantumCryptoVerify": SIGN_DILITHIUM,
}


def states(action):
    """The states that a key of the action can be in."""
    return [s for s in STATES if s != "PendingImport" or action not in USAGE]


def table():
    """Names of the actions that the binary has: the exported table, else those that have a call below."""
    exported = ROOT / "api" / "actions.json"
    published = json.loads((ROOT / "api" / "kms-2019-01-18.json").read_text())["actions"]
    if not exported.exists():
        return sorted(set(VALID) & set(published))
    data = json.loads(exported.read_text())
    actions = data.get("actions", data)
    names = list(actions) if isinstance(actions, dict) else [a["name"] for a in actions]
    return sorted(set(names) & set(published))


class Subject:
    """A key in a state, with a ciphertext made while it could and a wrapped material."""

    def __init__(self, client, alias, state, external=False, usage="ENCRYPT_DECRYPT"):
        self.client = client
        self.alias = alias
        external = external or state == "PendingImport"
        self.key = client.call("CreateKey", Alias=alias("subject"), KeyUsage=usage, Type=2 if external else 1)["KeyId"]
        self.token, self.wrapped, self.blob, self.signature = "", "", "", ""
        if external:
            material = os.urandom(32)
            import_material(client, self.key, material)
            got = parameters(client, self.key)
            self.token = got["ImportToken"]
            self.wrapped = wrap(material, got["PublicKey"], "RSAES_OAEP_SHA_256")
        self._use(usage)
        self.data_key = None
        if usage == "ENCRYPT_DECRYPT":
            hosted = {"IsHostedByKms": 1, "DataKeyName": alias("subject")}
            self.data_key = client.call("GenerateDataKey", KeyId=self.key, NumberOfBytes=16, **hosted)["DataKeyId"]
        for step in {
            "Enabled": [],
            "Disabled": [("DisableKey", {})],
            "PendingImport": [("DeleteImportedKeyMaterial", {})],
            "PendingDelete": [("DisableKey", {}), ("ScheduleKeyDeletion", {"PendingWindowInDays": 7})],
            "Archived": [("ArchiveKey", {})],
        }[state]:
            client.call(step[0], KeyId=self.key, **step[1])
        assert client.call("DescribeKey", KeyId=self.key)["KeyMetadata"]["KeyState"] == state

    def bring_data_key(self, state):
        """Takes the data key from Enabled to another state."""
        if state in ("Disabled", "PendingDelete"):
            self.client.call("DisableDataKey", DataKeyId=self.data_key)
        if state == "PendingDelete":
            self.client.call("ScheduleDataKeyDeletion", DataKeyId=self.data_key, PendingWindowInDays=7)

    def _use(self, usage):
        """Makes what the key is to decrypt or verify later."""
        call, text = self.client.call, b64(b"subject")
        if usage == "ENCRYPT_DECRYPT":
            self.blob = call("Encrypt", KeyId=self.key, Plaintext=text)["CiphertextBlob"]
        elif usage == DECRYPT_KYBER:
            self.blob = call("PostQuantumCryptoEncrypt", KeyId=self.key, PlainText=text)["CiphertextBlob"]
        elif usage == DECRYPT_RSA:
            public = load(unb64(call("GetPublicKey", KeyId=self.key)["PublicKey"]))
            self.blob = b64(public.encrypt(b"subject", rsa_padding("RSAES_OAEP_SHA_256")))
        elif usage == DECRYPT_SM2:
            public = Public.from_spki(unb64(call("GetPublicKey", KeyId=self.key)["PublicKey"]))
            self.blob = b64(to_asn1(public.encrypt(b"subject")))
        elif usage == SIGN_P256:
            fields = {"Algorithm": "ECC_P256_R1", "Message": text}
            self.signature = call("SignByAsymmetricKey", KeyId=self.key, **fields)["Signature"]
        elif usage == SIGN_DILITHIUM:
            self.signature = call("PostQuantumCryptoSign", KeyId=self.key, Message=text)["Signature"]


def _key(**more):
    return lambda s: {"KeyId": s.key} | {k: (v(s) if callable(v) else v) for k, v in more.items()}


def _data_key(**more):
    return lambda s: {"DataKeyId": s.data_key} | {k: (v(s) if callable(v) else v) for k, v in more.items()}


# A valid call of every action on a subject. `ReEncrypt` gets its source blob from the test.
VALID = {
    "CreateKey": lambda s: {"Alias": s.alias("matrix")},
    "DescribeKey": _key(),
    "DescribeKeys": lambda s: {"KeyIds": [s.key]},
    "ListKeys": lambda s: {},
    "ListKeyDetail": lambda s: {},
    "EnableKey": _key(),
    "EnableKeys": lambda s: {"KeyIds": [s.key]},
    "DisableKey": _key(),
    "DisableKeys": lambda s: {"KeyIds": [s.key]},
    "UpdateAlias": _key(Alias=lambda s: s.alias("matrix")),
    "UpdateKeyDescription": _key(Description="matrix"),
    "ScheduleKeyDeletion": _key(PendingWindowInDays=7),
    "CancelKeyDeletion": _key(),
    "ArchiveKey": _key(),
    "CancelKeyArchive": _key(),
    "EnableKeyRotation": _key(),
    "DisableKeyRotation": _key(),
    "GetKeyRotationStatus": _key(),
    "RotateKey": _key(),
    "Encrypt": _key(Plaintext=b64(b"matrix")),
    "Decrypt": lambda s: {"CiphertextBlob": s.blob},
    "ReEncrypt": lambda s: {"CiphertextBlob": s.blob, "DestinationKeyId": s.key},
    "GenerateDataKey": _key(KeySpec="AES_256"),
    "ImportDataKey": _key(DataKeyName=lambda s: s.alias("matrix"), ImportType=2, ImportKeyMaterial=b64(b"matrix")),
    "DescribeDataKey": _data_key(),
    "DescribeDataKeys": lambda s: {"DataKeyIds": [s.data_key]},
    "ListDataKeys": lambda s: {},
    "ListDataKeyDetail": _key(),
    "EnableDataKey": _data_key(),
    "EnableDataKeys": lambda s: {"DataKeyIds": [s.data_key]},
    "DisableDataKey": _data_key(),
    "DisableDataKeys": lambda s: {"DataKeyIds": [s.data_key]},
    "UpdateDataKeyName": _data_key(DataKeyName=lambda s: s.alias("matrix")),
    "UpdateDataKeyDescription": _data_key(Description="matrix"),
    "ScheduleDataKeyDeletion": _data_key(PendingWindowInDays=7),
    "CancelDataKeyDeletion": _data_key(),
    "GetDataKeyPlaintext": _data_key(),
    "GetDataKeyCiphertextBlob": _data_key(),
    "GenerateRandom": lambda s: {"NumberOfBytes": 16},
    "GetParametersForImport": _key(WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"),
    "ImportKeyMaterial": _key(ImportToken=lambda s: s.token, EncryptedKeyMaterial=lambda s: s.wrapped),
    "DeleteImportedKeyMaterial": _key(),
    "GetPublicKey": _key(),
    "AsymmetricRsaDecrypt": _key(Ciphertext=lambda s: s.blob, Algorithm="RSAES_OAEP_SHA_256"),
    "AsymmetricSm2Decrypt": _key(Ciphertext=lambda s: s.blob),
    "SignByAsymmetricKey": _key(Algorithm="ECC_P256_R1", Message=b64(b"subject")),
    "VerifyByAsymmetricKey": _key(
        Algorithm="ECC_P256_R1", Message=b64(b"subject"), SignatureValue=lambda s: s.signature
    ),
    "PostQuantumCryptoEncrypt": _key(PlainText=b64(b"matrix")),
    "PostQuantumCryptoDecrypt": lambda s: {"CiphertextBlob": s.blob},
    "PostQuantumCryptoSign": _key(Message=b64(b"subject")),
    "PostQuantumCryptoVerify": _key(Message=b64(b"subject"), SignatureValue=lambda s: s.signature),
    "BindCloudResource": _key(ProductId="cos", ResourceId="matrix"),
    "UnbindCloudResource": _key(ProductId="cos", ResourceId="matrix"),
    "GetServiceStatus": lambda s: {},
    "GetRegions": lambda s: {},
    "ListAlgorithms": lambda s: {},
}
