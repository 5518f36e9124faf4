//! A key file: the plain root of trust of a single host.

use crate::{
    error::RootError,
    private,
    seal::{SEAL_KEY_BYTES, SoftSeal, soft_seal},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jadeseal_types::SecretBytes;
use std::path::Path;

/// Seal with a key from a file.
///
/// The file is one line of text: `jadeseal-root-key-v1`, the 32 bytes in base64, and their CRC-32C
/// in hexadecimal, so that a typing error in a copy kept on paper is told from a wrong key.
pub struct FileSeal(SoftSeal);

soft_seal!(FileSeal);

const KIND: &str = "file";
const TAG: &str = "jadeseal-root-key-v1";
/// 32 bytes in base64 with padding.
const KEY_CHARS: usize = 44;
const CRC_CHARS: usize = 8;

impl FileSeal {
    /// Makes a random key and its file (mode 0600). Refuses a path that exists.
    pub fn create(path: &Path) -> Result<Self, RootError> {
        let key = jadeseal_crypto::random::secret(SEAL_KEY_BYTES)
            .map_err(|_| RootError::Crypto("no random bytes for the root key file"))?;
        private::create(path, &to_text(&key))?;
        Self::from_key(&key)
    }

    /// Opens an existing key file. Refuses one that is not a regular file of the effective user
    /// without access for group and others.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let text = private::read_owned(path)?;
        Self::from_key(&from_text(&text, &path.display().to_string())?)
    }

    fn from_key(key: &SecretBytes) -> Result<Self, RootError> {
        Ok(FileSeal(SoftSeal::new(KIND, Vec::new(), key)?))
    }
}

/// The text form of a key, with a line end.
pub(crate) fn to_text(key: &SecretBytes) -> SecretBytes {
    let mut text = SecretBytes::zeroed(TAG.len() + KEY_CHARS + CRC_CHARS + 3);
    let mut encoded = SecretBytes::zeroed(KEY_CHARS);
    // The buffer has exactly the length that 32 bytes need; a shorter key leaves zeros, which
    // from_text refuses.
    BASE64_STANDARD.encode_slice(key.expose(), encoded.expose_mut()).unwrap_or_default();
    let crc = format!("{:08x}", crc32c::crc32c(key.expose()));
    let parts = [TAG.as_bytes(), b" ", encoded.expose(), b" ", crc.as_bytes(), b"\n"];
    for (slot, byte) in text.expose_mut().iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
    text
}

/// Reads the text form. `from` names the source in errors.
pub(crate) fn from_text(text: &SecretBytes, from: &str) -> Result<SecretBytes, RootError> {
    let refuse = |what| RootError::malformed(from, what);
    let mut words = text.expose().split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
    if words.next() != Some(TAG.as_bytes()) {
        return Err(refuse("is not a jadeseal-root-key-v1 file"));
    }
    let (Some(encoded), Some(crc), None) = (words.next(), words.next(), words.next()) else {
        return Err(refuse("must hold a key and its checksum"));
    };
    // The decoder asks for room for the padding's bytes too.
    let mut decoded = SecretBytes::zeroed(SEAL_KEY_BYTES + 1);
    let key = match BASE64_STANDARD.decode_slice(encoded, decoded.expose_mut()) {
        Ok(SEAL_KEY_BYTES) => SecretBytes::copy_from(decoded.expose().get(..SEAL_KEY_BYTES).unwrap_or_default()),
        _ => return Err(refuse("the key must be 32 bytes in base64")),
    };
    if format!("{:08x}", crc32c::crc32c(key.expose())).as_bytes() != crc {
        return Err(refuse("the key does not match its checksum: a damaged or mistyped copy"));
    }
    Ok(key)
}

/// True when the bytes claim to be the text form.
pub(crate) fn is_text(bytes: &SecretBytes) -> bool {
    bytes.expose().starts_with(TAG.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use jadeseal_types::Suite;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn secret(bytes: &[u8]) -> SecretBytes {
        SecretBytes::copy_from(bytes)
    }

    #[test]
    fn the_text_form_is_this() {
        let key = secret(&[0x41; 32]);
        let text = to_text(&key);
        let wanted = "jadeseal-root-key-v1 QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE= ";
        let shown = std::str::from_utf8(text.expose()).unwrap();
        assert!(shown.starts_with(wanted) && shown.ends_with('\n'), "{shown}");
        assert_eq!(shown.len(), wanted.len() + 9);
        assert!(from_text(&text, "x").unwrap().ct_eq(&[0x41; 32]));
    }

    #[test]
    fn damaged_copies_are_told() {
        let text = to_text(&secret(&[0x41; 32]));
        for i in 0..text.len() - 1 {
            let mut bad = secret(text.expose());
            bad.expose_mut()[i] ^= 0x02;
            assert!(from_text(&bad, "x").is_err(), "byte {i}");
            assert!(from_text(&secret(&text.expose()[..i]), "x").is_err(), "cut at {i}");
        }
        for bad in ["", "\0", "jadeseal-root-key-v1", "jadeseal-root-key-v1 QQ== 00000000", "jadeseal-root-key-v2 x y"]
        {
            assert!(from_text(&secret(bad.as_bytes()), "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_made_file_opens_what_it_sealed_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        let sealed = FileSeal::create(&path).unwrap().seal(Suite::Aes256, b"place", &secret(b"hello")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let again = FileSeal::open(&path).unwrap();
        assert_eq!((again.kind(), again.params()), ("file", vec![]));
        assert!(again.open(b"place", &sealed).unwrap().ct_eq(b"hello"));
        assert!(matches!(again.open(b"other", &sealed), Err(RootError::DoesNotOpen)));
        let before = fs::read(&path).unwrap();
        assert!(matches!(FileSeal::create(&path), Err(RootError::Io { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
        let other = FileSeal::create(&dir.path().join("other.key")).unwrap();
        assert!(matches!(other.open(b"place", &sealed), Err(RootError::DoesNotOpen)));
    }

    #[test]
    fn unprotected_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        FileSeal::create(&path).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o610, 0o601, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(FileSeal::open(&path), Err(RootError::Unprotected { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        FileSeal::open(&path).unwrap();

        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(FileSeal::open(&link), Err(RootError::Unprotected { .. })));
        assert!(matches!(FileSeal::open(dir.path()), Err(RootError::Unprotected { .. })));
        assert!(matches!(FileSeal::open(&dir.path().join("none")), Err(RootError::Io { .. })));
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(matches!(FileSeal::open(&pipe), Err(RootError::Unprotected { .. })));

        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert!(matches!(FileSeal::open(&path), Err(RootError::Unprotected { .. })));
        } else {
            eprintln!("skipped: giving a file away needs root");
        }
    }

    #[test]
    fn large_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        FileSeal::create(&path).unwrap();
        fs::write(&path, vec![b' '; 5000]).unwrap();
        assert!(matches!(FileSeal::open(&path), Err(RootError::Malformed { .. })));
    }
}
