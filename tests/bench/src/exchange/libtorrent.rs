//! Two libtorrent clients, with the service as their tracker.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use pkgtorrent_fleet::libtorrent_client;
use pkgtorrent_protocol::metainfo::{BUNDLE_NAME, Metainfo};
use pkgtorrent_test_support::process::{Program, wait_for};
use pkgtorrent_test_support::{Service, ask};
use tempfile::TempDir;

use super::Exchange;
use crate::bench::Bench;
use crate::data::packages::{Package, Packages};
use crate::figures::digests;

/// How long any of a client's steps may take.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// Both clients listen on the same port, each at an address of its own.
const PORT: u16 = 6881;
const SEED_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const RECEIVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A seed with its torrent.
pub(crate) struct Seeded<'a> {
    bench: &'a Bench,
    packages: &'a [Package],
    seed: Program,
    torrent: PathBuf,
    _directory: TempDir,
}

impl<'a> Seeded<'a> {
    /// Has libtorrent seed these packages as one set.
    pub(crate) fn start(
        bench: &'a Bench,
        service: &Service,
        all: &Packages,
        packages: &'a [Package],
    ) -> anyhow::Result<Self> {
        let directory = bench.fresh_state()?;
        let plan = ask::post_set(service.addr(), &digests(packages));
        let (mut metainfo, bundle) = Metainfo::parse(&ask::set_torrent(service.addr(), plan.set))?;
        ensure!(
            bundle.layout().extents().iter().all(|extent| extent.padding == 0),
            "the packages are not of whole pieces"
        );
        metainfo.web_seeds.clear();
        let torrent = directory.path().join("set.torrent");
        fs::write(&torrent, metainfo.encode()?).context("writing a torrent")?;
        let files = directory.path().join("files");
        for package in packages {
            let place = files.join(BUNDLE_NAME).join(package.digest.to_string());
            fs::create_dir_all(&place).with_context(|| format!("creating {}", place.display()))?;
            fs::hard_link(all.root.join(&package.path), place.join(package.file_name()))
                .context("linking a package")?;
        }
        let seed = start(&torrent, &files, SEED_ADDRESS);
        wait_for("seed in the swarm", STEP_LIMIT, || {
            (ask::scrape(service.addr(), metainfo.info_hash()) == (1, 0)).then_some(())
        });
        Ok(Self { bench, packages, seed, torrent, _directory: directory })
    }

    /// Has a new client download them from the seed.
    ///
    /// The clock runs from when Python has started to when everything is on disk: the tracker's answer, the connection
    /// and the hash of each piece are in it.
    pub(crate) fn exchange(&self) -> anyhow::Result<Exchange> {
        let directory = self.bench.fresh_state()?;
        let receiver = start(&self.torrent, &directory.path().join("files"), RECEIVER_ADDRESS);
        said(&receiver, "ready\n");
        Exchange::watch(self.packages, self.seed.pid(), receiver.pid(), || {
            said(&receiver, "complete\n");
            Ok(())
        })
    }
}

fn start(torrent: &Path, files: &Path, address: Ipv4Addr) -> Program {
    let address = SocketAddrV4::new(address, PORT);
    Program::start(&mut libtorrent_client(torrent, files, address), &files.with_extension("log"))
}

fn said(client: &Program, word: &str) {
    wait_for(word.trim_end(), STEP_LIMIT, || client.output().contains(word).then_some(()));
}
