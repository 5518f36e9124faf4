//! Owners and modes of what only the service may read.

use super::Finding;
use crate::{
    config::{Config, RootConf},
    wiring::DATABASE,
};
use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub struct Facts {
    /// Owner of the data directory: the service's user.
    owner: Option<u32>,
    files: Vec<File>,
}

struct File {
    what: &'static str,
    path: PathBuf,
    /// Bits that nobody else may have.
    forbidden: u32,
    /// Mode and owner; none where there is no such file, or it cannot be looked at.
    found: Option<(u32, u32)>,
}

const NOT_FOR_OTHERS: u32 = 0o077;
const NOT_TO_BE_CHANGED: u32 = 0o022;

impl Facts {
    pub fn gather(config_path: &Path, config: &Config) -> Self {
        let data = &config.data_dir;
        let mut wanted = vec![
            ("the configuration", config_path.to_owned(), NOT_TO_BE_CHANGED),
            ("the data directory", data.clone(), NOT_FOR_OTHERS),
            ("the store", data.join(DATABASE), NOT_FOR_OTHERS),
            ("the audit log", data.join("audit"), NOT_FOR_OTHERS),
        ];
        match &config.root {
            RootConf::File(path) => wanted.push(("the root key file", path.clone(), NOT_FOR_OTHERS)),
            RootConf::PassphraseFile(path) => wanted.push(("the passphrase file", path.clone(), NOT_FOR_OTHERS)),
            _ => {}
        }
        if let Some(tls) = &config.tls {
            // A group for certificates that the service is in is common.
            wanted.push(("the TLS key", tls.key.clone(), 0o027));
        }
        if let Some(parent) = data.canonicalize().ok().as_deref().and_then(Path::parent) {
            wanted.push(("the directory above the data", parent.to_owned(), NOT_TO_BE_CHANGED));
        }
        let look = |path: &Path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.permissions().mode() & 0o7777, meta.uid()))
        };
        let files =
            wanted.into_iter().map(|(what, path, forbidden)| File { what, found: look(&path), path, forbidden });
        Facts { owner: look(data).map(|(_, uid)| uid), files: files.collect() }
    }
}

pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    for File { what, path, forbidden, found: meta } in &facts.files {
        let shown = path.display();
        let Some((mode, uid)) = *meta else {
            found.push(Finding::problem(
                "files.missing",
                format!("{what}, {shown}, is not there or cannot be looked at"),
                "run doctor as the service's user or as root; `jadeseal init --config FILE` makes what was never there",
            ));
            continue;
        };
        // What everybody may write to, but only the owner of a file may remove (/tmp), is as good as one's own.
        let sticky = mode & 0o1000 != 0;
        if mode & forbidden != 0 && !sticky {
            let less = mode & !forbidden & 0o777;
            found.push(Finding::problem(
                "files.mode",
                format!(
                    "{what}, {shown}, has mode {mode:04o}: others can {}",
                    if mode & forbidden & 0o022 != 0 { "change it" } else { "read it" }
                ),
                format!("chmod {less:04o} {shown}"),
            ));
        }
        if let Some(owner) = facts.owner.filter(|owner| uid != *owner && uid != 0) {
            found.push(Finding::problem(
                "files.owner",
                format!("{what}, {shown}, belongs to user {uid}, the data directory to user {owner}"),
                format!("chown {owner} {shown}"),
            ));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("files.mode", "nobody but the service's user reads or changes its files"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    fn facts(found: Option<(u32, u32)>, forbidden: u32) -> Facts {
        Facts { owner: Some(7), files: vec![File { what: "it", path: "/x/it".into(), forbidden, found }] }
    }

    #[test]
    fn modes_and_owners() {
        for (mode, uid, forbidden, check_name, expected, words) in [
            (0o600, 7, NOT_FOR_OTHERS, "files.mode", Level::Ok, ""),
            (0o644, 7, NOT_TO_BE_CHANGED, "files.mode", Level::Ok, ""),
            (0o1777, 0, NOT_TO_BE_CHANGED, "files.mode", Level::Ok, ""),
            (0o644, 7, NOT_FOR_OTHERS, "files.mode", Level::Problem, "read it chmod 0600 /x/it"),
            (0o770, 7, NOT_FOR_OTHERS, "files.mode", Level::Problem, "change it chmod 0700 /x/it"),
            (0o600, 8, NOT_FOR_OTHERS, "files.owner", Level::Problem, "chown 7 /x/it"),
        ] {
            let found = check(&facts(Some((mode, uid)), forbidden));
            let (found, text) = level(&found, check_name);
            assert_eq!(found, expected, "{mode:o}");
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(level(&check(&facts(None, 0)), "files.missing").0, Level::Problem);
    }
}
