//! A name or a Host value: one normal form, the same on both ports.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::host;

fuzz_target!(|bytes: &[u8]| host::fuzz::check(bytes));
