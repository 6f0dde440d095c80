//! A login and the users that it may be of: no panic, and nobody is let in without a check.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::proto::admin_guard;

fuzz_target!(|bytes: &[u8]| admin_guard::fuzz::check(bytes));
