//! A systemd credential (`LoadCredential=`, `LoadCredentialEncrypted=`).

use crate::{
    error::RootError,
    keyfile, private,
    seal::{SEAL_KEY_BYTES, SoftSeal, soft_seal},
};
use jadeseal_types::SecretBytes;
use std::{ffi::OsString, path::PathBuf};

/// Seal with a key that the service manager hands over as a credential: either 32 raw bytes or the
/// text form of a key file.
pub struct SystemdSeal(SoftSeal);

soft_seal!(SystemdSeal);

const KIND: &str = "systemd";

impl SystemdSeal {
    /// Reads the credential `name` from `$CREDENTIALS_DIRECTORY`.
    pub fn open(name: &str) -> Result<Self, RootError> {
        Self::open_in(name, std::env::var_os("CREDENTIALS_DIRECTORY"))
    }

    pub(crate) fn open_in(name: &str, directory: Option<OsString>) -> Result<Self, RootError> {
        let path = path(name, directory)?;
        let from = path.display().to_string();
        let bytes = private::read_placed(&path)?;
        let key = if keyfile::is_text(&bytes) {
            keyfile::from_text(&bytes, &from)?
        } else if bytes.len() == SEAL_KEY_BYTES {
            bytes
        } else {
            return Err(RootError::malformed(from, "must be 32 bytes or a jadeseal-root-key-v1 line"));
        };
        Ok(SystemdSeal(SoftSeal::new(KIND, Vec::new(), &key)?))
    }
}

/// Reads a credential as it is, for a passphrase.
pub(crate) fn read(name: &str, directory: Option<OsString>) -> Result<SecretBytes, RootError> {
    private::read_placed(&path(name, directory)?)
}

fn path(name: &str, directory: Option<OsString>) -> Result<PathBuf, RootError> {
    // The name is configuration, not hostile; still it must not lead out of the directory.
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(RootError::malformed("credential name", "must be a plain file name"));
    }
    let directory = directory.filter(|d| !d.is_empty());
    let missing = "is not set: start under systemd with LoadCredential= or LoadCredentialEncrypted=";
    Ok(PathBuf::from(directory.ok_or_else(|| RootError::malformed("CREDENTIALS_DIRECTORY", missing))?).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use jadeseal_types::Suite;
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    fn put(dir: &Path, name: &str, bytes: &[u8], mode: u32) {
        fs::write(dir.join(name), bytes).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn both_forms_of_a_credential_are_the_same_key() {
        let dir = tempfile::tempdir().unwrap();
        let key = SecretBytes::copy_from(&[9; 32]);
        put(dir.path(), "raw", key.expose(), 0o400);
        put(dir.path(), "text", keyfile::to_text(&key).expose(), 0o440);
        let open = |name: &str| SystemdSeal::open_in(name, Some(dir.path().into()));
        let sealed = open("raw").unwrap().seal(Suite::Aes256, b"p", &key).unwrap();
        assert!(open("text").unwrap().open(b"p", &sealed).unwrap().ct_eq(&[9; 32]));
        assert_eq!(open("raw").unwrap().kind(), "systemd");
    }

    #[test]
    fn bad_credentials_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "short", &[9; 31], 0o400);
        put(dir.path(), "long", &[9; 33], 0o400);
        put(dir.path(), "open", &[9; 32], 0o404);
        let open = |name: &str| SystemdSeal::open_in(name, Some(dir.path().into()));
        assert!(matches!(open("short"), Err(RootError::Malformed { .. })));
        assert!(matches!(open("long"), Err(RootError::Malformed { .. })));
        assert!(matches!(open("open"), Err(RootError::Unprotected { .. })));
        assert!(matches!(open("none"), Err(RootError::Io { .. })));
        for name in ["", "..", "../x", "a/b", "/etc/passwd"] {
            assert!(matches!(open(name), Err(RootError::Malformed { .. })), "{name}");
        }
        assert!(matches!(SystemdSeal::open_in("raw", None), Err(RootError::Malformed { .. })));
        assert!(matches!(SystemdSeal::open_in("raw", Some("".into())), Err(RootError::Malformed { .. })));
    }
}
