//! What the allocator keeps of freed memory.

/// Gives it back to the system. For a process that is idle for most of its life after a busy second: the C library
/// keeps what was freed for the next one, which is right while there is one.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim has no safe form; it touches no memory that is in use")]
pub(crate) fn give_back_what_is_free() {
    // SAFETY: any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back_what_is_free() {}
