//! How much of a missing run one connection takes.
//!
//! A run that each of several connections could work at is not cut into as many equal parts: they would not end
//! together, and who is done first would have nothing left to do. Instead each request takes a part of what is
//! still missing, so that the parts get shorter towards the end, and no part is so short that its round trip counts.

use pkgtorrent_protocol::PieceLen;

use crate::settings::Settings;

/// One request takes at most this part of what is missing, divided among the connections. Two leaves as much for a
/// second round as the first round took.
const ROUNDS_AHEAD: u64 = 2;

/// How many pieces to take from the front of a missing run of `run_len` bytes.
///
/// `missing_len` is the length of all that is missing, of any file. Neither what is taken nor what is left of the run is
/// shorter than [`Settings::range_len_min`], unless the run itself is.
pub(crate) fn share(settings: &Settings, piece_len: PieceLen, run_len: u64, missing_len: u64) -> u32 {
    let connections = settings.connections() as u64;
    if connections == 1 {
        return piece_len.pieces(run_len) as u32;
    }
    let wished_len = (missing_len / (ROUNDS_AHEAD * connections)).max(settings.range_len_min).max(1);
    let piece_bytes = u64::from(piece_len.bytes());
    let pieces_min = settings.range_len_min.div_ceil(piece_bytes).max(1);
    // The file's last piece may hold a single byte of it, so only whole pieces make a part long enough.
    let parts_max = run_len / piece_bytes / pieces_min;
    let parts = (run_len / wished_len).min(parts_max).max(1);
    (piece_len.pieces(run_len) / parts) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkgtorrent_protocol::PieceLen;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn settings(origin_connections: usize) -> Settings {
        Settings { origin_connections, ..Settings::default() }
    }

    /// The parts in MiB that a single run is taken in, one after the other, until nothing of it is missing.
    fn parts(mib: u64, connections: usize) -> Vec<u64> {
        let mut left = mib * MIB;
        let mut parts = Vec::new();
        while left > 0 {
            let taken = share(&settings(connections), PieceLen::Large, left, left);
            parts.push(u64::from(taken));
            left -= u64::from(taken) * MIB;
        }
        parts
    }

    #[test]
    fn a_large_run_is_shared_and_the_shares_get_shorter() {
        let parts_of_96 = parts(96, 6);
        assert_eq!(parts_of_96[0], 8);
        assert_eq!(parts_of_96[parts_of_96.len() - 6..], [1; 6]);
        assert!(parts_of_96.len() > 20 && parts_of_96.len() < 45, "{parts_of_96:?}");
        assert_eq!(parts(6, 6), [1; 6]);
        assert_eq!(parts(6, 1), [6], "one connection has nobody to share with");
    }

    #[test]
    fn a_small_run_stays_together() {
        assert_eq!(share(&settings(6), PieceLen::Small, 640 << 10, 0), 20);
        assert_eq!(share(&settings(6), PieceLen::Medium, 2 * MIB - 1, 0), 16);
        assert_eq!(share(&settings(6), PieceLen::Medium, 2 * MIB, 0), 8);
    }

    #[test]
    fn while_there_is_much_else_to_do_a_run_stays_together() {
        assert_eq!(share(&settings(6), PieceLen::Medium, 8 * MIB, 600 * MIB), 64);
        assert_eq!(share(&settings(6), PieceLen::Medium, 8 * MIB, 8 * MIB), 8);
    }

    proptest! {
        #[test]
        fn neither_part_is_shorter_than_the_least(
            size in 1_u64..200 * MIB,
            range_len_min in 0_u64..3 * MIB,
            elsewhere in 0_u64..200 * MIB,
            connections in 1_usize..20,
            class in 0_usize..3,
        ) {
            let class = PieceLen::ALL[class];
            let settings = Settings { range_len_min, ..settings(connections) };
            let taken = share(&settings, class, size, size + elsewhere);
            prop_assert!(taken >= 1 && u64::from(taken) <= class.pieces(size));
            if u64::from(taken) < class.pieces(size) {
                let taken_len = u64::from(taken) * u64::from(class.bytes());
                prop_assert!(taken_len >= range_len_min);
                prop_assert!(size - taken_len >= range_len_min);
            }
        }
    }
}
