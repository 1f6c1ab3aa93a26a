//! Settings that are accepted are within what makes sense, and a client can be made of them.
#![no_main]

use std::path::Path;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use pkgtorrent_agent::origin::{Http, OriginError, ServiceUrl};
use pkgtorrent_agent::settings::{Keys, OriginSettings, Proxy, Service};
use pkgtorrent_settings::Configuration;

/// Longer than any wait that makes sense.
const LONG: Duration = Duration::from_secs(366 * 86_400);

fuzz_target!(|text: &str| {
    let mut configuration = Configuration::<Keys>::default();
    let Ok(()) = configuration.take_text(Path::new("agent.toml"), text) else { return };
    // What is shown is a file again, and says the same.
    let mut shown = Configuration::<Keys>::default();
    shown.take_text(Path::new("shown"), &configuration.listing()).expect("a file");
    let values = |json: serde_json::Value| -> Vec<_> {
        json.as_object().expect("keys").values().map(|entry| entry["value"].clone()).collect()
    };
    assert_eq!(values(shown.json()), values(configuration.json()));
    let Ok(settings) = configuration.settle(Keys::settle) else { return };
    assert!(settings.store.max_bytes > 0 && settings.store.free_space_min != Some(0));
    assert!(settings.seeding.min <= settings.seeding.max && settings.seeding.max < LONG && (1..LONG.as_secs()).contains(&settings.idle_timeout.as_secs()));
    if let Service::Url(url) = &settings.service {
        assert_eq!(ServiceUrl::parse(url).map(|service| service.to_string()).as_ref(), Ok(url));
    }
    for name in settings.allowed_users.iter().chain([&settings.user]) {
        assert!(!name.is_empty() && !name.contains('/'), "{name:?}");
    }
    check_origin(&settings.origin);
});

fn check_origin(origin: &OriginSettings) {
    assert!((1..=64).contains(&origin.connections) && origin.min_rate > 0);
    for patience in [origin.connect_timeout, origin.stall_timeout] {
        assert!(!patience.is_zero() && patience < LONG);
    }
    for host in &origin.hosts {
        assert!(!host.is_empty() && !host.contains(['/', '?', '#', '@']), "{host:?}");
        assert_eq!(*host, host.to_lowercase());
    }
    // A file that the input names is not to be read, and without a proxy one client is like the other.
    if origin.ca_file.is_some() || !matches!(origin.proxy, Proxy::Url(_)) {
        assert!(origin.ca_file.as_ref().is_none_or(|path| path.is_absolute()));
        return;
    }
    match Http::new(origin) {
        Ok(_) | Err(OriginError::Proxy(_)) => {}
        Err(other) => panic!("{other}"),
    }
}
