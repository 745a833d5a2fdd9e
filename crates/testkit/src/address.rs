//! Addresses for servers that a test starts later.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that systems give to outgoing connections (Linux: 32768 to 60999, others: from 49152): else a connection of
/// another test takes a port between the moment it was found free and the one in which its server binds it.
const PORTS: Range<u16> = 15_000..32_768;

/// How many ports were looked at in this process.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// Addresses on loopback on which nobody listens. No two calls of one process get the same.
///
/// # Panics
/// All ports are taken.
#[must_use]
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let ports = u32::from(PORTS.end - PORTS.start);
    // Processes that run side by side begin far from each other.
    let begin = std::process::id().wrapping_mul(7_919);
    let mut addresses = (0..ports).filter_map(|_| {
        let step = begin.wrapping_add(LOOKED_AT.fetch_add(1, Ordering::Relaxed)) % ports;
        let port = PORTS.start + u16::try_from(step).expect("less than the number of ports");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    [(); N].map(|()| addresses.next().expect("some of seventeen thousand ports are free"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_can_be_bound() {
        let [one, other] = free_addresses();
        let [third] = free_addresses();
        assert!(one != other && other != third && one != third);
        assert!([one, other, third].iter().all(|address| PORTS.contains(&address.port())));
        TcpListener::bind(one).unwrap();
    }
}
