//! Sockets to syslog receivers.

use crate::{SendError, tls::TlsFiles};
use rustls::pki_types::ServerName;
use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, UdpSocket, UnixDatagram, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Longest time for connecting, and for the system to take a batch or a message.
const CONNECT: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);
/// After this time without an acknowledgement by the other machine a connection is dead (`TCP_USER_TIMEOUT`).
pub(crate) const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Datagrams that are sent without a pause, lest a receiver's queue overflow.
const BURST: usize = 32;
const PAUSE: Duration = Duration::from_millis(1);

/// Where a syslog receiver is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Udp(String, u16),
    Tcp(String, u16),
    Tls(String, u16),
    /// A datagram socket.
    Unix(PathBuf),
}

impl Address {
    /// `udp://HOST:PORT`, `tcp://HOST:PORT`, `tls://HOST:PORT` or `unix:/PATH`; a host is a name, an IPv4 address or an
    /// IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || "address must be udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:/PATH".to_owned();
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            // The system's limit for such names is 107 bytes.
            if !path.starts_with('/') || path.len() > 107 || path.contains('\0') {
                return Err(bad());
            }
            return Ok(Address::Unix(path.into()));
        }
        let (scheme, place) = text.split_once("://").ok_or_else(bad)?;
        if place.contains('@') {
            return Err("address must hold no user name or password".to_owned());
        }
        let (host, port) = place.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().ok().filter(|p| *p > 0 && port.bytes().all(|c| c.is_ascii_digit())).ok_or_else(bad)?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => v6.parse::<Ipv6Addr>().map_err(|_| bad())?.to_string(),
            None if !host.is_empty()
                && host.len() <= 253
                && host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)) =>
            {
                host.to_owned()
            }
            None => return Err(bad()),
        };
        match scheme {
            "udp" => Ok(Address::Udp(host, port)),
            "tcp" => Ok(Address::Tcp(host, port)),
            "tls" => Ok(Address::Tls(host, port)),
            _ => Err(bad()),
        }
    }

    pub fn is_stream(&self) -> bool {
        matches!(self, Address::Tcp(..) | Address::Tls(..))
    }
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open socket.
pub(crate) enum Connection {
    Udp(UdpSocket),
    Unix(UnixDatagram),
    Stream(Box<dyn Stream>),
}

impl Connection {
    pub async fn open(address: &Address, tls: &TlsFiles) -> Result<Self, SendError> {
        let opening = async {
            match address {
                Address::Udp(host, port) => udp(host, *port).await.map(Connection::Udp),
                Address::Tcp(host, port) => {
                    let stream = tcp(host, *port).await?;
                    Ok(Connection::Stream(Box::new(stream) as Box<dyn Stream>))
                }
                Address::Tls(host, port) => {
                    let config = tls.client_config()?;
                    let name = ServerName::try_from(host.clone()).map_err(SendError::new)?;
                    let stream = tcp(host, *port).await?;
                    let connector = TlsConnector::from(Arc::new(config));
                    let stream = connector.connect(name, stream).await.map_err(SendError::of("TLS handshake"))?;
                    Ok(Connection::Stream(Box::new(stream)))
                }
                Address::Unix(path) => {
                    let socket = UnixDatagram::unbound().map_err(SendError::of("socket"))?;
                    socket.connect(path).map_err(SendError::of("connect"))?;
                    Ok(Connection::Unix(socket))
                }
            }
        };
        timeout(CONNECT, opening).await.map_err(|_| SendError::new("no connection within 5 s"))?
    }

    /// Sends messages. Returns when the system has taken them, which says nothing about the receiver.
    pub async fn send(&mut self, messages: &[Vec<u8>]) -> Result<(), SendError> {
        let sending = async {
            match self {
                Connection::Stream(stream) => {
                    stream.write_all(&framed(messages)).await?;
                    return stream.flush().await;
                }
                Connection::Udp(socket) => {
                    for (i, message) in messages.iter().enumerate() {
                        paced(i).await;
                        socket.send(message).await?;
                    }
                }
                Connection::Unix(socket) => {
                    for message in messages {
                        socket.send(message).await?;
                    }
                }
            }
            Ok(())
        };
        let sent = timeout(WRITE, sending).await.map_err(|_| SendError::new("nothing taken within 10 s"))?;
        sent.map_err(SendError::of("send"))
    }

    /// Fails when the other side is known to be gone. Never waits.
    pub async fn check(&mut self) -> Result<(), SendError> {
        let Connection::Stream(stream) = self else { return Ok(()) };
        let mut bytes = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = poll_fn(|cx| match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending => Poll::Ready(None),
            });
            match read.await {
                None => return Ok(()),
                Some(Err(e)) => return Err(SendError::of("connection lost")(e)),
                Some(Ok(())) if buffer.filled().is_empty() => return Err(SendError::new("the receiver has closed")),
                // Syslog receivers have nothing to say.
                Some(Ok(())) => {}
            }
        }
    }

    /// Closes; true when the receiver has then closed its side in order, and so has read everything.
    pub async fn close(self) -> bool {
        let Connection::Stream(mut stream) = self else { return true };
        let closing = async {
            stream.shutdown().await?;
            let mut bytes = [0; 1024];
            loop {
                let mut buffer = ReadBuf::new(&mut bytes);
                poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buffer)).await?;
                if buffer.filled().is_empty() {
                    return io::Result::Ok(());
                }
            }
        };
        matches!(timeout(Duration::from_secs(1), closing).await, Ok(Ok(())))
    }
}

/// Octet counting (RFC 6587 section 3.4.1, RFC 5425 section 4.3).
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(messages.iter().map(|m| m.len() + 8).sum());
    for message in messages {
        out.extend_from_slice(message.len().to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(message);
    }
    out
}

async fn paced(sent: usize) {
    if sent > 0 && sent.is_multiple_of(BURST) {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, SendError> {
    let stream = TcpStream::connect((host, port)).await.map_err(SendError::of("connect"))?;
    stream.set_nodelay(true).map_err(SendError::of("connect"))?;
    let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, millis).map_err(|e| SendError::of("connect")(e.into()))?;
    Ok(stream)
}

async fn udp(host: &str, port: u16) -> Result<UdpSocket, SendError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((host, port)).await.map_err(SendError::of("resolve"))? {
        let any: SocketAddr =
            if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let connected = async {
            let socket = UdpSocket::bind(any).await?;
            // A receiver that is not there is then told by the system, where it can know.
            socket.connect(address).await?;
            io::Result::Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(SendError::of("connect")(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse = |text: &str| Address::parse(text).unwrap();
        assert_eq!(parse("udp://127.0.0.1:514"), Address::Udp("127.0.0.1".into(), 514));
        assert_eq!(parse("tcp://[::1]:601"), Address::Tcp("::1".into(), 601));
        assert_eq!(parse("tls://logs.example.com:6514"), Address::Tls("logs.example.com".into(), 6514));
        assert_eq!(parse("unix:/dev/log"), Address::Unix("/dev/log".into()));
        assert_eq!(parse("unix:///dev/log"), Address::Unix("/dev/log".into()));
        for bad in [
            "",
            "udp://",
            "udp://h",
            "udp://h:0",
            "udp://h:65536",
            "udp://h:+1",
            "udp://:514",
            "tcp://::1:514",
            "tcp://u:p@h:1",
            "tcp://h/x:1",
            "http://h:1",
            "unix:dev/log",
            "h:514",
            "tcp://[::g]:1",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn frames_count_octets() {
        assert_eq!(framed(&[b"<1>1 a".to_vec(), b"".to_vec(), vec![b'x'; 11]]), b"6 <1>1 a0 11 xxxxxxxxxxx");
    }
}
