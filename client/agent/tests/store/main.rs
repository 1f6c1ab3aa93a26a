//! What the state directory and the store in it promise, on real file systems.

mod adding;
mod directory;
mod downloading;
mod junk;
mod keeping;
mod room;
mod sharing;
mod support;
