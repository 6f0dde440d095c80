//! PROXY headers: any cut gives the same one, and what is read can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::proxy_header;

fuzz_target!(|bytes: &[u8]| proxy_header::fuzz::check(bytes));
