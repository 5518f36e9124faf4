"""Regions and their profiles."""

from kmslib.wire import b64, unb64


def test_sm4_region(gm, alias):
    made = gm.call("CreateKey", Alias=alias("sm"))
    got = gm.call("DescribeKey", KeyId=made["KeyId"])["KeyMetadata"]
    assert got["Type"] == 4
    blob = gm.call("Encrypt", KeyId=made["KeyId"], Plaintext=b64(b"sm4"), EncryptionContext='{"a":"b"}')["CiphertextBlob"]
    # Suite byte: 1 is AES-256, 2 is SM4 (docs/formats.md).
    assert unb64(blob)[3] == 2
    opened = gm.call("Decrypt", CiphertextBlob=blob, EncryptionContext='{"a":"b"}')
    assert unb64(opened["Plaintext"]) == b"sm4"
    gm.call("EnableKeyRotation", KeyId=made["KeyId"])
    gm.call("RotateKey", KeyId=made["KeyId"])
    moved = gm.call("ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext='{"a":"b"}')
    assert moved["ReEncrypted"] is True
    assert unb64(gm.call("Decrypt", CiphertextBlob=moved["CiphertextBlob"])["Plaintext"]) == b"sm4"


def test_aes_regions(kms, intl, alias):
    for client in (kms, intl):
        made = client.call("CreateKey", Alias=alias("aes"))
        assert client.call("DescribeKey", KeyId=made["KeyId"])["KeyMetadata"]["Type"] == 2
        blob = client.call("Encrypt", KeyId=made["KeyId"], Plaintext=b64(b"x"))["CiphertextBlob"]
        assert unb64(blob)[3] == 1


def test_algorithms_follow_the_profile(kms, intl, gm):
    def usages(client):
        got = client.call("ListAlgorithms")
        return {a["KeyUsage"] for group in got.values() if isinstance(group, list) for a in group}

    everything, international, chinese = usages(kms), usages(intl), usages(gm)
    assert "ENCRYPT_DECRYPT" in everything & international & chinese
    assert not any("RSA" in u or "ECC" in u for u in chinese)
    assert not any("SM2" in u for u in international)
