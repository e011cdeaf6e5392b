//! Logs: to stderr; under systemd with journald's priorities and without what journald adds itself.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// How much is said.
#[derive(Clone, Copy, Debug)]
pub struct Loudness {
    /// `-v`, counted.
    pub verbose: u8,
    /// `-q`, counted.
    pub quiet: u8,
    /// The daemon says more than a client.
    pub daemon: bool,
}

impl Loudness {
    fn filter(self) -> LevelFilter {
        let base: i16 = if self.daemon { 3 } else { 2 };
        match base + i16::from(self.verbose) - i16::from(self.quiet) {
            ..=0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

/// Starts logging. A second call changes nothing.
pub fn start(loudness: Loudness) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(loudness.filter());
    // systemd sets this for what it connects to the journal.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        let _ = builder.event_format(Journal).try_init();
    } else {
        let _ = builder.with_target(false).try_init();
    }
}

/// `<6>printer=ender3: state=printing`, a priority in front of every line (sd-daemon(3)).
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
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
        let mut text = String::new();
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                text.push_str(span.name());
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                    && !fields.is_empty()
                {
                    text.push('{');
                    text.push_str(fields);
                    text.push('}');
                }
                text.push_str(": ");
            }
        }
        context.format_fields(Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        for line in text.lines() {
            writeln!(writer, "<{priority}>{line}")?;
        }
        Ok(())
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn journald_gets_a_priority_on_every_line_and_no_time() {
        let sink = Sink::default();
        let target = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Journal)
            .with_writer(move || target.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("printer", name = "ender3").entered();
            tracing::error!("first\nsecond");
        });
        let text = String::from_utf8(sink.0.lock().expect("lock").clone()).expect("text");
        assert_eq!(text, "<3>printer{name=\"ender3\"}: first\n<3>second\n");
    }

    #[test]
    fn loudness_adds_up() {
        let loud = |verbose, quiet, daemon| {
            Loudness {
                verbose,
                quiet,
                daemon,
            }
            .filter()
        };
        assert_eq!(loud(0, 0, true), LevelFilter::INFO);
        assert_eq!(loud(0, 0, false), LevelFilter::WARN);
        assert_eq!(loud(1, 0, true), LevelFilter::DEBUG);
        assert_eq!(loud(0, 9, true), LevelFilter::OFF);
    }
}
