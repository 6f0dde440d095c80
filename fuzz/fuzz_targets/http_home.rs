//! What a home answers: the same for the visitor however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::proto::http_entry;

fuzz_target!(|bytes: &[u8]| http_entry::fuzz::check(bytes));
