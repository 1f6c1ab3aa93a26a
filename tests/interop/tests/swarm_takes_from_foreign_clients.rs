//! Our agent downloads its packages from foreign clients alone. The web seed refuses.

use pkgtorrent_interop_tests::foreign::Foreign;
use pkgtorrent_interop_tests::swarm::takes_from;

#[test]
fn an_agent_gets_it_from_libtorrent() {
    takes_from(Foreign::Libtorrent);
}

#[test]
fn an_agent_gets_it_from_aria2() {
    takes_from(Foreign::Aria2);
}

#[test]
fn an_agent_gets_it_from_transmission() {
    takes_from(Foreign::Transmission);
}
