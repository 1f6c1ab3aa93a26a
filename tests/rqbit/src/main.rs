//! A BitTorrent client made of librqbit: downloads a torrent, or checks what is there, and seeds it until it is ended.
//!
//!     pkgtorrent-rqbit TORRENT DIRECTORY ADDRESS:PORT
//!
//! Prints `complete` once everything is on disk. It finds its peers through the torrent's trackers alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use librqbit::{
    AddTorrent, AddTorrentOptions, AddTorrentResponse, ListenerMode, ListenerOptions, Session, SessionOptions,
};

struct Arguments {
    torrent: PathBuf,
    directory: PathBuf,
    listen: SocketAddr,
}

impl Arguments {
    fn read() -> anyhow::Result<Self> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [torrent, directory, listen] = arguments.as_slice() else {
            bail!("usage: pkgtorrent-rqbit TORRENT DIRECTORY ADDRESS:PORT");
        };
        let listen = listen.parse().with_context(|| format!("{listen:?} is no address with a port"))?;
        Ok(Self { torrent: torrent.into(), directory: directory.into(), listen })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::read()?;
    let torrent = std::fs::read(&arguments.torrent).context("reading the torrent")?;
    let options = SessionOptions {
        dht: None,
        disable_local_service_discovery: true,
        ipv4_only: true,
        listen: Some(ListenerOptions {
            mode: ListenerMode::TcpOnly,
            listen_addr: arguments.listen,
            // On the loopback it would tell the tracker another one.
            announce_port: Some(arguments.listen.port()),
            ipv4_only: true,
            ..ListenerOptions::default()
        }),
        ..SessionOptions::default()
    };
    let session = Session::new_with_opts(arguments.directory, options).await.context("starting a session")?;
    // Its files go into a directory with the torrent's name, as with other clients.
    let options = AddTorrentOptions { overwrite: true, ..AddTorrentOptions::default() };
    let added = session.add_torrent(AddTorrent::from_bytes(torrent), Some(options)).await;
    let handle = match added.context("adding the torrent")? {
        AddTorrentResponse::Added(_, handle) => handle,
        _ => bail!("the torrent was there before"),
    };
    handle.wait_until_completed().await.context("downloading")?;
    println!("complete");
    std::future::pending().await
}
