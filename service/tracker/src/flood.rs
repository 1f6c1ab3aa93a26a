//! How often one address may announce: a token bucket per address, in a table that cannot grow without bound.

use std::net::IpAddr;
use std::time::Duration;

use crate::hashing::{AddressHash, AddressMap};

/// A token bucket's shape, and how many of them are kept.
///
/// The limit is per address and not per network: hundreds of hosts of one subnet announce in the same second, which is
/// what the tracker is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloodLimit {
    /// How many announces an address may make at once. A host joins all swarms of a plan by one of them; several agents
    /// on one machine, or some hundred hosts behind one router, may start in the same second, and announce for their
    /// leases in the next.
    pub burst: u32,
    /// How many announces a second an address may make for ever. Zero is taken as one. While it downloads, a host may
    /// announce for its leases every 0.3 seconds; of hosts behind one address, 64 are listed and can be leased
    /// something. Announces cost some ten microseconds each: this many are half a per cent of a core.
    pub refill_per_second: u32,
    /// The most addresses remembered. Beyond it those that were silent for longest are forgotten, and begin anew.
    pub addresses_max: usize,
}

impl Default for FloodLimit {
    fn default() -> Self {
        Self { burst: 1000, refill_per_second: 250, addresses_max: 65_536 }
    }
}

/// All buckets.
///
/// A bucket is one number, the moment at which it will be full again. There are two generations of them: what an
/// announce touches moves to the young one, and when the young one is full or has lasted as long as an empty bucket
/// takes to fill, it becomes the old one and the old one goes. So nothing is ever searched, and in quiet times only
/// full buckets are forgotten, of which there is nothing to remember.
pub(crate) struct FloodGuard {
    token_nanos: u64,
    capacity_nanos: u64,
    generation_len_max: usize,
    young: AddressMap<IpAddr, u64>,
    old: AddressMap<IpAddr, u64>,
    turned_nanos: u64,
}

impl FloodGuard {
    pub(crate) fn new(limit: FloodLimit, hash: &AddressHash) -> Self {
        let token_nanos = 1_000_000_000 / u64::from(limit.refill_per_second.max(1));
        Self {
            token_nanos,
            capacity_nanos: token_nanos.saturating_mul(u64::from(limit.burst)),
            generation_len_max: (limit.addresses_max / 2).max(1),
            young: AddressMap::with_hasher(hash.clone()),
            old: AddressMap::with_hasher(hash.clone()),
            turned_nanos: 0,
        }
    }

    /// Takes a token of this address, or says how long it must wait for one.
    pub(crate) fn take(&mut self, ip: IpAddr, now: Duration) -> Result<(), Duration> {
        let now_nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        if now_nanos.saturating_sub(self.turned_nanos) >= self.capacity_nanos
            || self.young.len() >= self.generation_len_max
        {
            self.turn(now_nanos);
        }
        let old = &self.old;
        let full_at = self.young.entry(ip).or_insert_with(|| old.get(&ip).copied().unwrap_or(0));
        let next_full_at = (*full_at).max(now_nanos).saturating_add(self.token_nanos);
        let missing = (next_full_at - now_nanos).saturating_sub(self.capacity_nanos);
        if missing > 0 {
            return Err(Duration::from_nanos(missing));
        }
        *full_at = next_full_at;
        Ok(())
    }

    fn turn(&mut self, now_nanos: u64) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        self.turned_nanos = now_nanos;
    }

    /// How many addresses are remembered.
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn guard(addresses_max: usize) -> FloodGuard {
        let limit = FloodLimit { burst: 10, refill_per_second: 5, addresses_max };
        FloodGuard::new(limit, &AddressHash::new(9))
    }

    fn ip(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let mut guard = guard(100);
        let start = Duration::from_secs(7);
        let taken = (0..20).filter(|_| guard.take(ip(1), start).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(guard.take(ip(1), start), Err(Duration::from_millis(200)));
        assert_eq!(guard.take(ip(2), start), Ok(()), "another address has its own");
        assert!(guard.take(ip(1), start + Duration::from_millis(199)).is_err());
        assert!(guard.take(ip(1), start + Duration::from_millis(200)).is_ok());
        // Ten seconds at twice the rate: what the refill gives passes, the rest does not.
        let later = |n: u64| start + Duration::from_millis(300 + n * 100);
        let taken = (0..100).filter(|&n| guard.take(ip(1), later(n)).is_ok()).count();
        assert!((48..=51).contains(&taken), "{taken}");
    }

    #[test]
    fn as_many_hosts_as_one_address_may_list_can_all_announce_for_their_leases() {
        let mut guard = FloodGuard::new(FloodLimit::default(), &AddressHash::new(9));
        let hosts = crate::Settings::default().peers_per_address_max;
        // All of them join in one instant, and announce every 0.3 seconds for half a minute.
        for round in 0..100 {
            let now = Duration::from_millis(300 * round);
            for host in 0..hosts {
                assert_eq!(guard.take(ip(1), now), Ok(()), "host {host} in round {round}");
            }
        }
    }

    #[test]
    fn a_flood_is_not_forgotten_when_generations_turn() {
        let mut guard = guard(100);
        // Two seconds fill a bucket and turn a generation; the address never stops for five of them.
        let taken = (0..1000).filter(|n| guard.take(ip(1), Duration::from_millis(n * 10)).is_ok()).count();
        assert!((58..=61).contains(&taken), "{taken}");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_was_silent() {
        let mut guard = guard(100);
        for _ in 0..10 {
            assert!(guard.take(ip(0), Duration::ZERO).is_ok());
        }
        for number in 1..100_000 {
            assert!(guard.take(ip(number), Duration::ZERO).is_ok());
            if number.is_multiple_of(30) {
                assert!(guard.take(ip(0), Duration::ZERO).is_err(), "who keeps flooding is remembered");
            }
            assert!(guard.len() <= 101, "{}", guard.len());
        }
    }
}
