//! Hosts speak with each other and with peers of any other make, and nothing that a peer does takes more than its share.

mod greeting;
mod info;
mod limits;
mod messages;
mod support;
