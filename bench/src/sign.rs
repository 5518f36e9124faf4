//! TC3-HMAC-SHA256 for requests by the hundred thousand.

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;

/// An access key and where its requests go.
#[derive(Clone, Debug)]
pub struct Signer {
    pub secret_id: String,
    pub secret_key: String,
    pub host: String,
    pub region: String,
    /// Of a temporary access key.
    pub token: Option<String>,
}

/// Version of the key management API.
pub const KMS: &str = "2019-01-18";

impl Signer {
    /// A whole HTTP/1.1 request: POST, JSON, content-type and host signed, as the official SDKs do.
    pub fn request(&self, action: &str, body: &str, timestamp: i64) -> Vec<u8> {
        self.request_of(KMS, action, body, timestamp)
    }

    /// The same of another API.
    pub fn request_of(&self, version: &str, action: &str, body: &str, timestamp: i64) -> Vec<u8> {
        let token = self.token.as_ref().map(|token| format!("X-TC-Token: {token}\r\n")).unwrap_or_default();
        let date = date(timestamp);
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/json\nhost:{}\n\ncontent-type;host\n{}",
            self.host,
            sha256(body)
        );
        let scope = format!("{date}/kms/tc3_request");
        let text = format!("TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{}", sha256(&canonical));
        let key = mac(format!("TC3{}", self.secret_key).as_bytes(), &date);
        let key = mac(mac(key.as_ref(), "kms").as_ref(), "tc3_request");
        let signature = HEXLOWER.encode(mac(key.as_ref(), &text).as_ref());
        format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nX-TC-Action: {action}\r\n\
             X-TC-Version: {version}\r\n{token}X-TC-Region: {}\r\nX-TC-Timestamp: {timestamp}\r\nX-TC-Language: en-US\r\n\
             X-TC-RequestClient: jadeseal-bench\r\nAuthorization: TC3-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders=content-type;host, Signature={signature}\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            self.region,
            self.secret_id,
            body.len(),
        )
        .into_bytes()
    }
}

/// Current Unix time, seconds.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn date(timestamp: i64) -> String {
    let at = jiff::Timestamp::from_second(timestamp).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

fn sha256(text: &str) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Independent of the server's own code: the value is from a TC3 implementation in Python.
    #[test]
    fn a_signature_is_what_another_implementation_makes_of_it() {
        let signer = Signer {
            secret_id: "AKIDexample".into(),
            secret_key: "example".into(),
            host: "127.0.0.1:8443".into(),
            region: "ap-guangzhou".into(),
            token: None,
        };
        let request = String::from_utf8(signer.request("GetRegions", "{}", 1_700_000_000)).unwrap();
        assert!(request.contains("Credential=AKIDexample/2023-11-14/kms/tc3_request"), "{request}");
        assert!(
            request.contains("Signature=a08801fb71fbce720be0b5c9024badc7450b15a3d247ad351ace4e216f49ada5"),
            "{request}"
        );
    }
}
