//! What other processes used, as /proc says (proc(5)).

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel counts in ticks of a hundredth of a second for user space, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process and its threads so far, without its children's.
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    // utime and stime are fields 14 and 15 of the whole line.
    ticks(&format!("/proc/{process}/stat"), 11..13)
}

/// The processor time of all children of this process that ended so far, and of theirs.
pub(crate) fn children_time() -> Result<Duration> {
    ticks("/proc/self/stat", 13..15)
}

/// Sums fields of a `stat` file, counted from the one behind the program's name, which alone may hold
/// spaces.
fn ticks(path: &str, fields: std::ops::Range<usize>) -> Result<Duration> {
    let stat = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let values: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, fields)| fields.split(' ').collect())
        .unwrap_or_default();
    let sum = values
        .get(fields)
        .with_context(|| format!("{path} has its fields"))?
        .iter()
        .map(|field| field.parse::<u32>())
        .sum::<Result<u32, _>>()
        .with_context(|| format!("{path} has numbers"))?;
    Ok(TICK * sum)
}

/// Resident memory in MB (10^6 octets).
pub(crate) fn resident(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok())
        .with_context(|| format!("{path} has VmRSS"))?;
    Ok(kib * 1024.0 / 1e6)
}

/// How many threads a process has.
pub(crate) fn threads(process: u32) -> Result<usize> {
    let path = format!("/proc/{process}/task");
    Ok(std::fs::read_dir(&path).with_context(|| path)?.count())
}

/// A process that ends when this value is dropped.
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Starts a server: no input, no output.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
