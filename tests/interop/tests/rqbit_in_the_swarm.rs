//! librqbit as one of the foreign clients, alone with our agents and among all the others. Its program takes minutes to
//! build, so that this is not for every test run: it needs the feature `rqbit`.

use pkgtorrent_interop_tests::foreign::Foreign;
use pkgtorrent_interop_tests::swarm::{all_get_it, gives_to, takes_from};

#[test]
fn librqbit_gets_it_from_agents() {
    gives_to(Foreign::Rqbit);
}

#[test]
fn an_agent_gets_it_from_librqbit() {
    takes_from(Foreign::Rqbit);
}

#[test]
fn everybody_finishes() {
    all_get_it(&[Foreign::Libtorrent, Foreign::Aria2, Foreign::Transmission, Foreign::Rqbit]);
}
