//! The agent and the `pkgtorrent` command line.

pub mod args;
pub mod command;
pub mod control;
pub mod engine;
pub mod files;
pub mod hours;
pub mod log;
mod memory;
pub mod metering;
pub mod origin;
pub mod peer;
pub mod place;
pub mod records;
pub mod reload;
pub mod settings;
pub mod start;
pub mod store;
pub mod text;
pub mod user;
