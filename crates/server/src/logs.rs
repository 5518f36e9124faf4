//! Log lines: text for people, or a JSON object a line. Those that are written while a request is handled carry its id
//! and action.

use jadeseal_service::scope;
use std::{fmt, io::IsTerminal as _};
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log of the process, on standard error. To be called once.
pub fn start(level: LevelFilter, format: Format) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // A line that cannot be written is lost. To say so on standard error again would end the process with a panic: for a
        // full disk under its log, or a reader of its pipe that has gone.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Text => builder.map_event_format(|inner| WithRequest { inner, format }).init(),
        Format::Json => builder.json().map_event_format(|inner| WithRequest { inner, format }).init(),
    }
}

/// Puts the request behind what another format makes of a line.
struct WithRequest<F> {
    inner: F,
    format: Format,
}

impl<S, N, F> FormatEvent<S, N> for WithRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        scope::current(|request| {
            let Some((id, action)) = request else { return self.inner.format_event(ctx, writer, event) };
            let mut line = String::new();
            self.inner.format_event(ctx, Writer::new(&mut line), event)?;
            match self.format {
                Format::Text => writeln!(writer, "{} request_id={id} action={action}", line.trim_end()),
                // Neither needs escapes: an id has hexadecimal digits, an action is one of ours.
                Format::Json => match line.trim_end().strip_suffix('}') {
                    Some(open) => writeln!(writer, "{open},\"request_id\":\"{id}\",\"action\":\"{action}\"}}"),
                    None => writer.write_str(&line),
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Buffer;

        fn make_writer(&'a self) -> Buffer {
            self.clone()
        }
    }

    const ID: &str = "11111111-2222-4333-8444-555555555555";

    fn log() {
        tracing::warn!(n = 3, "outside");
        scope::within(ID, "Encrypt", || tracing::warn!(text = "quote \" and }", "inside"));
    }

    #[test]
    fn lines_of_a_request_carry_it() {
        let buffer = Buffer::default();
        let builder = tracing_subscriber::fmt().with_writer(buffer.clone()).with_ansi(false);
        let text = builder.map_event_format(|inner| WithRequest { inner, format: Format::Text }).finish();
        tracing::subscriber::with_default(text, log);
        let builder = tracing_subscriber::fmt().json().with_writer(buffer.clone());
        let json = builder.map_event_format(|inner| WithRequest { inner, format: Format::Json }).finish();
        tracing::subscriber::with_default(json, log);
        let all = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = all.lines().collect();
        assert_eq!(lines.len(), 4, "{all}");
        assert!(lines[0].ends_with("outside n=3"), "{all}");
        assert!(lines[1].ends_with(&format!(" request_id={ID} action=Encrypt")), "{all}");
        let parsed: Vec<serde_json::Value> = lines[2..].iter().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert!(parsed[0].get("request_id").is_none() && parsed[0]["fields"]["n"] == 3);
        assert_eq!((parsed[1]["request_id"].as_str(), parsed[1]["action"].as_str()), (Some(ID), Some("Encrypt")));
        assert_eq!(parsed[1]["fields"]["text"], "quote \" and }");
    }
}
