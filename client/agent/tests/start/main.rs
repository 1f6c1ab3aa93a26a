//! What `fetch` promises about agents: that it finds or starts one, and what it leaves behind.

mod agents;
mod in_process;
mod support;
