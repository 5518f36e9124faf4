//! Who a request comes from: the TCP peer, or whom a trusted proxy says it comes from.

use http::HeaderMap;
use ipnet::IpNet;
use jadeseal_auth::ClientCertificate;
use std::{net::IpAddr, str, sync::Arc};

/// Trusted addresses and networks that a configuration may name.
pub const MAX_TRUSTED: usize = 1_000;
/// Entries of `X-Forwarded-For` that are looked at, from the right. No honest chain of proxies is longer.
pub const MAX_ENTRIES: usize = 64;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies that are believed about where a connection or a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    trusted: Networks,
    protocol: Protocol,
}

/// How a trusted proxy tells the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The header `X-Forwarded-For` of each request.
    ForwardedFor,
    /// A header of PROXY protocol version 2 at the start of each connection.
    ProxyV2,
}

impl Protocol {
    /// The protocol that a configuration names.
    pub fn from_wire(name: &str) -> Option<Self> {
        match name {
            "x-forwarded-for" => Some(Protocol::ForwardedFor),
            "proxy-v2" => Some(Protocol::ProxyV2),
            _ => None,
        }
    }
}

impl Proxies {
    /// Proxies by address (`192.0.2.7`) or network (`10.0.0.0/8`). What is wrong with them is told in words.
    pub fn new(trusted: &[String], protocol: Protocol) -> Result<Self, String> {
        Ok(Proxies { trusted: Networks::new(trusted)?, protocol })
    }

    /// Whether a peer is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.contain(peer.to_canonical())
    }

    /// The source of a request that came from `peer`, itself trusted: the rightmost address that is not a trusted
    /// proxy's. What stands left of it, anybody may have written.
    ///
    /// An entry that is no address ends the walk; the source is then who reported it.
    pub fn walk(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut source = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for entry in lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).take(MAX_ENTRIES) {
            let Some(reported) = address(entry) else { break };
            source = reported;
            if !self.trusted.contain(source) {
                break;
            }
        }
        source
    }
}

/// `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let ip = text.parse().or_else(|_| text.parse().map(|with_port: std::net::SocketAddr| with_port.ip()));
    Some(ip.ok()?.to_canonical())
}

/// Networks in ascending order, none within another, so that a look-up takes one search among a thousand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Networks(Box<[IpNet]>);

impl Networks {
    fn new(texts: &[String]) -> Result<Self, String> {
        if !(1..=MAX_TRUSTED).contains(&texts.len()) {
            return Err(format!("trusted must name 1 to {MAX_TRUSTED} addresses or networks"));
        }
        let mut all: Vec<_> = texts.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        // A network comes right before those within it.
        all.sort_unstable();
        all.dedup_by(|later, kept| kept.contains(&*later));
        Ok(Networks(all.into()))
    }

    fn contain(&self, ip: IpAddr) -> bool {
        let after = self.0.partition_point(|network| network.network() <= ip);
        after.checked_sub(1).is_some_and(|last| self.0[last].contains(&ip))
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| format!("trusted: {text:?} is not an address or ADDRESS/PREFIX"))?,
    };
    if network.prefix_len() == 0 {
        return Err(format!("trusted: {text:?} would trust everybody"));
    }
    if network.addr() != network.network() {
        return Err(format!("trusted: {text:?} has bits beyond its prefix; the network is {}", network.trunc()));
    }
    // Addresses are compared as IPv4, so it would never match.
    if network.addr().to_canonical() != network.addr() {
        return Err(format!("trusted: {text:?} is IPv4 within IPv6; write it as IPv4"));
    }
    Ok(network)
}

/// Where the requests of one connection come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The peer, or whom the connection's PROXY header names.
    address: IpAddr,
    /// Only where the peer may say otherwise with each request.
    forwarded: Option<Arc<Proxies>>,
    /// TLS ends here.
    secure: bool,
    certificate: Option<Arc<ClientCertificate>>,
}

impl Origin {
    /// A connection from a peer whose own word is all there is, until [`Origin::named`].
    pub fn new(peer: IpAddr, proxies: Option<&Arc<Proxies>>) -> Self {
        let forwarded = proxies.filter(|p| p.protocol == Protocol::ForwardedFor && p.trusts(peer));
        Origin { address: peer.to_canonical(), forwarded: forwarded.cloned(), secure: false, certificate: None }
    }

    /// Whether a connection from a peer has to begin with a PROXY header.
    pub fn begins_with_header(peer: IpAddr, proxies: Option<&Arc<Proxies>>) -> bool {
        proxies.is_some_and(|p| p.protocol == Protocol::ProxyV2 && p.trusts(peer))
    }

    /// The same connection, made for somebody else.
    pub fn named(self, source: IpAddr) -> Self {
        Origin { address: source.to_canonical(), ..self }
    }

    /// The same connection, encrypted, perhaps with a client certificate.
    pub fn secured(self, certificate: Option<ClientCertificate>) -> Self {
        Origin { secure: true, certificate: certificate.map(Arc::new), ..self }
    }

    /// The client certificate of the connection.
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_deref()
    }

    /// Whether it is encrypted up to this listener. What is before a proxy is not known.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The source of one of its requests.
    pub fn of(&self, headers: &HeaderMap) -> IpAddr {
        match &self.forwarded {
            None => self.address,
            Some(proxies) => proxies.walk(headers, self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(trusted: &[&str], protocol: Protocol) -> Arc<Proxies> {
        let trusted: Vec<_> = trusted.iter().map(|t| (*t).to_owned()).collect();
        Arc::new(Proxies::new(&trusted, protocol).unwrap())
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(http::header::FORWARDED, HeaderValue::from_static("for=203.0.113.9"));
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    /// The source of a request from a trusted 10.0.0.1.
    fn source(lines: &[&str]) -> IpAddr {
        let proxies = proxies(&["10.0.0.0/8", "fd00::/8"], Protocol::ForwardedFor);
        Origin::new(ip("10.0.0.1"), Some(&proxies)).of(&headers(lines))
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_source() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["203.0.113.5, 192.0.2.1"], "192.0.2.1"),
            (&["10.9.9.9, 203.0.113.5,192.0.2.1 ,\t10.0.0.2"], "192.0.2.1"),
            (&["203.0.113.5", "192.0.2.1", "10.0.0.3, 10.0.0.2"], "192.0.2.1"),
            (&["203.0.113.5, 192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            // Ports, and IPv6 in all its forms.
            (&["203.0.113.5, 192.0.2.1:5678, 10.0.0.2:1"], "192.0.2.1"),
            (&["2001:db8::1, fd00::7"], "2001:db8::1"),
            (&["[2001:db8::1]:443, [fd00::7]:1"], "2001:db8::1"),
            (&["::ffff:192.0.2.1, ::ffff:10.0.0.2, [::ffff:10.0.0.3]:9"], "192.0.2.1"),
            // All trusted: the leftmost.
            (&["10.0.0.4, 10.0.0.3", "10.0.0.2"], "10.0.0.4"),
            // Nothing said.
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(source(lines), ip(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for garbage in [
            "unknown",
            "_hidden",
            "",
            " ",
            "192.0.2.1 192.0.2.2",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "192.0.2.01",
            "[2001:db8::1]",
            "2001:db8::1%eth0",
            "\"192.0.2.1\"",
            "for=192.0.2.1",
            "example.com",
            "Zürich",
        ] {
            assert_eq!(source(&[garbage]), ip("10.0.0.1"), "{garbage:?}");
            assert_eq!(source(&["192.0.2.1", garbage]), ip("10.0.0.1"), "{garbage:?}");
            assert_eq!(source(&[&format!("192.0.2.1, {garbage}, 10.0.0.3")]), ip("10.0.0.3"), "{garbage:?}");
        }
        assert_eq!(source(&["192.0.2.1,"]), ip("10.0.0.1"));
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = |trusted: usize| format!("192.0.2.1{}", ", 10.0.0.2".repeat(trusted));
        assert_eq!(source(&[&chain(MAX_ENTRIES - 1)]), ip("192.0.2.1"));
        assert_eq!(source(&[&chain(MAX_ENTRIES)]), ip("10.0.0.2"));
        let lines: Vec<_> = (0..MAX_ENTRIES).map(|_| "10.0.0.2").collect();
        assert_eq!(source(&[&["192.0.2.1"], &lines[1..]].concat()), ip("192.0.2.1"));
        assert_eq!(source(&[&["192.0.2.1"], &lines[..]].concat()), ip("10.0.0.2"));
    }

    #[test]
    fn nobody_else_is_believed() {
        let said = headers(&["192.0.2.1"]);
        let forwarded = proxies(&["10.0.0.0/8"], Protocol::ForwardedFor);
        for (peer, source) in [
            ("11.0.0.1", "11.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:11.0.0.1", "11.0.0.1"),
            ("::ffff:10.0.0.1", "192.0.2.1"),
        ] {
            assert_eq!(Origin::new(ip(peer), Some(&forwarded)).of(&said), ip(source), "{peer}");
            assert!(!Origin::begins_with_header(ip(peer), Some(&forwarded)));
        }
        assert_eq!(Origin::new(ip("::ffff:10.0.0.1"), None).of(&said), ip("10.0.0.1"));
        assert!(!Origin::begins_with_header(ip("10.0.0.1"), None));
        // One protocol, not the other.
        let proxy_v2 = proxies(&["10.0.0.0/8"], Protocol::ProxyV2);
        assert!(Origin::begins_with_header(ip("::ffff:10.0.0.1"), Some(&proxy_v2)));
        assert!(!Origin::begins_with_header(ip("11.0.0.1"), Some(&proxy_v2)));
        let origin = Origin::new(ip("10.0.0.1"), Some(&proxy_v2));
        assert_eq!(origin.of(&said), ip("10.0.0.1"));
        assert_eq!(origin.named(ip("::ffff:203.0.113.5")).of(&said), ip("203.0.113.5"));
    }

    #[test]
    fn networks_within_and_beside_each_other() {
        let trusted =
            ["10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", "255.255.255.255", "192.0.2.7", "0.0.0.0/1", "fd00::/8"];
        let proxies = proxies(&[&trusted[..], &["ffff::/16", "::/64"]].concat(), Protocol::ForwardedFor);
        for inside in ["10.1.2.3", "10.255.0.1", "0.0.0.0", "127.0.0.1", "192.0.2.7", "255.255.255.255"] {
            assert!(proxies.trusts(ip(inside)), "{inside}");
            assert!(proxies.trusts(ip(&format!("::ffff:{inside}"))), "{inside}");
        }
        for inside in ["fd00::", "fdff:ffff::1", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(proxies.trusts(ip(inside)), "{inside}");
        }
        for outside in ["128.0.0.0", "192.0.2.6", "192.0.2.8", "255.255.255.254", "fc00::1", "fe00::", "0:0:0:1::"] {
            assert!(!proxies.trusts(ip(outside)), "{outside}");
        }
    }
}
