//! Ctrl-C while the helper is at work ends dnf as it does without the shim, and the helper with it.

use std::time::{Duration, Instant};

use pkgtorrent_test_support::dnf::{self, Host, Outcome};
use pkgtorrent_test_support::process::{Program, wait_for};
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::{Repository, Rpm, Server, StandIn, http};
use rustix::process::{Signal, test_kill_process};
use tempfile::TempDir;

/// From Ctrl-C to dnf's end, on a busy machine. The shim's timeout is far above.
const END_LIMIT: Duration = Duration::from_secs(15);

/// A repository whose packages never come.
struct Lab {
    directory: TempDir,
    _files: Server,
    server: Server,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let repository = Repository::create(directory.path().join("repo"));
        repository.add(&Rpm::new("app"));
        repository.index();
        let files = Server::files(directory.path());
        let address = files.addr();
        let server = Server::start(move |request| {
            if request.target.ends_with("rpm") {
                return Answer::Hang;
            }
            let response = http::get(address, &request.target);
            Answer::new(response.status, response.body)
        });
        Self { directory, _files: files, server }
    }

    fn host(&self) -> Host {
        Host::new().repository("repo", &self.server.url("/repo/"))
    }

    /// What dnf without the shim does when it is interrupted in its download.
    fn without_shim(&self) -> Outcome {
        let host = self.host();
        let program = host.start(&["install", "app"]);
        wait_for("download", Duration::from_secs(30), || {
            (!self.server.take_packages().is_empty()).then_some(())
        });
        dnf::signal_group(&program, Signal::INT);
        host.wait(program, Instant::now())
    }

    fn interrupt(&self, mode: &str, interrupt: impl FnOnce(&mut Program)) {
        let stand_in = StandIn::new(self.directory.path());
        let host = self.host().shim(&format!("{}timeout = 600\n", stand_in.options(mode)));
        let mut program = host.start(&["install", "app"]);
        let call = stand_in.wait_for_call();
        interrupt(&mut program);
        let outcome = host.wait(program, Instant::now()).same_as(&self.without_shim());
        assert!(outcome.output.contains("Terminated"), "{}", outcome.output);
        assert!(outcome.duration < END_LIMIT, "{:?}", outcome.duration);
        assert!(test_kill_process(call.process()).is_err(), "{mode}: the helper is still there");
        assert!(stand_in.take_calls().is_empty(), "{mode}: nothing is offered");
    }
}

#[test]
fn ctrl_c_ends_dnf_and_a_silent_helper() {
    Lab::new().interrupt("silent", |program| dnf::signal_group(program, Signal::INT));
}

#[test]
fn ctrl_c_ends_dnf_and_a_helper_that_ignores_it() {
    Lab::new().interrupt("stubborn", |program| dnf::signal_group(program, Signal::INT));
}

#[test]
fn an_interrupt_of_dnf_alone_ends_the_helper_too() {
    Lab::new().interrupt("silent", |program| program.signal(Signal::INT));
}
