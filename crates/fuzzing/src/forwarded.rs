//! `X-Forwarded-For`: whatever a request says, its source is the peer or an address that a trusted proxy reported, and
//! nothing left of the first address that is not trusted changes it.
use http::{HeaderMap, HeaderValue};
use jadeseal_server::forwarded::{Protocol, Proxies};
use std::{net::IpAddr, sync::LazyLock};

const NAME: &str = "x-forwarded-for";

static PROXIES: LazyLock<Proxies> = LazyLock::new(|| {
    let trusted = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"].map(str::to_owned);
    Proxies::new(&trusted, Protocol::ForwardedFor).expect("they are well formed")
});

/// One input: the lines of the header.
pub fn run(data: &[u8]) {
    let peer = IpAddr::from([10, 0, 0, 1]);
    let lines: Vec<_> =
        data.split(|b| *b == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).take(1_000).collect();
    let walk = |lines: &[HeaderValue]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(NAME, line.clone());
        }
        PROXIES.walk(&headers, peer)
    };
    let source = walk(&lines);
    assert_eq!(source, source.to_canonical());
    if source != peer {
        let said = lines.iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
        let said = said.filter_map(|entry| str::from_utf8(entry).ok()).map(str::trim);
        let address = |text: &str| text.parse().or_else(|_| text.parse().map(|a: std::net::SocketAddr| a.ip())).ok();
        let mut said = said.filter_map(address).map(|ip: IpAddr| ip.to_canonical());
        assert!(said.any(|ip| ip == source), "nobody said {source}");
    }
    if !PROXIES.trusts(source) {
        let spoofed = [&[HeaderValue::from_static("203.0.113.9, 10.0.0.9")], &lines[..]].concat();
        assert_eq!(walk(&spoofed), source);
    }
}
