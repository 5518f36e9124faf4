//! How far an export has come, on disk.

use crate::settings::Settings;
use data_encoding::HEXLOWER;
use jadeseal_crypto::sha256;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Largest cursor file, bytes; one is about 110.
const MAX_BYTES: u64 = 4096;

/// A cursor file that cannot be read, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct CursorError {
    path: PathBuf,
    what: String,
}

/// How far an export has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Index of the first record that its receiver has not taken, as far as is known.
    pub next: u64,
    /// Leaf hash of the record before it. Tells a log that was restored from an older copy, and has grown since, from
    /// the one that was exported. None while nothing was sent.
    pub leaf: Option<[u8; 32]>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File1 {
    v: u32,
    next: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
}

impl Cursor {
    /// Reads the text of a cursor file.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let file: File1 = serde_json::from_slice(text).map_err(|e| format!("not a cursor: {e}"))?;
        if file.v != 1 {
            return Err(format!("a cursor of version {}, which this version of Jadeseal does not know", file.v));
        }
        let leaf = match file.leaf {
            None => None,
            Some(hex) => {
                let bytes = HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
                Some(bytes.ok_or("not a cursor: leaf must be 64 lower-case hexadecimal digits")?)
            }
        };
        Ok(Cursor { next: file.next, leaf })
    }

    /// The text of a cursor file.
    pub fn text(&self) -> String {
        let leaf = self.leaf.map(|leaf| format!(",\"leaf\":\"{}\"", HEXLOWER.encode(&leaf))).unwrap_or_default();
        format!("{{\"v\":1,\"next\":{}{leaf}}}\n", self.next)
    }

    /// Reads the cursor of an export; none when there is no file yet.
    pub fn load(data_dir: &Path, name: &str) -> Result<Option<Self>, CursorError> {
        let path = path(data_dir, name);
        let failed = |what: String| CursorError { path: path.clone(), what };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e.to_string())),
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(|e| failed(e.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(failed("too large for a cursor".to_owned()));
        }
        Self::parse(&text).map(Some).map_err(failed)
    }

    /// Replaces the cursor of an export; on stable storage when this returns. The directory is made (mode 0700).
    pub fn save(&self, data_dir: &Path, name: &str) -> io::Result<()> {
        let path = path(data_dir, name);
        let dir = data_dir.join(DIR);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let temporary = dir.join(format!(".{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&dir)?.sync_all()
    }
}

/// Directory of the cursors in the data directory.
const DIR: &str = "export";

/// Where the cursor of an export is.
pub fn path(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join(DIR).join(format!("{name}.json"))
}

/// The hash by which the log's Merkle tree knows a record (RFC 6962 section 2.1).
pub fn leaf_hash(record: &[u8]) -> [u8; 32] {
    let mut leaf = Vec::with_capacity(1 + record.len());
    leaf.push(0);
    leaf.extend_from_slice(record);
    sha256(&leaf)
}

/// Index of the first record that some export may still need: records below have been taken by every receiver. None
/// when nothing is exported. An export that has no cursor yet needs everything. An unreadable cursor is an error;
/// nothing must then be removed from the log.
pub fn lowest_cursor(data_dir: &Path, exports: &[Settings]) -> Result<Option<u64>, CursorError> {
    let mut lowest = None;
    for export in exports {
        let next = Cursor::load(data_dir, &export.name)?.map_or(0, |cursor| cursor.next);
        lowest = Some(lowest.map_or(next, |low: u64| low.min(next)));
    }
    Ok(lowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_have_one_form() {
        for cursor in [Cursor { next: 0, leaf: None }, Cursor { next: u64::MAX, leaf: Some([0xab; 32]) }] {
            assert_eq!(Cursor::parse(cursor.text().as_bytes()), Ok(cursor));
        }
        for bad in [
            "",
            "{}",
            "7",
            r#"{"v":2,"next":1}"#,
            r#"{"v":1}"#,
            r#"{"v":1,"next":-1}"#,
            r#"{"v":1,"next":1.0}"#,
            r#"{"v":1,"next":18446744073709551616}"#,
            r#"{"v":1,"next":1,"next":2}"#,
            r#"{"v":1,"next":1,"x":2}"#,
            r#"{"v":1,"next":1,"leaf":"ab"}"#,
            r#"{"v":1,"next":1} {"v":1,"next":2}"#,
        ] {
            assert!(Cursor::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
