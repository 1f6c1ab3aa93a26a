//! `pkgtorrent doctor`: what keeps this host from fetching and sharing, and what to do about it.
//!
//! Each group of checks gathers its facts and judges them apart, so that judging can be tried without the facts. All
//! groups look at the same time, and none of them longer than [`LOOK_LIMIT`]: whatever hangs on this host is a finding
//! like any other.

mod agent;
mod disk;
mod finding;
mod plugins;
mod security;
mod service;
mod state;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use pkgtorrent_settings::{Origin, SettingsError};

use self::finding::{Finding, State};
use self::service::Asked;
use super::config;
use crate::args::{Args, DoctorArgs};
use crate::origin::ServiceUrl;
use crate::settings::{self, Keys, Settings};

/// How long it may take to find out anything: the whole is to be over in two seconds.
const LOOK_LIMIT: Duration = Duration::from_millis(1800);

const CONFIGURATION: &str = "configuration";

/// What is looked at.
struct Patient {
    /// What is configured, or the defaults where that makes no sense.
    settings: Settings,
    /// Why what is configured makes no sense.
    nonsense: Option<String>,
    args: Args,
    state_dir: Result<PathBuf, String>,
    service: Asked,
}

/// Checks that belong together.
struct Group {
    /// What they are called; it finds something for each of them.
    checks: &'static [&'static str],
    check: fn(&Patient) -> Vec<Finding>,
}

const GROUPS: [Group; 7] = [
    Group { checks: &[CONFIGURATION], check: configuration },
    Group { checks: service::CHECKS, check: service::check },
    Group { checks: agent::CHECKS, check: agent::check },
    Group { checks: plugins::CHECKS, check: plugins::check },
    Group { checks: disk::CHECKS, check: disk::check },
    Group { checks: state::CHECKS, check: state::check },
    Group { checks: security::CHECKS, check: security::check },
];

/// Looks at everything and says what it found. True if there is no problem.
pub fn run(args: &Args, doctor: &DoctorArgs) -> anyhow::Result<bool> {
    let findings = look(GROUPS.as_slice(), &Arc::new(Patient::new(args, doctor)?), LOOK_LIMIT);
    let mut out = std::io::stdout().lock();
    if doctor.json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        let lines: String = findings.iter().map(Finding::line).collect();
        out.write_all(lines.as_bytes())?;
    }
    Ok(findings.iter().all(|finding| finding.state != State::Problem))
}

impl Patient {
    fn new(args: &Args, doctor: &DoctorArgs) -> anyhow::Result<Self> {
        let found = args.configuration().and_then(|found| found.settle(Keys::settle));
        let (settings, nonsense) = match found {
            Ok(settings) => (settings, None),
            Err(error) => {
                let defaults = Keys::default().settle();
                (defaults.context("the defaults make no sense")?, Some(error.to_string()))
            }
        };
        let service = asked(doctor.service.as_deref(), &settings)?;
        let state_dir = args.state_dir().map_err(|error| error.to_string());
        Ok(Self { settings, nonsense, args: args.clone(), state_dir, service })
    }
}

/// Which service is asked: the one that the command line names, else the plugins', else the agent's own.
fn asked(flag: Option<&str>, settings: &Settings) -> Result<Asked, SettingsError> {
    let one = |text: &str| match text {
        "" => Ok(Asked::Nobody),
        "auto" => Ok(Asked::Everybody),
        text => ServiceUrl::parse(text).map(Asked::One),
    };
    if let Some(text) = flag {
        let wrong = |reason| SettingsError::At { origin: Origin::Flag("--service"), reason };
        return one(text).map_err(|error| wrong(error.to_string()));
    }
    // What makes no sense in a plugin's file is said in that one's line.
    let of_plugins = plugins::service().and_then(|text| one(&text).ok());
    Ok(of_plugins.unwrap_or_else(|| match &settings.service {
        settings::Service::None => Asked::Nobody,
        settings::Service::Auto => Asked::Everybody,
        settings::Service::Url(url) => one(url).unwrap_or(Asked::Nobody),
    }))
}

fn configuration(patient: &Patient) -> Vec<Finding> {
    // Names and directories that it looks up may hang.
    let wrong = match &patient.nonsense {
        Some(nonsense) => vec![nonsense.clone()],
        None => config::problems(&patient.args, &patient.settings),
    };
    vec![match wrong.as_slice() {
        [] => Finding::ok(CONFIGURATION, "makes sense"),
        wrong => Finding::problem(
            CONFIGURATION,
            wrong.join("; "),
            "see pkgtorrent.conf(5); `pkgtorrent config` shows where each setting is from",
        ),
    }]
}

/// Has all groups look at the same time. What they have not found out in time is a problem.
fn look(groups: &'static [Group], patient: &Arc<Patient>, limit: Duration) -> Vec<Finding> {
    let deadline = Instant::now() + limit;
    let (sender, receiver) = mpsc::sync_channel(groups.len());
    for (nth, group) in groups.iter().enumerate() {
        let (patient, sender) = (Arc::clone(patient), sender.clone());
        // Without a thread it is late, as if it hung. One that hangs ends with this process.
        let _ = std::thread::Builder::new().spawn(move || {
            let _ = sender.send((nth, (group.check)(&patient)));
        });
    }
    drop(sender);
    let mut found: Vec<Option<Vec<Finding>>> = groups.iter().map(|_| None).collect();
    // It ends when the time is over, or all have said what they found.
    while let Ok((nth, findings)) = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        found[nth] = Some(findings);
    }
    let late = |group: &Group| group.checks.iter().map(|check| is_late(check, limit)).collect();
    groups.iter().zip(found).flat_map(|(group, found)| found.unwrap_or_else(|| late(group))).collect()
}

fn is_late(check: &'static str, limit: Duration) -> Finding {
    let found = format!("not found out within {} s", limit.as_secs_f64());
    Finding::problem(
        check,
        found,
        "see what hangs: the agent (`pkgtorrent agent stop`), a disk, a name service",
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn patient() -> Arc<Patient> {
        let settings = Keys::default().settle().unwrap();
        let (nonsense, state_dir) = (Some("a; b".into()), Ok("/x".into()));
        let args = Args::try_parse_from(["pkgtorrent", "doctor"]).unwrap();
        Arc::new(Patient { settings, nonsense, args, state_dir, service: Asked::Nobody })
    }

    #[test]
    fn what_hangs_or_breaks_is_a_problem_and_keeps_nobody_waiting() {
        static SOME: [Group; 3] = [
            Group {
                checks: &["slow"],
                check: |_| {
                    std::thread::sleep(Duration::from_secs(60));
                    vec![]
                },
            },
            Group { checks: &["broken", "too"], check: |_| panic!("on purpose") },
            Group { checks: &[CONFIGURATION], check: configuration },
        ];
        let began = Instant::now();
        let findings = look(&SOME, &patient(), Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(30));
        let checks: Vec<_> = findings.iter().map(|finding| (finding.check, finding.state)).collect();
        assert_eq!(
            checks,
            [
                ("slow", State::Problem),
                ("broken", State::Problem),
                ("too", State::Problem),
                (CONFIGURATION, State::Problem)
            ]
        );
        assert!(findings[0].found.contains("0.1 s") && findings[3].found == "a; b", "{findings:?}");
    }

    #[test]
    fn the_command_line_says_which_service_is_asked() {
        let settings = Keys::default().settle().unwrap();
        let named = asked(Some("http://a"), &settings).unwrap();
        assert!(matches!(named, Asked::One(url) if url.to_string() == "http://a/pkgtorrent/v1/"));
        assert_eq!(asked(Some("auto"), &settings).unwrap(), Asked::Everybody);
        assert_eq!(asked(Some(""), &settings).unwrap(), Asked::Nobody);
        let refused = asked(Some("mirror"), &settings).unwrap_err().to_string();
        assert!(refused.starts_with("--service: "), "{refused}");
    }
}
