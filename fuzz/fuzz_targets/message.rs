//! Native messages: what decodes, encodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::message;

fuzz_target!(|bytes: &[u8]| message::fuzz::check(bytes));
