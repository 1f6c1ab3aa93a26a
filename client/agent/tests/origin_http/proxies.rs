//! Proxies: the one that the settings name, the one of the environment, or none.

use std::process::Command;

use pkgtorrent_agent::origin::{Http, OriginError};
use pkgtorrent_agent::settings::{OriginSettings, Proxy};

use crate::server::Server;
use crate::{WHOLE, content, read, settings, url};

const SIZE: usize = 1000;

/// Tells the child, which is this program again, what to ask for, and through what.
const CHILD_TARGET: &str = "ORIGIN_TEST_TARGET";
const CHILD_IS_DIRECT: &str = "ORIGIN_TEST_IS_DIRECT";

fn with(proxy: Proxy) -> Http {
    Http::new(&OriginSettings { proxy, ..settings() }).expect("a client")
}

fn server() -> Server {
    Server::start(|asked, wire| wire.serve(asked, &content(SIZE)))
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_whole_url() {
    let proxy = server();
    let http = with(Proxy::Url(proxy.url("").to_string()));
    let target = "http://mirror.invalid:81/f?x";
    let (result, bytes) = read(&http, &url(target), SIZE, 10..20).await;
    assert_eq!(result, Ok(WHOLE));
    assert!(bytes == content(SIZE)[10..20]);
    let asked = proxy.asked();
    assert_eq!((asked.len(), asked[0].target.as_str()), (1, target));
    assert_eq!(asked[0].header("proxy-authorization"), None);

    let named = proxy.url("").as_str().replace("//", "//me:secret@");
    let (result, _) = read(&with(Proxy::Url(named)), &url(target), SIZE, 10..20).await;
    assert_eq!(result, Ok(WHOLE));
    // base64 of me:secret
    assert_eq!(proxy.asked()[1].header("proxy-authorization"), Some("Basic bWU6c2VjcmV0"));
}

#[test]
fn a_proxy_that_cannot_be_used_is_named_without_its_password() {
    for text in
        ["socks5://me:secret@127.0.0.1:1080", "ftp://me:secret@x/", "me:secret", "http://me:secret@", ""]
    {
        let settings = OriginSettings { proxy: Proxy::Url(text.into()), ..settings() };
        let error = Http::new(&settings).err().unwrap_or_else(|| panic!("{text:?} was taken"));
        assert!(matches!(error, OriginError::Proxy(_)), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn the_environments_proxy_is_used_unless_a_direct_connection_is_wanted() {
    let (proxy, origin) = (server(), server());
    let ask = |is_direct: bool, no_proxy: &str| {
        let (from_proxy, from_origin) = (proxy.asked().len(), origin.asked().len());
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        child.args(["--exact", "proxies::child", "--ignored", "--nocapture"]);
        child.env("http_proxy", proxy.url("").as_str()).env("no_proxy", no_proxy);
        child.env(CHILD_TARGET, origin.url("/f").as_str()).env(CHILD_IS_DIRECT, is_direct.to_string());
        let output = child.output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (proxy.asked().len() - from_proxy, origin.asked().len() - from_origin)
    };
    assert_eq!(ask(false, ""), (1, 0));
    assert_eq!(ask(false, "127.0.0.1"), (0, 1));
    assert_eq!(ask(true, ""), (0, 1));
}

/// One request, in a process whose environment names a proxy.
#[tokio::test]
#[ignore = "run by another test, with an environment of its own"]
async fn child() {
    let target = std::env::var(CHILD_TARGET).expect("a target");
    let is_direct = std::env::var(CHILD_IS_DIRECT).expect("a mode") == "true";
    let http = with(if is_direct { Proxy::None } else { Proxy::Environment });
    let (result, bytes) = read(&http, &url(&target), SIZE, 10..20).await;
    assert_eq!(result, Ok(WHOLE));
    assert!(bytes == content(SIZE)[10..20]);
}
