//! PROXY protocol version 2, as a trusted proxy sends it at the start of a connection
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, section 2.2).

use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, ParseError, Protocol};
use std::{io, net::IpAddr};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Largest header that is read, bytes. What proxies add to the addresses takes some hundreds.
pub const MAX_HEADER: usize = 4096;

/// Signature, version and command, family and transport, length of the rest.
const FIXED: usize = 16;

/// Why a connection does not begin with a header that is accepted.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It ended, or failed, before the header was there.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no header of version 2.
    #[error("no PROXY protocol v2 header: {0}")]
    Malformed(#[from] ParseError),
    /// It is larger than [`MAX_HEADER`].
    #[error("a PROXY protocol header of {0} bytes")]
    TooLong(usize),
    /// It is about something else than TCP over IPv4 or IPv6.
    #[error("a PROXY protocol header that is not about TCP")]
    NotTcp,
}

/// Reads a header and not a byte more. Gives the source that it names; none where the source is the peer itself.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, HeaderError> {
    let mut fixed = [0; FIXED];
    stream.read_exact(&mut fixed).await?;
    // Whatever else it is, it has no length that says how much to read.
    if !fixed.starts_with(PROTOCOL_PREFIX) {
        return Err(ParseError::Prefix.into());
    }
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MAX_HEADER {
        return Err(HeaderError::TooLong(length));
    }
    let mut header = vec![0; length];
    header[..FIXED].copy_from_slice(&fixed);
    stream.read_exact(&mut header[FIXED..]).await?;
    // With LOCAL the family means nothing, so that the parser must not hold the length against it.
    if header[12] & 0x0f == 0 {
        header[13] = 0;
    }
    source(&Header::try_from(header.as_slice())?)
}

fn source(header: &Header) -> Result<Option<IpAddr>, HeaderError> {
    match (header.command, header.protocol, header.addresses) {
        (Command::Local, ..) => Ok(None),
        (_, Protocol::Stream, Addresses::IPv4(ip)) => Ok(Some(ip.source_address.into())),
        (_, Protocol::Stream, Addresses::IPv6(ip)) => Ok(Some(IpAddr::from(ip.source_address).to_canonical())),
        (_, Protocol::Stream | Protocol::Unspecified, Addresses::Unspecified) => Ok(None),
        _ => Err(HeaderError::NotTcp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [PROTOCOL_PREFIX, &[command, family], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        [&[192, 0, 2, 1, 10, 0, 0, 1][..], &4000u16.to_be_bytes(), &443u16.to_be_bytes()].concat()
    }

    fn v6(source: &str) -> Vec<u8> {
        let ip = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        [&ip(source)[..], &ip("fd00::1"), &4000u16.to_be_bytes(), &443u16.to_be_bytes()].concat()
    }

    /// What is read of a header, with the rest of the connection behind it, which has to be left alone.
    async fn read_from(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
        let all = [header, b"GET / HTTP/1.1\r\n"].concat();
        let mut stream = &all[..];
        let source = read(&mut stream).await?;
        assert_eq!(stream, b"GET / HTTP/1.1\r\n");
        Ok(source)
    }

    #[tokio::test]
    async fn a_header_names_the_source() {
        let ip = |text: &str| Some(text.parse().unwrap());
        let tlv = [0x04, 0, 3, 1, 2, 3, 0xea, 0, 1, 9, 0xff];
        let long = vec![0; MAX_HEADER - FIXED - 12];
        for (header, source) in [
            (header(PROXY, 0x11, &v4()), ip("192.0.2.1")),
            (header(PROXY, 0x11, &[&v4()[..], &tlv].concat()), ip("192.0.2.1")),
            (header(PROXY, 0x11, &[v4(), long].concat()), ip("192.0.2.1")),
            (header(PROXY, 0x21, &v6("2001:db8::1")), ip("2001:db8::1")),
            (header(PROXY, 0x21, &[&v6("2001:db8::1")[..], &tlv].concat()), ip("2001:db8::1")),
            (header(PROXY, 0x21, &v6("::ffff:192.0.2.1")), ip("192.0.2.1")),
            // The peer itself.
            (header(LOCAL, 0x00, &[]), None),
            (header(LOCAL, 0x00, &tlv), None),
            (header(LOCAL, 0x11, &v4()), None),
            (header(LOCAL, 0x11, &[]), None),
            (header(LOCAL, 0x99, &[7]), None),
            (header(PROXY, 0x00, &[]), None),
            (header(PROXY, 0x01, &v4()), None),
        ] {
            assert_eq!(read_from(&header).await.unwrap(), source, "{header:02x?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let mut other_signature = header(PROXY, 0x11, &v4());
        other_signature[11] = b'\r';
        for (bytes, words) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 4000 443\r\n".to_vec(), "no PROXY protocol v2 header"),
            (b"POST / HTTP/1.1\r\nhost: kms.example\r\n".to_vec(), "no PROXY protocol v2 header"),
            (other_signature, "no PROXY protocol v2 header"),
            (header(0x11, 0x11, &v4()), "no PROXY protocol v2 header"),
            (header(0x22, 0x11, &v4()), "no PROXY protocol v2 header"),
            (header(PROXY, 0x41, &v4()), "no PROXY protocol v2 header"),
            (header(PROXY, 0x13, &v4()), "no PROXY protocol v2 header"),
            // Shorter than the addresses of its family.
            (header(PROXY, 0x11, &v4()[..11]), "no PROXY protocol v2 header"),
            (header(PROXY, 0x21, &v4()), "no PROXY protocol v2 header"),
            (header(PROXY, 0x10, &v4()), "not about TCP"),
            (header(PROXY, 0x12, &v4()), "not about TCP"),
            (header(PROXY, 0x22, &v6("2001:db8::1")), "not about TCP"),
            (header(PROXY, 0x31, &[b'/'; 216]), "not about TCP"),
            (header(PROXY, 0x02, &[]), "not about TCP"),
            (header(PROXY, 0x11, &[v4(), vec![0; MAX_HEADER - FIXED - 11]].concat()), "header of 4097 bytes"),
            (header(LOCAL, 0x00, &vec![0; 0xffff]), "header of 65551 bytes"),
        ] {
            let error = read_from(&bytes).await.unwrap_err().to_string();
            assert!(error.contains(words), "{bytes:02x?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_header_that_ends_early_is_refused() {
        let whole = header(PROXY, 0x11, &v4());
        for end in 0..whole.len() {
            let error = read(&mut &whole[..end]).await.unwrap_err();
            assert!(matches!(error, HeaderError::Io(_)), "{end}: {error}");
        }
    }
}
