//! Frames of the tunnel: any cut gives the same frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::wire::frame;

fuzz_target!(|bytes: &[u8]| frame::fuzz::check(bytes));
