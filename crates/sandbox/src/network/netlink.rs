//! As much of rtnetlink (rtnetlink(7), linux/rtnetlink.h) as two namespaces and a veth pair need: a message builder and a socket that
//! waits for each acknowledgement. No external `ip`, no library for five requests.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{OwnedFd, RawFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const HEADER: usize = 16;

/// A request under construction: header, fixed part, attributes.
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Switch a link on.
    pub(crate) fn link_up(index: u32) -> Message {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        message.interface(index, libc::IFF_UP as u32);
        message
    }

    /// A veth pair; the peer has the same index, in the network namespace of the descriptor.
    pub(crate) fn veth(index: u32, name: &str, peer: &str, namespace: RawFd) -> Message {
        let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        message.interface(index, 0);
        message.string(IFLA_IFNAME, name);
        message.nest(IFLA_LINKINFO, |info| {
            info.string(IFLA_INFO_KIND, "veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |other| {
                    other.interface(index, 0);
                    other.string(IFLA_IFNAME, peer);
                    other.attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes());
                });
            });
        });
        message
    }

    /// An address with its prefix on a link.
    pub(crate) fn address(index: u32, address: Ipv4Addr, prefix: u8) -> Message {
        let mut message = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        message
            .bytes
            .extend([libc::AF_INET as u8, prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        message.bytes.extend(index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &address.octets());
        message.attribute(IFA_ADDRESS, &address.octets());
        message
    }

    /// Makes a whole prefix this namespace's own ("AnyIP").
    pub(crate) fn local_route(index: u32, destination: Ipv4Addr, prefix: u8) -> Message {
        Message::route_in_local_table(
            index,
            destination,
            prefix,
            libc::RTN_LOCAL,
            libc::RT_SCOPE_HOST,
        )
    }

    /// Excepts a prefix from [`Message::local_route`]: the local table is asked first, so the exception has to stand in it.
    pub(crate) fn unicast_route_in_local_table(
        index: u32,
        destination: Ipv4Addr,
        prefix: u8,
    ) -> Message {
        Message::route_in_local_table(
            index,
            destination,
            prefix,
            libc::RTN_UNICAST,
            libc::RT_SCOPE_LINK,
        )
    }

    fn route_in_local_table(
        index: u32,
        destination: Ipv4Addr,
        prefix: u8,
        kind: u8,
        scope: u8,
    ) -> Message {
        let mut message = Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        // struct rtmsg: family, destination and source prefix lengths, TOS, table, protocol, scope, type; then flags.
        message.bytes.extend([
            libc::AF_INET as u8,
            prefix,
            0,
            0,
            libc::RT_TABLE_LOCAL,
            libc::RTPROT_BOOT,
            scope,
            kind,
        ]);
        message.bytes.extend(0u32.to_ne_bytes());
        message.attribute(RTA_DST, &destination.octets());
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        message
    }

    fn new(kind: u16, flags: i32) -> Message {
        let mut bytes = vec![0; HEADER];
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Message { bytes }
    }

    /// `struct ifinfomsg`; `flags` are set and are also the mask of what changes.
    fn interface(&mut self, index: u32, flags: u32) {
        self.bytes.extend([libc::AF_UNSPEC as u8, 0, 0, 0]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
    }

    fn string(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |message| message.bytes.extend(value));
    }

    /// An attribute whose value is what `fill` appends: length and kind first, padded to four bytes after.
    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) {
        let start = self.bytes.len();
        self.bytes.extend([0, 0]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The bytes to send: with length and sequence number.
    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = (self.bytes.len() as u32).to_ne_bytes();
        self.bytes[..4].copy_from_slice(&length);
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A routing socket; it stays in the network namespace in which it was opened.
pub(crate) struct Route {
    socket: OwnedFd,
    sequence: u32,
}

impl Route {
    /// Opens one in this process's network namespace.
    pub(crate) fn open() -> io::Result<Route> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // NETLINK_ROUTE is protocol 0.
        )?;
        Ok(Route {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and waits for the kernel's answer to it.
    pub(crate) fn request(&mut self, message: Message) -> io::Result<()> {
        self.sequence += 1;
        rustix::net::send(
            &self.socket,
            &message.finish(self.sequence),
            SendFlags::empty(),
        )?;
        let mut buffer = [0; 8192];
        loop {
            let (length, _) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::empty())?;
            if let Some(answer) = parse_acknowledgement(&buffer[..length], self.sequence) {
                return if answer == 0 {
                    Ok(())
                } else {
                    Err(io::Error::from_raw_os_error(-answer))
                };
            }
        }
    }
}

/// The error number (0 or negative) of the acknowledgement with this sequence number, if it is in `bytes`.
fn parse_acknowledgement(mut bytes: &[u8], sequence: u32) -> Option<i32> {
    let word =
        |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    while !bytes.is_empty() {
        let length = word(bytes, 0)? as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        if i32::from(kind) == libc::NLMSG_ERROR && word(bytes, 8)? == sequence {
            return Some(word(bytes, HEADER)? as i32);
        }
        bytes = bytes.get(length.max(HEADER).next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_answer_of_any_bytes_never_panics(bytes: Vec<u8>, sequence: u32) {
            parse_acknowledgement(&bytes, sequence);
        }

        #[test]
        fn every_message_says_its_own_length_in_whole_words(name in "[a-z]{1,15}", index: u32, sequence: u32) {
            let bytes = Message::veth(index, &name, &name, 3).finish(sequence);
            prop_assert_eq!(bytes.len() % 4, 0);
            prop_assert_eq!(&bytes[..4], (bytes.len() as u32).to_ne_bytes());
        }
    }

    #[test]
    fn the_kernel_answers() {
        // Any process may ask for what it may not do; the error is the kernel's and proves that the framing is right.
        let mut route = Route::open().unwrap();
        let error = route.request(Message::link_up(u32::MAX >> 1)).unwrap_err();
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EPERM)),
            "{error}"
        );
    }
}
