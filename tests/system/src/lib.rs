//! What the system tests share: hosts that ask for sets and check what they get, byte for byte.
