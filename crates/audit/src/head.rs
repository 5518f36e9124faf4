//! Where a log ends.

use crate::{error::AuditError, segment};
use std::path::Path;

/// Index that the next record of a log gets, 0 for one that has none or is not there. Reads the last segment alone. May run
/// beside a writer: what is appended meanwhile may or may not be counted.
pub fn next_index(dir: &Path) -> Result<u64, AuditError> {
    if !dir.exists() {
        return Ok(0);
    }
    let Some(&first) = segment::list(dir)?.last() else { return Ok(0) };
    let mut end = first + segment::scan(&segment::path(dir, first), |_, _| {})?.records;
    while let Some((path, file)) = segment::open_at(dir, end)? {
        let records = segment::scan_file(&path, file, |_, _| {})?.records;
        end += records;
        if records == 0 {
            break;
        }
    }
    Ok(end)
}
