//! Which addresses Tagout dials for an agent: public unicast and nothing else. A name is public
//! property; what it resolves to may be a metadata service, a router's console or this very machine
//! (DNS rebinding). Forms that embed an IPv4 address are refused whole, because what they reach
//! depends on a translator somewhere else.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`; the cloud's metadata services live here.
    LinkLocal,
    /// RFC 1918, `fc00::/7` (also `fd00:ec2::254`), `fec0::/10`.
    Private,
    /// `100.64.0.0/10` (RFC 6598).
    SharedCarrier,
    /// `198.18.0.0/15`: benchmarking, and Tagout's own synthetic addresses.
    Benchmarking,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// RFC 5737, RFC 3849, RFC 9637.
    Documentation,
    /// `192.0.0.0/24`, `192.88.99.0/24`, `240.0.0.0/4`, and IPv6 outside `2000::/3`.
    Reserved,
    /// IPv4-mapped, IPv4-compatible, NAT64, 6to4 or Teredo.
    Embedded,
    /// An address of this machine.
    OwnInterface,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Private => "a private address",
            Self::SharedCarrier => "a carrier's shared address",
            Self::Benchmarking => "a benchmarking address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "a documentation address",
            Self::Reserved => "a reserved address",
            Self::Embedded => "an IPv6 address that embeds an IPv4 address",
            Self::OwnInterface => "an address of this machine",
        })
    }
}

/// Why `address` is not dialled, by what it is; `None` for public unicast. Whether it belongs to
/// this machine is [`is_own_interface`]'s question.
pub fn refused_class(address: IpAddr) -> Option<AddressClass> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

/// Whether `address` belongs to an interface of this machine, asked of the kernel by binding to it:
/// no list to parse, none to go stale. A kernel that answers anything but "not available" is taken
/// to say yes.
pub(crate) fn is_own_interface(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrNotAvailable,
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<AddressClass> {
    let class = match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [169, 254, ..] => AddressClass::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::SharedCarrier,
        [198, 18..=19, ..] => AddressClass::Benchmarking,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressClass::Documentation,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [224..=239, ..] => AddressClass::Multicast,
        [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => AddressClass::Reserved,
        _ => return None,
    };
    Some(class)
}

fn refused_v6(address: Ipv6Addr) -> Option<AddressClass> {
    let class = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        // ::a.b.c.d, ::ffff:a.b.c.d, ::ffff:0:a.b.c.d (RFC 4291 §2.5.5, RFC 2765).
        [0, 0, 0, 0, ..] => AddressClass::Embedded,
        // NAT64 (RFC 6052, RFC 8215), Teredo (RFC 4380), 6to4 (RFC 3056).
        [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..] => AddressClass::Embedded,
        // ISATAP (RFC 5214) under any prefix.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => AddressClass::Embedded,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Documentation,
        // 2001::/23 is for protocols (RFC 2928): benchmarking, ORCHID, anycast services.
        [0x2001, 0..=0x1ff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => return None,
        _ => AddressClass::Reserved,
    };
    Some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn invariant_1_addresses_that_are_not_public_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "198.18.0.1",
            "198.19.255.254",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "192.88.99.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::ffff:0:8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:0:53aa:64c::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001:2::1",
            "2001:20::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "2a00:1450::5efe:a00:1",
            "2a00:1450::200:5efe:a00:1",
        ] {
            assert!(refused_class(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_dialled() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:82a::200e",
            "2001:4860:4860::8888",
        ] {
            assert_eq!(refused_class(text.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn an_address_of_this_machine_is_known_as_one() {
        assert!(is_own_interface("127.0.0.1".parse().unwrap()));
        assert!(!is_own_interface("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn every_embedding_is_refused(low in any::<u32>()) {
            let v4 = Ipv4Addr::from(low);
            prop_assert!(refused_class(IpAddr::V6(v4.to_ipv6_mapped())).is_some());
            prop_assert!(refused_class(IpAddr::V6(v4.to_ipv6_compatible())).is_some());
            let nat64 = Ipv6Addr::from((0x64_ff9b_u128 << 96) | u128::from(low));
            prop_assert!(refused_class(IpAddr::V6(nat64)).is_some());
        }
    }
}
