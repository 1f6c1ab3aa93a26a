//! Writes what is made from the command line and the configuration's keys: manual pages and the default file.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use pkgtorrent_server::args::Args;
use pkgtorrent_server::settings::{DEFAULT_CONFIG, KEY_DOCS, default_file};
use pkgtorrent_settings::manual_section;

fn main() -> anyhow::Result<()> {
    let target: PathBuf = std::env::args_os().nth(1).context("usage: generate DIR")?.into();
    write(&target.join("man/pkgtorrent-service.8"), &service_page()?)?;
    write(&target.join("man/pkgtorrent-service.conf.5"), &conf_page())?;
    let default = target.join("packaging").join(DEFAULT_CONFIG.trim_start_matches('/'));
    write(&default, &default_file())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let directory = path.parent().context("a path without a directory")?;
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

fn service_page() -> anyhow::Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).section("8").date("").render(&mut page)?;
    let mut page = String::from_utf8(page)?;
    page.push_str(
        ".SH FILES\n.TP\n\\fI/etc/pkgtorrent/service.toml\\fR\nThe configuration: see\n\
         .BR pkgtorrent\\-service.conf (5).\n.TP\n\\fI/var/lib/pkgtorrent\\-service\\fR\n\
         What is remembered between runs. It can be deleted while the service does not run.\n\
         .SH EXIT STATUS\n0 after an end that was asked for, 1 when the service cannot run, 2 for a wrong command line\n\
         or configuration.\n\
         .SH ENVIRONMENT\n.TP\n\\fBRUST_LOG\\fR\nWhat is logged to standard error: error, warn, info (the default), debug.\n",
    );
    Ok(page)
}

fn conf_page() -> String {
    let mut page = String::from(
        ".TH PKGTORRENT\\-SERVICE.CONF 5\n.SH NAME\npkgtorrent\\-service.conf \\- configuration of pkgtorrent\\-service\n\
         .SH DESCRIPTION\nTOML: a key and its value on each line. Unknown keys are refused. Files named\n\
         .I *.toml\nin the directory\n.I service.toml.d\nbeside it override it, in the order of their names; \
         the command line overrides all.\n",
    );
    page.push_str(&manual_section(KEY_DOCS));
    page.push_str(".SH SEE ALSO\n.BR pkgtorrent\\-service (8)\n");
    page
}
