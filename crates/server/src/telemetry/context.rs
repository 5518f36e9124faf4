//! Which requests get a span, and whose trace it is part of (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).

use http::HeaderMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span of whoever called; none where the trace begins here.
    pub parent: Option<[u8; 8]>,
}

/// Decides which requests are looked at.
#[derive(Debug)]
pub struct Sampler {
    /// Of all values of 64 bits, those up to here are taken; none: no request is.
    threshold: Option<u64>,
    count: AtomicU64,
}

impl Sampler {
    /// Takes a share of requests, 0 to 1.
    pub fn new(ratio: f64) -> Self {
        // Saturating: 1 is all of them.
        let threshold = (ratio > 0.0).then_some((ratio * u64::MAX as f64) as u64);
        Sampler { threshold, count: AtomicU64::new(0) }
    }

    /// Whether the next request is taken. Evenly among requests, and without a random number for each.
    fn takes(&self) -> bool {
        let Some(threshold) = self.threshold else { return false };
        // Multiples of the golden ratio fall evenly.
        self.count.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) <= threshold
    }

    /// The place of a request in a trace, if it gets a span: the caller's trace where he samples it, else a new one
    /// for its share.
    pub fn context(&self, headers: &HeaderMap) -> Option<Context> {
        if let Some(parent) = headers.get("traceparent") {
            // A caller who does not sample does not want spans; one who cannot be understood is as good as silent.
            match parse(parent.as_bytes()) {
                Some((context, true)) => return Some(context),
                Some((_, false)) => return None,
                None => {}
            }
        }
        if !self.takes() {
            return None;
        }
        let mut trace_id = [0; 16];
        jadeseal_crypto::random::fill(&mut trace_id).ok()?;
        Some(Context { trace_id, parent: None })
    }
}

/// `00-<trace>-<span>-<flags>`, and whether it is sampled. Later versions may have more behind another `-`.
pub fn parse(value: &[u8]) -> Option<(Context, bool)> {
    const LENGTH: usize = 55;
    let head = value.get(..LENGTH)?;
    let fits = match &head[..2] {
        b"ff" => false,
        b"00" => value.len() == LENGTH,
        _ => value.len() == LENGTH || value[LENGTH] == b'-',
    };
    if !fits || [2, 35, 52].iter().any(|at| head[*at] != b'-') {
        return None;
    }
    let hex = |from: usize, to: usize| data_encoding::HEXLOWER.decode(&head[from..to]).ok();
    hex(0, 2)?;
    let trace_id: [u8; 16] = hex(3, 35)?.try_into().ok()?;
    let parent: [u8; 8] = hex(36, 52)?.try_into().ok()?;
    let flags = *hex(53, 55)?.first()?;
    (trace_id != [0; 16] && parent != [0; 8]).then_some((Context { trace_id, parent: Some(parent) }, flags & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([("traceparent".parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_sampled_caller_is_followed() {
        let never = Sampler::new(0.0);
        let context = never.context(&headers(PARENT)).unwrap();
        assert_eq!((context.trace_id[0], context.parent.unwrap()[1]), (0x4b, 0xf0));
        assert_eq!(never.context(&HeaderMap::new()), None);
        let always = Sampler::new(1.0);
        assert_eq!(always.context(&headers(&PARENT.replace("-01", "-00"))), None, "he does not sample");
        let begun = always.context(&HeaderMap::new()).unwrap();
        assert!(begun.parent.is_none() && Some(begun) != always.context(&HeaderMap::new()));
    }

    #[test]
    fn what_is_no_parent() {
        assert!(parse(format!("01{}-more", &PARENT[2..]).as_bytes()).is_some());
        for wrong in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &format!("ff{}", &PARENT[2..]),
            &format!("01{}more", &PARENT[2..]),
            &PARENT.replace("4bf9", "4BF9"),
            &PARENT.replace('-', "_"),
            &PARENT.replace("00f067aa0ba902b7", "0000000000000000"),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
        // Whatever the bytes are: an answer, never a panic.
        for at in 0..PARENT.len() {
            for byte in 0..=255 {
                let mut bytes = PARENT.as_bytes().to_vec();
                bytes[at] = byte;
                parse(&bytes);
            }
        }
    }

    #[test]
    fn a_share_is_taken() {
        for (ratio, least, most) in [(0.0, 0, 0), (0.01, 90, 110), (0.5, 4900, 5100), (1.0, 10_000, 10_000)] {
            let sampler = Sampler::new(ratio);
            let taken = (0..10_000).filter(|_| sampler.takes()).count();
            assert!((least..=most).contains(&taken), "{ratio}: {taken}");
        }
    }
}
