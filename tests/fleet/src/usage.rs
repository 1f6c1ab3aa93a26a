//! What the kernel says that processes have used.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;

/// A process's memory.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// What is resident now, in bytes.
    pub resident: u64,
    /// The most that ever was.
    pub peak: u64,
}

/// A process's memory now.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let bytes = |key: &str| -> anyhow::Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.trim_end_matches("kB").trim().parse::<u64>().ok());
        Ok(kib.with_context(|| format!("{path} has no {key}"))? * 1024)
    };
    Ok(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// The seconds of processor time that a process and its living children have used, in user space and in the kernel.
///
/// The kernel counts in ticks of some 10 ms: only differences of a second and more mean something.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let stat = entry.map(|entry| fs::read_to_string(entry.path().join("stat")));
        // Others come and go while this looks.
        let Ok(Ok(stat)) = stat else { continue };
        if let Some(process) = Stat::parse(&stat)
            && (process.pid == pid || process.parent == pid)
        {
            ticks += process.ticks;
        }
    }
    Ok(seconds(ticks))
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// What a changing group of processes has used, those that have ended included.
#[derive(Debug, Default)]
pub struct Tally {
    used: BTreeMap<u32, Used>,
}

#[derive(Debug, Default)]
struct Used {
    ticks: u64,
    peak: u64,
}

impl Tally {
    /// Looks at the processor time of these processes. One that has ended keeps what it had when it was last looked at;
    /// while its parent has not asked how it ended, the kernel still knows all of it.
    pub fn look_at_time(&mut self, pids: &[u32]) {
        for &pid in pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
            if let Some(stat) = stat.as_deref().and_then(Stat::parse) {
                self.used.entry(pid).or_default().ticks = stat.ticks;
            }
        }
    }

    /// Looks at their memory.
    pub fn look_at_memory(&mut self, pids: &[u32]) {
        for &pid in pids {
            // One that has ended has no memory any more.
            if let Ok(memory) = memory(pid) {
                self.used.entry(pid).or_default().peak = memory.peak;
            }
        }
    }

    /// The processor time of all of them together.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        seconds(self.used.values().map(|used| used.ticks).sum())
    }

    /// The most memory that one of them ever had, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> u64 {
        self.used.values().map(|used| used.peak).max().unwrap_or_default()
    }
}

struct Stat {
    pid: u32,
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// Reads a line of proc_pid_stat(5). The name in it may hold spaces and parentheses.
    fn parse(line: &str) -> Option<Self> {
        let (pid, rest) = line.split_once(' ')?;
        let (_name, rest) = rest.rsplit_once(") ")?;
        // The rest starts with field 3; the times are fields 14 and 15.
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self { pid: pid.parse().ok()?, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "17 (a) b) S 3 17 17 0 -1 4194560 1 2 3 4 100 23 0 0 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).expect("a line");
        assert_eq!((stat.pid, stat.parent, stat.ticks), (17, 3, 123));
    }

    #[test]
    fn a_process_that_has_ended_counts_until_it_was_waited_for_and_after_that() {
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let mut child = Command::new("/bin/sh").args(["-c", busy]).spawn().expect("a shell");
        let (pid, mut tally) = (child.id(), Tally::default());
        tally.look_at_memory(&[pid]);
        // It ends without being waited for.
        while !fs::read_to_string(format!("/proc/{pid}/stat")).expect("a child").contains(") Z ") {
            std::thread::sleep(Duration::from_millis(5));
        }
        tally.look_at_time(&[pid]);
        let used = tally.cpu_seconds();
        assert!(used > 0.0 && tally.peak_memory() > 0, "{tally:?}");
        child.wait().expect("its end");
        tally.look_at_time(&[pid]);
        assert_eq!(tally.cpu_seconds(), used);
    }
}
