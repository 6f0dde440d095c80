//! What a machine takes. Its behaviour is tested from outside, in `tests/http_*`.

use super::*;

#[test]
fn an_idle_visitor_takes_little_memory() {
    assert!(size_of::<HttpEntry>() <= 192, "{}", size_of::<HttpEntry>());
}
