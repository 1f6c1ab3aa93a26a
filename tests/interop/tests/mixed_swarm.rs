//! Our agents and foreign clients of every make in one swarm, with one seed and no web seed: all of them finish.

use pkgtorrent_interop_tests::foreign::Foreign;
use pkgtorrent_interop_tests::swarm::all_get_it;

#[test]
fn everybody_finishes() {
    all_get_it(&[Foreign::Libtorrent, Foreign::Aria2, Foreign::Transmission]);
}
