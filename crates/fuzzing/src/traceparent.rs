//! The header `traceparent`: whatever is taken for one is written as it was read.
use data_encoding::HEXLOWER;
use jadeseal_server::telemetry::parse_traceparent;

/// One input: the value of the header.
pub fn run(data: &[u8]) {
    let Some((context, sampled)) = parse_traceparent(data) else { return };
    let parent = context.parent.expect("a caller has a span");
    assert!(context.trace_id != [0; 16] && parent != [0; 8]);
    let flags = HEXLOWER.decode(&data[53..55]).expect("two digits")[0];
    assert_eq!(sampled, flags & 1 == 1);
    let written = format!("-{}-{}-", HEXLOWER.encode(&context.trace_id), HEXLOWER.encode(&parent));
    assert_eq!(&data[2..53], written.as_bytes());
    assert!(data.len() == 55 || data[55] == b'-');
}
