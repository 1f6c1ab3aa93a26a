//! The package managers' plugins: whether each is there, loaded, and told which service to ask.

use std::fs;
use std::path::{Path, PathBuf};

use super::Patient;
use super::finding::Finding;

const DNF4: &str = "dnf plugin";
const DNF5: &str = "dnf5 plugin";

pub(super) const CHECKS: &[&str] = &[DNF4, DNF5];

/// dnf's own configuration, which both of them read.
const MAIN_CONF: &str = "etc/dnf/dnf.conf";

/// What a plugin calls when its file does not say so.
const DEFAULT_COMMAND: &str = "/usr/bin/pkgtorrent";

/// Where one package manager has its plugin. Paths are below the root.
struct Manager {
    check: &'static str,
    name: &'static str,
    program: &'static str,
    conf: &'static str,
    package: &'static str,
    /// Directories of which some have a part of their name that differs between hosts, `*`, and what lies in them.
    library: (&'static [&'static str], &'static str),
}

const MANAGERS: [Manager; 2] = [
    Manager {
        check: DNF4,
        name: "dnf 4",
        program: "usr/bin/dnf-3",
        conf: "etc/dnf/plugins/pkgtorrent.conf",
        package: "python3-dnf-plugin-pkgtorrent",
        library: (
            &["usr/lib/python3*/site-packages", "usr/lib/python3*/dist-packages"],
            "dnf-plugins/pkgtorrent.py",
        ),
    },
    Manager {
        check: DNF5,
        name: "dnf5",
        program: "usr/bin/dnf5",
        conf: "etc/dnf/libdnf5-plugins/pkgtorrent.conf",
        package: "libdnf5-plugin-pkgtorrent",
        library: (&["usr/lib64", "usr/lib", "usr/lib/*-linux-gnu"], "libdnf5/plugins/pkgtorrent.so"),
    },
];

/// What there is of one manager's plugin.
#[derive(Clone, Default)]
struct Facts {
    has_manager: bool,
    has_library: bool,
    conf: Option<String>,
    /// The manager loads no plugins at all.
    loads_none: bool,
    /// The program that the plugin calls, if it is not there.
    missing_command: Option<String>,
}

pub(super) fn check(_: &Patient) -> Vec<Finding> {
    MANAGERS.iter().map(|manager| judge(manager, &gather(manager, Path::new("/")))).collect()
}

/// The service that a loaded plugin has asked, which counts more than the agent's own setting.
pub(super) fn service() -> Option<String> {
    let conf = |manager: &Manager| fs::read_to_string(Path::new("/").join(manager.conf)).ok();
    let service = |conf: String| match is_enabled(&conf) {
        true => option(&conf, "service").map(str::to_owned),
        false => None,
    };
    MANAGERS.iter().filter_map(conf).filter_map(service).next()
}

fn gather(manager: &Manager, root: &Path) -> Facts {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let conf = read(manager.conf);
    let main = read(MAIN_CONF).unwrap_or_default();
    let command = conf.as_deref().and_then(|conf| option(conf, "command")).unwrap_or(DEFAULT_COMMAND);
    let program = command.split_whitespace().next().unwrap_or_default();
    let is_missing = program.starts_with('/') && !root.join(program.trim_start_matches('/')).exists();
    let (directories, file) = manager.library;
    Facts {
        has_manager: root.join(manager.program).exists(),
        has_library: directories
            .iter()
            .flat_map(|path| matching(root, path))
            .any(|at| at.join(file).exists()),
        loads_none: option(&main, "plugins").is_some_and(is_false),
        missing_command: is_missing.then(|| program.to_owned()),
        conf,
    }
}

/// The directories below the root that a path with at most one `*` names.
fn matching(root: &Path, path: &str) -> Vec<PathBuf> {
    let Some((before, after)) = path.split_once('*') else { return vec![root.join(path)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let (suffix, rest) = after.split_once('/').unwrap_or((after, ""));
    let entries = fs::read_dir(root.join(parent)).into_iter().flatten().flatten();
    let is_named = |name: &str| name.starts_with(prefix) && name.ends_with(suffix);
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_named));
    named.map(|entry| entry.path().join(rest)).collect()
}

/// What an option of `[main]` says; none if it says nothing.
fn option<'a>(conf: &'a str, name: &str) -> Option<&'a str> {
    let lines = conf.lines().map(str::trim).skip_while(|line| *line != "[main]").skip(1);
    let of_main = lines.take_while(|line| !line.starts_with('['));
    let value = |line: &'a str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then_some(value.trim())
    };
    of_main.filter_map(value).last().filter(|value| !value.is_empty())
}

fn is_false(value: &str) -> bool {
    ["0", "no", "false", "off"].contains(&value.to_ascii_lowercase().as_str())
}

fn is_enabled(conf: &str) -> bool {
    !option(conf, "enabled").is_some_and(is_false)
}

fn judge(manager: &Manager, facts: &Facts) -> Finding {
    let Manager { check, name, conf, package, .. } = manager;
    if !facts.has_manager {
        return Finding::ok(check, format!("{name} is not here"));
    }
    if !facts.has_library {
        return Finding::warning(check, "it is not installed", format!("dnf install {package}"));
    }
    let problem = |found: String, advice: String| Finding::problem(check, found, advice);
    if facts.loads_none {
        return problem(format!("/{MAIN_CONF} has plugins switched off"), "set `plugins = 1` there".into());
    }
    let Some(text) = &facts.conf else {
        return problem(format!("/{conf} is missing"), format!("dnf reinstall {package}"));
    };
    if !is_enabled(text) {
        return problem("it is disabled".into(), format!("set `enabled = 1` in /{conf}"));
    }
    if let Some(program) = &facts.missing_command {
        return problem(
            format!("it calls {program}, which is not there"),
            format!("install pkgtorrent, or set `command` in /{conf}"),
        );
    }
    match option(text, "service") {
        Some(service) => Finding::ok(check, format!("enabled, asks {service}")),
        None => problem(
            "it has no service to ask: the package manager downloads as always".into(),
            format!("set `service` in /{conf}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    const WELL: &str =
        "# x\n[main]\nenabled = 1\nservice = http://mirror:7070\ncommand = /usr/bin/pkgtorrent -x\n";

    /// A host with these files, and what is found of its plugin for dnf 4.
    fn found(files: &[(&str, &str)]) -> Finding {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        judge(&MANAGERS[0], &gather(&MANAGERS[0], root.path()))
    }

    fn host(conf: &str) -> Vec<(&str, &str)> {
        vec![
            ("usr/bin/dnf-3", ""),
            ("usr/bin/pkgtorrent", ""),
            ("usr/lib/python3.12/site-packages/dnf-plugins/pkgtorrent.py", ""),
            (MANAGERS[0].conf, conf),
        ]
    }

    #[test]
    fn a_plugin_that_asks_a_service_is_fine() {
        let finding = found(&host(WELL));
        assert_eq!((finding.state, &*finding.found), (State::Ok, "enabled, asks http://mirror:7070"));
        assert_eq!(found(&[]).state, State::Ok, "no manager, no plugin");
    }

    #[test]
    fn each_thing_that_keeps_it_from_asking_is_named() {
        let disabled = WELL.replace("enabled = 1", "enabled = False");
        let silent = WELL.replace("http://mirror:7070", "");
        let elsewhere = WELL.replace("/usr/bin/pkgtorrent", "/opt/pkgtorrent");
        for (conf, expected) in
            [(&disabled, "disabled"), (&silent, "no service"), (&elsewhere, "calls /opt/pkgtorrent")]
        {
            let finding = found(&host(conf));
            assert_eq!(finding.state, State::Problem, "{conf}");
            assert!(finding.found.contains(expected), "{finding:?}");
        }
        let mut off = host(WELL);
        off.push((MAIN_CONF, "[main]\nplugins=0\n"));
        assert!(found(&off).found.contains("switched off"));
        assert!(found(&host(WELL)[..3]).found.contains("is missing"));
        assert_eq!(found(&host(WELL)[..2]).state, State::Warning);
    }

    #[test]
    fn an_option_counts_in_its_section_and_the_last_of_its_name() {
        let conf = "a = 0\n[main]\n#a = 1\na = 2\n a=3 \nb =\n[other]\na = 4\n";
        assert_eq!(option(conf, "a"), Some("3"));
        assert_eq!((option(conf, "b"), option(conf, "c"), option("", "a")), (None, None, None));
    }
}
