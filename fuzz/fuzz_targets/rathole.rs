//! rathole's messages: what decodes, encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::rathole;

fuzz_target!(|bytes: &[u8]| rathole::fuzz::check(bytes));
