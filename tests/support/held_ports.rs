//! Ports of brokers that are down. librdkafka's mock broker ends the whole process when its port is taken at the
//! moment it comes up, and any connection that somebody begins meanwhile may have got it.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, socket};

/// Given back when dropped. Who connects to one is refused, as nobody listens.
pub struct HeldPorts(#[expect(dead_code, reason = "held open")] Vec<OwnedFd>);

/// Holds those of `brokers`, `127.0.0.1:PORT,...`, on which nobody listens now.
pub fn hold_ports(brokers: &str) -> HeldPorts {
    let held = brokers.split(',').filter_map(|broker| {
        let address: SocketAddrV4 = broker.parse().ok()?;
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).ok()?;
        set_socket_reuseaddr(&socket, true).ok()?;
        bind(&socket, &address).ok()?;
        Some(socket)
    });
    HeldPorts(held.collect())
}
