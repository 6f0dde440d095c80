//! For the fuzz target `http_home`: what a home says, cut in every way, to a visitor that has
//! asked.

use super::*;
use std::net::Ipv4Addr;

/// The first three bytes choose the request, the home's end and the cut; the rest is the home's.
///
/// Any cut leads to the same bytes for the visitor, the same ends and the same reason. What a whole
/// response has become is read by the machine as it stands: nothing that was forgiven is left in
/// it.
pub fn check(bytes: &[u8]) {
    let Some((&[request, end, cut], home)) = bytes.split_first_chunk::<3>() else { return };
    let request = REQUESTS[usize::from(request) % REQUESTS.len()];
    let end = [None, Some(HalfEnd::Fin), Some(HalfEnd::Reset)][usize::from(end) % 3];
    let whole = run(request, &mut [home].into_iter(), end);
    for size in [1, usize::from(cut).max(1)] {
        let pieces = run(request, &mut home.chunks(size), end);
        assert_eq!(pieces, whole, "in pieces of {size}");
    }
    let is_whole = matches!(whole.wait, Wait::NextRequest)
        || whole.actions == [Action::Leave(HalfEnd::Fin), Action::Close];
    if whole.why.is_none() && is_whole && !whole.visitor.is_empty() {
        let again = run(request, &mut [&whole.visitor[..]].into_iter(), Some(HalfEnd::Fin));
        let (once, twice) = (whole.visitor.escape_ascii(), again.visitor.escape_ascii());
        assert_eq!(once.to_string(), twice.to_string(), "canonical");
        assert_eq!(again.why, None);
    }
}

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
];

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    visitor: Vec<u8>,
    actions: Vec<Action>,
    why: Option<Why>,
    wait: Wait,
}

fn run(request: &[u8], pieces: &mut dyn Iterator<Item = &[u8]>, end: Option<HalfEnd>) -> Seen {
    let visitor = Visitor::stranger(Ipv4Addr::LOCALHOST.into(), 80);
    let mut entry = HttpEntry::new(visitor, Arc::default());
    let (mut out, mut actions) = (Out::default(), Vec::new());
    assert_eq!(entry.handle_visitor(request, &mut out), request.len());
    assert!(matches!(entry.poll_action(), Some(Action::Route(_))));
    entry.handle_route(Routed::Service(0), &mut out);
    assert!(matches!(entry.poll_action(), Some(Action::Open { .. })));
    entry.handle_link(false, &mut out);
    let mut unheard = Vec::new();
    for piece in pieces {
        unheard.extend_from_slice(piece);
        let taken = entry.handle_home(&unheard, &mut out);
        unheard.drain(..taken);
        actions.extend(std::iter::from_fn(|| entry.poll_action()));
        if !actions.is_empty() {
            break;
        }
    }
    if let Some(end) = end.filter(|_| actions.is_empty()) {
        entry.handle_home_end(end, &mut out);
        actions.extend(std::iter::from_fn(|| entry.poll_action()));
    }
    Seen { visitor: out.visitor, actions, why: entry.take_refusal(), wait: entry.wait() }
}
