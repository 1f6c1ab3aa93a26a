//! Every BitTorrent client in the same way: it shares a bundle in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use pkgtorrent_test_support::process::Program;

use crate::mirror::Home;
use crate::on_disk::{Padding, assert_holds};
use crate::transmission::Transmission;
use crate::{aria2, libtorrent, rqbit};

/// A BitTorrent client that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// It knows padding.
    Libtorrent,
    /// It asks for padding.
    Aria2,
    /// It asks for padding, and calls nobody on the loopback: it waits to be called.
    Transmission,
    /// It keeps padding off the disk. It is built apart from the workspace.
    Rqbit,
}

impl Foreign {
    /// What it does with padding.
    #[must_use]
    pub fn padding(self) -> Padding {
        match self {
            Self::Libtorrent | Self::Rqbit => Padding::LeftOut,
            Self::Aria2 | Self::Transmission => Padding::Written,
        }
    }

    /// Starts it below `parent`, where it checks what it has of this bundle, downloads the rest, and goes on sharing.
    #[must_use]
    pub fn share(self, home: &Home, parent: &Path) -> Sharing {
        let directory = self.directory(home, parent);
        fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
        let running = match self {
            Self::Libtorrent => Running::Program(libtorrent::start(&home.torrent, &directory)),
            Self::Aria2 => Running::Program(aria2::start(&home.torrent, &directory)),
            Self::Rqbit => Running::Program(rqbit::start(&home.torrent, &directory)),
            Self::Transmission => {
                let mut transmission = Transmission::start(&directory.with_extension("log"));
                transmission.add(&home.torrent, &directory);
                Running::Transmission(transmission)
            }
        };
        Sharing { client: self, running, directory }
    }

    /// Where it keeps this bundle.
    #[must_use]
    pub fn directory(self, home: &Home, parent: &Path) -> PathBuf {
        parent.join(format!("{self:?}-{}", home.info_hash))
    }
}

/// A client that shares one bundle. Dropping it ends it.
#[derive(Debug)]
pub struct Sharing {
    client: Foreign,
    running: Running,
    directory: PathBuf,
}

#[derive(Debug)]
enum Running {
    Program(Program),
    Transmission(Transmission),
}

impl Sharing {
    /// Waits until it has the whole bundle, and panics unless that is what it has.
    pub fn expect_all_of(&mut self, home: &Home) {
        match (self.client, &mut self.running) {
            (_, Running::Transmission(transmission)) => transmission.wait_complete(),
            (Foreign::Libtorrent, Running::Program(program)) => libtorrent::wait_complete(program),
            (Foreign::Rqbit, Running::Program(program)) => rqbit::wait_complete(program),
            (_, Running::Program(program)) => aria2::wait_complete(program),
        }
        assert_holds(&self.directory, &home.bundle, &home.packages, self.client.padding());
    }
}
