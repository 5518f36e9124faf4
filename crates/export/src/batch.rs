//! What is sent at once, and the line that a record becomes.

use serde::Deserialize;
use std::borrow::Cow;

/// Records that follow each other, or the notice of a gap.
pub(crate) enum Batch {
    /// Never empty.
    Records(Vec<(u64, Vec<u8>)>),
    /// These are no longer in the log and never will be sent.
    Gap { from: u64, to: u64 },
}

/// One line for a receiver.
pub(crate) enum Line<'a> {
    Record { index: u64, record: &'a [u8] },
    Gap { from: u64, to: u64 },
}

impl Batch {
    /// Index of the first record.
    pub fn first(&self) -> u64 {
        match self {
            Batch::Records(records) => records.first().map_or(0, |(index, _)| *index),
            Batch::Gap { from, .. } => *from,
        }
    }

    /// Index of the last record.
    pub fn last(&self) -> u64 {
        match self {
            Batch::Records(records) => records.last().map_or(0, |(index, _)| *index),
            Batch::Gap { to, .. } => *to,
        }
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        match self {
            Batch::Records(records) => records.len() as u64,
            Batch::Gap { .. } => 0,
        }
    }

    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let (records, gap) = match self {
            Batch::Records(records) => (records.as_slice(), None),
            Batch::Gap { from, to } => (&[][..], Some(Line::Gap { from: *from, to: *to })),
        };
        records.iter().map(|(index, record)| Line::Record { index: *index, record }).chain(gap)
    }

    /// The batch as JSON lines.
    pub fn json_lines(&self, log: &str) -> Vec<u8> {
        let bytes = match self {
            Batch::Records(records) => records.iter().map(|(_, r)| r.len() + log.len() + 64).sum(),
            Batch::Gap { .. } => 128,
        };
        let mut out = Vec::with_capacity(bytes);
        for line in self.lines() {
            line.push_json(&mut out, log);
            out.push(b'\n');
        }
        out
    }
}

impl Line<'_> {
    /// The bytes of the record stand in the line as they stand in the log: its leaf hash is that of what lies between
    /// `"record":` and the last brace. `log` is a name, see [`Settings`](crate::Settings).
    fn push_json(&self, out: &mut Vec<u8>, log: &str) {
        match self {
            Line::Record { index, record } => {
                out.extend_from_slice(format!("{{\"index\":{index},\"log\":\"{log}\",\"record\":").as_bytes());
                out.extend_from_slice(record);
                out.push(b'}');
            }
            Line::Gap { from, to } => {
                let gap = format!("{{\"index\":{from},\"log\":\"{log}\",\"gap\":{{\"from\":{from},\"to\":{to}}}}}");
                out.extend_from_slice(gap.as_bytes());
            }
        }
    }
}

/// What an export looks at in a record. Absent members are empty: a record of a later version is sent like others.
#[derive(Default, Deserialize)]
pub(crate) struct Seen<'a> {
    #[serde(borrow, default)]
    pub time: Cow<'a, str>,
    #[serde(borrow, default)]
    pub request_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub account: Cow<'a, str>,
    #[serde(borrow, default)]
    pub action: Cow<'a, str>,
    #[serde(borrow, default)]
    pub code: Cow<'a, str>,
}

impl<'a> Seen<'a> {
    pub fn of(record: &'a [u8]) -> Self {
        serde_json::from_slice(record).unwrap_or_default()
    }
}

/// Microseconds since 1970 of a record's time, `YYYY-MM-DDTHH:MM:SS.ffffffZ`; none for anything else.
pub(crate) fn micros(time: &str) -> Option<u64> {
    let bytes = time.as_bytes();
    let shape = b"0000-00-00T00:00:00.000000Z";
    let fits = |(c, s): (&u8, &u8)| if *s == b'0' { c.is_ascii_digit() } else { c == s };
    if bytes.len() != shape.len() || !bytes.iter().zip(shape).all(fits) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if year < 1970 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    // Days since 1970-01-01 (proleptic Gregorian calendar), in years that begin on 1 March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    let seconds = days.checked_sub(719_468)? * 86_400 + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some(seconds * 1_000_000 + number(20..26)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_the_records_bytes() {
        let record = br#"{"v":1,"user_agent":"a\"b\\"}"#.to_vec();
        let batch = Batch::Records(vec![(7, record.clone()), (8, b"{}".to_vec())]);
        let text = batch.json_lines("kms-1");
        let expected = "{\"index\":7,\"log\":\"kms-1\",\"record\":{\"v\":1,\"user_agent\":\"a\\\"b\\\\\"}}\n\
                        {\"index\":8,\"log\":\"kms-1\",\"record\":{}}\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!((batch.first(), batch.last(), batch.records()), (7, 8, 2));
        let gap = Batch::Gap { from: 3, to: 9 };
        assert_eq!(gap.json_lines("l"), b"{\"index\":3,\"log\":\"l\",\"gap\":{\"from\":3,\"to\":9}}\n");
        assert_eq!((gap.first(), gap.last(), gap.records()), (3, 9, 0));
    }

    #[test]
    fn times_of_records() {
        assert_eq!(micros("1970-01-01T00:00:00.000000Z"), Some(0));
        assert_eq!(micros("2026-11-24T02:15:22.123456Z"), Some(1_795_486_522_123_456));
        assert_eq!(micros("2024-02-29T23:59:59.999999Z"), Some(1_709_251_199_999_999));
        assert_eq!(micros("9999-12-31T23:59:59.999999Z"), Some(253_402_300_799_999_999));
        for bad in [
            "",
            "2026-11-24",
            "1969-12-31T23:59:59.999999Z",
            "2026-00-24T02:15:22.123456Z",
            "2026-11-24T02:15:22.123456+",
        ] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }

    #[test]
    fn members_of_other_records_are_empty() {
        let seen = Seen::of(br#"{"v":9,"time":"t","action":"A","resources":[{}],"code":"x\"y"}"#);
        assert_eq!((&*seen.time, &*seen.action, &*seen.account, &*seen.code), ("t", "A", "", "x\"y"));
        assert_eq!(Seen::of(b"no JSON").action, "");
        assert_eq!(Seen::of(br#"{"action":7}"#).action, "");
    }
}
