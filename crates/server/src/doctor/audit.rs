//! The audit log: readable, whole, and not behind.

use super::{Finding, running::Running, span};
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

/// Records that may wait for a flush before it is told.
const LAG: u64 = 10_000;
const CHUNK: u64 = 64 * 1024;
/// Longest line of a segment, with room to spare.
const LINE: u64 = 2 * CHUNK;

pub struct Facts {
    listed: io::Result<(usize, usize)>,
    /// When the newest record was written, Unix seconds; none in an empty log.
    last_record: io::Result<Option<i64>>,
    /// Of the running service.
    lag: Option<u64>,
}

impl Facts {
    pub fn gather(data_dir: &Path, last_record: io::Result<Option<i64>>, running: &Running) -> Self {
        Facts {
            listed: list(&data_dir.join("audit")),
            last_record,
            lag: running.metric("jadeseal_audit_unflushed_records"),
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
        let facts = |torn, lag| Facts { listed: Ok((3, torn)), last_record: Ok(Some(TIME)), lag };
        let good = check(&facts(0, Some(5)), TIME + 60);
        assert!(good.len() == 2 && good.iter().all(|f| f.level == Level::Ok), "{good:#?}");
        let bad = check(&facts(1, Some(50_000)), TIME);
        assert_eq!(level(&bad, "audit.torn").0, Level::Warning);
        assert_eq!(level(&bad, "audit.lag").0, Level::Warning);
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let unreadable = Facts { listed: Err(denied()), last_record: Err(denied()), lag: None };
        assert_eq!(level(&check(&unreadable, TIME), "audit.log").0, Level::Problem);
    }
}
