//! Where the configuration says the root of trust is.

use crate::{
    error::RootError,
    keyfile::FileSeal,
    keyring::RootRecord,
    passphrase::PassphraseSeal,
    private,
    seal::Seal,
    shamir::{self, ShamirSeal, ShareFrom},
    systemd::{self, SystemdSeal},
};
use jadeseal_types::SecretBytes;
use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// A configured root of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealSource {
    /// A key file.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// A passphrase.
    Passphrase {
        /// Where it is read.
        from: PassphraseFrom,
    },
    /// A key in shares.
    Shamir {
        /// Where the shares are read; those of files that do not exist are passed over.
        shares: Vec<ShareFrom>,
        /// With one, [`SealSource::create`] makes a new key where none of the files exists: this many shares open it.
        threshold: Option<u8>,
    },
    /// A key as a systemd credential.
    SystemdCredential {
        /// Its name in `$CREDENTIALS_DIRECTORY`.
        name: String,
    },
}

/// Where a passphrase is read. Never the command line, which other users can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassphraseFrom {
    /// A file that only the effective user can read.
    File(PathBuf),
    /// An environment variable. Child processes inherit it and `/proc` shows it to the same user:
    /// for tests and containers without a better way.
    Env(String),
    /// A systemd credential.
    SystemdCredential(String),
    /// A file descriptor that the parent process opened, read to its end.
    Fd(u32),
}

/// Different stored parameters of one passphrase that are tried: each costs a derivation.
const MAX_DERIVATIONS: usize = 8;

/// Reads an environment variable; tests give their own.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

impl SealSource {
    /// The seal for a new deployment or a new slot. Makes the key file if the source is one that
    /// does not exist; a passphrase gets a fresh salt.
    pub fn create(&self) -> Result<Box<dyn Seal>, RootError> {
        self.create_with(&|name| std::env::var_os(name))
    }

    /// The seals that can open this source's slots among the stored records: one, or for a
    /// passphrase one for each salt in use. None when no record is of this kind.
    pub fn open(&self, records: &[RootRecord]) -> Result<Vec<Box<dyn Seal>>, RootError> {
        self.open_with(records, &|name| std::env::var_os(name))
    }

    /// The kind of the seals of this source, as [`Seal::kind`] tells it.
    pub fn kind(&self) -> &'static str {
        match self {
            SealSource::File { .. } => "file",
            SealSource::Passphrase { .. } => "passphrase",
            SealSource::Shamir { .. } => shamir::KIND,
            SealSource::SystemdCredential { .. } => "systemd",
        }
    }

    fn create_with(&self, env: Env<'_>) -> Result<Box<dyn Seal>, RootError> {
        Ok(match self {
            SealSource::File { path } if path.symlink_metadata().is_err() => Box::new(FileSeal::create(path)?),
            SealSource::File { path } => Box::new(FileSeal::open(path)?),
            SealSource::Passphrase { from } => Box::new(PassphraseSeal::create(&from.read(env)?)?),
            SealSource::Shamir { shares, threshold } => Box::new(create_shares(shares, *threshold)?),
            SealSource::SystemdCredential { name } => {
                Box::new(SystemdSeal::open_in(name, env("CREDENTIALS_DIRECTORY"))?)
            }
        })
    }

    fn open_with(&self, records: &[RootRecord], env: Env<'_>) -> Result<Vec<Box<dyn Seal>>, RootError> {
        let mut params: Vec<&[u8]> =
            records.iter().filter(|r| r.seal_kind == self.kind()).map(|r| r.params.as_slice()).collect();
        params.sort_unstable();
        params.dedup();
        if params.is_empty() {
            return Ok(Vec::new());
        }
        let one = |seal: Box<dyn Seal>| Ok(vec![seal]);
        match self {
            SealSource::File { path } => one(Box::new(FileSeal::open(path)?)),
            SealSource::SystemdCredential { name } => {
                one(Box::new(SystemdSeal::open_in(name, env("CREDENTIALS_DIRECTORY"))?))
            }
            SealSource::Shamir { shares, .. } => one(Box::new(ShamirSeal::from_shares(shares)?)),
            SealSource::Passphrase { from } => {
                if params.len() > MAX_DERIVATIONS {
                    return Err(RootError::Params("too many different passphrase slots"));
                }
                let passphrase = from.read(env)?;
                params
                    .into_iter()
                    .map(|p| Ok(Box::new(PassphraseSeal::from_params(&passphrase, p)?) as Box<dyn Seal>))
                    .collect()
            }
        }
    }
}

/// The seal of existing shares, or with a threshold and where there is none yet that of new ones.
fn create_shares(shares: &[ShareFrom], threshold: Option<u8>) -> Result<ShamirSeal, RootError> {
    let files: Option<Vec<PathBuf>> = shares
        .iter()
        .map(|share| match share {
            ShareFrom::File(path) => Some(path.clone()),
            ShareFrom::Fd(_) => None,
        })
        .collect();
    match (threshold, files) {
        (Some(threshold), Some(files)) if files.iter().all(|path| path.symlink_metadata().is_err()) => {
            ShamirSeal::create(threshold, &files)
        }
        _ => ShamirSeal::from_shares(shares),
    }
}

impl PassphraseFrom {
    /// The passphrase as it is there, line end included.
    pub fn passphrase(&self) -> Result<SecretBytes, RootError> {
        self.read(&|name| std::env::var_os(name))
    }

    fn read(&self, env: Env<'_>) -> Result<SecretBytes, RootError> {
        match self {
            PassphraseFrom::File(path) => private::read_owned(path),
            PassphraseFrom::SystemdCredential(name) => systemd::read(name, env("CREDENTIALS_DIRECTORY")),
            PassphraseFrom::Fd(number) => private::read_descriptor(*number),
            PassphraseFrom::Env(name) => match env(name) {
                Some(value) => Ok(SecretBytes::new(value.into_vec())),
                None => Err(RootError::malformed(format!("environment variable {name}"), "is not set")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::Keyring;
    use jadeseal_types::Suite;
    use std::{
        fs::{self, File},
        io::Write,
        os::{
            fd::AsRawFd,
            unix::fs::{OpenOptionsExt, PermissionsExt},
        },
        path::Path,
    };

    const PASSPHRASE: &str = "correct horse battery";

    fn no_env(_: &str) -> Option<OsString> {
        None
    }

    fn private_file(path: &Path, text: &str) -> File {
        let mut file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_passphrase_is_the_same_from_each_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        let file = private_file(&path, "correct horse battery\n");
        let directory: OsString = dir.path().into();
        let env = |name: &str| match name {
            "PASS" => Some(PASSPHRASE.into()),
            "CREDENTIALS_DIRECTORY" => Some(directory.clone()),
            _ => None,
        };
        let source = |from: PassphraseFrom| SealSource::Passphrase { from };
        let made = source(PassphraseFrom::File(path.clone())).create_with(&no_env).unwrap();
        let (_, record) = Keyring::bootstrap(&*made, "main", Suite::Aes256).unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(PASSPHRASE.as_bytes()).unwrap();
        drop(writer);
        for from in [
            PassphraseFrom::File(path.clone()),
            PassphraseFrom::Env("PASS".into()),
            PassphraseFrom::SystemdCredential("passphrase".into()),
            PassphraseFrom::Fd(u32::try_from(file.as_raw_fd()).unwrap()),
            PassphraseFrom::Fd(u32::try_from(reader.as_raw_fd()).unwrap()),
        ] {
            let seals = source(from.clone()).open_with(std::slice::from_ref(&record), &env).unwrap();
            let refs: Vec<&dyn Seal> = seals.iter().map(|s| &**s).collect();
            assert_eq!(
                Keyring::unlock(&refs, std::slice::from_ref(&record), Suite::Aes256).unwrap().current(),
                1,
                "{from:?}"
            );
        }
        let missing = source(PassphraseFrom::Env("NONE".into())).open_with(&[record], &env).err();
        assert!(matches!(missing, Some(RootError::Malformed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open = source(PassphraseFrom::File(path)).create_with(&env).err();
        assert!(matches!(open, Some(RootError::Unprotected { .. })));
    }

    #[test]
    fn a_key_file_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let source = SealSource::File { path: dir.path().join("root.key") };
        let (_, record) = Keyring::bootstrap(&*source.create().unwrap(), "main", Suite::Aes256).unwrap();
        // Asked again, the same key, not a new one.
        Keyring::unlock(&[&*source.create().unwrap()], std::slice::from_ref(&record), Suite::Aes256).unwrap();
        let seals = source.open(std::slice::from_ref(&record)).unwrap();
        Keyring::unlock(&[&*seals[0]], std::slice::from_ref(&record), Suite::Aes256).unwrap();
        let other = SealSource::SystemdCredential { name: "x".into() };
        assert!(other.open(&[record]).unwrap().is_empty(), "no slot of this kind");
    }

    #[test]
    fn many_hostile_slots_are_refused_before_any_derivation() {
        let record = |n: u8| RootRecord {
            version: 1,
            slot: n.to_string(),
            seal_kind: "passphrase".into(),
            params: vec![n; 29],
            wrapped: Vec::new(),
        };
        let records: Vec<_> = (0..100).map(record).collect();
        let source = SealSource::Passphrase { from: PassphraseFrom::Env("PASS".into()) };
        let opened = source.open_with(&records, &|_| Some(PASSPHRASE.into())).err();
        assert!(matches!(opened, Some(RootError::Params(_))));
    }
}
