"""Wraps key material for ImportKeyMaterial, the way a customer's own HSM or openssl does."""

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from .wire import b64, unb64

WRAPPINGS = ("RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256")


def rsa_padding(algorithm):
    """The padding of a wrapping algorithm; OAEP uses one hash for both of its places."""
    if algorithm == "RSAES_PKCS1_V1_5":
        return padding.PKCS1v15()
    digest = {"RSAES_OAEP_SHA_1": hashes.SHA1, "RSAES_OAEP_SHA_256": hashes.SHA256}[algorithm]()
    return padding.OAEP(mgf=padding.MGF1(algorithm=digest), algorithm=digest, label=None)


def wrap(material, public_key_b64, algorithm):
    """Base64 of the material encrypted to the public key of GetParametersForImport."""
    key = serialization.load_der_public_key(unb64(public_key_b64))
    assert key.key_size == 2048
    return b64(key.encrypt(material, rsa_padding(algorithm)))


def parameters(client, key_id, algorithm="RSAES_OAEP_SHA_256"):
    """GetParametersForImport."""
    return client.call(
        "GetParametersForImport", KeyId=key_id, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048"
    )


def import_material(client, key_id, material, algorithm="RSAES_OAEP_SHA_256", valid_to=None):
    """The whole import; returns the answer of ImportKeyMaterial."""
    got = parameters(client, key_id, algorithm)
    more = {} if valid_to is None else {"ValidTo": valid_to}
    return client.call(
        "ImportKeyMaterial",
        KeyId=key_id,
        ImportToken=got["ImportToken"],
        EncryptedKeyMaterial=wrap(material, got["PublicKey"], algorithm),
        **more,
    )
