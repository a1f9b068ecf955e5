//! What counts as one client: in IPv6 a customer has at least a /64, so that single addresses mean nothing there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An IPv4 address, or an IPv6 /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4(u32),
    /// The upper half of the address.
    V6(u64),
}

impl Source {
    /// The source of an address; IPv4 addresses that are mapped into IPv6 count as IPv4.
    pub(crate) fn of(ip: IpAddr) -> Source {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Source::V4(ip.to_bits()),
            IpAddr::V6(ip) => Source::V6(upper(ip)),
        }
    }

    /// The same as a network.
    pub(crate) fn net(self) -> IpNet {
        match self {
            Source::V4(bits) => Ipv4Net::from(Ipv4Addr::from_bits(bits)).into(),
            Source::V6(bits) => {
                Ipv6Net::new_assert(Ipv6Addr::from_bits(u128::from(bits) << 64), 64).into()
            }
        }
    }
}

/// The neighbourhood of an address: an IPv4 /24, or an IPv6 /56.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    pub(crate) fn of(ip: IpAddr) -> Network {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Network::V4(ip.to_bits() >> 8),
            IpAddr::V6(ip) => Network::V6(upper(ip) >> 8),
        }
    }
}

fn upper(ip: Ipv6Addr) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = ip.octets();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn sources_and_networks() {
        assert_ne!(Source::of(ip("192.0.2.1")), Source::of(ip("192.0.2.2")));
        assert_eq!(Source::of(ip("192.0.2.1")), Source::of(ip("::ffff:192.0.2.1")));
        assert_eq!(Source::of(ip("2001:db8:0:1::1")), Source::of(ip("2001:db8:0:1:ffff::2")));
        assert_ne!(Source::of(ip("2001:db8:0:1::1")), Source::of(ip("2001:db8:0:2::1")));
        assert_eq!(Network::of(ip("192.0.2.1")), Network::of(ip("192.0.2.200")));
        assert_ne!(Network::of(ip("192.0.2.1")), Network::of(ip("192.0.3.1")));
        assert_eq!(Network::of(ip("2001:db8:0:1::1")), Network::of(ip("2001:db8:0:ff::1")));
        assert_ne!(Network::of(ip("2001:db8:0:1::1")), Network::of(ip("2001:db8:0:100::1")));
        assert_eq!(Source::of(ip("2001:db8:0:1::9")).net().to_string(), "2001:db8:0:1::/64");
        assert_eq!(Source::of(ip("192.0.2.1")).net().to_string(), "192.0.2.1/32");
    }
}
