//! The PROXY protocol header: refused, or read to its last byte and none beyond.
use jadeseal_server::proxy::{self, MAX_HEADER};
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// One input: the first bytes of a connection.
pub fn run(data: &[u8]) {
    let mut rest = data;
    // A slice is never waited for.
    let read = pin!(proxy::read(&mut rest)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(Ok(source)) = read else {
        assert!(read.is_ready());
        return;
    };
    let length = data.len() - rest.len();
    assert!((16..=MAX_HEADER).contains(&length));
    assert_eq!(length, 16 + usize::from(u16::from_be_bytes([data[14], data[15]])));
    assert!(data.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    match source {
        Some(ip) => {
            assert!(data[12] == 0x21 && matches!(data[13], 0x11 | 0x21), "{ip}");
            assert_eq!(ip, ip.to_canonical());
        }
        None => assert!(data[12] == 0x20 || matches!(data[13], 0x00 | 0x01)),
    }
}
