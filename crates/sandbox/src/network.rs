//! The two network namespaces: the gates' and the agent's, joined by a veth pair that is the only link of either.
//!
//! What must stay true (invariant 1): the agent's namespace has loopback and `agent0`, no route beyond 198.18.0.0/15; the gates' has
//! loopback and `gates0`, answers for every synthetic address itself and forwards nothing. Neither has IPv6 except `::1`. No packet leaves
//! for the host: what leaves is what the supervisor, reading the listeners, sends by itself.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, sockopt};
use rustix::thread::LinkNameSpaceType;

use self::netlink::{Message, Route};
use crate::sandbox::Listeners;

pub(crate) mod netlink;

/// Address of the name server, and the gates' end of the link.
const GATES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The agent's end of the link.
const AGENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The synthetic addresses, 198.18.0.0/15 (RFC 2544: for benchmarks between isolated networks, so nobody's real address).
const SYNTHETIC: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// Index of loopback in every network namespace.
const LOOPBACK: u32 = 1;
/// Index that we choose for the link's ends.
const LINK: u32 = 2;

/// The agent's namespace under construction, while this process is still in it.
pub(crate) struct AgentNetwork {
    namespace: fs::File,
    route: Route,
}

impl AgentNetwork {
    /// Takes hold of the agent's namespace, in which this process must be.
    pub(crate) fn begin() -> io::Result<AgentNetwork> {
        no_ipv6_on_new_links()?;
        Ok(AgentNetwork {
            namespace: fs::File::open("/proc/self/ns/net")?,
            route: Route::open()?,
        })
    }
}

/// Both namespaces, while this process is in the gates'.
pub(crate) struct Networks {
    agent: AgentNetwork,
    route: Route,
    /// Name server UDP and TCP.
    sockets: Vec<OwnedFd>,
}

/// Sets up the gates' namespace, in which this process must be now: loopback and the name server's sockets.
pub(crate) fn build_gates(agent: AgentNetwork) -> io::Result<Networks> {
    let mut route = Route::open()?;
    forbid_forwarding()?;
    no_ipv6_on_new_links()?;
    route.request(Message::link_up(LOOPBACK))?;
    let sockets = vec![
        listen(SocketType::DGRAM, GATES, 53)?,
        listen(SocketType::STREAM, GATES, 53)?,
    ];
    Ok(Networks {
        agent,
        route,
        sockets,
    })
}

impl Networks {
    /// Joins the two by a veth pair, which gives each its addresses and routes.
    pub(crate) fn join(&mut self) -> io::Result<()> {
        let (gates, agent) = (&mut self.route, &mut self.agent.route);
        gates.request(Message::veth(
            LINK,
            "gates0",
            "agent0",
            self.agent.namespace.as_fd().as_raw_fd(),
        ))?;
        gates.request(Message::address(LINK, GATES, SYNTHETIC.1))?;
        gates.request(Message::link_up(LINK))?;
        // The gates answer for every synthetic address; but the agent's own is the agent's.
        gates.request(Message::local_route(LINK, SYNTHETIC.0, SYNTHETIC.1))?;
        gates.request(Message::unicast_route_in_local_table(LINK, AGENT, 32))?;

        agent.request(Message::link_up(LOOPBACK))?;
        agent.request(Message::address(LINK, AGENT, SYNTHETIC.1))?;
        agent.request(Message::link_up(LINK))
    }

    /// Listens on these ports of the gates, moves this process into the agent's namespace for good, and listens on these ports of its
    /// loopback.
    pub(crate) fn listen(
        mut self,
        ports: &[u16],
        loopback_ports: &[u16],
    ) -> io::Result<GatesSockets> {
        for &port in ports {
            self.sockets
                .push(listen(SocketType::STREAM, Ipv4Addr::UNSPECIFIED, port)?);
        }
        let kind = Some(LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(self.agent.namespace.as_fd(), kind)?;
        for &port in loopback_ports {
            self.sockets
                .push(listen(SocketType::STREAM, Ipv4Addr::LOCALHOST, port)?);
        }
        Ok(GatesSockets(self.sockets))
    }
}

/// Name server UDP and TCP, then one listener a port, then one a port of the agent's loopback.
pub(crate) struct GatesSockets(Vec<OwnedFd>);

impl GatesSockets {
    /// The sockets, to be sent to the supervisor.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}

/// A new namespace may inherit forwarding from the host's; the gates' must not have it.
fn forbid_forwarding() -> io::Result<()> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    if fs::read_to_string(path)?.trim() == "0" {
        Ok(())
    } else {
        fs::write(path, "0")
    }
}

/// A kernel without IPv6 has no such file, and needs none.
fn no_ipv6_on_new_links() -> io::Result<()> {
    match fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A socket of the gates. It is bound before its address exists, since the address comes with the link.
fn listen(kind: SocketType, address: Ipv4Addr, port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
    sockopt::set_ip_freebind(&socket, true)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(address, port))?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, 1024)?;
    }
    Ok(socket)
}

/// A TCP socket of the namespace in which this process is, not connected to anything yet.
pub(crate) fn unconnected(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// The received sockets as [`Networks::listen`] made them; `None` if their number is wrong.
pub(crate) fn parse_sockets(
    mut sockets: Vec<OwnedFd>,
    ports: &[u16],
    loopback_ports: &[u16],
) -> Option<Listeners> {
    if sockets.len() != ports.len() + loopback_ports.len() + 2 {
        return None;
    }
    let loopback = sockets.split_off(ports.len() + 2);
    let loopback = loopback.into_iter().map(TcpListener::from);
    let gates = sockets.split_off(2).into_iter().map(TcpListener::from);
    let name_server_tcp = TcpListener::from(sockets.pop()?);
    let name_server_udp = UdpSocket::from(sockets.pop()?);
    Some(Listeners {
        name_server_udp,
        name_server_tcp,
        gates: ports.iter().copied().zip(gates).collect(),
        loopback: loopback_ports.iter().copied().zip(loopback).collect(),
    })
}
