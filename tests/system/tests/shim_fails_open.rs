//! Whatever the helper does, dnf ends as it does without the shim: same exit status, same packages, in bounded time.

use std::time::Duration;

use pkgtorrent_test_support::dnf::{Host, Outcome};
use pkgtorrent_test_support::{Manager, Repository, Rpm, Server, StandIn};
use tempfile::TempDir;

/// What a run may take beside the shim's timeout on a busy machine; it needs about a second.
const RUN_LIMIT: Duration = Duration::from_secs(20);

const FILES: [&str; 3] = ["app-1.0-1.noarch.rpm", "data-1.0-1.noarch.rpm", "lib-1.0-1.noarch.rpm"];

/// A repository of three packages that are installed together, and what dnf without the shim makes of it.
struct Lab {
    manager: Manager,
    directory: TempDir,
    server: Server,
    without_shim: Outcome,
}

impl Lab {
    /// The same for each package manager: what is expected of one is expected of all.
    fn each() -> impl Iterator<Item = Self> {
        Manager::all().into_iter().map(Self::new)
    }

    fn new(manager: Manager) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("repo"));
        repository.add(&Rpm::new("app").requires("lib").payload_len(100_000));
        repository.add(&Rpm::new("lib").requires("data").payload_len(300_000).seed(1));
        repository.add(&Rpm::new("data").payload_len(20_000).seed(2));
        repository.index();
        let server = Server::files(directory.path());
        let host = Host::of(manager).repository("repo", &server.url("/repo/"));
        let without_shim = host.dnf(&["install", "app"]).succeeded();
        assert_eq!(without_shim.installed.len(), 3);
        assert_eq!(server.take_packages(), FILES);
        Self { manager, directory, server, without_shim }
    }

    fn host(&self) -> Host {
        Host::of(self.manager).repository("repo", &self.server.url("/repo/"))
    }

    fn stand_in(&self) -> StandIn {
        StandIn::new(self.directory.path())
    }

    /// Installs on a host with these options of the shim. Returns the outcome and what dnf downloaded by itself.
    fn install(&self, options: &str) -> (Outcome, Vec<String>) {
        let outcome = self.host().shim(options).dnf(&["install", "app"]).same_as(&self.without_shim);
        (outcome, self.server.take_packages())
    }
}

#[test]
fn what_the_helper_places_is_not_downloaded() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        let (outcome, downloaded) = lab.install(&stand_in.options("place"));
        assert!(downloaded.is_empty(), "{downloaded:?}");
        assert!(outcome.output.contains("pkgtorrent: 3 of 3 packages"), "{}", outcome.output);
        assert!(!outcome.output.contains("SKIPPED"), "{}", outcome.output);
        let calls = stand_in.take_calls();
        assert_eq!(calls.len(), 1, "there is nothing to share: {calls:?}");
        let options = if lab.manager == Manager::Dnf5 { &["--events", "lines"][..] } else { &[] };
        let service = ["--service", "http://service.invalid/"];
        assert_eq!(calls[0].arguments, [&["fetch"], options, &service].concat());
    }
}

#[test]
fn what_the_helper_does_not_place_is_downloaded_and_offered() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        let (outcome, downloaded) = lab.install(&stand_in.options("first"));
        assert_eq!(downloaded.len(), 2);
        assert!(outcome.output.contains("pkgtorrent: 1 of 3 packages"), "{}", outcome.output);
        assert!(outcome.output.contains("dnf downloads the rest: nobody has it"), "{}", outcome.output);
        let calls = stand_in.take_calls();
        assert_eq!(calls[1].arguments[..3], ["store", "add", "--quiet"]);
        let mut offered: Vec<&str> =
            calls[1].arguments[3..].iter().map(|path| path.rsplit('/').next().unwrap_or_default()).collect();
        offered.sort_unstable();
        assert_eq!(offered, downloaded);
    }
}

#[test]
fn a_helper_that_holds_back_on_purpose_is_waited_for() {
    for lab in Lab::each() {
        let options = lab.stand_in_options_with_timeout("waiting", 2);
        let (outcome, downloaded) = lab.install(&options.1);
        assert!(downloaded.is_empty(), "{downloaded:?}\n{}", outcome.output);
        assert!(outcome.duration > Duration::from_secs(3), "eight times 0.4 s");
    }
}

#[test]
fn a_helper_that_is_missing_or_no_program_costs_nothing() {
    for lab in Lab::each() {
        for command in ["/nonexistent/pkgtorrent", "/etc/passwd", "/tmp", "\"/a program with spaces\" x"] {
            let (outcome, downloaded) = lab.install(&format!("service = auto\ncommand = {command}"));
            assert_eq!(downloaded, FILES, "{command}");
            assert!(outcome.output.contains("pkgtorrent: 0 of 3 packages"), "{command}: {}", outcome.output);
            assert!(outcome.duration < RUN_LIMIT, "{command}: {:?}", outcome.duration);
        }
    }
}

#[test]
fn a_helper_that_talks_nonsense_is_ended_at_once() {
    for lab in Lab::each() {
        for mode in ["crash", "garbage", "number", "binary", "endless-line", "lying", "leaving-a-child"] {
            let stand_in = lab.stand_in();
            let (outcome, downloaded) = lab.install(&stand_in.options(mode));
            assert_eq!(downloaded, FILES, "{mode}: {}", outcome.output);
            assert!(outcome.output.contains("pkgtorrent: 0 of 3 packages"), "{mode}: {}", outcome.output);
            assert!(!outcome.output.contains("Traceback"), "{mode}: {}", outcome.output);
            // Far below the usual timeout of 30 s.
            assert!(outcome.duration < RUN_LIMIT, "{mode}: {:?}", outcome.duration);
            lab.expect_one_ended_call(&stand_in, mode);
        }
    }
}

#[test]
fn a_helper_that_says_nothing_new_is_ended_after_the_timeout() {
    for lab in Lab::each() {
        for mode in ["silent", "stubborn", "repeating", "endless-events"] {
            let (stand_in, options) = lab.stand_in_options_with_timeout(mode, 2);
            let (outcome, downloaded) = lab.install(&options);
            assert_eq!(downloaded, FILES, "{mode}: {}", outcome.output);
            assert!(outcome.output.contains("nothing new for 2 seconds"), "{mode}: {}", outcome.output);
            assert!(outcome.duration > Duration::from_secs(2), "{mode}: {:?}", outcome.duration);
            assert!(outcome.duration < RUN_LIMIT, "{mode}: {:?}", outcome.duration);
            lab.expect_one_ended_call(&stand_in, mode);
        }
    }
}

#[test]
fn a_helper_that_never_comes_to_an_end_is_ended() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        // Every event says something new, so no time limit ends this: its length does.
        let (outcome, downloaded) = lab.install(&stand_in.options("endless-changes"));
        assert_eq!(downloaded, FILES, "{}", outcome.output);
        assert!(outcome.output.contains("its answer is too long"), "{}", outcome.output);
        lab.expect_one_ended_call(&stand_in, "endless-changes");
    }
}

#[test]
fn a_helper_that_dies_midway_leaves_what_it_placed() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        let (outcome, downloaded) = lab.install(&stand_in.options("dying"));
        assert_eq!(downloaded.len(), 2, "{}", outcome.output);
        assert!(outcome.output.contains("pkgtorrent: 1 of 3 packages"), "{}", outcome.output);
        lab.expect_one_ended_call(&stand_in, "dying");
    }
}

#[test]
fn numbers_that_cannot_be_are_not_believed() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        let (outcome, downloaded) = lab.install(&stand_in.options("wild"));
        assert_eq!(downloaded.len(), 2, "{}", outcome.output);
        let line = outcome.output.lines().find(|line| line.contains("pkgtorrent:")).expect("a line");
        assert!(line.contains("1 of 3 packages"), "{line}");
        assert!(line.contains("0 B from peers, 0 B from the mirror, 0 B from this host"), "{line}");
        assert!(!line.contains('\u{1b}') && line.len() < 500, "{line:?}");
    }
}

#[test]
fn a_helper_that_reads_nothing_or_complains_endlessly_blocks_nobody() {
    for lab in Lab::each() {
        let (outcome, downloaded) = lab.install(&lab.stand_in().options("deaf"));
        assert_eq!(downloaded, FILES);
        assert!(outcome.duration < RUN_LIMIT);
        let (outcome, downloaded) = lab.install(&lab.stand_in().options("endless-errors"));
        assert!(downloaded.is_empty(), "{}", outcome.output);
        assert!(!outcome.output.contains("xxx"), "errors stay away from the terminal");
    }
}

#[test]
fn a_request_that_is_not_read_to_its_end_blocks_nobody() {
    // More packages than a pipe holds the request of.
    const PACKAGES: u64 = 400;
    let directory = tempfile::tempdir().expect("a directory");
    let repository = Repository::create(directory.path().join("repo"));
    for n in 0..PACKAGES {
        repository.add(&Rpm::new(&format!("a-package-with-a-long-name-{n}")).seed(n));
    }
    repository.index();
    let server = Server::files(directory.path());
    for (mode, placed) in [("nibbling", 0), ("deaf", 0), ("place", PACKAGES)] {
        let stand_in = StandIn::new(directory.path());
        let host = Host::new()
            .repository("repo", &server.url("/repo/"))
            .shim(&format!("{}timeout = 3\n", stand_in.options(mode)));
        let outcome = host.dnf(&["download", "--destdir=there", "a-package-*"]).succeeded();
        assert_eq!(server.take_packages().len() as u64, PACKAGES - placed, "{mode}: {}", outcome.output);
        assert!(outcome.duration < RUN_LIMIT, "{mode}: {:?}", outcome.duration);
        assert!(
            mode != "nibbling" || outcome.output.contains("nothing new for 3 seconds"),
            "{}",
            outcome.output
        );
    }
}

#[test]
fn sharing_what_dnf_downloaded_is_not_waited_for_long() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        let (outcome, downloaded) = lab.install(&stand_in.options("hanging-store"));
        assert_eq!(downloaded, FILES, "{}", outcome.output);
        let calls = stand_in.take_calls();
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert!(outcome.duration < RUN_LIMIT, "{:?}", outcome.duration);
        assert!(rustix::process::test_kill_process(calls[1].process()).is_err(), "it is gone");
    }
}

#[test]
fn without_a_service_the_helper_is_not_started() {
    for lab in Lab::each() {
        let stand_in = lab.stand_in();
        let options = stand_in.options("place").replace("http://service.invalid/", "");
        let (outcome, downloaded) = lab.install(&options);
        assert_eq!(downloaded, FILES);
        assert!(!outcome.output.contains("pkgtorrent"), "{}", outcome.output);
        assert!(stand_in.take_calls().is_empty());

        // The file as it is packaged says the same.
        let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugin-shim/dnf4/pkgtorrent.conf");
        let packaged = std::fs::read_to_string(packaged).expect("the packaged configuration");
        let host = lab.host().shim("");
        host.write("etc/plugins/pkgtorrent.conf", &packaged);
        let outcome = host.dnf(&["install", "app"]).same_as(&lab.without_shim);
        assert!(!outcome.output.contains("pkgtorrent"), "{}", outcome.output);
        assert_eq!(lab.server.take_packages(), FILES);
    }
}

#[test]
fn options_that_make_no_sense_switch_the_shim_off() {
    for lab in Lab::each() {
        for option in [
            "timeout = soon",
            "timeout = 0",
            "timeout = -1",
            "timeout = nan",
            "timeout = inf",
            "command = a \"b",
        ] {
            let stand_in = lab.stand_in();
            let (outcome, downloaded) = lab.install(&format!("{}{option}\n", stand_in.options("place")));
            assert_eq!(downloaded, FILES, "{option}: {}", outcome.output);
            assert!(outcome.output.contains("its configuration is wrong"), "{option}: {}", outcome.output);
            assert!(stand_in.take_calls().is_empty(), "{option}");
        }
    }
}

#[test]
fn surprises_inside_of_the_shim_are_not_dnfs() {
    let lab = Lab::new(Manager::Dnf4);
    // What only the shim calls, before the helper, for it, and after dnf's download.
    for (mode, breaks) in [
        ("place", "dnf.repo.Repo.get_http_headers = lambda self: 1 / 0"),
        ("place", "selectors.DefaultSelector = None"),
        (
            "nothing",
            "subprocess.Popen = lambda arguments, popen=subprocess.Popen, **options: popen(arguments, \
         **options) if 'fetch' in arguments else 1 / 0",
        ),
    ] {
        let stand_in = lab.stand_in();
        let host = lab.host().shim(&stand_in.options(mode));
        host.write(
            "plugins/breaking.py",
            &format!(
                "import selectors, subprocess\nimport dnf, dnf.repo\n\nclass Breaking(dnf.Plugin):\n    \
                 name = 'breaking'\n    def sack(self):\n        {breaks}\n"
            ),
        );
        let outcome = host.dnf(&["install", "app"]).same_as(&lab.without_shim);
        assert_eq!(lab.server.take_packages(), FILES, "{breaks}: {}", outcome.output);
        assert!(!outcome.output.contains("Traceback"), "{breaks}: {}", outcome.output);
        // dnf keeps its log in the installroot, below the path that it was given.
        let log = host.path("log/dnf.log");
        let log = host.path("root").join(log.strip_prefix("/").expect("an absolute path"));
        let log = std::fs::read_to_string(log).expect("the log of dnf");
        assert!(
            log.contains("DEBUG pkgtorrent:") && log.contains("Traceback"),
            "{breaks}: it is in the log: {log}"
        );
    }
}

#[test]
fn a_download_that_fails_without_the_shim_fails_with_it() {
    for lab in Lab::each() {
        let missing = lab.directory.path().join("repo/lib-1.0-1.noarch.rpm");
        let aside = tempfile::tempdir().expect("a directory");
        std::fs::rename(&missing, aside.path().join("lib.rpm")).expect("a package is removed");
        let without_shim = lab.host().dnf(&["install", "app"]);
        assert_eq!((without_shim.status, without_shim.installed.len()), (Some(1), 0));
        for mode in ["place", "crash"] {
            let outcome = lab.host().shim(&lab.stand_in().options(mode)).dnf(&["install", "app"]);
            let _ = outcome.same_as(&without_shim);
        }
    }
}

impl Lab {
    fn stand_in_options_with_timeout(&self, mode: &str, seconds: u32) -> (StandIn, String) {
        let stand_in = self.stand_in();
        let options = format!("{}timeout = {seconds}\n", stand_in.options(mode));
        (stand_in, options)
    }

    /// The helper was asked once, is gone, and nothing was offered to a helper that does not work.
    fn expect_one_ended_call(&self, stand_in: &StandIn, mode: &str) {
        let calls = stand_in.take_calls();
        let asked = calls.iter().filter(|call| call.arguments[0] == "fetch").count();
        assert_eq!(asked, calls.len(), "{mode}: {calls:?}");
        for call in calls {
            assert!(rustix::process::test_kill_process(call.process()).is_err(), "{mode}: it still runs");
        }
    }
}
