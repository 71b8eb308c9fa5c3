//! Ports that are taken and at which nobody listens.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// An address at which nobody listens: connecting is refused. Nobody else is given the port while this is held,
/// as may happen to one that was free a moment ago.
#[derive(Debug)]
pub struct ClosedPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl ClosedPort {
    /// Takes a free port of this machine.
    ///
    /// # Errors
    ///
    /// Where no port can be bound.
    pub fn new() -> io::Result<Self> {
        let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    /// Its port, `127.0.0.1:…`.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        self.address
    }

    /// The address, as an endpoint.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Somebody listens there from now on, until the listener is dropped. Must be called inside a tokio runtime.
    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        bound(self.address)?.listen(BACKLOG)
    }
}

/// A socket with an address that it shares with others of ours, should they ask for just this one.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_port_is_kept_while_nobody_listens_and_somebody_may() {
        let closed_port = ClosedPort::new().unwrap();
        for _ in 0..3 {
            assert!(TcpStream::connect(closed_port.socket()).await.is_err());
            assert!(TcpListener::bind(closed_port.socket()).await.is_err(), "the port was given away");
            let listener = closed_port.listen().unwrap();
            TcpStream::connect(closed_port.socket()).await.unwrap();
            listener.accept().await.unwrap();
        }
    }
}
