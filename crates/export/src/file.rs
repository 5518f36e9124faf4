//! JSON lines in a file that is renamed when it is full.

use crate::{SendError, batch::Batch, settings::FileSettings};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// How far back the end of the last whole line is looked for, bytes; longer than any line.
const MAX_TORN: u64 = 256 * 1024;

pub(crate) struct FileSink {
    settings: FileSettings,
    log: String,
    open: Option<Open>,
}

struct Open {
    file: File,
    len: u64,
}

impl FileSink {
    pub fn new(settings: FileSettings, log: String) -> Self {
        FileSink { settings, log, open: None }
    }

    /// Returns when the batch is on stable storage.
    pub fn send(&mut self, batch: &Batch) -> Result<(), SendError> {
        let written = self.try_send(&batch.json_lines(&self.log), batch.first());
        // After a failure nothing is known about the file: it is opened and looked at anew, and the batch sent again.
        written.map_err(|e| {
            self.open = None;
            SendError::of(&self.settings.path.display().to_string())(e)
        })
    }

    fn try_send(&mut self, lines: &[u8], first: u64) -> io::Result<()> {
        let path = &self.settings.path;
        // Another program may have renamed or removed the file.
        if self.open.as_ref().is_some_and(|open| !is_at(path, &open.file)) {
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => open_or_create(path)?,
        };
        let open = if open.len > 0 && open.len + lines.len() as u64 > self.settings.rotate {
            rotate(&self.settings, first)?;
            open_or_create(path)?
        } else {
            open
        };
        let before = open.len;
        let open = self.open.insert(open);
        let written = open.file.write_all(lines).and_then(|()| open.file.sync_data());
        if written.is_err() {
            // Best effort: what is left of the batch is also cut when the file is opened again, but for whole lines,
            // which then stand there twice.
            open.file.set_len(before).unwrap_or_default();
        }
        open.len += lines.len() as u64;
        written
    }
}

/// Looks whether the file could be written, without making it.
pub(crate) fn check(settings: &FileSettings) -> Result<(), String> {
    let path = &settings.path;
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let dir = path.parent().ok_or_else(|| named(&"names no file"))?;
    if !fs::metadata(dir).map_err(|e| format!("{}: {e}", dir.display()))?.is_dir() {
        return Err(format!("{}: not a directory", dir.display()));
    }
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).map_err(|e| format!("{}: {e}", dir.display()))?;
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => Err(named(&"is there and is not a regular file")),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(named(&e)),
        _ => Ok(()),
    }
}

fn is_at(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(there), Ok(ours)) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
        _ => false,
    }
}

/// Opens the file, or makes it with mode 0600; a line that a crash left without its end is cut.
fn open_or_create(path: &Path) -> io::Result<Open> {
    // No links: a directory that others may write to must not lead elsewhere. NONBLOCK: a pipe must not hang.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600).custom_flags(flags);
    let file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(path)?;
            flush_dir(path)?;
            file
        }
        opened => opened?,
    };
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let len = end_of_last_line(&file, meta.len())?;
    if len < meta.len() {
        file.set_len(len)?;
    }
    Ok(Open { file, len })
}

fn end_of_last_line(file: &File, len: u64) -> io::Result<u64> {
    let from = len.saturating_sub(MAX_TORN);
    let mut tail = vec![0; usize::try_from(len - from).unwrap_or(0)];
    file.read_exact_at(&mut tail, from)?;
    match tail.iter().rposition(|c| *c == b'\n') {
        Some(at) => Ok(from + at as u64 + 1),
        None if from == 0 => Ok(0),
        None => Err(io::Error::other("holds something else than JSON lines")),
    }
}

/// Gives the full file the index behind its last record as a suffix, so that a name once given stays, and removes the
/// oldest ones.
fn rotate(settings: &FileSettings, next: u64) -> io::Result<()> {
    let path = &settings.path;
    let mut target = with_suffix(path, &format!(".{next:016}"));
    // An export that was begun anew comes to the same names; what is there is never written over.
    for n in 1_u32.. {
        match renameat_with(CWD, path, CWD, &target, RenameFlags::NOREPLACE) {
            Ok(()) => break,
            Err(rustix::io::Errno::EXIST) => target = with_suffix(path, &format!(".{next:016}-{n}")),
            // File systems that cannot say so (NFS).
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !target.try_exists()? => {
                fs::rename(path, &target)?;
                break;
            }
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                target = with_suffix(path, &format!(".{next:016}-{n}"));
            }
            Err(e) => return Err(e.into()),
        }
    }
    flush_dir(path)?;
    if settings.keep > 0 {
        remove_oldest(path, settings.keep)?;
    }
    Ok(())
}

fn remove_oldest(path: &Path, keep: usize) -> io::Result<()> {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Ok(()) };
    let mut closed = Vec::new();
    for entry in fs::read_dir(parent(path))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let suffix = file_name.to_str().and_then(|n| n.strip_prefix(name)?.strip_prefix('.'));
        if suffix.is_some_and(is_closed_suffix) {
            closed.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    closed.sort();
    let surplus = closed.len().saturating_sub(keep);
    for (_, path) in closed.iter().take(surplus) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// `<16 digits>` or `<16 digits>-<n>`: only files of ours are ever removed.
fn is_closed_suffix(suffix: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let (index, again) = suffix.split_once('-').unwrap_or((suffix, "0"));
    index.len() == 16 && digits(index) && digits(again)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn flush_dir(path: &Path) -> io::Result<()> {
    File::open(parent(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn sink(path: &Path, rotate: u64, keep: usize) -> FileSink {
        FileSink::new(FileSettings { path: path.into(), rotate, keep }, "l".to_owned())
    }

    fn batch(indices: std::ops::Range<u64>) -> Batch {
        Batch::Records(indices.map(|n| (n, format!("{{\"n\":{n}}}").into_bytes())).collect())
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_private_and_full_ones_are_renamed_by_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        let mut file = sink(&path, 150, 2);
        for n in 0..20 {
            file.send(&batch(n..n + 1)).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let names = names(dir.path());
        assert_eq!(names, ["a.jsonl", "a.jsonl.0000000000000015", "a.jsonl.0000000000000018"]);
        let text: String =
            names[1..].iter().chain(&names[..1]).map(|n| fs::read_to_string(dir.path().join(n)).unwrap()).collect();
        let last: Vec<_> =
            (12..20).map(|n| format!("{{\"index\":{n},\"log\":\"l\",\"record\":{{\"n\":{n}}}}}")).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), last);
    }

    #[test]
    fn a_closed_file_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        for round in 1..=3 {
            let mut file = sink(&path, 1, 0);
            file.send(&batch(0..1)).unwrap();
            file.send(&batch(1..2)).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(names(dir.path()).len(), if round == 1 { 1 } else { round });
        }
        assert_eq!(names(dir.path())[1], "a.jsonl.0000000000000001-1");
    }

    #[test]
    fn a_torn_line_is_cut_and_a_moved_file_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        fs::write(&path, "whole\ntorn").unwrap();
        let mut file = sink(&path, 1 << 20, 0);
        file.send(&batch(5..6)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n{\"index\":5,\"log\":\"l\",\"record\":{\"n\":5}}\n");
        fs::rename(&path, dir.path().join("moved")).unwrap();
        file.send(&batch(6..7)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"index\":6,\"log\":\"l\",\"record\":{\"n\":6}}\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        for path in [link.as_path(), dir.path(), Path::new("/dev/null"), &dir.path().join("no/such")] {
            assert!(sink(path, 1 << 20, 0).send(&batch(0..1)).is_err(), "{}", path.display());
            assert!(check(&FileSettings { path: path.into(), rotate: 1, keep: 0 }).is_err(), "{}", path.display());
        }
        check(&FileSettings { path: dir.path().join("new"), rotate: 1, keep: 0 }).unwrap();
        assert!(is_closed_suffix("0000000000000012") && is_closed_suffix("0000000000000012-3"));
        for other in ["12", "0000000000000012.gz", "000000000000001x", "0000000000000012-", "0000000000000012-x"] {
            assert!(!is_closed_suffix(other), "{other}");
        }
    }
}
