//! Hears what the engine logs, on one thread alone.

use std::cell::RefCell;

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    static HEARD: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

struct Ear;

impl Log for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        HEARD.with_borrow(Option::is_some)
    }

    fn log(&self, record: &Record<'_>) {
        HEARD.with_borrow_mut(|heard| {
            if let Some(heard) = heard {
                heard.push(record.args().to_string());
            }
        });
    }

    fn flush(&self) {}
}

/// What is logged meanwhile from level `info` on.
pub fn listen(act: impl FnOnce()) -> Vec<String> {
    // It stays for good, and is deaf on other threads.
    if log::set_logger(&Ear).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    HEARD.set(Some(Vec::new()));
    act();
    HEARD.take().unwrap_or_default()
}
