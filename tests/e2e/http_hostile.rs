//! P9, checked at the home: the tables of refused, passed and broken requests, and of responses,
//! against the whole program. A request that disagrees about where it ends, or about where it
//! goes, must leave nothing behind but its sanctioned form.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::home::Home;
use crate::house::Vps;
use crate::http_house::{End, Estate, Lot, Peer, get, ok};
use crate::support::http::{forwarded, whole_requests};
use crate::support::http_rows::responses::RESPONSES;
use crate::support::http_rows::responses::Then::{Bad, Closed, Cut, Kept, Left};
use crate::support::http_rows::{BROKEN, OK, PASSED, REFUSED, SMUGGLED, bytes, expand};
use underpass::proto::http_entry::HalfEnd as Side;

/// Two homes played by hand, `a` and `b`, and one for all that has no name.
struct Homes {
    recorder: crate::home::Connections,
    home: Home,
    estate: Estate,
}

impl Homes {
    /// All three are the same home: whatever reaches it is seen.
    fn start() -> Homes {
        let vps = Vps::new();
        let (home, recorder) = Home::by_hand(vps.ip);
        let lots = vec![
            Lot::http("a", home.address).hosts(&["a"]),
            Lot::http("b", home.address).hosts(&["b"]),
            Lot::http("rest", home.address).hosts(&["rest.example.com"]).fallback(),
        ];
        Homes { recorder, home, estate: Estate::on(vps, lots) }
    }
}

/// Sends it as one piece, or each byte by itself; stops when it is not wanted any more.
fn send(visitor: &Peer, request: &[u8], whole: bool) {
    let size = if whole { request.len().max(1) } else { 1 };
    for piece in request.chunks(size) {
        if (&visitor.stream).write_all(piece).is_err() {
            return;
        }
    }
}

#[test]
fn p9_nothing_of_a_refused_request_reaches_a_home() {
    let homes = Homes::start();
    for whole in [true, false] {
        for &(status, row) in REFUSED {
            let request = bytes(&(expand(row) + SMUGGLED));
            let mut visitor = homes.estate.visitor();
            send(&visitor, &request, whole);
            let answer = visitor.response("GET");
            assert_eq!(answer.status(), status, "{row:?}: {answer:?}");
            assert_eq!(answer.field("connection"), Some("close"), "{row:?}");
            let (more, _) = visitor.rest();
            assert!(more.is_empty(), "{row:?}: a second answer: {}", more.escape_ascii());
            assert_eq!(homes.home.accepted(), 0, "{row:?} has reached a home");
        }
    }
    homes.estate.assert_steady();
}

#[test]
fn p9_what_passes_reaches_the_home_in_canonical_form() {
    let homes = Homes::start();
    let port = homes.estate.http.port();
    for whole in [true, false] {
        for &(row, head, body) in PASSED {
            let head = expand(head);
            let host = head.split("Host: ").nth(1).and_then(|it| it.split("\r\n").next());
            let added = forwarded(host.unwrap()).replace("192.0.2.7", "127.0.0.1");
            let added = added.replace("Port: 80\r\n", &format!("Port: {port}\r\n"));
            let wanted = format!("{head}{added}{body}");
            let mut visitor = homes.estate.visitor();
            send(&visitor, &bytes(&expand(row)), whole);
            let mut there = homes.recorder.peer();
            let mut seen = there.bytes(wanted.len().min(16));
            while whole_requests(&seen).is_empty() {
                seen.extend(there.bytes(1));
            }
            assert_eq!(String::from_utf8_lossy(&seen), wanted, "{row:?}");
            there.say(OK);
            assert_eq!(visitor.response("GET").text(), "ok", "{row:?}");
            // Nothing stands behind it.
            drop(visitor);
            assert_eq!(there.rest(), (Vec::new(), End::Fin), "{row:?}");
        }
    }
    homes.estate.assert_steady();
}

#[test]
fn p9_a_malformed_body_ends_in_a_reset_at_home() {
    let homes = Homes::start();
    for whole in [true, false] {
        for row in BROKEN {
            let request = expand("^Transfer-Encoding: chunked\r\n\r\n") + row + SMUGGLED;
            let mut visitor = homes.estate.visitor();
            send(&visitor, request.as_bytes(), whole);
            let answer = visitor.response("POST");
            assert_eq!(answer.status(), 400, "{row:?}");
            assert!(visitor.rest().0.is_empty(), "{row:?}");
            let (seen, end) = homes.recorder.peer().rest();
            assert_eq!(end, End::Reset, "{row:?}");
            let seen = String::from_utf8_lossy(&seen);
            assert!(!seen.contains("0\r\n\r\n"), "{row:?}: an end at the home: {seen}");
            assert!(!seen.contains("smuggled"), "{row:?}: {seen}");
        }
    }
    homes.estate.assert_steady();
}

/// Each response, and what the next request on the same connection gets: its own answer, or no
/// connection to ask it on. What the home said too much never gets to anybody.
#[test]
fn p9_a_response_is_never_the_answer_to_another_request() {
    let homes = Homes::start();
    for (head, response, end, then) in RESPONSES {
        let mut visitor = homes.estate.visitor();
        let method = head.split(' ').next().unwrap();
        visitor.say(format!("{head}\r\n"));
        let mut there = homes.recorder.peer();
        there.request();
        there.say(response);
        let mut left = Some(there);
        match end {
            Some(Side::Fin) => left.as_ref().unwrap().finish(),
            Some(Side::Reset) => {
                // All of it has gone to the visitor before.
                thread::sleep(Duration::from_millis(100));
                left.take().unwrap().reset();
            }
            None => {}
        }
        let goes_on = match *then {
            Kept(wanted) | Left(_, wanted) => {
                assert_eq!(
                    visitor.bytes(wanted.len()).escape_ascii().to_string(),
                    wanted.as_bytes().escape_ascii().to_string(),
                    "{response:?}"
                );
                true
            }
            Bad => {
                assert_eq!(visitor.response(method).status(), 502, "{response:?}");
                true
            }
            Closed(wanted) => {
                assert_eq!(visitor.rest(), (wanted.into(), End::Fin), "{response:?}");
                false
            }
            Cut(_) => {
                let (_, end) = visitor.rest();
                assert_eq!(end, End::Reset, "{response:?}");
                false
            }
        };
        if !goes_on {
            continue;
        }
        visitor.say(get("a", "/second"));
        let is_kept = matches!(then, Kept(_));
        let mut there = match left.filter(|_| is_kept) {
            Some(kept) => kept,
            None => homes.recorder.peer(),
        };
        assert_eq!(there.request().path(), "/second", "{response:?}");
        there.say(ok("second"));
        assert_eq!(visitor.response("GET").text(), "second", "behind {response:?}");
    }
    assert!(homes.recorder.is_empty());
    homes.estate.assert_steady();
}
