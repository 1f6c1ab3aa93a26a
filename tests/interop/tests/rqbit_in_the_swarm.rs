//! librqbit as one of the foreign clients, alone with our agents and among all the others. Its program takes minutes to
//! build, so that this is not for every test run: it needs the feature `rqbit`.
//!
//! Agents get nothing whole from librqbit alone: it parts from who asks for less than a block of 16 KiB that is not the
//! bundle's last, and they ask for no padding.

use pkgtorrent_interop_tests::foreign::Foreign;
use pkgtorrent_interop_tests::swarm::{all_get_it, gives_to};

#[test]
fn librqbit_gets_it_from_agents() {
    gives_to(Foreign::Rqbit);
}

#[test]
fn everybody_finishes() {
    all_get_it(&[Foreign::Libtorrent, Foreign::Aria2, Foreign::Transmission, Foreign::Rqbit]);
}
