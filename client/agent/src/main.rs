//! The `pkgtorrent` program.

use std::process::ExitCode;

use clap::Parser;
use pkgtorrent_agent::args::Args;
use pkgtorrent_agent::command;

fn main() -> ExitCode {
    command::run(&Args::parse())
}
