//! Foreign clients download whole home bundles from our agents, our agents download their packages from them, and a swarm
//! of all of them with one seed finishes. The web seed is switched off; libtorrent knows padding, the others ask for it.
//!
//! Most of each is waiting for the others' intervals, so that all of them go on at the same time.

use std::thread::{self, Builder};

use pkgtorrent_interop_tests::foreign::Foreign;
use pkgtorrent_interop_tests::swarm::{all_get_it, gives_to, takes_from};

const CLIENTS: [Foreign; 3] = [Foreign::Libtorrent, Foreign::Aria2, Foreign::Transmission];

#[test]
fn everybody_gets_it_from_everybody() {
    thread::scope(|scope| {
        // A failing test names the thread.
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            let thread = Builder::new().name(name).spawn_scoped(scope, run);
            let _ = thread.expect("a thread");
        };
        for client in CLIENTS {
            spawn(format!("{client:?} gets it from agents"), Box::new(move || gives_to(client)));
            spawn(format!("an agent gets it from {client:?}"), Box::new(move || takes_from(client)));
        }
        spawn("all together".to_owned(), Box::new(|| all_get_it(&CLIENTS)));
    });
}
