//! How each client is started, and how it says that it is done.

pub(crate) mod aria2;
pub(crate) mod http;
pub(crate) mod libtorrent;
pub(crate) mod pkgtorrent;
pub(crate) mod rqbit;

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;
use pkgtorrent_test_support::process::Program;

use crate::client::{Download, FileOf, Told};
use crate::wanted::{Wanted, WantedPackage};

/// The port on which every BitTorrent client listens: each is alone at its address, but for the seeds of several sets.
pub(crate) const PEER_PORT: u16 = 6881;

/// How many lines of a failed program's output are shown.
const SHOWN_LINES_MAX: usize = 10;

/// How a foreign program says that everything is there.
enum Completion {
    /// It ends.
    End,
    /// It writes this, and stays to share.
    Says(&'static str),
}

/// A download by a program that is not ours.
struct Foreign {
    program: Program,
    completion: Completion,
    directory: PathBuf,
    file_of: FileOf,
}

impl Foreign {
    fn start(
        command: &mut Command,
        directory: PathBuf,
        completion: Completion,
        file_of: FileOf,
    ) -> Box<dyn Download> {
        let program = Program::start(command, &directory.with_extension("log"));
        Box::new(Self { program, completion, directory, file_of })
    }
}

impl Download for Foreign {
    fn is_complete(&mut self) -> anyhow::Result<bool> {
        match (self.program.ended(), &self.completion) {
            (None, Completion::End) => Ok(false),
            (None, Completion::Says(text)) => Ok(self.program.output().contains(text)),
            (Some(status), Completion::End) if status.success() => Ok(true),
            (Some(status), _) => bail!("it ended with {status}: {}", last_lines(&self.program.output())),
        }
    }

    fn pids(&mut self) -> Vec<u32> {
        vec![self.program.pid()]
    }

    fn kill(&mut self) {
        self.program.kill9();
    }

    fn check(mut self: Box<Self>, wanted: &Wanted) -> anyhow::Result<Option<Told>> {
        self.program.end();
        wanted.check(&self.directory, self.file_of)?;
        Ok(None)
    }
}

/// The end of what a program wrote: some write a line for every second that they ran.
fn last_lines(output: &str) -> &str {
    let start = output.rmatch_indices('\n').nth(SHOWN_LINES_MAX).map_or(0, |(index, _)| index + 1);
    &output[start..]
}

fn in_bundle(package: &WantedPackage) -> PathBuf {
    package.bundle_path()
}
