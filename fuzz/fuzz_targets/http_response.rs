//! A response head: the same however it is cut, and sound once it is rewritten.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::http::response;

fuzz_target!(|bytes: &[u8]| response::fuzz::check(bytes));
