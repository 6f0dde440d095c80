//! The records of UDP links, in both dialects: what decodes, encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::datagram;

fuzz_target!(|bytes: &[u8]| datagram::fuzz::check(bytes));
