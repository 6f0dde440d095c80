//! rathole's files with Traefik's labels: no panic, and what is given out loads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::import;

fuzz_target!(|bytes: &[u8]| import::fuzz::check(bytes));
