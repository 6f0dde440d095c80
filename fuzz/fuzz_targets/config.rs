//! Configuration files: no panic, and no secret in an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::config;

fuzz_target!(|bytes: &[u8]| config::fuzz::check(bytes));
