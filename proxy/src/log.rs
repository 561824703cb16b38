//! Logging: one line an event to standard error, human or JSON. Set up once, by the program, never by the library.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{Log, LogFormat};

/// These libraries tell at `info` and `debug` what our own modules tell better.
const QUIET: &[&str] = &["mysql_async", "opensrv_mysql", "hyper", "axum", "mio"];

/// Why logging can't start.
#[derive(Debug, Error)]
pub enum Error {
    #[error("log.level is not a filter: {0}")]
    Filter(#[from] ParseError),
    #[error("logging was set up before: {0}")]
    Twice(#[from] TryInitError),
}

/// Puts another filter in the place of the one there is, once logging has started. Like that, it is the whole process's.
static REPLACE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// Starts logging for the whole process.
pub fn init(log: &Log) -> Result<(), Error> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.level)?)
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Human => {
            let builder = builder
                .with_ansi(wants_colour())
                .with_target(false)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init()?;
            replace_by(move |filter| handle.reload(filter));
        }
        LogFormat::Json => {
            let builder = builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().try_init()?;
            replace_by(move |filter| handle.reload(filter));
        }
    }
    std::panic::set_hook(Box::new(tell_panic));
    Ok(())
}

fn replace_by(reload: impl Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync + 'static) {
    // Logging starts once, and replacing fails only where it is gone.
    let _ = REPLACE.set(Box::new(move |filter| {
        let _ = reload(filter);
    }));
}

/// From now on this is logged; nothing happens where logging was not started. The level was checked with the configuration.
pub fn filter_by(level: &str) {
    if let (Some(replace), Ok(filter)) = (REPLACE.get(), filter(level)) {
        replace(filter);
    }
}

/// Says where it happened. Only a fixed text is shown beside it: one that was formatted may quote what a client sent.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(tracing::field::display);
    let thread = std::thread::current();
    let text = panic.payload().downcast_ref::<&str>().copied();
    let text = text.unwrap_or("the message may hold a client's data");
    tracing::error!(place, thread = thread.name(), "panic: {text}");
}

/// https://no-color.org: any value that isn't empty switches colour off.
fn wants_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The operator's filter, with libraries kept quiet unless it names them.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let mut directives = level.to_owned();
    for library in QUIET {
        if !level.contains(library) {
            directives.push_str(&format!(",{library}=warn"));
        }
    }
    EnvFilter::builder().parse(directives)
}
