//! Whether anything listens where ClickHouse is to answer: a connection without a request, which costs no
//! slot of the proxy.

use std::io::{self, Error, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Connects to one of the URL's addresses, and hangs up.
///
/// # Errors
/// If none is known, or none takes a connection within that time.
pub fn reach(url: &str, within: Duration) -> io::Result<()> {
    let uri: ureq::http::Uri = url.parse().map_err(Error::other)?;
    let host = uri.host().ok_or(ErrorKind::InvalidInput)?;
    let usual = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let address = (
        host.trim_matches(['[', ']']),
        uri.port_u16().unwrap_or(usual),
    );
    let mut failed = Error::from(ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, within) {
            Ok(_) => return Ok(()),
            Err(e) => failed = e,
        }
    }
    Err(failed)
}
