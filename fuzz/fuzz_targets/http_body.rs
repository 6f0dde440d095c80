//! A body: the same content and the same end however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::http::body;

fuzz_target!(|bytes: &[u8]| body::fuzz::check(bytes));
