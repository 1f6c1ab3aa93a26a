//! What happened when, for people.

use std::fmt;
use std::time::Duration;

use crate::queue::Time;

/// The timeline's steps: at most so many, whatever the scenario says.
const STEPS_MAX: usize = 4000;

/// What was sent and who was done in each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    step: Duration,
    steps: Vec<Step>,
    /// What all lines could send in one step.
    origin_len: u64,
    hosts_len: u64,
    hosts: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Step {
    from_origin: u64,
    from_peers: u64,
    done: u32,
}

impl Timeline {
    pub(crate) fn new(step: Duration, origin_up: u64, hosts_up: u64, hosts: u32) -> Self {
        let len = |rate: u64| (rate as f64 * step.as_secs_f64()) as u64;
        Self { step, steps: Vec::new(), origin_len: len(origin_up), hosts_len: len(hosts_up), hosts }
    }

    fn at(&mut self, now: Time) -> &mut Step {
        let index = (u128::from(now) / self.step.as_nanos().max(1)) as usize;
        let index = index.min(STEPS_MAX);
        if self.steps.len() <= index {
            self.steps.resize(index + 1, Step::default());
        }
        &mut self.steps[index]
    }

    pub(crate) fn origin(&mut self, now: Time, len: u64) {
        self.at(now).from_origin += len;
    }

    /// The most bytes a second that the origin has sent for so long, as far as the steps say.
    #[must_use]
    pub fn origin_rate_max(&self, lasting: Duration) -> f64 {
        let steps = (lasting.as_nanos() / self.step.as_nanos().max(1)).max(1) as usize;
        let sent = |from: usize| self.steps[from..].iter().take(steps).map(|step| step.from_origin).sum();
        let most: u64 = (0..self.steps.len()).map(sent).max().unwrap_or(0);
        most as f64 / (self.step.as_secs_f64() * steps as f64)
    }

    pub(crate) fn peers(&mut self, now: Time, len: u64) {
        self.at(now).from_peers += len;
    }

    pub(crate) fn done(&mut self, now: Time) {
        self.at(now).done += 1;
    }
}

fn bar(part: u64, whole: u64) -> String {
    const WIDTH: u64 = 20;
    let filled = (part * WIDTH / whole.max(1)).min(WIDTH) as usize;
    format!("{}{}", "#".repeat(filled), ".".repeat(WIDTH as usize - filled))
}

impl fmt::Display for Timeline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:>10}  {:<26}  {:<26}  done", "time", "origin's line", "hosts' lines up")?;
        let mut done = 0;
        for (index, step) in self.steps.iter().enumerate() {
            done += step.done;
            let percent = |part: u64, whole: u64| part * 100 / whole.max(1);
            writeln!(
                formatter,
                "{:>9.3}s  {} {:>4}%  {} {:>4}%  {done}/{}",
                self.step.as_secs_f64() * index as f64,
                bar(step.from_origin, self.origin_len),
                percent(step.from_origin, self.origin_len),
                bar(step.from_peers, self.hosts_len),
                percent(step.from_peers, self.hosts_len),
                self.hosts,
            )?;
        }
        Ok(())
    }
}
