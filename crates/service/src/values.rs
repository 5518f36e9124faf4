//! Parameters that carry more than text: parsed once, here, into what the handlers work with.

use crate::schema::{FromValue, ToWire, Type};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_auth::params::Value;
use jadeseal_crypto::Context;
use jadeseal_types::{Alias, ApiError, DataKeyId, ErrorCode, KeyId, SecretBytes, error::Result, limits};
use std::io;
use zeroize::Zeroizing;

fn text<'a>(value: Value<'a>, name: &str) -> Result<std::borrow::Cow<'a, str>> {
    match value {
        Value::Str(s) => Ok(s),
        _ => Err(ApiError::invalid(name, "must be of type string", "类型必须为 string")),
    }
}

impl FromValue for KeyId {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        KeyId::parse(&text(value, name)?).ok_or_else(|| {
            ApiError::about(ErrorCode::InvalidKeyId, name, "is not a well-formed key id", "不是合法的密钥 ID")
        })
    }
}

/// A key id that may be absent as an empty string too.
pub struct MaybeKeyId(pub Option<KeyId>);

impl FromValue for MaybeKeyId {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match &value {
            Value::Str(s) if s.is_empty() => Ok(MaybeKeyId(None)),
            _ => KeyId::from_value(value, name).map(|id| MaybeKeyId(Some(id))),
        }
    }
}

impl FromValue for DataKeyId {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        KeyId::parse(&text(value, name)?).map(DataKeyId).ok_or_else(|| {
            let (en, zh) = ("is not a well-formed data key id", "不是合法的数据密钥 ID");
            ApiError::about(ErrorCode::InvalidDataKeyId, name, en, zh)
        })
    }
}

/// Name of a data key; the rule is that of aliases (decision 23).
pub struct DataKeyName(pub Alias);

impl FromValue for DataKeyName {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        // Who may use the reserved prefix, the handlers ask with the caller in hand.
        Alias::parse(&text(value, name)?).map(DataKeyName).ok_or_else(|| ErrorCode::InvalidDataKeyName.into())
    }
}

/// Name of a data key that may be absent as an empty string too.
pub struct MaybeDataKeyName(pub Option<Alias>);

impl FromValue for MaybeDataKeyName {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match &value {
            Value::Str(s) if s.is_empty() => Ok(MaybeDataKeyName(None)),
            _ => DataKeyName::from_value(value, name).map(|parsed| MaybeDataKeyName(Some(parsed.0))),
        }
    }
}

/// A data key to be imported, in clear or as a ciphertext blob; none when it is not base64 of at most the length of
/// the longer one. What is wrong with it, the kind of import says.
pub struct DataKeyMaterial(pub Option<SecretBytes>);

impl DataKeyMaterial {
    const MAX: usize = limits::MAX_RANDOM_BYTES as usize + jadeseal_crypto::blob::OVERHEAD;
}

impl FromValue for DataKeyMaterial {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        Ok(DataKeyMaterial(decode(&text(value, name)?, Self::MAX).map(SecretBytes::new)))
    }
}

impl FromValue for Alias {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        // Who may use the reserved prefix, the handlers ask with the caller in hand.
        Alias::parse(&text(value, name)?).ok_or_else(|| ErrorCode::InvalidAlias.into())
    }
}

/// Plaintext of Encrypt: base64 of 1 to 4,096 bytes.
pub struct Plaintext(pub SecretBytes);

impl FromValue for Plaintext {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match decode(&text(value, name)?, limits::MAX_PLAINTEXT_BYTES).map(SecretBytes::new) {
            Some(b) if !b.is_empty() => Ok(Plaintext(b)),
            _ => {
                let (en, zh) = ("must be base64 of 1 to 4096 bytes", "必须是 1 到 4096 字节数据的 base64 编码");
                Err(ApiError::about(ErrorCode::InvalidPlaintext, name, en, zh))
            }
        }
    }
}

/// A ciphertext blob: base64 of something that is looked at later.
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// The blob under a raw parameter, before the request has been parsed.
    pub fn peek(value: Option<&Value<'_>>) -> Option<Vec<u8>> {
        match value {
            Some(Value::Str(s)) => decode(s, limits::MAX_BLOB_BYTES),
            _ => None,
        }
    }
}

impl FromValue for Blob {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, _name: &str) -> Result<Self> {
        Blob::peek(Some(&value)).map(Blob).ok_or_else(|| ErrorCode::InvalidCiphertext.into())
    }
}

impl FromValue for Context {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        Context::parse(&text(value, name)?).map_err(|_| {
            ApiError::invalid(
                name,
                "must be a JSON object of strings without repeated names, at most 1024 characters",
                "必须是键值均为字符串且无重复键的 JSON 对象，最多 1024 个字符",
            )
        })
    }
}

/// Base64 of at most `MAX` bytes that is decoded but otherwise left to the handler.
pub struct Encoded<const MAX: usize>(pub Vec<u8>);

impl<const MAX: usize> FromValue for Encoded<MAX> {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        decode(&text(value, name)?, MAX).map(Encoded).ok_or_else(|| {
            let (en, zh) =
                (format!("must be base64 of at most {MAX} bytes"), format!("必须是最多 {MAX} 字节数据的 base64 编码"));
            ApiError::invalid(name, &en, &zh)
        })
    }
}

/// What is to be signed, or its digest: base64 of 1 to 4,096 bytes.
pub struct Message(pub Vec<u8>);

impl FromValue for Message {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        let text = text(value, name)?;
        let bytes = decode(&text, limits::MAX_MESSAGE_BYTES).filter(|b| !b.is_empty());
        bytes.map(Message).ok_or_else(|| {
            ApiError::invalid(name, "must be base64 of 1 to 4096 bytes", "必须是 1 到 4096 字节数据的 base64 编码")
        })
    }
}

/// A signature to be verified. What is base64 is wrong at worst (decision 22), however long it is.
pub struct Signature(pub Vec<u8>);

impl FromValue for Signature {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        let text = text(value, name)?;
        let too_long = text.len() > 2 * limits::MAX_SIGNATURE_BYTES && text.bytes().all(is_base64);
        let bytes = if too_long { Some(Vec::new()) } else { decode(&text, 2 * limits::MAX_SIGNATURE_BYTES) };
        bytes.map(Signature).ok_or_else(|| {
            let (en, zh) = ("must be base64 of a signature", "必须是签名的 base64 编码");
            ApiError::about(ErrorCode::InvalidParameterValue, name, en, zh)
        })
    }
}

/// The bytes behind base64 text; none when there are more than `max`, or it is not base64. Longer text is not worth
/// decoding. Line ends are overlooked, as many encoders write them and most decoders overlook them.
fn decode(text: &str, max: usize) -> Option<Vec<u8>> {
    let longest = max.div_ceil(3) * 4;
    let exact = |text: &str| {
        if text.len() > longest {
            return None;
        }
        // What a failure leaves may be the beginning of a plaintext.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len().div_ceil(4) * 3));
        let decoded = STANDARD.decode_vec(text.as_bytes(), &mut bytes).is_ok() && bytes.len() <= max;
        decoded.then(|| std::mem::take(&mut *bytes))
    };
    exact(text).or_else(|| {
        let lines = text.len() <= 2 * longest && text.contains(['\r', '\n']);
        // It may be a plaintext.
        lines.then(|| exact(&Zeroizing::new(text.replace(['\r', '\n'], "")))).flatten()
    })
}

fn is_base64(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=')
}

/// Free text of at most `MAX_BYTES` bytes.
pub struct Bounded<const MAX_BYTES: usize>(pub String);

impl<const MAX_BYTES: usize> FromValue for Bounded<MAX_BYTES> {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        let text = text(value, name)?;
        if text.len() > MAX_BYTES {
            let (en, zh) = (format!("must be at most {MAX_BYTES} bytes"), format!("最多 {MAX_BYTES} 字节"));
            return Err(ApiError::invalid(name, &en, &zh));
        }
        Ok(Bounded(text.into_owned()))
    }
}

/// JSON as the API writes it: bytes are base64 text.
pub struct Wire;

impl serde_json::ser::Formatter for Wire {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, out: &mut W, bytes: &[u8]) -> io::Result<()> {
        // Straight into the answer: such text has nothing to escape, and no copy of it is left to wipe but this.
        let mut text = Zeroizing::new([0; 256]);
        out.write_all(b"\"")?;
        for part in bytes.chunks(192) {
            let len = STANDARD.encode_slice(part, &mut text[..]).map_err(io::Error::other)?;
            out.write_all(text.get(..len).unwrap_or_default())?;
        }
        out.write_all(b"\"")
    }
}

/// Public bytes in an answer, as base64; see [`Wire`].
pub struct Base64(pub Vec<u8>);

impl serde::Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl ToWire for Base64 {
    const TYPE: Type = Type::String;
}

/// Secret bytes in an answer, as base64; see [`Wire`].
pub struct SecretBase64(pub SecretBytes);

impl serde::Serialize for SecretBase64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.expose())
    }
}

impl ToWire for SecretBase64 {
    const TYPE: Type = Type::String;
}

/// Secret text in an answer, as it is. It has nothing that JSON would escape.
pub struct SecretText(pub SecretBytes);

impl serde::Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(self.0.expose()).map_err(|_| serde::ser::Error::custom("not text"))?;
        serializer.serialize_str(text)
    }
}

impl ToWire for SecretText {
    const TYPE: Type = Type::String;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize as _;

    #[test]
    fn bytes_are_written_as_base64_whatever_their_length() {
        for len in (0..20).chain(185..200).chain([384, 1000, 5000]) {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 7 % 256) as u8).collect();
            let mut out = Vec::new();
            let value = (Base64(bytes.clone()), Some(SecretBase64(SecretBytes::copy_from(&bytes))), "a\"b");
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Wire)).unwrap();
            let text = STANDARD.encode(&bytes);
            assert_eq!(String::from_utf8(out).unwrap(), format!(r#"["{text}","{text}","a\"b"]"#));
        }
    }
}
