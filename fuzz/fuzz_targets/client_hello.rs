//! A TLS port's first bytes: the same outcome whole and byte by byte, and never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::client_hello;

fuzz_target!(|bytes: &[u8]| client_hello::fuzz::check(bytes));
