//! The agent's socket: how a host's commands talk to the agent.

pub mod client;
pub mod listener;
pub mod wire;
