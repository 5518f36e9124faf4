//! Messages of RFC 5424, and what stands in for an acknowledgement that syslog does not have.

use crate::{
    SendError,
    batch::{Batch, Line, Seen, micros},
    cursor::Cursor,
    settings::SyslogSettings,
    transport::{Connection, UNACKNOWLEDGED},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long a stream must have lived on after something was sent until that counts as delivered: the other machine
/// has acknowledged it by then, or the connection is dead ([`UNACKNOWLEDGED`]).
const SETTLE: Duration = Duration::from_secs(15);
const _: () = assert!(SETTLE.as_secs() > UNACKNOWLEDGED.as_secs());

/// What was sent this many bytes ago on a stream that is alive has left all buffers on the way: they hold about 10 MiB
/// (`net.ipv4.tcp_wmem` and the receiver's `tcp_rmem`) by default.
const SETTLE_BYTES: u64 = 16 << 20;

/// Severities (RFC 5424 table 2).
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// Longest fields of the header (RFC 5424 section 6).
const MAX_HOSTNAME: usize = 255;
const MAX_MSGID: usize = 32;

pub(crate) struct SyslogSink {
    settings: SyslogSettings,
    format: Format,
    connection: Option<Connection>,
    /// What was sent on this stream and does not yet count as delivered, oldest first.
    sent: VecDeque<Sent>,
    sent_bytes: u64,
}

struct Sent {
    /// When its first and its last bytes were sent.
    since: Instant,
    at: Instant,
    /// Bytes sent on the stream up to here.
    bytes: u64,
    /// Where the export stands once this is delivered.
    cursor: Cursor,
}

impl SyslogSink {
    pub fn new(settings: SyslogSettings, log: String) -> Self {
        let format = Format {
            facility: settings.facility,
            enterprise: settings.enterprise,
            max_message: settings.max_message,
            hostname: printable(&rustix::system::uname().nodename().to_string_lossy(), MAX_HOSTNAME),
            process: std::process::id(),
            log,
        };
        SyslogSink { settings, format, connection: None, sent: VecDeque::new(), sent_bytes: 0 }
    }

    /// True where the system tells when the other side is gone.
    pub fn is_stream(&self) -> bool {
        self.settings.address.is_stream()
    }

    /// Returns when the system has taken the messages. `after` is where the export stands behind them.
    pub async fn send(&mut self, batch: &Batch, after: Cursor) -> Result<(), SendError> {
        let messages: Vec<_> = batch.lines().map(|line| self.format.message(&line)).collect();
        let sent = self.try_send(&messages).await;
        if sent.is_err() {
            self.lost();
            return sent;
        }
        if self.is_stream() {
            let now = Instant::now();
            self.sent_bytes += messages.iter().map(|m| m.len() as u64).sum::<u64>();
            // One entry a second is fine enough, and bounds their number.
            match self.sent.back_mut().filter(|last| self.sent_bytes - last.bytes < SETTLE_BYTES / 16) {
                Some(last) if now - last.since < Duration::from_secs(1) => {
                    *last = Sent { since: last.since, at: now, bytes: self.sent_bytes, cursor: after };
                }
                _ => self.sent.push_back(Sent { since: now, at: now, bytes: self.sent_bytes, cursor: after }),
            }
        }
        Ok(())
    }

    async fn try_send(&mut self, messages: &[Vec<u8>]) -> Result<(), SendError> {
        let connection = match self.connection.take() {
            Some(mut open) => {
                // What is written to a stream that the receiver has closed is lost without an error.
                open.check().await?;
                self.connection.insert(open)
            }
            None => {
                let open = Connection::open(&self.settings.address, &self.settings.tls).await?;
                self.connection.insert(open)
            }
        };
        connection.send(messages).await
    }

    fn lost(&mut self) {
        self.connection = None;
        self.sent.clear();
        self.sent_bytes = 0;
    }

    /// Up to where delivery is believed by now, if that has moved. Fails when the stream is gone: everything since has
    /// to be sent again.
    pub async fn settled(&mut self) -> Result<Option<Cursor>, SendError> {
        if self.sent.is_empty() {
            return Ok(None);
        }
        if let Some(connection) = &mut self.connection
            && let Err(e) = connection.check().await
        {
            self.lost();
            return Err(e);
        }
        let mut settled = None;
        while let Some(oldest) = self.sent.front()
            && (oldest.at.elapsed() >= SETTLE || self.sent_bytes - oldest.bytes >= SETTLE_BYTES)
        {
            settled = self.sent.pop_front();
        }
        Ok(settled.map(|sent| sent.cursor))
    }

    /// Closes the stream in order. When the receiver does so too, everything is delivered.
    pub async fn finish(&mut self) -> Option<Cursor> {
        let last = self.sent.back().map(|sent| sent.cursor);
        let closed = match self.connection.take() {
            Some(connection) => connection.close().await,
            None => false,
        };
        self.lost();
        last.filter(|_| closed)
    }
}

/// Makes messages.
struct Format {
    facility: u8,
    enterprise: u32,
    max_message: usize,
    hostname: String,
    process: u32,
    log: String,
}

impl Format {
    /// One message, without a frame. MSG is the record as it stands in the log, which is ASCII and so needs no byte
    /// order mark (MSG-ANY). A message that would be too long keeps header and structured data and says in
    /// `truncated` how long MSG was.
    fn message(&self, line: &Line<'_>) -> Vec<u8> {
        let (index, body, seen, severity) = match line {
            Line::Record { index, record } => {
                let seen = Seen::of(record);
                let severity = severity(&seen.code);
                (*index, record.to_vec(), seen, severity)
            }
            Line::Gap { from, to } => {
                let text = format!("records {from} to {to} are no longer in the audit log and were never exported");
                (*from, text.into_bytes(), Seen { action: "gap".into(), ..Seen::default() }, ERROR)
            }
        };
        let priority = u16::from(self.facility) * 8 + u16::from(severity);
        let time = if micros(&seen.time).is_some() { &*seen.time } else { "-" };
        let msgid = printable(&seen.action, MAX_MSGID);
        let mut out = format!("<{priority}>1 {time} {} jadeseal {} {msgid} ", self.hostname, self.process).into_bytes();
        out.extend_from_slice(format!("[jadeseal@{}", self.enterprise).as_bytes());
        push_param(&mut out, "log", &self.log);
        push_param(&mut out, "index", &index.to_string());
        push_param(&mut out, "request", &seen.request_id);
        push_param(&mut out, "account", &seen.account);
        if out.len() + 2 + body.len() > self.max_message {
            push_param(&mut out, "truncated", &body.len().to_string());
        }
        out.extend_from_slice(b"] ");
        out.extend_from_slice(&body);
        out.truncate(self.max_message);
        out
    }
}

fn severity(code: &str) -> u8 {
    match code {
        // A dry run is answered with this code: it was only asked.
        "" | "DryRunOperation" => INFORMATIONAL,
        code if code == "InternalError" || code.starts_with("InternalError.") => ERROR,
        _ => WARNING,
    }
}

/// ` name="value"`, with what RFC 5424 section 6.3.3 escapes. Values are cut so that the minimum of a message always
/// has room for all of them; those of records are shorter.
fn push_param(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!(" {name}=\"").as_bytes());
    for c in value.chars().take(64) {
        if matches!(c, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        out.push(if (' '..='~').contains(&c) { c as u8 } else { b'?' });
    }
    out.push(b'"');
}

/// A field of the header: printable ASCII without spaces, or the nil value.
fn printable(text: &str, max: usize) -> String {
    let text: String = text.chars().take(max).map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tls::TlsFiles, transport::Address};

    fn format(max_message: usize) -> Format {
        Format { facility: 13, enterprise: 0, max_message, hostname: "kms-1".into(), process: 42, log: "prod".into() }
    }

    fn message(max: usize, record: &str) -> String {
        let line = Line::Record { index: 7, record: record.as_bytes() };
        String::from_utf8(format(max).message(&line)).unwrap()
    }

    const RECORD: &str = r#"{"v":1,"time":"2026-11-24T02:15:22.123456Z","request_id":"f73b","account":"100000000001","action":"Encrypt","code":""}"#;

    #[test]
    fn a_stream_settles_with_time_or_bytes_and_not_once_it_is_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = Address::Tcp("127.0.0.1".into(), listener.local_addr().unwrap().port());
            let settings =
                SyslogSettings { address, facility: 13, enterprise: 0, max_message: 4096, tls: TlsFiles::default() };
            let mut sink = SyslogSink::new(settings, "l".to_owned());
            let at = |next| Cursor { next, leaf: None };
            let batch = |n| Batch::Records(vec![(n, RECORD.as_bytes().to_vec())]);
            sink.send(&batch(0), at(1)).await.unwrap();
            sink.send(&batch(1), at(2)).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            // Sent within a second: one entry.
            assert_eq!((sink.sent.len(), sink.settled().await.unwrap()), (1, None));
            sink.sent[0].at -= SETTLE;
            sink.sent[0].since -= SETTLE;
            sink.send(&batch(2), at(3)).await.unwrap();
            assert_eq!(sink.settled().await.unwrap(), Some(at(2)));
            assert_eq!(sink.settled().await.unwrap(), None);
            sink.sent[0].since -= SETTLE;
            sink.send(&batch(3), at(4)).await.unwrap();
            sink.sent_bytes += SETTLE_BYTES - 1;
            assert_eq!(sink.settled().await.unwrap(), Some(at(3)));
            sink.sent_bytes += 1;
            assert_eq!(sink.settled().await.unwrap(), Some(at(4)));
            // Closed by the receiver: what is not settled is lost, and nothing is written into the void.
            sink.send(&batch(4), at(5)).await.unwrap();
            drop(stream);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(sink.settled().await.is_err());
            sink.send(&batch(4), at(5)).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            drop(stream);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(sink.send(&batch(5), at(6)).await.is_err());
            assert_eq!(sink.finish().await, None);
        });
    }

    #[test]
    fn the_message_of_a_record() {
        let head = r#"<110>1 2026-11-24T02:15:22.123456Z kms-1 jadeseal 42 Encrypt "#;
        let data = r#"[jadeseal@0 log="prod" index="7" request="f73b" account="100000000001"] "#;
        assert_eq!(message(4096, RECORD), format!("{head}{data}{RECORD}"));
        for (code, priority) in [
            ("DryRunOperation", 110),
            ("InternalError", 107),
            ("InternalError.X", 107),
            ("InternalErrors", 108),
            ("AuthFailure.SignatureFailure", 108),
        ] {
            let record = RECORD.replace(r#""code":"""#, &format!(r#""code":"{code}""#));
            assert!(message(4096, &record).starts_with(&format!("<{priority}>1 ")), "{code}");
        }
    }

    #[test]
    fn what_a_record_says_cannot_break_the_message() {
        let record = r#"{"time":"now","request_id":"a\"b]c\\d\n","account":"é","action":"En crypt\n"}"#;
        let head = r#"<110>1 - kms-1 jadeseal 42 En?crypt? [jadeseal@0 log="prod" index="7" request="a\"b\]c\\d?" account="?"] "#;
        assert_eq!(message(4096, record), format!("{head}{record}"));
        assert_eq!(
            message(4096, "no JSON"),
            r#"<110>1 - kms-1 jadeseal 42 - [jadeseal@0 log="prod" index="7" request="" account=""] no JSON"#
        );
        let gap = String::from_utf8(format(1024).message(&Line::Gap { from: 3, to: 9 })).unwrap();
        assert!(gap.starts_with("<107>1 - kms-1 jadeseal 42 gap [jadeseal@0 log=\"prod\" index=\"3\""), "{gap}");
        assert!(gap.ends_with("records 3 to 9 are no longer in the audit log and were never exported"), "{gap}");
    }

    #[test]
    fn a_long_message_is_cut_behind_its_structured_data() {
        let long =
            RECORD.replace("100000000001", "\"\\]".repeat(60).replace('\\', "\\\\").replace('"', "\\\"").as_str());
        let long = long.replace("\"code\"", &format!("\"pad\":\"{}\",\"code\"", "x".repeat(70_000)));
        let full = message(1 << 20, &long);
        assert!(full.ends_with(&long) && !full.contains("truncated"));
        let cut = message(1024, &long);
        assert_eq!(cut.len(), 1024);
        let (head, rest) = cut.split_once("\"] ").unwrap();
        assert!(head.ends_with(&format!("truncated=\"{}", long.len())), "{head}");
        assert!(long.starts_with(rest) && !rest.is_empty());
    }

    #[test]
    fn the_longest_header_and_data_fit_the_smallest_message() {
        let hostile = "\\".repeat(300);
        let format =
            Format { hostname: "h".repeat(MAX_HOSTNAME), process: u32::MAX, log: "l".repeat(64), ..format(1024) };
        let record =
            serde_json::json!({"time": "2026-11-24T02:15:22.123456Z", "request_id": hostile, "account": hostile,
            "action": "A".repeat(64), "pad": "x".repeat(2000)})
            .to_string();
        let bytes = format.message(&Line::Record { index: u64::MAX, record: record.as_bytes() });
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("truncated=\"") && text.contains("\"] {"), "{text}");
    }
}
