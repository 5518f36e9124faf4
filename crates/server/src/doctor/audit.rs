//! The audit log: readable, whole, and not behind.

use super::{Finding, running::Running, span};
use jadeseal_audit::{AuditError, Checkpoint, checkpoint, next_index};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Records that may wait for a flush before it is told.
const LAG: u64 = 10_000;
/// How old the newest checkpoint may be while there are records that it does not cover, seconds.
const STALE: u64 = 300;
const CHUNK: u64 = 64 * 1024;
/// Longest line of a segment, with room to spare.
const LINE: u64 = 2 * CHUNK;

pub struct Facts {
    listed: io::Result<(usize, usize)>,
    /// When the newest record was written, Unix seconds; none in an empty log.
    last_record: io::Result<Option<i64>>,
    sealed: Result<Sealed, String>,
    /// Of the running service: records that wait for a flush, and the age of the newest checkpoint, seconds.
    lag: Option<u64>,
    age: Option<u64>,
}

/// How far the newest checkpoint goes.
struct Sealed {
    /// Records that it covers; none where there is no checkpoint.
    covered: Option<u64>,
    /// Index behind the last record.
    end: u64,
}

impl Sealed {
    /// The signature is checked with the keys that the directory names: slips are found, not somebody who made all of it up.
    fn read(dir: &Path) -> Result<Self, String> {
        let said = |e: AuditError| e.to_string();
        // The checkpoint first: beside a writer the log only grows.
        let covered = match checkpoint::newest(dir).map_err(said)? {
            None => None,
            Some(note) => {
                let keys = checkpoint::keys(dir).map_err(said)?;
                Some(Checkpoint::of_note(&note, &keys).map_err(|e| e.to_string())?.size)
            }
        };
        Ok(Sealed { covered, end: next_index(dir).map_err(said)? })
    }
}

impl Facts {
    pub fn gather(data_dir: &Path, last_record: io::Result<Option<i64>>, running: &Running) -> Self {
        Facts {
            listed: list(&data_dir.join("audit")),
            last_record,
            sealed: Sealed::read(&data_dir.join("audit")),
            lag: running.metric("jadeseal_audit_unflushed_records"),
            age: running.metric("jadeseal_audit_checkpoint_age_seconds"),
        }
    }
}

/// Numbers of segments and of files that a power cut left.
fn list(dir: &Path) -> io::Result<(usize, usize)> {
    let (mut segments, mut torn) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        segments += usize::from(is_segment(&name));
        torn += usize::from(name.ends_with(".torn"));
    }
    Ok((segments, torn))
}

fn is_segment(name: &str) -> bool {
    let digits = name.strip_prefix("audit-").and_then(|n| n.strip_suffix(".log"));
    digits.is_some_and(|d| d.len() == 16 && d.bytes().all(|c| c.is_ascii_digit()))
}

/// When the newest record of a log was written, Unix seconds. None where there is no record yet.
pub fn last_record(dir: &Path) -> io::Result<Option<i64>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut segments: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.file_name().is_some_and(|n| is_segment(&n.to_string_lossy())))
        .collect();
    segments.sort();
    // The newest may have been begun and hold no record yet.
    for path in segments.iter().rev().take(2) {
        if let Some(time) = last_time(&tail(path)?) {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

/// The end of a segment, without the zeros that the writer may have put ahead of itself.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut chunk = Vec::new();
    let mut read = |from: u64, to: u64| -> io::Result<Vec<u8>> {
        file.seek(SeekFrom::Start(from))?;
        chunk.clear();
        (&mut file).take(to - from).read_to_end(&mut chunk)?;
        Ok(chunk.clone())
    };
    while end > 0 {
        let from = end.saturating_sub(CHUNK);
        let bytes = read(from, end)?;
        match bytes.iter().rposition(|b| *b != 0) {
            None => end = from,
            Some(last) => {
                end = from + last as u64 + 1;
                break;
            }
        }
    }
    read(end.saturating_sub(LINE), end)
}

/// The time of the last record among lines.
fn last_time(lines: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b",\"time\":\"";
    let of = |line: &[u8]| {
        let at = line.windows(NAME.len()).position(|w| w == NAME)? + NAME.len();
        let text = line[at..].split(|b| *b == b'"').next()?;
        std::str::from_utf8(text).ok()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
    };
    lines.rsplit(|b| *b == b'\n').find_map(of)
}

pub fn check(facts: &Facts, now: i64) -> Vec<Finding> {
    const UNREADABLE: &str =
        "run doctor as the service's user or as root; see docs/operations.md#when-something-is-wrong";
    let mut found = Vec::new();
    match &facts.listed {
        Err(e) => {
            return vec![Finding::problem("audit.log", format!("the audit log cannot be listed: {e}"), UNREADABLE)];
        }
        Ok((segments, torn)) => {
            found.push(match &facts.last_record {
                Err(e) => Finding::problem("audit.log", format!("the audit log cannot be read: {e}"), UNREADABLE),
                Ok(None) => {
                    Finding::info("audit.log", "the audit log has no record yet", "call an action and look again")
                }
                Ok(Some(last)) => Finding::ok(
                    "audit.log",
                    format!("{segments} segments, the newest record is {} old", span((now - last).max(0))),
                ),
            });
            if *torn > 0 {
                found.push(Finding::warning(
                    "audit.torn",
                    format!("{torn} files with records behind a hole that a power cut left"),
                    "keep them as evidence away from the log, and set [audit] degree = \"fsync\"",
                ));
            }
        }
    }
    found.extend(sealed(&facts.sealed, facts.age));
    found.extend(facts.lag.map(|lag| match lag {
        n if n > LAG => Finding::warning(
            "audit.lag",
            format!("{n} audit records wait for the disk"),
            "move data_dir to a faster disk; look at its latency with `iostat -x`",
        ),
        n => Finding::ok("audit.lag", format!("{n} audit records wait for the disk")),
    }));
    found
}

fn sealed(sealed: &Result<Sealed, String>, age: Option<u64>) -> Option<Finding> {
    const NAME: &str = "audit.checkpoint";
    const DAMAGED: &str = "copy the data directory away, then `jadeseal audit verify DATA/audit` (docs/audit-log.md)";
    Some(match sealed {
        Err(e) => Finding::problem(NAME, format!("the checkpoint of the audit log is not to be trusted: {e}"), DAMAGED),
        Ok(Sealed { covered: None, end: 0 }) => return None,
        Ok(Sealed { covered: None, end }) => Finding::warning(
            NAME,
            format!("there are {end} audit records and no checkpoint: nothing is proved of them"),
            "start the service, which signs one within a minute; its log tells why it does not",
        ),
        Ok(Sealed { covered: Some(covered), end }) if covered > end => Finding::problem(
            NAME,
            format!("the checkpoint covers {covered} audit records, and there are {end}: some are gone"),
            DAMAGED,
        ),
        Ok(Sealed { covered: Some(covered), end }) => match age {
            Some(age) if age > STALE => Finding::warning(
                NAME,
                format!(
                    "{} audit records are under no checkpoint, and the newest is {} old",
                    end - covered,
                    span(i64::try_from(age).unwrap_or(i64::MAX))
                ),
                "the log of the service tells why; with witnesses, whether they answer (docs/runbooks/JadesealAuditCheckpointStale.md)",
            ),
            _ => Finding::ok(NAME, format!("signed, and covers {covered} of {end} records")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    const LINE: &str = "00000000 {\"v\":1,\"time\":\"2026-11-24T02:15:22.123456Z\",\"code\":\"\"}\n";
    const TIME: i64 = 1_795_486_522;

    #[test]
    fn the_newest_record_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_record(&dir.path().join("none")).unwrap(), None);
        assert_eq!(last_record(dir.path()).unwrap(), None);
        let write =
            |first: u32, text: &[u8]| std::fs::write(dir.path().join(format!("audit-{first:016}.log")), text).unwrap();
        let head = "#jadeseal-audit v1 first=0\n";
        write(0, format!("{head}{LINE}").as_bytes());
        write(1, head.as_bytes());
        std::fs::write(dir.path().join("audit-next.log"), "x").unwrap();
        assert_eq!(last_record(dir.path()).unwrap(), Some(TIME));
        // Zeros ahead of the writer, and an append under way.
        let later = LINE.replace("15:22", "16:22");
        let zeros =
            [format!("{head}{LINE}{later}").as_bytes(), b"00000000 {\"v\":1,\"ti", &vec![0; 300_000][..]].concat();
        write(1, &zeros);
        assert_eq!(last_record(dir.path()).unwrap(), Some(TIME + 60));
        write(1, &vec![0; 200_000]);
        assert_eq!(last_record(dir.path()).unwrap(), Some(TIME));
        assert_eq!(list(dir.path()).unwrap(), (2, 0));
    }

    #[test]
    fn garbage_has_no_time() {
        for text in ["", "\n\n", ",\"time\":\"", ",\"time\":\"yesterday\"", "x,\"time\":\"2026-99-24T02:15:22Z\""] {
            assert_eq!(last_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn lag_and_torn_files() {
        let none = || Ok(Sealed { covered: None, end: 0 });
        let facts =
            |torn, lag| Facts { listed: Ok((3, torn)), last_record: Ok(Some(TIME)), sealed: none(), lag, age: None };
        let good = check(&facts(0, Some(5)), TIME + 60);
        assert!(good.len() == 2 && good.iter().all(|f| f.level == Level::Ok), "{good:#?}");
        let bad = check(&facts(1, Some(50_000)), TIME);
        assert_eq!(level(&bad, "audit.torn").0, Level::Warning);
        assert_eq!(level(&bad, "audit.lag").0, Level::Warning);
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let unreadable =
            Facts { listed: Err(denied()), last_record: Err(denied()), sealed: none(), lag: None, age: None };
        assert_eq!(level(&check(&unreadable, TIME), "audit.log").0, Level::Problem);
    }

    #[test]
    fn the_checkpoint_fits_the_log() {
        use jadeseal_audit::{Certifier, Log, Options, Signer};
        let dir = tempfile::tempdir().unwrap();
        let every = std::time::Duration::from_millis(5);
        let options = Options { flush_every: every, checkpoint_every: every, ..Options::default() };
        let log = Log::open(dir.path(), options).unwrap().0;
        let look = || sealed(&Sealed::read(dir.path()), None).map(|f| (f.level, f.what));
        assert_eq!(look(), None, "nothing to prove");
        log.append(b"{\"v\":1}").unwrap();
        assert_eq!(look().unwrap().0, Level::Warning, "no key yet");
        let key = jadeseal_crypto::Ed25519Key::generate().unwrap();
        let signer = Signer::ed25519("log", key).unwrap();
        log.certify(Certifier { signer, witnesses: vec![], required: 0 }).unwrap();
        while log.published().is_none_or(|p| p.checkpoint.size < 1) {
            std::thread::sleep(every);
        }
        log.close().unwrap();
        assert_eq!(look().unwrap(), (Level::Ok, "signed, and covers 1 of 1 records".to_owned()));
        let file = |name: &str| dir.path().join(name);
        let (keys, note) = (std::fs::read(file("keys")).unwrap(), std::fs::read(file("checkpoint")).unwrap());
        std::fs::write(file("keys"), "").unwrap();
        assert_eq!(look().unwrap().0, Level::Problem, "signed by nobody that is known");
        std::fs::write(file("keys"), keys).unwrap();
        std::fs::write(file("checkpoint"), &note[..note.len() / 2]).unwrap();
        assert_eq!(look().unwrap().0, Level::Problem, "cut off");
        std::fs::write(file("checkpoint"), note).unwrap();
        let segment = file(&format!("audit-{:016}.log", 0));
        let text = std::fs::read_to_string(&segment).unwrap();
        std::fs::write(&segment, text.split_inclusive('\n').next().unwrap()).unwrap();
        assert!(look().unwrap().1.contains("some are gone"));
    }

    #[test]
    fn a_checkpoint_grows_old_only_beside_records_that_it_does_not_cover() {
        let of = |age| sealed(&Ok(Sealed { covered: Some(5), end: 9 }), age).unwrap();
        assert_eq!([of(None).level, of(Some(20)).level, of(Some(301)).level], [Level::Ok, Level::Ok, Level::Warning]);
    }
}
