//! The clock: signatures end after five minutes, keys are destroyed by it, and the log tells time by it.

use super::{Finding, small_file, span};
use std::path::Path;

/// Programs that keep the clock.
const KEEPERS: [&str; 8] =
    ["chronyd", "ntpd", "systemd-timesyn", "ntp-daemon", "openntpd", "phc2sys", "ptp4l", "vmtoolsd"];
/// How far behind what was written before the clock may be, seconds.
const SLACK: i64 = 2;

pub struct Facts {
    now: i64,
    /// When the newest record of the audit log was written.
    last_record: Option<i64>,
    /// When the newest file of the data directory was written.
    last_write: Option<i64>,
    /// systemd-timesyncd says that it has reached a server.
    synchronised: bool,
    keeper: Option<String>,
}

impl Facts {
    pub fn gather(now: i64, data_dir: &Path, last_record: Option<i64>) -> Self {
        let newest = |dir: &Path| {
            let entries = std::fs::read_dir(dir).ok()?;
            entries.filter_map(|e| Some(std::os::unix::fs::MetadataExt::mtime(&e.ok()?.metadata().ok()?))).max()
        };
        Facts {
            now,
            last_record,
            last_write: newest(data_dir).max(newest(&data_dir.join("audit"))),
            synchronised: Path::new("/run/systemd/timesync/synchronized").exists(),
            keeper: keeper(),
        }
    }
}

fn keeper() -> Option<String> {
    std::fs::read_dir("/proc").ok()?.filter_map(|entry| small_file(entry.ok()?.path().join("comm"))).find_map(|name| {
        let name = name.trim();
        KEEPERS.contains(&name).then(|| name.to_owned())
    })
}

pub fn check(facts: &Facts) -> Vec<Finding> {
    let behind =
        [(facts.last_record, "the newest audit record"), (facts.last_write, "the newest file of the data directory")]
            .into_iter()
            .filter_map(|(then, of)| then.map(|then| (then - facts.now, of)))
            .filter(|(ahead, _)| *ahead > SLACK)
            .max_by_key(|(ahead, _)| *ahead);
    let history = match behind {
        Some((ahead, of)) => Finding::problem(
            "clock.history",
            format!("the clock is {} behind {of}: it has been set back, or was ahead before", span(ahead)),
            "set the clock (`chronyc makestep`, `timedatectl set-ntp true`); keys that are due are destroyed by it",
        ),
        None => Finding::ok("clock.history", "not behind what was written before"),
    };
    let kept = match (&facts.keeper, facts.synchronised) {
        (_, true) => Finding::ok("clock.synchronised", "systemd-timesyncd has reached a time server"),
        (Some(name), false) => Finding::ok("clock.synchronised", format!("{name} is running")),
        (None, false) => Finding::warning(
            "clock.synchronised",
            "nothing that keeps the clock is seen to run here (in a container it may run outside)",
            "install chrony, or `timedatectl set-ntp true`; in a container look on the host",
        ),
    };
    vec![history, kept]
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    fn facts(last_record: Option<i64>, keeper: Option<&str>) -> Facts {
        Facts { now: 1000, last_record, last_write: Some(1001), synchronised: false, keeper: keeper.map(str::to_owned) }
    }

    #[test]
    fn a_clock_behind_the_log_is_a_problem() {
        for (last, expected) in
            [(None, Level::Ok), (Some(990), Level::Ok), (Some(1002), Level::Ok), (Some(1003), Level::Problem)]
        {
            assert_eq!(level(&check(&facts(last, None)), "clock.history").0, expected, "{last:?}");
        }
        let behind = Facts { last_write: Some(8200), ..facts(Some(1100), None) };
        let (_, text) = level(&check(&behind), "clock.history");
        assert!(text.contains("2 hours behind the newest file"), "{text}");
    }

    #[test]
    fn somebody_keeps_the_clock() {
        assert_eq!(level(&check(&facts(None, None)), "clock.synchronised").0, Level::Warning);
        assert_eq!(level(&check(&facts(None, Some("chronyd"))), "clock.synchronised").0, Level::Ok);
        let synchronised = Facts { synchronised: true, ..facts(None, None) };
        assert_eq!(level(&check(&synchronised), "clock.synchronised").0, Level::Ok);
    }
}
