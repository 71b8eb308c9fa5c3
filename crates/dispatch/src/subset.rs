//! Which servers of a large fleet one client talks to.
//!
//! A thousand servers and fifty clients would keep fifty thousand connections, each with
//! keepalives, and each client would hear of a server too seldom to know it. So above
//! [`SUBSET_ABOVE`] endpoints a client takes those `m` whose `hash(client, endpoint)` are
//! largest (rendezvous hashing): it takes no talk between clients, every client's choice is
//! its own, and a server that comes or goes changes one place of a few clients.
//!
//! Invariant: the same client and endpoints give the same subset, whatever the order.

/// Endpoints above which a client takes a subset. Below, a full mesh is cheap.
pub const SUBSET_ABOVE: usize = 100;

/// Least size of a subset: a job of 16 chunks asks twice as many servers, and some are ejected.
pub const LEAST_SUBSET: usize = 48;

/// Connections that each server should have at least: with three, a model of 1,000 servers and 50
/// clients came within 6% of the full mesh at p99, with six within 5%; with one and a half it lost a
/// third.
pub const CLIENTS_PER_SERVER: usize = 6;

/// Places in `endpoints` of those that the client is to talk to, ascending: all of a fleet up to
/// [`SUBSET_ABOVE`], else `max(LEAST_SUBSET, CLIENTS_PER_SERVER · N / clients)`.
///
/// `clients` is the number of clients that there are, roughly; 1 where it is not known, which gives
/// the whole fleet.
#[must_use]
pub fn subset<S: AsRef<str>>(client: &str, clients: usize, endpoints: &[S]) -> Vec<usize> {
    let count = endpoints.len();
    let size = (CLIENTS_PER_SERVER * count).div_ceil(clients.max(1)).max(LEAST_SUBSET);
    if count <= SUBSET_ABOVE || size >= count {
        return (0..count).collect();
    }
    let seed = hash(0, client);
    let mut ranked: Vec<(u64, usize)> =
        endpoints.iter().enumerate().map(|(place, endpoint)| (hash(seed, endpoint.as_ref()), place)).collect();
    ranked.select_nth_unstable_by(size - 1, |a, b| b.cmp(a));
    let mut chosen: Vec<usize> = ranked.into_iter().take(size).map(|(_, place)| place).collect();
    chosen.sort_unstable();
    chosen
}

/// FNV-1a, then the finaliser of splitmix64: the same in every version and on every machine, which the
/// standard library's hashes do not promise.
fn hash(seed: u64, text: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut x = text.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, fnv);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn fleet(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("http://10.0.{}.{}:8080", i / 256, i % 256)).collect()
    }

    fn names(client: usize, endpoints: &[String]) -> HashSet<String> {
        subset(&format!("client-{client}"), 50, endpoints).into_iter().map(|place| endpoints[place].clone()).collect()
    }

    #[test]
    fn small_fleets_and_lone_clients_use_every_server() {
        assert_eq!(subset("a", 50, &fleet(100)).len(), 100);
        assert_eq!(subset("a", 1, &fleet(1_000)).len(), 1_000);
        assert_eq!(subset("a", 50, &fleet(1_000)).len(), 120);
        assert_eq!(subset("a", 1_000, &fleet(1_000)).len(), LEAST_SUBSET);
    }

    #[test]
    fn every_server_has_clients_and_none_has_all() {
        let fleet = fleet(1_000);
        let mut clients = vec![0; 1_000];
        for client in 0..50 {
            for place in subset(&format!("client-{client}"), 50, &fleet) {
                clients[place] += 1;
            }
        }
        assert!(clients.iter().all(|&count| (0..=18).contains(&count)), "{clients:?}");
        let alone = clients.iter().filter(|&&count| count == 0).count();
        assert!(alone <= 8, "{alone}");
    }

    #[test]
    fn a_subset_does_not_depend_on_order_and_barely_on_who_comes_and_goes() {
        let all = fleet(1_000);
        let before = names(7, &all);
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(names(7, &turned), before);
        turned.swap_remove(400);
        let after = names(7, &turned);
        assert!(before.symmetric_difference(&after).count() <= 2);
    }
}
