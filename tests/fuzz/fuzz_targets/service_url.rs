//! A service's URL that is accepted is a base, stays as it is, and is the same to the settings and to who asks it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pkgtorrent_agent::origin::ServiceUrl;
use pkgtorrent_agent::settings::Service;

fuzz_target!(|text: &str| {
    let parsed = ServiceUrl::parse(text);
    if let Ok(service) = &parsed {
        let url = service.url();
        assert!(matches!(url.scheme(), "http" | "https"), "{url}");
        assert!(url.host_str().is_some_and(|host| !host.is_empty()), "{url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
        assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
        assert!(url.path().len() > 1 && url.path().ends_with('/'), "{url}");
        assert_eq!(ServiceUrl::parse(&service.to_string()).as_ref(), Ok(service));
    }
    match text.parse() {
        Ok(Service::Url(url)) => assert_eq!(parsed.map(|service| service.to_string()), Ok(url)),
        Ok(Service::None) => assert_eq!(text, ""),
        Ok(Service::Auto) => assert_eq!(text, "auto"),
        // Only they know that nothing listens on port 0.
        Err(error) => assert!(parsed.is_err() || error.to_string().contains("port 0"), "{error}"),
    }
});
