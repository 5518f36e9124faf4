//! Server processes: pinned, timed, measured, stopped.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A child that is stopped when it goes out of scope.
pub struct Process {
    child: Child,
    /// First line of its standard output; empty when it was not asked for.
    pub hello: String,
    /// From the call of spawn to the first line.
    pub ready_in: Duration,
}

impl Process {
    /// Starts a program on one core, or on all, and waits for its first line of standard output.
    pub fn start(program: &Path, args: &[&str], core: Option<usize>) -> Result<Self> {
        let begin = Instant::now();
        let mut process = Self::spawn(program, args, core, Stdio::piped())?;
        let stdout = process.child.stdout.take().context("no standard output")?;
        let mut reader = BufReader::new(stdout);
        reader.read_line(&mut process.hello)?;
        process.ready_in = begin.elapsed();
        if process.hello.is_empty() {
            bail!("{} ended before it was ready", program.display());
        }
        // Whoever writes more must not be stopped by a full pipe.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Ok(process)
    }

    /// Starts a program on one core without waiting.
    pub fn start_silent(program: &Path, args: &[&str], core: usize) -> Result<Self> {
        Self::spawn(program, args, Some(core), Stdio::null())
    }

    fn spawn(program: &Path, args: &[&str], core: Option<usize>, stdout: Stdio) -> Result<Self> {
        let mut command = match core {
            None => Command::new(program),
            Some(core) => {
                // taskset replaces itself, so the process id is the server's.
                let mut command = Command::new("taskset");
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
        };
        command.args(args);
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Process { child, hello: String::new(), ready_in: Duration::ZERO })
    }

    /// CPU time of all threads so far.
    pub fn cpu(&self) -> Result<Duration> {
        let mut total = 0u64;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end while we look.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let ns = text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).context("an unknown schedstat")?;
            total += ns;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Waits until it does next to nothing: a server that fills its pool of RSA keys is not ready to be measured.
    pub fn settle(&self) -> Result<()> {
        for _ in 0..300 {
            let before = self.ticks()?;
            std::thread::sleep(Duration::from_millis(500));
            if self.ticks()? - before <= 1 {
                return Ok(());
            }
        }
        bail!("the server does not come to rest")
    }

    /// CPU time in the kernel's coarse unit, with that of threads that have ended (`cpu` knows those alone that live).
    fn ticks(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th field behind it.
        let (_, fields) = text.rsplit_once(')').context("an unknown stat")?;
        let times: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(times.iter().sum())
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).context("an unknown VmRSS")
    }

    /// Stops it gracefully: SIGTERM, then a wait.
    pub fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Keeps the calling thread, and those that it starts, on one core.
pub fn pin_self(core: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).context("pinning the load")?;
    Ok(())
}

/// CPU time of the calling thread so far.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
