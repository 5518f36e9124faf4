//! Segment files: names, header, lines, and a scan that tells good lines from bad ones.

use crate::{
    error::AuditError,
    tree::{self, Hash},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// Longest record, bytes of JSON.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// The segment that is made ahead of time. It gets its final name once all before it is durable.
pub(crate) const NEXT: &str = "audit-next.log";
/// Taken exclusively by the process that writes.
pub(crate) const LOCK: &str = "audit.lock";

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".log";
/// Checksum, space, line end.
const LINE_OVERHEAD: usize = 10;
pub(crate) const MAX_LINE_BYTES: usize = MAX_RECORD_BYTES + LINE_OVERHEAD;

/// Path of the segment whose first record has this index.
pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{first:016}{SUFFIX}"))
}

/// The first line of a segment.
pub(crate) fn header(first: u64) -> String {
    format!("#jadeseal-audit v1 first={first}\n")
}

/// A record on its way to a line: eight hexadecimal digits of the CRC-32C of the JSON, a space, the JSON, a line end. Made
/// before the lock of the log is taken, since sums and hashes take their time.
pub(crate) struct Line<'a> {
    json: &'a [u8],
    checksum: [u8; 8],
    /// The record's hash in the tree.
    pub leaf: Hash,
}

impl<'a> Line<'a> {
    /// Refuses what the format cannot carry.
    pub fn of(json: &'a [u8]) -> Result<Self, AuditError> {
        if json.is_empty() || json.len() > MAX_RECORD_BYTES {
            return Err(AuditError::BadRecord("empty or too long"));
        }
        // Without a way out in between, the compiler looks at many bytes at once.
        if json.iter().fold(false, |bad, &c| bad | (c < 0x20)) {
            return Err(AuditError::BadRecord("holds control characters"));
        }
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let crc = crc32c::crc32c(json);
        let checksum = std::array::from_fn(|i| HEX[(crc >> (28 - 4 * i) & 15) as usize]);
        Ok(Line { json, checksum, leaf: tree::leaf(json) })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.json.len() + LINE_OVERHEAD
    }

    /// Writes it.
    pub fn push_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.len());
        out.extend_from_slice(&self.checksum);
        out.push(b' ');
        out.extend_from_slice(self.json);
        out.push(b'\n');
    }
}

/// First indices of the named segments, ascending.
pub(crate) fn list(dir: &Path) -> Result<Vec<u64>, AuditError> {
    let failed = |e| AuditError::io("list", dir, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let digits = name.to_str().and_then(|n| n.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        if let Some(digits) = digits.filter(|d| d.len() == 16 && d.bytes().all(|c| c.is_ascii_digit())) {
            found.extend(digits.parse::<u64>().ok());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What a scan of one file found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Index in the header, when the header is well-formed.
    pub first: Option<u64>,
    /// Good records before the first bad line.
    pub records: u64,
    /// Offset behind the last of those (or behind the header).
    pub good_end: u64,
    /// The first bad line.
    pub bad: Option<Bad>,
    /// Good records behind a bad line.
    pub good_after_bad: u64,
    /// Length of the file in bytes.
    pub len: u64,
    /// Bytes at its end that are NUL: room that the writer has prepared and not used.
    pub unused: u64,
}

impl Scan {
    /// Bytes between the last good record before the first bad line and the unused rest.
    pub fn torn(&self) -> u64 {
        (self.len - self.unused).saturating_sub(self.good_end)
    }
}

/// The first bad line of a segment.
#[derive(Debug)]
pub(crate) struct Bad {
    /// Its number, from 1 (the header).
    pub line: u64,
    /// True when it holds a NUL byte. No line ever does, so this is a page that never reached the
    /// disk (holes read as zeros).
    pub hole: bool,
}

/// Reads a segment once, with bounded memory, and hands every good record before the first bad line
/// to `visit` with its place in the file (0, 1, …).
pub(crate) fn scan(path: &Path, visit: impl FnMut(u64, &[u8])) -> Result<Scan, AuditError> {
    let file = File::open(path).map_err(|e| AuditError::io("read", path, e))?;
    scan_file(path, file, visit)
}

/// The segment that begins with record `first`, under whichever of its two names it has: beside a writer it may get its
/// final one at any moment.
pub(crate) fn open_at(dir: &Path, first: u64) -> Result<Option<(PathBuf, File)>, AuditError> {
    for path in [path(dir, first), dir.join(NEXT), path(dir, first)] {
        let failed = |e| AuditError::io("read", &path, e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(failed)?,
        };
        let head = header(first);
        let mut bytes = vec![0; head.len()];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) if bytes == head.as_bytes() => return Ok(Some((path, file))),
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(failed(e)),
            _ => {}
        }
    }
    Ok(None)
}

/// As [`scan`], of an opened file.
pub(crate) fn scan_file(path: &Path, file: File, mut visit: impl FnMut(u64, &[u8])) -> Result<Scan, AuditError> {
    let failed = |e| AuditError::io("read", path, e);
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut found = Scan::default();
    let mut line = Vec::with_capacity(1024);
    let mut number = 0;
    let mut zeros_from = None;
    loop {
        line.clear();
        let n = next_chunk(&mut reader, &mut line).map_err(failed)?;
        if n == 0 {
            return Ok(found);
        }
        found.len += n as u64;
        let used = line.iter().rposition(|&c| c != 0).map_or(0, |last| last + 1);
        found.unused = (line.len() - used) as u64 + if used == 0 { found.unused } else { 0 };
        number += 1;
        if number == 1 {
            found.first = parse_header(&line);
            match found.first {
                Some(_) => found.good_end = found.len,
                None => found.bad = Some(Bad { line: 1, hole: line.contains(&0) }),
            }
            continue;
        }
        if used == 0 && found.bad.is_none() {
            // The unused rest, or a hole if anything follows.
            zeros_from.get_or_insert(number);
            continue;
        }
        if let Some(line) = zeros_from.take() {
            found.bad = Some(Bad { line, hole: true });
        }
        match (parse_line(&line), &found.bad) {
            (Some(json), None) => {
                visit(found.records, json);
                found.records += 1;
                found.good_end = found.len;
            }
            (Some(_), Some(_)) => found.good_after_bad += 1,
            (None, None) => found.bad = Some(Bad { line: number, hole: line.contains(&0) }),
            (None, Some(_)) => {}
        }
    }
}

/// The index in a segment's header, when that is well-formed.
pub(crate) fn read_first(path: &Path) -> Result<Option<u64>, AuditError> {
    let failed = |e| AuditError::io("read", path, e);
    let mut line = Vec::new();
    let mut reader = BufReader::with_capacity(128, File::open(path).map_err(failed)?);
    (&mut reader).take(64).read_until(b'\n', &mut line).map_err(failed)?;
    Ok(parse_header(&line))
}

/// The first record of a segment, if it is good.
pub(crate) fn first_record(path: &Path) -> Result<Option<Vec<u8>>, AuditError> {
    let failed = |e| AuditError::io("read", path, e);
    let mut reader = BufReader::with_capacity(4096, File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    next_chunk(&mut reader, &mut line).map_err(failed)?;
    line.clear();
    next_chunk(&mut reader, &mut line).map_err(failed)?;
    Ok(parse_line(&line).map(<[u8]>::to_vec))
}

/// One line, or the first part of one that is too long to be good.
fn next_chunk(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', line)
}

fn parse_header(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"#jadeseal-audit v1 first=")?.strip_suffix(b"\n")?;
    let first = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (header(first).as_bytes() == line).then_some(first)
}

/// The JSON of a good line.
pub(crate) fn parse_line(line: &[u8]) -> Option<&[u8]> {
    let (crc, rest) = line.split_at_checked(8)?;
    let json = rest.strip_prefix(b" ")?.strip_suffix(b"\n")?;
    let mut wanted = 0u32;
    for &c in crc {
        let digit = match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => return None,
        };
        wanted = wanted << 4 | u32::from(digit);
    }
    (!json.is_empty() && crc32c::crc32c(json) == wanted).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_this() {
        let mut out = Vec::new();
        Line::of(b"123456789").unwrap().push_to(&mut out);
        // The check value of CRC-32C (RFC 3720 appendix B.4 uses the same polynomial).
        assert_eq!(out, b"e3069283 123456789\n");
        assert_eq!(parse_line(&out), Some(&b"123456789"[..]));
        for i in 0..out.len() {
            let mut bad = out.clone();
            bad[i] ^= 1;
            assert_eq!(parse_line(&bad), None, "{i}");
            assert_eq!(parse_line(&out[..i]), None, "{i}");
        }
    }

    #[test]
    fn what_cannot_be_a_line_is_refused() {
        for bad in [&b""[..], b"a\nb", b"a\0", &[b'a'; MAX_RECORD_BYTES + 1]] {
            assert!(matches!(Line::of(bad), Err(AuditError::BadRecord(_))));
        }
        let longest = [b'a'; MAX_RECORD_BYTES];
        let line = Line::of(&longest).unwrap();
        let mut out = Vec::new();
        line.push_to(&mut out);
        assert_eq!((out.len(), line.len()), (MAX_LINE_BYTES, MAX_LINE_BYTES));
    }

    #[test]
    fn headers_have_one_spelling() {
        assert_eq!(parse_header(header(42).as_bytes()), Some(42));
        assert_eq!(parse_header(header(u64::MAX).as_bytes()), Some(u64::MAX));
        for bad in ["first=042", "first=+42", "first=42 ", "first=", "first=18446744073709551616"] {
            assert_eq!(parse_header(format!("#jadeseal-audit v1 {bad}\n").as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_endless_line_is_bad_and_costs_no_memory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        let mut bytes = header(0).into_bytes();
        bytes.extend(std::iter::repeat_n(b'x', 10 * MAX_LINE_BYTES));
        std::fs::write(&file, &bytes).unwrap();
        let found = scan(&file, |_, _| panic!("no record")).unwrap();
        assert_eq!((found.records, found.good_after_bad, found.len), (0, 0, bytes.len() as u64));
        assert_eq!(found.bad.unwrap().line, 2);
    }
}
