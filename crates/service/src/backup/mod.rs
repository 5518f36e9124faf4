//! Backups: everything of a deployment as of one moment, in one sealed file; read back whole when it is made, proved in
//! drills, restored on a bare host. Formats: `docs/backup.md`.

mod content;
mod make;
mod prove;
mod replay;
mod restore;
mod scratch;
mod walk;

#[doc(hidden)]
pub use content::fuzz as fuzz_content;
pub use content::{AuditHead, Manifest};
pub use make::{Request, make};
pub use prove::{Proof, prove, record_proof};
pub use replay::{Changed, Replay, changes_since};
pub use restore::{Restored, Restoring, restore};

use jadeseal_store::{Store, StoreError};
use jadeseal_types::{ApiError, error::Result};
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use std::{fs::File, path::Path};

/// When a backup of the deployment was last proved, Unix seconds in decimal, in the store's small values.
pub const LAST_PROVED: &str = "backup_last_proved";
/// Name of the deployment, made for its first backup.
const DEPLOYMENT: &str = "deployment_id";
/// Until when a restored deployment destroys nothing, Unix seconds in decimal.
const HELD_UNTIL: &str = "destruction_held_until";

/// When a backup was last proved; none: never.
pub async fn last_proved(store: &dyn Store) -> Result<Option<u64>> {
    number(store.meta_get(LAST_PROVED).await)
}

/// Until when nothing is destroyed since the deployment was restored; 0: it was not.
pub async fn held_until(store: &dyn Store) -> Result<u64> {
    Ok(number(store.meta_get(HELD_UNTIL).await)?.unwrap_or(0))
}

fn number(value: Result<Option<Vec<u8>>, StoreError>) -> Result<Option<u64>> {
    let Some(value) = value.map_err(ApiError::internal)? else { return Ok(None) };
    let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| ApiError::internal("a time in the store is malformed"))
}

/// Gives a finished file its name, where nothing has it; flushes the directory.
fn name_file(from: &Path, to: &Path) -> Result<()> {
    let named = match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot promise it: then it is looked at just before.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if to.symlink_metadata().is_err() => std::fs::rename(from, to),
        other => other.map_err(Into::into),
    };
    named.map_err(io("name", to))?;
    let parent = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(io("flush", parent))
}

fn io(what: &str, path: &Path) -> impl Fn(std::io::Error) -> ApiError {
    let what = format!("cannot {what} {}", path.display());
    move |e| ApiError::internal(format!("{what}: {e}"))
}
