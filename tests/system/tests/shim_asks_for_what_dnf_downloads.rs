//! The helper is asked for the packages that dnf is about to download, for all of them at once, and for nothing else.

use std::fs;
use std::path::Path;

use pkgtorrent_protocol::Algorithm;
use pkgtorrent_test_support::dnf::Host;
use pkgtorrent_test_support::server::Answer;
use pkgtorrent_test_support::stand_in::Call;
use pkgtorrent_test_support::{Package, Repository, Rpm, Server, StandIn};
use tempfile::TempDir;

/// Repositories below one directory, all served.
struct Lab {
    directory: TempDir,
    server: Server,
}

impl Lab {
    fn new(fill: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fill(directory.path());
        let server = Server::files(directory.path());
        Self { directory, server }
    }

    fn stand_in(&self) -> StandIn {
        StandIn::new(self.directory.path())
    }
}

/// A repository with one package.
fn repository(root: &Path, name: &str, arguments: &[&str]) -> Package {
    let repository = Repository::create(root.join(name));
    let package = repository.add_in("Packages/a", &Rpm::new(name).payload_len(50_000));
    repository.index_with(arguments);
    package
}

/// The only request that the helper got.
fn request(stand_in: &StandIn) -> Call {
    let mut calls = stand_in.take_calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    calls.remove(0)
}

#[test]
fn a_request_names_every_package_with_digest_size_url_and_destination() {
    let (mut one, mut two) = (None, None);
    let lab = Lab::new(|root| {
        one = Some(repository(root, "one", &[]));
        two = Some(repository(root, "two", &["--checksum", "sha512"]));
    });
    let (one, two) = (one.expect("a package"), two.expect("a package"));
    let stand_in = lab.stand_in();
    let host = Host::new()
        .repository("first", &lab.server.url("/one/"))
        .repository("second", &lab.server.url("/two"))
        .shim(&stand_in.options("place"));
    let outcome = host.dnf(&["install", "one", "two"]).succeeded();
    assert_eq!(outcome.installed.len(), 2);
    assert!(lab.server.take_packages().is_empty());

    let call = request(&stand_in);
    assert_eq!(call.request["version"], 1);
    assert_eq!(call.request["reserve"]["path"], host.path("root").display().to_string());
    let reserve = call.request["reserve"]["bytes"].as_u64().expect("a number");
    // What is installed, and some megabytes for rpm's database.
    assert!((100_000 + (1 << 20)..10 << 20).contains(&reserve), "{reserve}");
    let mut packages = call.packages().to_vec();
    packages.sort_by_key(|package| package["name"].to_string());
    assert_eq!(packages.len(), 2);
    for (got, package, algorithm, repository, place) in [
        (&packages[0], &one, Algorithm::Sha256, "first", "/one/Packages/a/one-1.0-1.noarch.rpm"),
        (&packages[1], &two, Algorithm::Sha512, "second", "/two/Packages/a/two-1.0-1.noarch.rpm"),
    ] {
        assert_eq!(got["digest"], package.digest(algorithm).to_string());
        assert_eq!(got["size"], package.size);
        assert_eq!(got["url"], lab.server.url(place));
        let dest = host.package_cache(repository).join(package.file_name());
        assert_eq!(got["dest"], dest.display().to_string());
    }
}

#[test]
fn urls_are_those_of_mirrors_and_of_other_bases() {
    let lab = Lab::new(|root| {
        let _ = repository(root, "listed", &[]);
        let _ = repository(root, "based", &["--baseurl", "http://base.invalid/elsewhere"]);
    });
    // The metadata has to come from somewhere, so the list names this server after one that is not there.
    let mirrors = format!("http://first.invalid/listed/\n{}\n", lab.server.url("/listed/"));
    fs::write(lab.directory.path().join("mirrors"), mirrors).expect("a list of mirrors");
    let stand_in = lab.stand_in();
    let host = Host::new()
        .repository_with("listed", &format!("mirrorlist = {}", lab.server.url("/mirrors")))
        .repository("based", &lab.server.url("/based/"))
        .shim(&stand_in.options("place"));
    let _ = host.dnf(&["install", "listed", "based"]).succeeded();
    let mut urls: Vec<String> = request(&stand_in)
        .packages()
        .iter()
        .map(|p| p["url"].as_str().unwrap_or_default().to_owned())
        .collect();
    urls.sort();
    assert_eq!(
        urls,
        [
            "http://base.invalid/elsewhere/Packages/a/based-1.0-1.noarch.rpm",
            "http://first.invalid/listed/Packages/a/listed-1.0-1.noarch.rpm"
        ]
    );
}

#[test]
fn entitled_repositories_are_left_to_dnf_unless_listed() {
    let lab = Lab::new(|root| {
        for name in ["free", "named", "certified", "in-url"] {
            let _ = repository(root, name, &[]);
        }
        fs::write(root.join("client.pem"), "no certificate\n").expect("a file");
    });
    let host = |options: String| {
        let certificate = lab.directory.path().join("client.pem").display().to_string();
        let in_url = lab.server.url("/in-url/").replace("http://", "http://user:secret@");
        Host::new()
            .repository("free", &lab.server.url("/free/"))
            .repository_with("named", &format!("baseurl = {}\nusername = me", lab.server.url("/named/")))
            .repository_with(
                "certified",
                &format!("baseurl = {}\nsslclientcert = {certificate}", lab.server.url("/certified/")),
            )
            .repository("in-url", &in_url)
            .shim(&options)
    };
    let names = |call: &Call| {
        let mut names: Vec<String> = call
            .packages()
            .iter()
            .map(|package| package["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    };
    let install = ["install", "free", "named", "certified", "in-url"];

    let stand_in = lab.stand_in();
    let _ = host(stand_in.options("place")).dnf(&install).succeeded();
    assert_eq!(names(&request(&stand_in)), ["free-1.0-1.noarch"]);
    assert_eq!(lab.server.take_packages().len(), 3);

    let options = format!("{}entitled_repos = certified, in-url\n", stand_in.options("nothing"));
    let _ = host(options).dnf(&install).succeeded();
    let calls = stand_in.take_calls();
    assert_eq!(names(&calls[0]), ["certified-1.0-1.noarch", "free-1.0-1.noarch", "in-url-1.0-1.noarch"]);
    let offered = calls[1].arguments.iter().filter(|argument| argument.ends_with(".rpm")).count();
    assert_eq!(offered, 3, "the fourth is nobody else's business: {:?}", calls[1].arguments);
}

#[test]
fn nothing_is_asked_for_what_is_not_downloaded() {
    let lab = Lab::new(|root| {
        let _ = repository(root, "app", &[]);
    });
    let package = lab.directory.path().join("app/Packages/a/app-1.0-1.noarch.rpm").display().to_string();
    let stand_in = lab.stand_in();

    // A file on the command line.
    let host = Host::new().shim(&stand_in.options("place"));
    assert_eq!(host.dnf(&["install", &package]).succeeded().installed.len(), 1);
    // A repository on this machine.
    let host = Host::new()
        .repository("local", &format!("file://{}/app", lab.directory.path().display()))
        .shim(&stand_in.options("place"));
    assert_eq!(host.dnf(&["install", "app"]).succeeded().installed.len(), 1);
    // The user says no.
    let host = Host::new().repository("repo", &lab.server.url("/app/")).shim(&stand_in.options("place"));
    let _ = host.dnf(&["install", "--assumeno", "app"]);
    assert!(stand_in.take_calls().is_empty());

    // A package that an earlier run left in the cache.
    let _ = host.dnf(&["install", "--downloadonly", "app"]).succeeded();
    assert_eq!(request(&stand_in).packages().len(), 1);
    assert_eq!(host.dnf(&["install", "app"]).succeeded().installed.len(), 1);
    assert!(stand_in.take_calls().is_empty(), "it is there already");
}

#[test]
fn with_cacheonly_dnf_does_as_without_the_shim() {
    let lab = Lab::new(|root| {
        let _ = repository(root, "app", &[]);
    });
    let stand_in = lab.stand_in();
    let bare = Host::new().repository("repo", &lab.server.url("/app/"));
    let host = Host::new().repository("repo", &lab.server.url("/app/")).shim(&stand_in.options("place"));
    for arguments in [["-C", "install", "app"].as_slice(), &["makecache"], &["-C", "install", "app"]] {
        let _ = host.dnf(arguments).same_as(&bare.dnf(arguments));
        assert!(stand_in.take_calls().is_empty(), "{arguments:?}");
    }
    // With the package in the cache -C installs it.
    let arguments = ["install", "--downloadonly", "app"];
    let _ = host.dnf(&arguments).same_as(&bare.dnf(&arguments).succeeded());
    assert_eq!(stand_in.take_calls().len(), 1);
    let without_shim = bare.dnf(&["-C", "install", "app"]).succeeded();
    assert_eq!(without_shim.installed.len(), 1);
    let _ = host.dnf(&["-C", "install", "app"]).same_as(&without_shim);
    assert!(stand_in.take_calls().is_empty());
}

#[test]
fn downloads_into_directories_of_the_user_are_asked_for() {
    let lab = Lab::new(|root| {
        let repository = Repository::create(root.join("repo"));
        repository.add(&Rpm::new("app").requires("lib"));
        repository.add(&Rpm::new("lib"));
        repository.index();
    });
    let stand_in = lab.stand_in();
    let host = Host::new().repository("repo", &lab.server.url("/repo/")).shim(&stand_in.options("place"));
    let wanted = ["app-1.0-1.noarch.rpm", "lib-1.0-1.noarch.rpm"];
    for (directory, arguments) in [
        ("here", ["install", "--downloadonly", "--downloaddir=here", "app"].as_slice()),
        ("there", &["download", "--resolve", "--destdir=there", "app"]),
    ] {
        let _ = host.dnf(arguments).succeeded();
        let call = request(&stand_in);
        assert_eq!(call.packages().len(), 2);
        assert!(call.request.get("reserve").is_none(), "nothing will be installed");
        let entries = fs::read_dir(host.path(directory)).expect("the directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        assert_eq!(names, wanted);
        assert!(lab.server.take_packages().is_empty());
    }
    // `dnf download` without a directory means the current one, which is the host's here.
    let _ = host.dnf(&["download", "lib"]).succeeded();
    assert_eq!(request(&stand_in).packages()[0]["dest"], host.path(wanted[1]).display().to_string());
    assert!(host.path(wanted[1]).is_file());
    assert!(host.installed().is_empty());
}

#[test]
fn a_redirected_repository_is_no_trouble() {
    let lab = Lab::new(|root| {
        let _ = repository(root, "app", &[]);
    });
    let target = lab.server.addr();
    let redirecting = Server::start(move |request| {
        Answer::new(302, "").header("Location", &format!("http://{target}{}", request.target))
    });
    let stand_in = lab.stand_in();
    let host = Host::new().repository("repo", &redirecting.url("/app/")).shim(&stand_in.options("nothing"));
    assert_eq!(host.dnf(&["install", "app"]).succeeded().installed.len(), 1);
    assert_eq!(request_of(&stand_in, "fetch").packages().len(), 1);
}

/// The first call of this command.
fn request_of(stand_in: &StandIn, command: &str) -> Call {
    let calls = stand_in.take_calls();
    calls.into_iter().find(|call| call.arguments[0] == command).expect("a call")
}
