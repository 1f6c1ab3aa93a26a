//! TLS: who is trusted, and who is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use pkgtorrent_agent::origin::{Http, OriginError};
use pkgtorrent_agent::settings::{OriginSettings, Proxy};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::{Next, Server};
use crate::{WHOLE, content, kind, read, settings};

const SIZE: usize = 300_000;

/// An authority and a server that it vouches for, under the names `localhost` and `127.0.0.1`.
struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let this = Self { directory };
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let authority =
            ["req", "-x509", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"];
        this.openssl(&[&authority[..], &key[..]].concat());
        let server = ["-subj", "/CN=test server", "-keyout", "server.key", "-out", "server.pem"];
        let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
        // A server's own certificate is none of an authority.
        let signed = [
            "req",
            "-x509",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        this.openssl(&[&signed[..], &server[..], &names[..], &key[..]].concat());
        this
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn server_config(&self) -> Arc<ServerConfig> {
        let certificate = CertificateDer::from_pem_file(self.path("server.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        Arc::new(config.expect("a certificate and its key"))
    }
}

fn trusting(ca_file: &Path) -> OriginSettings {
    OriginSettings { ca_file: Some(ca_file.to_owned()), ..settings() }
}

#[tokio::test]
async fn only_servers_that_the_ca_file_vouches_for_are_listened_to() {
    let authority = Authority::new();
    let server = Server::listen("127.0.0.1:0", Some(authority.server_config()), |asked, wire| {
        wire.serve(asked, &content(SIZE))
    });
    let http = Http::new(&trusting(&authority.path("ca.pem"))).expect("a client");
    // What was read is kept: the file may go, or may not be readable any more.
    fs::remove_file(authority.path("ca.pem")).expect("removed");
    for range in [10..20, 100_000..SIZE, 0..SIZE] {
        let (result, bytes) = read(&http, &server.url("/f"), SIZE, range.clone()).await;
        assert_eq!(result, Ok(WHOLE), "{range:?}");
        assert!(bytes == content(SIZE)[range]);
    }
    let named = format!("https://localhost:{}/f", server.address().port()).parse().expect("a URL");
    assert_eq!(read(&http, &named, SIZE, 0..SIZE).await.0, Ok(WHOLE));
    let seen = server.asked().len();

    let stranger = Authority::new();
    for untrusting in [settings(), trusting(&stranger.path("ca.pem"))] {
        let http = Http::new(&untrusting).expect("a client");
        let (result, bytes) = read(&http, &server.url("/f"), SIZE, 10..20).await;
        let error = result.expect_err("not trusted");
        assert_eq!(kind(&error), "unreachable", "{error}");
        assert!(bytes.is_empty());
    }
    // Right authority, wrong name.
    let other = format!("https://127.0.0.2:{}/f", server.address().port()).parse().expect("a URL");
    let (result, _) = read(&http, &other, SIZE, 10..20).await;
    assert_eq!(kind(&result.expect_err("not its name")), "unreachable");
    assert_eq!(server.asked().len(), seen, "something was asked of a server that is not trusted");
}

#[tokio::test]
async fn tls_goes_through_a_proxy_as_a_tunnel() {
    let authority = Authority::new();
    let server = Server::listen("127.0.0.1:0", Some(authority.server_config()), |asked, wire| {
        wire.serve(asked, &content(SIZE))
    });
    let proxy = Server::start(|asked, wire| {
        assert_eq!(asked.method, "CONNECT");
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        wire.tunnel(asked.target.parse().expect("an address"))
    });
    let through = Proxy::Url(proxy.url("").to_string());
    let http = Http::new(&OriginSettings { proxy: through, ..trusting(&authority.path("ca.pem")) });
    let http = http.expect("a client");
    let (result, bytes) = read(&http, &server.url("/f"), SIZE, 10..20).await;
    assert_eq!(result, Ok(WHOLE));
    assert!(bytes == content(SIZE)[10..20]);
    assert_eq!(proxy.asked().len(), 1);
}

#[tokio::test]
async fn a_proxy_may_be_spoken_to_over_tls() {
    let authority = Authority::new();
    let proxy = Server::listen("127.0.0.1:0", Some(authority.server_config()), |asked, wire| {
        wire.serve(asked, &content(SIZE))
    });
    let through = Proxy::Url(proxy.url("").to_string());
    let http = Http::new(&OriginSettings { proxy: through, ..trusting(&authority.path("ca.pem")) });
    let target = "http://mirror.invalid/f".parse().expect("a URL");
    let (result, bytes) = read(&http.expect("a client"), &target, SIZE, 10..20).await;
    assert_eq!(result, Ok(WHOLE));
    assert!(bytes == content(SIZE)[10..20]);
    assert_eq!(proxy.asked()[0].target, "http://mirror.invalid/f");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_not_waited_for() {
    let server = Server::start(|_, _| Next::Close);
    let target = server.url("/f").as_str().replace("http:", "https:").parse().expect("a URL");
    let http = Http::new(&settings()).expect("a client");
    let (result, _) = read(&http, &target, SIZE, 10..20).await;
    assert_eq!(kind(&result.expect_err("no TLS")), "unreachable");
}

#[test]
fn a_ca_file_without_certificates_is_seen_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let wrong = |content: Option<&str>| {
        let path = directory.path().join("ca.pem");
        match content {
            Some(content) => fs::write(&path, content).expect("written"),
            None => drop(fs::remove_file(&path)),
        }
        let error = Http::new(&trusting(&path)).expect_err("refused");
        assert!(error.to_string().contains("ca.pem"), "{error}");
        error
    };
    assert!(matches!(wrong(None), OriginError::CaFile { .. }));
    for content in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
    ] {
        assert!(matches!(wrong(Some(content)), OriginError::NoCertificates { .. }), "{content:?}");
    }
}
