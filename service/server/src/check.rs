//! What the service would stumble over with these settings, as far as it can be seen without starting it.

use std::net::TcpListener;

use pkgtorrent_settings::check_directory;

use crate::root::Root;
use crate::settings::Settings;

/// Each problem, with its key.
#[must_use]
pub fn check(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    let named = settings.root.display();
    match Root::open(&settings.root).and_then(|root| Ok((root.path(), settings.root.read_dir()?))) {
        Ok((root, _)) => {
            problems.extend(super::check_apart(&settings.state, &root).err().map(|error| error.to_string()));
        }
        Err(error) => problems.push(format!("root: {named}: {error}")),
    }
    problems.extend(check_directory(&settings.state).err().map(|error| format!("state: {error}")));
    for (key, addresses) in [("listen", &settings.listen), ("admin_listen", &settings.admin_listen)] {
        for address in addresses {
            // Whether the address is this machine's, not whether the port is free: the service that runs has it.
            if let Err(error) = TcpListener::bind((address.ip(), 0)) {
                problems.push(format!("{key}: {}: {error}", address.ip()));
            }
        }
    }
    problems
}
