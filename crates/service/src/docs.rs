//! Descriptions of parameters that several actions share.

use crate::schema::Doc;

macro_rules! docs {
    ($($name:ident = $en:literal, $zh:literal;)+) => { $(pub(crate) const $name: Doc = Doc($en, $zh);)+ };
}

docs! {
    KEY_ID = "Id of the CMK.", "主密钥 ID。";
    KEY_IDS = "Ids of 1 to 100 CMKs, none twice.", "1 到 100 个主密钥 ID，不可重复。";
    DATA_KEY_ID = "Id of the hosted data key.", "托管数据密钥 ID。";
    DATA_KEY_IDS = "Ids of 1 to 100 hosted data keys, none twice.", "1 到 100 个托管数据密钥 ID，不可重复。";
    DATA_KEY_NAME = "Name of the data key, unique among those of its account and region.", "数据密钥名称，在账号和地域的数据密钥中唯一。";
    DATA_KEY_DESCRIPTION = "Description, at most 100 bytes.", "描述，最多 100 字节。";
    DATA_KEY_METADATA = "Metadata of the data key.", "数据密钥元数据。";
    DATA_KEY_METADATAS = "Metadata of the data keys.", "数据密钥元数据列表。";
    ALIAS = "Name of the key, unique in its account and region.", "密钥别名，在账号和地域内唯一。";
    DESCRIPTION = "Description, at most 1024 bytes.", "描述，最多 1024 字节。";
    KEY_USAGE = "What the key is for; ENCRYPT_DECRYPT by default.", "密钥用途，默认 ENCRYPT_DECRYPT。";
    KEY_STATE = "State of the key.", "密钥状态。";
    CREATE_TIME = "Time of creation, Unix seconds.", "创建时间，Unix 秒。";
    TAGS = "Tags of the new key.", "新密钥的标签。";
    TAG_CODE = "Outcome of the tagging; 0 is success.", "标签操作结果，0 表示成功。";
    TAG_MSG = "Message of the tagging.", "标签操作信息。";
    HSM_CLUSTER = "HSM cluster of the key; empty for none.", "密钥所在的 HSM 集群，空表示无。";
    MEMBER = "Member account of the organisation to act for, by an administrator.", "管理员所操作的组织成员账号。";
    MEMBERS = "Member accounts whose keys are listed, at most 50; the caller's own without.", "所列密钥的成员账号，最多 50 个；不填为调用者自己的账号。";
    OFFSET = "Items to skip.", "偏移量。";
    LIMIT = "Items to return, 200 at most; 10 by default.", "返回数量，最大 200，默认 10。";
    ROLE = "0: keys of the user; 1: keys of cloud products.", "0：用户密钥；1：云产品密钥。";
    TOTAL = "Number of all matching items.", "符合条件的总数。";
    CONTEXT = "JSON object of strings that must be given again to decrypt.", "键值均为字符串的 JSON，解密时须再次提供。";
    BLOB = "Ciphertext, base64.", "密文，base64。";
    PLAINTEXT = "Plaintext, base64; encrypted to the caller's public key where one was given.", "明文，base64；若提供了公钥则为用其加密的结果。";
    RECIPIENT_KEY = "Public key (PEM) to encrypt the returned plaintext to.", "用于加密返回明文的公钥（PEM）。";
    RECIPIENT_ALGORITHM = "Algorithm for that public key; SM2 by default.", "公钥加密算法，默认 SM2。";
    MESSAGE = "Message or digest, base64 of 1 to 4096 bytes.", "消息或摘要，1 到 4096 字节数据的 base64。";
    MESSAGE_TYPE = "RAW (default), or DIGEST: 32 bytes, for ECC_P384_R1 48.", "RAW（默认）或 DIGEST：32 字节，ECC_P384_R1 为 48 字节。";
    SIGNATURE = "Signature, base64.", "签名，base64。";
    SIGNATURE_ALGORITHM = "SM2DSA (or SM2DSA_ASN1), SM2DSA_RAW, ECC_P256_R1, ECC_P384_R1, RSA_PSS_SHA_256 or RSA_PKCS1_SHA_256.", "SM2DSA（或 SM2DSA_ASN1）、SM2DSA_RAW、ECC_P256_R1、ECC_P384_R1、RSA_PSS_SHA_256 或 RSA_PKCS1_SHA_256。";
    ROTATE_DAYS = "Rotation period in days.", "轮换周期（天）。";
    DELETION_DATE = "Time of deletion, Unix seconds.", "删除时间，Unix 秒。";
    METADATA = "Metadata of the key.", "密钥元数据。";
    METADATAS = "Metadata of the keys.", "密钥元数据列表。";
    PRODUCT = "Name of the cloud product.", "云产品标识。";
    RESOURCE = "Id of the cloud resource.", "云资源 ID。";
    SYNC = "Region replication; not offered, so always empty.", "跨地域同步信息；未提供，恒为空。";
    ACCOUNT = "Account that the key belongs to, where the request named member accounts.", "密钥所属账号，仅在请求指定成员账号时返回。";
    UNUSED = "Part of the wire format; has no meaning here.", "协议字段，此处无意义。";
}
