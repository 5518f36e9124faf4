//! What is in the archive: sections, each `tag u8 | length u64 | bytes`, in this order.

use super::io;
use jadeseal_backup::Reader;
use jadeseal_root::{KeySeal, RootRecord};
use jadeseal_store::SqliteStore;
use jadeseal_types::{ApiError, SecretBytes, Suite, error::Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// JSON of [`Manifest`].
pub(super) const MANIFEST: u8 = 1;
/// Of each key and data key, by id ascending: the id, 16 bytes, and the digest of its metadata, 32 bytes.
pub(super) const DIGESTS: u8 = 2;
/// The backup's own slots of the root key, with what opens them. Absent where the root key was left out.
pub(super) const ROOT: u8 = 3;
/// The database, a file of the embedded store.
pub(super) const DATABASE: u8 = 4;

/// Longest manifest: 250 bytes for each account.
const MAX_MANIFEST: u64 = 64 << 20;
/// Most digests: of 20 million keys.
const MAX_DIGESTS: u64 = 20_000_000 * DIGEST_ROW as u64;
const MAX_ROOT: u64 = 1 << 20;
pub(super) const DIGEST_ROW: usize = 48;
/// Kind of the seal of a backup's own slots, and their name.
pub(super) const BACKUP: &str = "backup";
/// Format of the manifest.
pub(super) const FORMAT: u32 = 1;

/// What a backup says of itself. Later releases may add members.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// Version of the program that made it.
    pub release: String,
    /// Version of the tables in the database.
    pub schema: u32,
    /// When it was made, Unix seconds.
    pub created: u64,
    /// Name of the deployment.
    pub deployment: String,
    /// Whether the archive holds the root key in a slot of its own.
    pub root_key: bool,
    /// The accounts, with what proves that their keys work.
    pub accounts: Vec<AccountPart>,
    /// Number of CMKs by state.
    pub keys: BTreeMap<String, u64>,
    /// Number of hosted data keys by state.
    pub data_keys: BTreeMap<String, u64>,
    /// Length of the database, bytes.
    pub database_bytes: u64,
    /// Where the audit log was, just before the moment of the backup; none where the log was not at hand.
    pub audit: Option<AuditHead>,
}

/// Where the audit log was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditHead {
    /// Index of the next record. Every record below it is of something that the backup holds.
    pub next_index: u64,
    /// The signed checkpoint beside the log, base64, where there was one.
    pub checkpoint: Option<String>,
}

/// One account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountPart {
    /// OwnerUin.
    pub account: u64,
    /// A ciphertext of one of its CMKs; none where no symmetric CMK of its was enabled.
    pub canary: Option<Canary>,
}

/// A ciphertext whose plaintext is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Canary {
    /// The CMK.
    pub key_id: String,
    /// The ciphertext blob, base64.
    pub blob: String,
}

/// An archive, unpacked.
pub(super) struct Contents {
    pub manifest: Manifest,
    /// By id ascending.
    pub digests: Vec<([u8; 16], [u8; 32])>,
    pub root: Option<(KeySeal, Vec<RootRecord>)>,
    pub suite: Suite,
}

pub(super) fn section(out: &mut impl Write, tag: u8, length: u64) -> std::io::Result<()> {
    out.write_all(&[tag])?;
    out.write_all(&length.to_be_bytes())
}

/// Reads an archive to its end; the database goes to a new file (mode 0600), which is flushed. Nothing but the archive
/// itself is checked. A database of a newer schema is refused before it is written.
pub(super) fn unpack<R: Read>(mut reader: Reader<R>, database: &Path) -> Result<Contents> {
    let manifest = whole(&mut reader, MANIFEST, MAX_MANIFEST)?;
    let manifest: Manifest = serde_json::from_slice(&manifest)
        .map_err(|e| ApiError::internal(format!("the manifest of the backup is malformed: {e}")))?;
    if manifest.format != FORMAT || manifest.schema > SqliteStore::VERSION {
        return Err(ApiError::internal(format!(
            "the backup was made by Jadeseal {} (schema version {}); this release, {}, knows versions up to {}: use that release \
             or a newer one",
            manifest.release,
            manifest.schema,
            env!("CARGO_PKG_VERSION"),
            SqliteStore::VERSION
        )));
    }
    let digests = digests(&whole(&mut reader, DIGESTS, MAX_DIGESTS)?)?;
    let root = match manifest.root_key {
        true => Some(root(secret(&mut reader, ROOT, MAX_ROOT)?.expose())?),
        false => None,
    };
    let suite = reader.suite();
    let length = head(&mut reader, DATABASE, u64::MAX)?;
    if length != manifest.database_bytes {
        return Err(ApiError::internal("the database in the backup is not as long as the manifest says"));
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(database);
    let file = file.as_mut().map_err(|e| ApiError::internal(format!("cannot make {}: {e}", database.display())))?;
    let copied = std::io::copy(&mut (&mut reader).take(length), file).map_err(io("write", database))?;
    if copied != length {
        return Err(ApiError::internal("the database in the backup is cut off"));
    }
    file.sync_all().map_err(io("flush", database))?;
    reader.finish().map_err(ApiError::internal)?;
    Ok(Contents { manifest, digests, root, suite })
}

fn head(reader: &mut impl Read, tag: u8, most: u64) -> Result<u64> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).map_err(ApiError::internal)?;
    let [found, length @ ..] = head;
    let length = u64::from_be_bytes(length);
    if found != tag || length > most {
        return Err(ApiError::internal("the sections of the backup are malformed"));
    }
    Ok(length)
}

fn whole(reader: &mut impl Read, tag: u8, most: u64) -> Result<Vec<u8>> {
    let length = head(reader, tag, most)?;
    let mut bytes = Vec::new();
    // Grows with what is there, whatever the length says.
    reader.take(length).read_to_end(&mut bytes).map_err(ApiError::internal)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(cut_off()) }
}

/// A section that must leave no copy behind: read into memory that has its length from the start, since what a growing
/// buffer moves away from is not wiped. So `most` should be small.
fn secret(reader: &mut impl Read, tag: u8, most: u64) -> Result<SecretBytes> {
    let length = usize::try_from(head(reader, tag, most)?).map_err(ApiError::internal)?;
    let mut bytes = SecretBytes::zeroed(length);
    reader.read_exact(bytes.expose_mut()).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => cut_off(),
        _ => ApiError::internal(e),
    })?;
    Ok(bytes)
}

fn cut_off() -> ApiError {
    ApiError::internal("a section of the backup is cut off")
}

fn digests(bytes: &[u8]) -> Result<Vec<([u8; 16], [u8; 32])>> {
    let malformed = || ApiError::internal("the digests in the backup are malformed");
    let (rows, []) = bytes.as_chunks::<DIGEST_ROW>() else { return Err(malformed()) };
    let row = |row: &[u8; DIGEST_ROW]| {
        let (id, digest) = row.split_first_chunk::<16>()?;
        Some((*id, digest.try_into().ok()?))
    };
    let rows: Vec<([u8; 16], [u8; 32])> = rows.iter().map(row).collect::<Option<_>>().ok_or_else(malformed)?;
    if rows.is_sorted_by(|a, b| a.0 < b.0) { Ok(rows) } else { Err(malformed()) }
}

/// The root section: the seal's key, 32 bytes, then of each record `version u32` and slot, kind, parameters and sealed key,
/// each behind its length (u32).
pub(super) fn encode_root(key: &SecretBytes, records: &[RootRecord]) -> SecretBytes {
    let parts = |r: &RootRecord| {
        [r.slot.as_bytes().to_vec(), r.seal_kind.as_bytes().to_vec(), r.params.clone(), r.wrapped.clone()]
    };
    let mut rest = Vec::new();
    for record in records {
        rest.extend_from_slice(&record.version.to_be_bytes());
        for part in parts(record) {
            rest.extend_from_slice(&(part.len() as u32).to_be_bytes());
            rest.extend_from_slice(&part);
        }
    }
    let mut out = SecretBytes::zeroed(key.len() + rest.len());
    let bytes = key.expose().iter().chain(&rest);
    out.expose_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}

fn root(bytes: &[u8]) -> Result<(KeySeal, Vec<RootRecord>)> {
    let malformed = || ApiError::internal("the root key section of the backup is malformed");
    let (key, mut rest) = bytes.split_at_checked(32).ok_or_else(malformed)?;
    let seal = KeySeal::new(BACKUP, &SecretBytes::copy_from(key)).map_err(ApiError::internal)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (version, after) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
        rest = after;
        let mut part = || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (part, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            rest = after;
            Some(part.to_vec())
        };
        let mut record = || {
            Some(RootRecord {
                version: u32::from_be_bytes(*version),
                slot: String::from_utf8(part()?).ok()?,
                seal_kind: String::from_utf8(part()?).ok()?,
                params: part()?,
                wrapped: part()?,
            })
        };
        records.push(record().ok_or_else(malformed)?);
    }
    Ok((seal, records))
}

/// For the fuzz target: the parsers behind the seal.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let _ = digests(bytes);
    if let Ok((_, records)) = root(bytes) {
        let (key, _) = bytes.split_at(32);
        assert!(encode_root(&SecretBytes::copy_from(key), &records).ct_eq(bytes), "what is read is written as it was");
    }
    let _ = serde_json::from_slice::<Manifest>(bytes);
}

/// Opens an archive's file.
pub(super) fn open(path: &Path) -> Result<std::io::BufReader<File>> {
    Ok(std::io::BufReader::with_capacity(256 * 1024, File::open(path).map_err(io("open", path))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_section_is_read_whole_or_not_at_all() {
        let read = |bytes: &[u8]| {
            let read = secret(&mut &bytes[..], ROOT, 4).map(|bytes| bytes.expose().to_vec());
            read.map_err(|e| e.internal_cause().unwrap().to_owned())
        };
        let of = |length: u64, bytes: &[u8]| [&[ROOT][..], &length.to_be_bytes(), bytes].concat();
        assert_eq!(read(&of(3, b"abcd")).unwrap(), b"abc");
        assert!(read(&of(3, b"ab")).unwrap_err().contains("cut off"));
        assert!(read(&of(5, b"abcde")).unwrap_err().contains("malformed"), "no more is set aside than may be there");
        assert!(read(&of(u64::MAX, b"")).unwrap_err().contains("malformed"));
    }
}
