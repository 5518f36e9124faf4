//! Checkpoints (C2SP tlog-checkpoint): origin, size and root of the tree, as a signed note. And the file that keeps them.

use crate::{
    error::AuditError,
    note::{MAX_NOTE_BYTES, Note, NoteError, Verifier},
    tree::Hash,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fmt, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// The newest published checkpoint.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Published checkpoints, each behind a line `#checkpoint <bytes>`.
pub(crate) const HISTORY: &str = "checkpoints";
/// Up to where records were retired: a note of the log's key with the lines origin and `retired <index>`, the first record
/// that stayed. (No number in the second line: it can never be a checkpoint.)
pub(crate) const RETIRED_TO: &str = "retired";
/// Public keys that have signed checkpoints of this log, one in a line.
pub(crate) const KEYS: &str = "keys";

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of records.
    pub size: u64,
    /// Root hash of the tree over them (RFC 6962 section 2.1).
    pub root: Hash,
}

impl Checkpoint {
    /// Reads the text of a note. Lines behind the third are extensions, which say nothing here.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = NoteError("a checkpoint has the lines origin, size and root");
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(bad);
        };
        let number: u64 = size.parse().map_err(|_| bad)?;
        let root = STANDARD.decode(root).ok().and_then(|bytes| Hash::try_from(bytes.as_slice()).ok()).ok_or(bad)?;
        // One spelling of each number.
        if origin.is_empty() || number.to_string() != size {
            return Err(bad);
        }
        Ok(Checkpoint { origin: origin.to_owned(), size: number, root })
    }

    /// The checkpoint of a note that one of these keys, whose name is the origin, has signed.
    pub fn of_note(note: &Note, keys: &[Verifier]) -> Result<Self, NoteError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let mut own = keys.iter().filter(|key| key.name() == checkpoint.origin && !key.is_witness());
        match own.any(|key| note.signed_by(key).is_some()) {
            true => Ok(checkpoint),
            false => Err(NoteError("the checkpoint is not signed by a key of this log")),
        }
    }
}

/// The text that is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))
    }
}

/// The newest published checkpoint of a directory, if it has one.
pub fn newest(dir: &Path) -> Result<Option<Note>, AuditError> {
    let path = dir.join(CHECKPOINT);
    let bytes = match read_bounded(&path, MAX_NOTE_BYTES as u64) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| AuditError::io("read", &path, e))?,
    };
    Note::parse(&bytes).map(Some).map_err(|e| AuditError::Note { file: path, what: e.0 })
}

/// The text of the note about retired records.
pub(crate) fn retired_text(origin: &str, first: u64) -> String {
    format!("{origin}\nretired {first}\n")
}

/// The first record that a log's key says has stayed; 0 where nothing was retired.
pub(crate) fn retired_to(dir: &Path, keys: &[Verifier]) -> Result<u64, AuditError> {
    let path = dir.join(RETIRED_TO);
    let bad = |what| AuditError::Note { file: path.clone(), what };
    let bytes = match read_bounded(&path, MAX_NOTE_BYTES as u64) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(|e| AuditError::io("read", &path, e))?,
    };
    let note = Note::parse(&bytes).map_err(|e| bad(e.0))?;
    let (origin, rest) = note.text().split_once('\n').ok_or(bad("is no note about retired records"))?;
    let first = rest.strip_prefix("retired ").and_then(|n| n.trim_end().parse().ok());
    let first = first.filter(|first| retired_text(origin, *first) == note.text());
    let first = first.ok_or(bad("is no note about retired records"))?;
    let mut own = keys.iter().filter(|key| key.name() == origin && !key.is_witness());
    match own.any(|key| note.signed_by(key).is_some()) {
        true => Ok(first),
        false => Err(bad("is not signed by a key of this log")),
    }
}

/// The public keys that a directory names. They prove nothing to whoever fears that the directory was made up.
pub fn keys(dir: &Path) -> Result<Vec<Verifier>, AuditError> {
    let path = dir.join(KEYS);
    match read_bounded(&path, MAX_NOTE_BYTES as u64) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => {
            let bytes = read.map_err(|e| AuditError::io("read", &path, e))?;
            let text = String::from_utf8_lossy(&bytes);
            let parse =
                |line: &str| Verifier::parse(line).map_err(|e| AuditError::Note { file: path.clone(), what: e.0 });
            text.lines().filter(|line| !line.is_empty()).map(parse).collect()
        }
    }
}

/// Adds a key to those that a directory names.
pub(crate) fn note_key(dir: &Path, key: &Verifier) -> Result<(), AuditError> {
    let mut all = keys(dir)?;
    if all.contains(key) {
        return Ok(());
    }
    all.push(key.clone());
    let text: String = all.iter().map(|key| format!("{key}\n")).collect();
    crate::disk::replace(dir, KEYS, text.as_bytes(), true).map_err(|e| AuditError::io("write", dir.join(KEYS), e))
}

/// Every checkpoint of the history, in its order, until an unfinished end (which a crash leaves, and the next writer cuts).
pub fn history(dir: &Path) -> Result<Vec<Note>, AuditError> {
    Ok(read_history(&dir.join(HISTORY))?.0)
}

/// The last whole note of a history, and the length of what is whole. Of the others only their heads are read.
pub(crate) fn last_of_history(path: &Path) -> Result<(Option<Note>, u64), AuditError> {
    let failed = |e| AuditError::io("read", path, e);
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, 0)),
        opened => opened.map_err(failed)?,
    };
    let len = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::new(file);
    let (mut last, mut end) = (None, 0u64);
    loop {
        let mut line = Vec::new();
        (&mut reader).take(64).read_until(b'\n', &mut line).map_err(failed)?;
        let Some(note) = history_line(&line) else {
            if line.ends_with(b"\n") {
                return Err(damaged(path));
            }
            break;
        };
        let next = end + (line.len() + note) as u64;
        if next > len {
            break;
        }
        last = Some((end + line.len() as u64, note));
        reader.seek_relative(i64::try_from(note).unwrap_or(i64::MAX)).map_err(failed)?;
        end = next;
    }
    let Some((at, note)) = last else { return Ok((None, end)) };
    let mut bytes = vec![0; note];
    reader.into_inner().read_exact_at(&mut bytes, at).map_err(failed)?;
    Note::parse(&bytes).map(|note| (Some(note), end)).map_err(|_| damaged(path))
}

/// The notes, and the length of what is whole.
fn read_history(path: &Path) -> Result<(Vec<Note>, u64), AuditError> {
    let failed = |e| AuditError::io("read", path, e);
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        opened => opened.map_err(failed)?,
    };
    let mut reader = BufReader::new(file);
    let (mut notes, mut end) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        (&mut reader).take(64).read_until(b'\n', &mut line).map_err(failed)?;
        let Some(len) = history_line(&line) else {
            // Nothing, or a head that was never finished; whole lines that are none are damage.
            return if line.ends_with(b"\n") { Err(damaged(path)) } else { Ok((notes, end)) };
        };
        let mut bytes = Vec::with_capacity(len);
        (&mut reader).take(len as u64).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() < len {
            return Ok((notes, end));
        }
        notes.push(Note::parse(&bytes).map_err(|_| damaged(path))?);
        end += (line.len() + len) as u64;
    }
}

fn damaged(path: &Path) -> AuditError {
    AuditError::Note { file: path.to_owned(), what: "holds something that is no checkpoint" }
}

fn history_line(line: &[u8]) -> Option<usize> {
    let digits = line.strip_prefix(b"#checkpoint ")?.strip_suffix(b"\n")?;
    let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (len <= MAX_NOTE_BYTES && history_entry_head(len).as_bytes() == line).then_some(len)
}

fn history_entry_head(len: usize) -> String {
    format!("#checkpoint {len}\n")
}

/// A note as the history has it.
pub(crate) fn history_entry(note: &str) -> String {
    format!("{}{note}", history_entry_head(note.len()))
}

fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Signer;
    use jadeseal_crypto::Ed25519Key;

    #[test]
    fn the_text_is_this() {
        let checkpoint = Checkpoint { origin: "log".to_owned(), size: 20, root: [0; 32] };
        let text = "log\n20\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        assert_eq!(checkpoint.to_string(), text);
        assert_eq!(Checkpoint::parse(text).unwrap(), checkpoint);
        assert!(Checkpoint::parse(&format!("{text}an extension\n")).is_ok());
        for bad in [
            "",
            "log\n20\n",
            "log\n020\nAAAA\n",
            "log\n+20\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
            "log\n20\nAAAA\n",
        ] {
            assert!(Checkpoint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_a_key_with_the_name_of_the_origin_counts() {
        let signer = Signer::ed25519("log", Ed25519Key::generate().unwrap()).unwrap();
        let of = |origin: &str| {
            let text = Checkpoint { origin: origin.to_owned(), size: 1, root: [1; 32] }.to_string();
            let line = signer.sign(&text, 0).unwrap();
            Note::new(text, &line).unwrap()
        };
        let keys = [signer.verifier().clone()];
        assert!(Checkpoint::of_note(&of("log"), &keys).is_ok());
        assert!(Checkpoint::of_note(&of("other"), &keys).is_err());
        assert!(Checkpoint::of_note(&of("log"), &[]).is_err());
    }

    #[test]
    fn an_unfinished_end_of_the_history_is_left_out_and_damage_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HISTORY);
        let note = "log\n1\nAAAA\n\n\u{2014} n AAAAAAA=\n";
        let entry = history_entry(note);
        let whole = format!("{entry}{entry}");
        for end in 0..=whole.len() {
            fs::write(&path, &whole.as_bytes()[..end]).unwrap();
            let (notes, len) = read_history(&path).unwrap();
            assert_eq!((notes.len(), len), (end / entry.len(), (end / entry.len() * entry.len()) as u64), "{end}");
            assert_eq!(last_of_history(&path).unwrap(), (notes.last().cloned(), len), "{end}");
        }
        fs::write(&path, format!("{entry}#checkpoint x\n{entry}")).unwrap();
        assert!(history(dir.path()).is_err() && last_of_history(&path).is_err());
        fs::write(&path, "#checkpoint 3\nabc").unwrap();
        assert!(history(dir.path()).is_err() && last_of_history(&path).is_err());
    }
}
