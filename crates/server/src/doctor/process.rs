//! What keeps secrets in the process: locked memory, no core dumps, no debuggers. Of the running service where there is
//! one that may be looked at, else of this command, which has the limits of whoever calls it.

use super::{Finding, small_file};

pub struct Facts {
    /// The running service, or this command.
    of_service: bool,
    /// Soft limits: none for unlimited.
    memlock: Limit,
    core: Limit,
    open_files: Limit,
    /// KiB that are locked in memory.
    locked: Option<u64>,
    root: bool,
    swap: bool,
    core_pattern: String,
    ptrace_scope: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Unlimited,
    Of(u64),
    Unknown,
}

impl Facts {
    pub fn gather(service: Option<u32>) -> Self {
        let of =
            |pid: &str| Some((small_file(format!("/proc/{pid}/limits"))?, small_file(format!("/proc/{pid}/status"))?));
        let service = service.and_then(|pid| of(&pid.to_string()));
        let of_service = service.is_some();
        let (limits, status) = service.or_else(|| of("self")).unwrap_or_default();
        // The first line names the columns.
        let swaps = small_file("/proc/swaps").unwrap_or_default();
        Facts {
            of_service,
            memlock: limit(&limits, "Max locked memory"),
            core: limit(&limits, "Max core file size"),
            open_files: limit(&limits, "Max open files"),
            locked: field(&status, "VmLck:"),
            root: field(&status, "Uid:") == Some(0),
            swap: swaps.lines().skip(1).any(|line| !line.contains("zram")),
            core_pattern: small_file("/proc/sys/kernel/core_pattern").unwrap_or_default().trim().to_owned(),
            ptrace_scope: small_file("/proc/sys/kernel/yama/ptrace_scope").and_then(|text| text.trim().parse().ok()),
        }
    }
}

/// The soft limit of a line of `/proc/PID/limits`.
fn limit(text: &str, name: &str) -> Limit {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    match value {
        Some("unlimited") => Limit::Unlimited,
        Some(value) => value.parse().map_or(Limit::Unknown, Limit::Of),
        None => Limit::Unknown,
    }
}

/// The first number of a line of `/proc/PID/status`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

pub fn check(facts: &Facts) -> Vec<Finding> {
    vec![memory(facts), core(facts), debuggers(facts), open_files(facts)]
}

fn memory(facts: &Facts) -> Finding {
    let remedy = "set LimitMEMLOCK=infinity in the systemd unit (`ulimit -l unlimited` elsewhere), or switch swap off: `swapoff -a`, or encrypt it";
    let locked = match facts.of_service {
        true => facts.locked.is_some_and(|kib| kib > 0),
        false => facts.memlock == Limit::Unlimited || facts.root,
    };
    match (locked, facts.swap) {
        (true, _) if facts.of_service => Finding::ok("process.memlock", "the service's memory is locked"),
        (true, _) => Finding::ok("process.memlock", "memory may be locked"),
        (false, false) => {
            Finding::info("process.memlock", "memory is not locked; there is no swap that it could go to", remedy)
        }
        (false, true) => Finding::warning(
            "process.memlock",
            "memory is not locked, and there is swap: keys can reach the disk",
            remedy,
        ),
    }
}

fn core(facts: &Facts) -> Finding {
    let piped = facts.core_pattern.starts_with('|');
    match facts.core {
        Limit::Of(0) => Finding::ok("process.core", "no core dumps"),
        // The service sets its own limit; a program that core_pattern names is not bound by it, but by the process's
        // being not dumpable.
        _ if facts.of_service => Finding::problem(
            "process.core",
            "the running service may leave a core dump, with keys in it",
            "set LimitCORE=0 in the systemd unit, and look for `process hardening incomplete` in its log",
        ),
        _ if piped => Finding::info(
            "process.core",
            format!("core dumps of this machine go to {}; the service switches its own off", facts.core_pattern),
            "set LimitCORE=0 in the systemd unit, so that there is none before it has done so",
        ),
        _ => Finding::info(
            "process.core",
            "core dumps are allowed here; the service switches its own off",
            "set LimitCORE=0 in the systemd unit, so that there is none before it has done so",
        ),
    }
}

fn debuggers(facts: &Facts) -> Finding {
    match facts.ptrace_scope {
        Some(0) => Finding::info(
            "process.ptrace",
            "processes of one user may debug each other; the service refuses that for itself",
            "sysctl -w kernel.yama.ptrace_scope=1, and in /etc/sysctl.d",
        ),
        Some(_) => Finding::ok("process.ptrace", "processes of one user may not debug each other"),
        None => Finding::info(
            "process.ptrace",
            "the kernel has no Yama; the service refuses debuggers of its own user for itself",
            "run the service as a user of its own",
        ),
    }
}

fn open_files(facts: &Facts) -> Finding {
    match facts.open_files {
        Limit::Of(n) if n < 4096 => Finding::info(
            "process.files",
            format!(
                "at most {n} open files{}",
                if facts.of_service { "" } else { " (the service raises this to its hard limit)" }
            ),
            "set LimitNOFILE=65536 in the systemd unit: each connection takes one",
        ),
        _ => Finding::ok("process.files", "enough open files for connections"),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
                          Max core file size        0                    unlimited            bytes     \n\
                          Max locked memory         8388608              8388608              bytes     \n\
                          Max open files            1024                 1048576              files     \n";

    fn facts() -> Facts {
        Facts {
            of_service: true,
            memlock: Limit::Unlimited,
            core: Limit::Of(0),
            open_files: Limit::Of(65_536),
            locked: Some(4),
            root: false,
            swap: true,
            core_pattern: "core".to_owned(),
            ptrace_scope: Some(1),
        }
    }

    #[test]
    fn limits_are_read() {
        assert_eq!(limit(LIMITS, "Max core file size"), Limit::Of(0));
        assert_eq!(limit(LIMITS, "Max locked memory"), Limit::Of(8_388_608));
        assert_eq!(
            limit("Max locked memory         unlimited  unlimited bytes", "Max locked memory"),
            Limit::Unlimited
        );
        assert_eq!(limit("", "Max locked memory"), Limit::Unknown);
        assert_eq!(field("Uid:\t1000\t1000\nVmLck:\t     12 kB\n", "VmLck:"), Some(12));
    }

    #[test]
    fn a_hardened_service_is_in_order() {
        assert!(check(&facts()).iter().all(|f| f.level == Level::Ok), "{:#?}", check(&facts()));
    }

    #[test]
    fn memory_that_can_be_swapped_is_told() {
        let unlocked = Facts { locked: Some(0), ..facts() };
        assert_eq!(level(&check(&unlocked), "process.memlock").0, Level::Warning);
        assert_eq!(level(&check(&Facts { swap: false, ..unlocked }), "process.memlock").0, Level::Info);
        let stopped = Facts { of_service: false, locked: None, memlock: Limit::Of(65_536), ..facts() };
        assert_eq!(level(&check(&stopped), "process.memlock").0, Level::Warning);
        assert_eq!(level(&check(&Facts { root: true, ..stopped }), "process.memlock").0, Level::Ok);
    }

    #[test]
    fn core_dumps_debuggers_files() {
        let dumping = Facts { core: Limit::Unlimited, ..facts() };
        assert_eq!(level(&check(&dumping), "process.core").0, Level::Problem);
        let stopped = Facts { of_service: false, core_pattern: "|/usr/share/apport/apport".to_owned(), ..dumping };
        let (found, text) = level(&check(&stopped), "process.core");
        assert!(found == Level::Info && text.contains("apport"), "{text}");
        assert_eq!(level(&check(&Facts { ptrace_scope: Some(0), ..facts() }), "process.ptrace").0, Level::Info);
        assert_eq!(level(&check(&Facts { ptrace_scope: None, ..facts() }), "process.ptrace").0, Level::Info);
        assert_eq!(level(&check(&Facts { open_files: Limit::Of(1024), ..facts() }), "process.files").0, Level::Info);
    }
}
