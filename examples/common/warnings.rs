//! What the libraries warn of, on standard error.

use std::fmt;
use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// From here on each warning is a line on standard error that begins with `warning:`.
pub fn show() {
    let shown = tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_ansi(false)
        .with_writer(io::stderr)
        .event_format(Line)
        .try_init();
    debug_assert!(shown.is_ok(), "warnings are shown once");
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level();
        write!(
            writer,
            "{}: ",
            if *level == Level::ERROR {
                "error"
            } else {
                "warning"
            }
        )?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
