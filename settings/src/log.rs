//! How a program's messages look: as lines for people and files, and as the journal wants them.

use std::fmt;
use std::io::IsTerminal;

use rustix::fs::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// In which systemd says which file is the journal's.
const JOURNAL: &str = "JOURNAL_STREAM";

/// Writes messages from now on: those that `RUST_LOG` names, else those that `default` does.
pub fn start_log(default: &str, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    if is_journal(std::env::var(JOURNAL).ok().as_deref()) {
        log.with_ansi(false).event_format(ForJournal(bare())).init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// Whether standard error is the journal's: who was started by a service may have sent it elsewhere.
fn is_journal(named: Option<&str>) -> bool {
    let Some((device, inode)) = named.and_then(|named| named.split_once(':')) else { return false };
    let found = fstat(rustix::stdio::stderr());
    found.is_ok_and(|found| device == found.st_dev.to_string() && inode == found.st_ino.to_string())
}

/// A message alone. The journal has its time, and takes its level from what stands before it.
struct ForJournal(Format<Full, ()>);

fn bare() -> Format<Full, ()> {
    tracing_subscriber::fmt::format().without_time().with_level(false).with_target(false)
}

impl<S, N> FormatEvent<S, N> for ForJournal
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
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// A level as syslog numbers it: see sd-daemon(3).
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
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_gets_levels_and_no_time() {
        let page = Page::default();
        let writer = page.clone();
        let log = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(ForJournal(bare()))
            .finish();
        tracing::subscriber::with_default(log, || {
            tracing::error!("a");
            tracing::warn!("b");
            tracing::info!(uid = 7, "c");
            tracing::debug!("d");
        });
        let text = String::from_utf8(page.0.lock().expect("nobody panicked").clone()).expect("text");
        assert_eq!(text, "<3>a\n<4>b\n<6>c uid=7\n<7>d\n");
    }

    #[test]
    fn only_the_file_that_is_named_is_the_journal() {
        let found = fstat(rustix::stdio::stderr()).expect("a standard error");
        let (device, inode) = (found.st_dev, found.st_ino);
        assert!(is_journal(Some(&format!("{device}:{inode}"))));
        for named in [None, Some(""), Some("1"), Some(&*format!("{device}:{}", inode + 1))] {
            assert!(!is_journal(named), "{named:?}");
        }
    }
}
