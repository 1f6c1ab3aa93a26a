//! Programs that use dnf's API get their packages through the service as its command line does.

use std::path::Path;
use std::time::Duration;

use pkgtorrent_test_support::Trial;
use pkgtorrent_test_support::dnf::as_root;
use pkgtorrent_test_support::process::run;

/// How long such a program may take; it needs about a second.
const LIMIT: Duration = Duration::from_secs(120);

/// What dnf's API asks of a user who installs `app`, without a command line.
const API_USER: &str = r#"
import sys, dnf
base = dnf.Base()
base.conf.read(sys.argv[1])
base.conf.installroot = sys.argv[2]
base.conf.substitutions["releasever"] = "1"
base.init_plugins()
base.pre_configure_plugins()
base.read_all_repos()
base.configure_plugins()
base.fill_sack()
base.install("app")
base.resolve()
base.download_packages(list(base.transaction.install_set))
base.do_transaction()
base.close()
"#;

#[test]
fn a_user_of_the_api_without_a_command_line() {
    let trial = Trial::new();
    let host = trial.host();
    host.write("api.conf", &host.section("main"));
    let mut command = as_root(Path::new("/usr/bin/python3"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg("-c").arg(API_USER);
    run(command.arg(host.path("api.conf")).arg(host.path("root")), LIMIT);
    assert_eq!(host.installed(), trial.alone.installed);
    assert_eq!(trial.mirror.server.take_packages(), [""; 0]);
}
