//! What placing promises, on real file systems.

mod destinations;
mod file_systems;
mod killed;
mod new_inode;
mod support;
