//! What the kernel says that a process has used.

use std::fs;

use anyhow::Context;

/// A process's memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// What is resident now, in bytes.
    pub(crate) resident: u64,
    /// The most that ever was.
    pub(crate) peak: u64,
}

/// A process's memory now.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
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
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
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
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
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
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "17 (a) b) S 3 17 17 0 -1 4194560 1 2 3 4 100 23 0 0 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).expect("a line");
        assert_eq!((stat.pid, stat.parent, stat.ticks), (17, 3, 123));
    }
}
