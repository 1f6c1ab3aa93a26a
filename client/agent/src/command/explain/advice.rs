//! What can be done about what an install met.

use pkgtorrent_protocol::report::FallbackReason;

use crate::records::Wait;

/// Why packages were left to the package manager, and what to do.
pub(super) fn of_fallback(reason: FallbackReason) -> (&'static str, &'static str) {
    match reason {
        FallbackReason::NoPlan => (
            "the service gave no plan",
            "see whether it runs and can be reached: `curl http://SERVICE/healthz`, and `service` in `pkgtorrent config`",
        ),
        FallbackReason::Unknown => (
            "the service does not have them",
            "see whether their repository lies below the service's root, and whether its metadata is as new as this host's",
        ),
        FallbackReason::NotBrought => (
            "neither hosts nor the mirror brought them",
            "see the service's log, whether the mirror sends files at all, and what stands between it and this host",
        ),
        FallbackReason::Wrong => (
            "what came is not what the metadata says",
            "the files on the mirror and their metadata do not belong together: synchronise the mirror again",
        ),
        FallbackReason::NoRoom => (
            "there was no room",
            "make room below the state directory, or see `store_max_bytes` and `free_space_min`",
        ),
        FallbackReason::NotPlaced => (
            "they were here and could not be put into place",
            "see whether the package manager's cache can be written and has room",
        ),
        FallbackReason::Interrupted => (
            "the package manager did not wait for them",
            "where nobody interrupted it, its plugin's `timeout` is too short for this line",
        ),
        FallbackReason::Other => ("for another reason", "the agent's log may say more"),
    }
}

/// What was waited for, and why that may be.
pub(super) fn of_wait(why: Wait) -> &'static str {
    match why {
        Wait::Placing => "packages were put into place, by the disk and by `fetch`",
        Wait::Plan => "the service was asked where packages are",
        Wait::Info => "what is in a bundle was read",
        Wait::OtherInstall => "another install of this host fetches the same",
        Wait::Silence => {
            "those that were asked brought nothing: slow or dead peers, or a slow or dead mirror"
        }
        Wait::FirstCopy => "other hosts fetch the first copies: that spares the mirror, and they were slow",
        Wait::Lid => "the mirror's lid is reached: all hosts share what its `origin.max_rate` lets it send",
        Wait::Other => "a reason that this program does not know",
    }
}
