//! Where keys come from.

use super::{Finding, small_file};
use std::path::Path;

/// A pool that has been filled says 256; older kernels count bits up to 4096.
const ENOUGH: u32 = 128;

pub struct Facts {
    available: Option<u32>,
    /// The processor or the machine has a source of its own.
    hardware: bool,
    virtual_machine: bool,
    /// The kernel is told when the machine is cloned or goes back to a snapshot.
    generation_id: bool,
}

impl Facts {
    pub fn gather() -> Self {
        let cpu = small_file("/proc/cpuinfo").unwrap_or_default();
        let flag = |name: &str| cpu.split_whitespace().any(|word| word == name);
        let source = small_file("/sys/class/misc/hw_random/rng_current").unwrap_or_default();
        let drivers = ["/sys/bus/acpi/drivers/vmgenid", "/sys/bus/platform/drivers/vmgenid"];
        let bound = |driver: &&str| {
            let devices = std::fs::read_dir(Path::new(driver)).into_iter().flatten().flatten();
            devices.into_iter().any(|e| e.path().is_symlink() && e.file_name() != "module")
        };
        Facts {
            available: small_file("/proc/sys/kernel/random/entropy_avail").and_then(|text| text.trim().parse().ok()),
            hardware: flag("rdrand") || flag("rdseed") || flag("rng") || !matches!(source.trim(), "" | "none"),
            virtual_machine: flag("hypervisor"),
            generation_id: drivers.iter().any(bound),
        }
    }
}

pub fn check(facts: &Facts) -> Vec<Finding> {
    let pool = match facts.available {
        Some(bits) if bits < ENOUGH => Finding::problem(
            "entropy.pool",
            format!("the kernel's random pool holds {bits} bits: keys made now wait for it"),
            "give the machine a source: virtio-rng for a virtual machine, `apt install rng-tools5` elsewhere",
        ),
        Some(_) => Finding::ok("entropy.pool", "the kernel's random pool is filled"),
        None => Finding::info("entropy.pool", "/proc does not tell about the random pool", "look on the host"),
    };
    let mut found = vec![pool];
    if !facts.hardware {
        found.push(Finding::warning(
            "entropy.source",
            "neither processor nor machine has a random number generator of its own",
            "add virtio-rng to the virtual machine, or expose RDRAND to it",
        ));
    }
    if facts.virtual_machine && !facts.generation_id {
        found.push(Finding::info(
            "entropy.clones",
            "a virtual machine that is not told when it is cloned: both copies would draw the same random numbers for a while",
            "restart the service behind a return to a snapshot or a clone, or give the machine a VM generation id (vmgenid)",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    #[test]
    fn sources() {
        let good = Facts { available: Some(256), hardware: true, virtual_machine: true, generation_id: true };
        assert_eq!(check(&good).len(), 1);
        assert_eq!(level(&check(&good), "entropy.pool").0, Level::Ok);
        let bad = Facts { available: Some(12), hardware: false, virtual_machine: true, generation_id: false };
        let found = check(&bad);
        assert_eq!(level(&found, "entropy.pool").0, Level::Problem);
        assert_eq!(level(&found, "entropy.source").0, Level::Warning);
        assert_eq!(level(&found, "entropy.clones").0, Level::Info);
        assert_eq!(level(&check(&Facts { available: None, ..good }), "entropy.pool").0, Level::Info);
    }
}
