//! Foreign clients download whole home bundles from our agents. The web seed is switched off; libtorrent knows padding,
//! the others ask for it.

use pkgtorrent_interop_tests::foreign::Foreign;
use pkgtorrent_interop_tests::swarm::gives_to;

#[test]
fn libtorrent_gets_it_from_agents() {
    gives_to(Foreign::Libtorrent);
}

#[test]
fn aria2_gets_it_from_agents() {
    gives_to(Foreign::Aria2);
}

#[test]
fn transmission_gets_it_from_agents() {
    gives_to(Foreign::Transmission);
}
