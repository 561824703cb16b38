//! What Tandem, which runs in this process, logs as a warning or an error.

use std::io::Write;
use std::sync::{Arc, Mutex};

/// Collects what is logged from now on. One for each test binary.
pub struct Warnings {
    log: Arc<Mutex<Vec<u8>>>,
}

impl Warnings {
    pub fn collect() -> Self {
        let log = Arc::new(Mutex::new(Vec::new()));
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::WARN)
            .with_ansi(false)
            .with_writer({
                let log = Arc::clone(&log);
                move || Collector(Arc::clone(&log))
            })
            .init();
        tracing::warn!("the log is collected");
        let seen = std::mem::take(&mut *log.lock().expect("the log"));
        assert!(!seen.is_empty(), "a warning would be seen");
        Self { log }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().expect("the log")).into_owned()
    }
}

struct Collector(Arc<Mutex<Vec<u8>>>);

impl Write for Collector {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
