//! A proxy's answers: any bytes are taken or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::proto::passage;

fuzz_target!(|bytes: &[u8]| passage::fuzz::check(bytes));
