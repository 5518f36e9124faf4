//! Room, and what kind of file system the data is on.

use super::{Finding, size};
use crate::config::Config;

pub struct Facts {
    found: Option<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    free: u64,
    total: u64,
    inodes: u64,
    /// File systems without a table of inodes say 0.
    all_inodes: u64,
    read_only: bool,
    /// `f_type` of statfs(2).
    kind: u64,
}

/// Which kinds are no place for the store, and why: `f_type` as in linux/magic.h.
const KINDS: [(u64, &str, &str); 9] = [
    (0x6969, "NFS", NETWORK),
    (0xff53_4d42, "SMB", NETWORK),
    (0xfe53_4d42, "SMB", NETWORK),
    (0x0102_1997, "9p", NETWORK),
    (0x00c3_6400, "Ceph", NETWORK),
    (0x6573_5546, "FUSE", "its locks and flushes are whatever the program behind it makes of them"),
    (0x0102_1994, "tmpfs", "everything in it is gone with the next boot"),
    (0x8584_58f6, "ramfs", "everything in it is gone with the next boot"),
    (0x794c_7630, "overlay", "everything in it is gone with the container"),
];
const NETWORK: &str = "locks and flushes over a network do not hold what the store and the audit log need";

impl Facts {
    pub fn gather(config: &Config) -> Self {
        let look = || {
            let (vfs, fs) = (rustix::fs::statvfs(&config.data_dir).ok()?, rustix::fs::statfs(&config.data_dir).ok()?);
            Some(Found {
                free: vfs.f_bavail.saturating_mul(vfs.f_frsize),
                total: vfs.f_blocks.saturating_mul(vfs.f_frsize),
                inodes: vfs.f_favail,
                all_inodes: vfs.f_files,
                read_only: vfs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
                // The type of the field differs between machines; the numbers have 32 bits.
                kind: u64::from(fs.f_type as u32),
            })
        };
        Facts { found: look() }
    }
}

/// `segment` is the size of a segment file of the audit log, of which one is always made ahead.
pub fn check(facts: &Facts, segment: u64) -> Vec<Finding> {
    let Some(found) = facts.found else {
        return vec![Finding::problem(
            "disk.space",
            "the data directory cannot be looked at",
            "run doctor as the service's user or as root, after `jadeseal init --config FILE`",
        )];
    };
    let mut all = vec![space(&found, segment)];
    if found.all_inodes > 0 && found.inodes < 1000 {
        all.push(Finding::problem(
            "disk.inodes",
            format!("the file system has {} inodes left", found.inodes),
            "remove small files beside the data (`du --inodes -x`), or move the data to a file system of its own",
        ));
    }
    if found.read_only {
        all.push(Finding::problem(
            "disk.writable",
            "the file system of the data is mounted read-only, perhaps after an error",
            "look at `dmesg`, run fsck, then `mount -o remount,rw`",
        ));
    }
    all.push(match KINDS.iter().find(|(kind, ..)| *kind == found.kind) {
        Some((_, name, why)) => Finding::problem(
            "disk.kind",
            format!("the data is on {name}: {why}"),
            "move data_dir to a local file system that outlives the machine or container, such as ext4 or XFS on a volume",
        ),
        None => Finding::ok("disk.kind", "a local file system"),
    });
    all
}

fn space(found: &Found, segment: u64) -> Finding {
    let text = format!("{} of {} free", size(found.free), size(found.total));
    // Never by hand: what no record says was retired is missing for every verification.
    let remedy = "make room beside the data or enlarge the volume; audit.keep_days and audit.archive let old audit segments go \
                  (docs/audit-log.md#retention)";
    // The next segment, and as much again for the store's log.
    if found.free < 2 * segment {
        return Finding::problem("disk.space", format!("{text}: less than two audit segments need"), remedy);
    }
    if found.free < 10 * segment || found.free < found.total / 20 {
        return Finding::warning("disk.space", text, remedy);
    }
    Finding::ok("disk.space", text)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    const GOOD: Found = Found {
        free: 50 << 30,
        total: 100 << 30,
        inodes: 1 << 20,
        all_inodes: 1 << 21,
        read_only: false,
        kind: 0xef53,
    };

    fn checked(found: Found) -> Vec<Finding> {
        check(&Facts { found: Some(found) }, 64 << 20)
    }

    #[test]
    fn room() {
        assert!(checked(GOOD).iter().all(|f| f.level == Level::Ok));
        for (free, expected) in
            [(100 << 20, Level::Problem), (300 << 20, Level::Warning), (4 << 30, Level::Warning), (6 << 30, Level::Ok)]
        {
            assert_eq!(level(&checked(Found { free, ..GOOD }), "disk.space").0, expected, "{free}");
        }
        let (_, text) = level(&checked(Found { free: 0, ..GOOD }), "disk.space");
        assert!(text.contains("audit.keep_days") && !text.contains("move"), "{text}");
        assert_eq!(level(&checked(Found { inodes: 3, ..GOOD }), "disk.inodes").0, Level::Problem);
        assert!(checked(Found { inodes: 0, all_inodes: 0, ..GOOD }).iter().all(|f| f.level == Level::Ok), "btrfs");
        assert_eq!(level(&check(&Facts { found: None }, 1), "disk.space").0, Level::Problem);
    }

    #[test]
    fn places_that_do_not_last() {
        for (kind, ..) in KINDS {
            assert_eq!(level(&checked(Found { kind, ..GOOD }), "disk.kind").0, Level::Problem, "{kind:x}");
        }
        assert_eq!(level(&checked(Found { read_only: true, ..GOOD }), "disk.writable").0, Level::Problem);
    }
}
