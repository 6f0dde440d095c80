//! P8, P9: what the HTTP entry lets through, told at the home, and what it refuses. Every row is
//! run whole and cut at every byte, with the same outcome to the last byte on both sides.

mod support;

use support::http::{Cut, Outcome, answers, forwarded, run, run_cut_everywhere, whole_requests};
use support::http_rows::responses::RESPONSES;
use support::http_rows::responses::Then::{Bad, Closed, Cut as CutOff, Kept, Left};
use support::http_rows::{BROKEN, GET, OK, PASSED, REFUSED, SMUGGLED, bytes, expand};
use underpass::proto::http_entry::page::{Page, Pages, STATUSES};
use underpass::proto::http_entry::{Action, HalfEnd, HttpEntry, Out, Redirect, Routed, Wait, Why};
use underpass::wire::http::Reject;
use underpass::wire::http::forwarded::Visitor;

#[test]
fn p9_nothing_of_a_refused_request_reaches_a_home() {
    for &(status, row) in REFUSED {
        let request = bytes(&(expand(row) + SMUGGLED));
        let outcome = run_cut_everywhere(&request, None, &answers(&[OK], None));
        assert_eq!(outcome.statuses(), [status], "{row:?}: {:?}", outcome.refusals);
        assert_eq!(outcome.links, [], "{row:?}");
        assert_eq!(outcome.done, Some(Action::Close), "{row:?}");
        assert!(outcome.visitor.contains("\r\nConnection: close\r\n"), "{row:?}");
    }
}

#[test]
fn p9_what_passes_is_in_canonical_form() {
    for &(row, head, body) in PASSED {
        let (request, head) = (expand(row), expand(head));
        let host = head.split("Host: ").nth(1).and_then(|it| it.split("\r\n").next());
        let expected = head.clone() + &forwarded(host.expect("a Host in every row")) + body;
        let outcome = run_cut_everywhere(&bytes(&request), None, &answers(&[OK], None));
        assert_eq!(outcome.at_home(), expected, "{row:?}: {:?}", outcome.refusals);
        assert_eq!(outcome.statuses(), [200], "{row:?}");
    }
}

#[test]
fn p9_a_malformed_body_is_broken_off_on_both_sides() {
    for body in BROKEN {
        let request = expand("^Transfer-Encoding: chunked\r\n\r\n") + body + SMUGGLED;
        let outcome = run_cut_everywhere(request.as_bytes(), None, &answers(&[OK], None));
        assert_eq!(outcome.statuses(), [400], "{body:?}");
        assert_eq!(outcome.done, Some(Action::Close), "{body:?}");
        assert_eq!(outcome.links.len(), 1, "{body:?}");
        assert_eq!(outcome.links[0].left, Some(HalfEnd::Reset), "{body:?}");
        assert!(!outcome.at_home().contains("0\r\n\r\n"), "{body:?}: an end at the home");
        assert!(!outcome.at_home().contains("smuggled"), "{body:?}");
    }
}

#[test]
fn sizes_are_bounded() {
    let long = |prefix: &str, count| format!("{prefix}{}", "a".repeat(count));
    for (status, request) in [
        (414, long("GET /", 70_000)),
        (431, long(&format!("{GET}X: "), 70_000)),
        (431, format!("{GET}{}\r\n", "X: y\r\n".repeat(256))),
        (400, format!("{GET}Connection: {}\r\n\r\n", "a,".repeat(40))),
    ] {
        for size in [usize::MAX / 4, 1000, 7] {
            let cut = Cut { first: size, then: size };
            let outcome = run(request.as_bytes(), None, cut, &answers(&[OK], None));
            assert_eq!(outcome.statuses(), [status], "{}", &request[..60]);
            assert_eq!((outcome.links.len(), outcome.done), (0, Some(Action::Close)));
        }
    }
}

#[test]
fn responses_are_whole_or_broken_off() {
    for (head, response, end, then) in RESPONSES {
        let request = format!("{head}\r\n");
        let outcome = run_cut_everywhere(request.as_bytes(), None, &answers(&[response], *end));
        let (link, got) = (&outcome.links[0], outcome.visitor.as_str());
        assert_eq!(outcome.links.len(), 1, "{response:?}");
        match *then {
            Kept(wanted) => assert_eq!((got, link.left, outcome.done), (wanted, None, None)),
            Left(end, wanted) => {
                assert_eq!((got, link.left, outcome.done), (wanted, Some(end), None));
            }
            Closed(wanted) => {
                let fin = Some(HalfEnd::Fin);
                assert_eq!((got, link.left, outcome.done), (wanted, fin, Some(Action::Close)));
            }
            Bad => {
                assert_eq!(outcome.statuses(), [502], "{response:?}");
                assert_eq!((link.left, outcome.done), (Some(HalfEnd::Reset), None), "{response:?}");
            }
            CutOff(wanted) => {
                let reset = Some(HalfEnd::Reset);
                assert_eq!((got, link.left, outcome.done), (wanted, reset, Some(Action::Abort)));
            }
        }
    }
}

/// Rails says Early Hints a page long, and a WebDAV server 102 for as long as it copies.
#[test]
fn interim_responses_are_bounded_in_bytes_and_each_starts_the_wait_anew() {
    let hint = "HTTP/1.1 103 EH\r\nLink: </a.css>; rel=preload; as=style\r\n\r\n";
    let reply = hint.repeat(17) + OK;
    let request = format!("{GET}\r\n");
    let outcome = run_cut_everywhere(request.as_bytes(), None, &answers(&[&reply], None));
    assert_eq!((outcome.visitor, outcome.links[0].left), (reply, None));

    let (mut entry, mut out) = on_link(&format!("{GET}\r\n"));
    let mut turns = Vec::new();
    for _ in 0..1000 {
        entry.handle_home(b"HTTP/1.1 102 P\r\n\r\n", &mut out);
        assert_eq!(entry.wait(), Wait::Response);
        turns.push(entry.wait_and_turn().1);
    }
    turns.dedup();
    assert_eq!(turns.len(), 1000, "each starts the wait anew");
    assert_eq!(entry.take_refusal(), None);

    // Without an end it is no answer.
    let long = format!("HTTP/1.1 103 EH\r\nX: {}\r\n\r\n", "a".repeat(60_000));
    for count in 0.. {
        assert!(count < 30, "never refused");
        entry.handle_home(long.as_bytes(), &mut out);
        out.visitor.clear();
        if let Some(why) = entry.take_refusal() {
            assert_eq!((why, why.status()), (Why::EndlessInterim, 502));
            break;
        }
    }
    assert_eq!(entry.poll_action(), Some(Action::Leave(HalfEnd::Reset)));
}

/// 200 Set-Cookie lines exist; more than 256 fields, or 64 KB of them, are refused both ways.
#[test]
fn many_fields_pass_both_ways() {
    let cookies = "Set-Cookie: a=b\r\n".repeat(255);
    let request = format!("{GET}{}\r\n", "X: y\r\n".repeat(255));
    let reply = format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 0\r\n\r\n");
    let outcome = run(request.as_bytes(), None, Cut::NONE, &answers(&[&reply], None));
    assert_eq!(outcome.visitor, reply);
    assert_eq!(outcome.at_home().matches("X: y\r\n").count(), 255);
    let request = format!("{GET}\r\n");
    for (fields, why) in [
        ("Set-Cookie: a=b\r\n".repeat(257), Reject::ManyFields),
        (format!("X: {}\r\n", "a".repeat(70_000)), Reject::LongHead),
    ] {
        let reply = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
        let outcome = run(request.as_bytes(), None, Cut::NONE, &answers(&[&reply], None));
        assert_eq!(outcome.statuses(), [502]);
        assert_eq!(outcome.refusals, [Why::Response(why)]);
    }
}

/// What is wrong with a home's answer, in words for its owner and in one for the access log.
#[test]
fn what_a_502_was_is_said() {
    for (response, text, reason) in [
        (
            "HTTP/1.1 200 OK\r\nX\r\n\r\n",
            "response head has a field without a colon",
            "field_without_colon",
        ),
        (
            "HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n",
            "response head has a malformed field name",
            "field_name",
        ),
        ("<html>", "response head has a malformed first line", "first_line"),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "response head has a folded field",
            "folded_field",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
            "response head has a control character",
            "control_character",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
            "response head has two lengths",
            "two_lengths",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "response body has a malformed chunk size",
            "chunk_size",
        ),
        (
            "HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n",
            "response is a 101 that nobody asked for",
            "switched_unasked",
        ),
    ] {
        let (mut entry, mut out) = on_link(&format!("{GET}\r\n"));
        entry.keep_summaries();
        entry.handle_home(response.as_bytes(), &mut out);
        let why = entry.take_refusal().expect(text);
        assert_eq!((why.to_string().as_str(), why.reason()), (text, Some(reason)));
        assert!(why.is_of_home());
    }
}

#[test]
fn the_tables_are_as_long_as_they_should_be() {
    let requests = REFUSED.len() + PASSED.len() + BROKEN.len();
    assert!(requests >= 150, "{requests} requests");
    assert!(RESPONSES.len() >= 40, "{} responses", RESPONSES.len());
}

/// Rows of all tables behind each other, in an order and cut that the seed chooses.
#[test]
fn p9_no_cut_changes_what_a_row_of_requests_does() {
    let rows: Vec<String> = PASSED
        .iter()
        .map(|row| expand(row.0))
        .chain(["a", "b", "off", "x"].map(|host| get(host, "/")))
        .chain(REFUSED.iter().map(|row| expand(row.1)))
        .chain(BROKEN.iter().map(|row| expand("^Transfer-Encoding: chunked\r\n\r\n") + row))
        .collect();
    let replies =
        [OK, "HTTP/1.1 204 \r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 100 \r\n\r\nHT"];
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut below = |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % bound as u64) as usize
    };
    let sound = PASSED.len() + 4;
    for round in 0..3000 {
        // Most are sound, or few rounds would get beyond the first.
        let mut requests: String = (0..below(6)).map(|_| rows[below(sound)].as_str()).collect();
        requests.push_str(&rows[below(rows.len())]);
        let reply = replies[below(10).saturating_sub(6)];
        let end = [None, None, Some(HalfEnd::Fin), Some(HalfEnd::Reset)][below(4)];
        let ends = [None, Some(HalfEnd::Fin)][below(2)];
        let homes = answers(std::slice::from_ref(&reply), end);
        let whole = run(&bytes(&requests), ends, Cut::NONE, &homes);
        let cut = Cut { first: 1 + below(200), then: 1 + below(60) };
        let pieces = run(&bytes(&requests), ends, cut, &homes);
        assert_eq!(pieces, whole, "round {round}, {cut:?}, {reply:?} {end:?}: {requests:?}");
    }
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Each request to its own home, and what its link saw: service, requests, how it was left.
fn shape(outcome: &Outcome) -> Vec<(usize, usize, Option<HalfEnd>)> {
    let count = |sent: &[u8]| whole_requests(sent).len();
    outcome.links.iter().map(|link| (link.service, count(&link.sent), link.left)).collect()
}

#[test]
fn p8_every_request_goes_to_its_own_home() {
    let hosts = ["a", "a", "b", "nobody", "b", "off", "a", "192.0.2.1"];
    let requests: String =
        hosts.iter().enumerate().map(|(n, host)| get(host, &format!("/{n}"))).collect();
    let outcome = run_cut_everywhere(requests.as_bytes(), None, &|_, _, sent: &[u8]| {
        // Each answer names what it answers.
        let text = String::from_utf8_lossy(sent);
        let paths = text.split("GET ").skip(1).filter(|it| it.ends_with("\r\n\r\n"));
        let answer = |it: &str| format!("HTTP/1.1 200 {}\r\nContent-Length: 0\r\n\r\n", &it[..2]);
        (paths.map(answer).collect::<String>().into_bytes(), None)
    });
    assert_eq!(outcome.statuses(), [200, 200, 200, 404, 200, 503, 200, 200]);
    let order: Vec<_> = ["/0", "/1", "/2", "404", "/4", "503", "/6", "/7"]
        .map(|mark| outcome.visitor.find(&format!(" {mark}")).expect(mark))
        .into();
    assert!(order.is_sorted(), "{order:?}");
    let fin = Some(HalfEnd::Fin);
    assert_eq!(shape(&outcome), [(0, 2, fin), (1, 2, fin), (0, 1, fin), (2, 1, None)]);
    assert_eq!((outcome.wait, outcome.done), (Wait::NextRequest, None));
}

#[test]
fn a_kept_link_that_closed_is_replaced_once_and_never_for_post() {
    // Every link answers one request, and ends once a second one has come.
    let homes = |_: usize, _: usize, sent: &[u8]| match whole_requests(sent).len() {
        0 => (Vec::new(), None),
        1 => (OK.as_bytes().to_vec(), None),
        _ => (OK.as_bytes().to_vec(), Some(HalfEnd::Fin)),
    };
    for method in
        ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH", "MKCOL"]
    {
        let second = format!("{method} /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let both = get("a", "/1") + &second;
        let outcome = run(both.as_bytes(), None, Cut::NONE, &homes);
        assert_eq!(outcome.statuses(), [200, 200], "{method}");
        assert_eq!(outcome.links.len(), 2, "{method}");
        assert!(outcome.links[1].sent.starts_with(format!("{method} /2").as_bytes()));
    }
    for second in [
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        "LOCK / HTTP/1.1\r\nHost: a\r\n\r\n",
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let both = get("a", "/1") + second;
        let outcome = run_cut_everywhere(both.as_bytes(), None, &homes);
        assert_eq!(outcome.statuses(), [200, 502], "{second:?}");
        assert_eq!(outcome.refusals, [Why::CutResponse]);
        assert_eq!(outcome.links.len(), 1, "{second:?}");
    }
    // A fresh link that closes is not tried again, nor is a second one.
    let deaf = |_: usize, number: usize, sent: &[u8]| {
        let count = whole_requests(sent).len();
        let answer = if number == 0 && count > 0 { OK } else { "" };
        (answer.as_bytes().to_vec(), Some(HalfEnd::Fin).filter(|_| count > 1 - number.min(1)))
    };
    let outcome = run_cut_everywhere((get("a", "/1") + &get("a", "/2")).as_bytes(), None, &deaf);
    assert_eq!(outcome.statuses(), [200, 502]);
    assert_eq!(outcome.links.len(), 2);
}

#[test]
fn after_101_nothing_is_touched() {
    let ask = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let yes = "HTTP/1.1 101 SP\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n";
    let frames = format!("{ask}\0\r\n\u{1}");
    let raw = [yes, "\0raw"].concat();
    let outcome = run_cut_everywhere(frames.as_bytes(), None, &answers(&[&raw], None));
    assert_eq!(outcome.done, Some(Action::Relay));
    let passed = "HTTP/1.1 101 SP\r\nX: y\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(outcome.visitor, passed, "what follows is the relay's");
    assert!(outcome.at_home().ends_with("\r\n\r\n"), "{}", outcome.at_home());
    assert_eq!(outcome.links[0].left, None);
    // A home that does not switch answers as always.
    let outcome = run_cut_everywhere(ask.as_bytes(), None, &answers(&[OK], None));
    assert_eq!((outcome.visitor.as_str(), outcome.done), (OK, None));
}

#[test]
fn ends_are_passed_on_as_what_they_are() {
    // After the request: the response is still wanted, and nothing follows it.
    let silent = |_: usize, _: usize, _: &[u8]| (Vec::new(), None);
    let outcome = run_cut_everywhere(get("a", "/").as_bytes(), Some(HalfEnd::Fin), &silent);
    assert!(outcome.links[0].finished);
    assert_eq!((outcome.links[0].left, outcome.done), (None, None));
    let outcome = run(get("a", "/").as_bytes(), Some(HalfEnd::Reset), Cut::NONE, &silent);
    assert_eq!(outcome.links[0].left, Some(HalfEnd::Reset));
    assert_eq!(outcome.done, Some(Action::Abort));
    // In the middle of a head, or of nothing: nobody is told.
    for part in ["", "GET / HT", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let outcome =
            run_cut_everywhere(part.as_bytes(), Some(HalfEnd::Fin), &answers(&[OK], None));
        assert_eq!((outcome.visitor.as_str(), outcome.done), ("", Some(Action::Close)));
    }
    // In the middle of a body: the home must not take it for whole.
    for part in ["^Content-Length: 9\r\n\r\nhi", "^Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"] {
        let request = expand(part);
        let outcome =
            run_cut_everywhere(request.as_bytes(), Some(HalfEnd::Fin), &answers(&[OK], None));
        assert_eq!((outcome.statuses(), outcome.done), (vec![400], Some(Action::Close)));
        assert_eq!(outcome.links[0].left, Some(HalfEnd::Reset), "{part:?}");
        assert!(!outcome.links[0].finished);
    }
}

/// The machine alone, on a link to service 0, after `request`.
fn on_link(request: &str) -> (HttpEntry, Out) {
    let address = "::ffff:192.0.2.7".parse().expect("an address");
    let mut entry = HttpEntry::new(Visitor::stranger(address, 80), Default::default());
    let mut out = Out::default();
    let taken = entry.handle_visitor(request.as_bytes(), &mut out);
    assert_eq!(taken, request.len());
    assert!(matches!(entry.poll_action(), Some(Action::Route(_))));
    entry.handle_route(Routed::Service(0), &mut out);
    assert_eq!(entry.poll_action(), Some(Action::Open { service: 0 }));
    entry.handle_link(false, &mut out);
    assert_eq!(entry.poll_action(), None);
    (entry, out)
}

#[test]
fn an_early_response_is_passed_and_the_connection_closed() {
    let (mut entry, mut out) = on_link(&expand("^Content-Length: 9\r\n\r\n"));
    assert_eq!(entry.handle_visitor(b"part", &mut out), 4);
    assert_eq!(entry.handle_home(OK.as_bytes(), &mut out), OK.len());
    let text = String::from_utf8_lossy(&out.visitor);
    assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("ok"), "{text}");
    assert_eq!(entry.poll_action(), Some(Action::Leave(HalfEnd::Reset)));
    assert_eq!(entry.poll_action(), Some(Action::Close));
    assert_eq!(entry.poll_action(), None);
    assert_eq!(entry.handle_visitor(b"the rest", &mut out), 8, "thrown away");
    // While it is still under way, both directions flow on.
    let (mut entry, mut out) = on_link(&expand("^Content-Length: 9\r\n\r\n"));
    assert_eq!(entry.handle_home(&OK.as_bytes()[..OK.len() - 1], &mut out), OK.len() - 1);
    assert_eq!(entry.handle_visitor(b"123456789GET", &mut out), 9);
    assert!(out.home.ends_with(b"123456789"));
    assert_eq!((entry.plain_down(), entry.plain_up()), (1, 0));
    entry.note_moved_down(1);
    assert_eq!(entry.poll_action(), Some(Action::Leave(HalfEnd::Fin)));
    assert_eq!(entry.poll_action(), Some(Action::Close));
}

#[test]
fn every_wait_has_its_deadline() {
    let (mut entry, mut out) =
        on_link(&expand("^Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    assert_eq!(entry.wait(), Wait::Response, "the visitor may wait for 100");
    entry.handle_home(b"HTTP/1.1 100 \r\n\r\n", &mut out);
    assert_eq!(entry.wait(), Wait::None, "the body comes");
    let turn = entry.wait_and_turn().1;
    assert_eq!(entry.plain_up(), 2);
    entry.note_moved_up(2);
    assert_eq!(entry.wait(), Wait::Response);
    assert_ne!(entry.wait_and_turn().1, turn);
    out.visitor.clear();
    entry.handle_timeout(&mut out);
    assert!(out.visitor.starts_with(b"HTTP/1.1 504 "));
    assert_eq!(entry.take_refusal(), Some(Why::Silent));
    assert_eq!(entry.poll_action(), Some(Action::Leave(HalfEnd::Reset)));
    assert_eq!((entry.poll_action(), entry.wait()), (None, Wait::NextRequest));
    let turn = entry.wait_and_turn().1;
    assert_eq!(entry.handle_visitor(b"GET", &mut out), 0);
    assert_eq!(entry.wait(), Wait::Head);
    assert_ne!(entry.wait_and_turn().1, turn);
    entry.handle_timeout(&mut out);
    assert!(String::from_utf8_lossy(&out.visitor).contains("HTTP/1.1 408 "));
    assert_eq!(entry.poll_action(), Some(Action::Close));

    let address = "192.0.2.7".parse().expect("an address");
    let mut entry = HttpEntry::new(Visitor::stranger(address, 80), Default::default());
    let mut out = Out::default();
    assert_eq!(entry.wait(), Wait::Head, "from accept on");
    entry.handle_visitor(format!("{GET}\r\n").as_bytes(), &mut out);
    entry.poll_action();
    entry.handle_route(Routed::Service(0), &mut out);
    assert_eq!(entry.wait(), Wait::Link);
    assert!(!entry.wants_visitor());
    entry.handle_timeout(&mut out);
    let page = String::from_utf8_lossy(&out.visitor).into_owned();
    assert!(page.starts_with("HTTP/1.1 503 ") && page.contains("\r\nRetry-After: "), "{page}");
    entry.handle_link(false, &mut out);
    assert!(out.home.is_empty(), "a link that comes too late gets nothing");
    out.visitor.clear();
    assert_eq!(entry.wait(), Wait::NextRequest);
    entry.handle_timeout(&mut out);
    assert_eq!((entry.poll_action(), out.visitor.len()), (Some(Action::Close), 0));
}

#[test]
fn unasked_bytes_of_an_idle_home_end_its_link() {
    let (mut entry, mut out) = on_link(&format!("{GET}\r\n"));
    entry.handle_home(OK.as_bytes(), &mut out);
    assert_eq!(entry.poll_action(), None);
    out.visitor.clear();
    assert_eq!(entry.handle_home(b"HTTP/1.1 200 EVIL\r\n\r\n", &mut out), 21);
    assert_eq!(entry.poll_action(), Some(Action::Leave(HalfEnd::Reset)));
    assert!(out.visitor.is_empty());
    assert_eq!(entry.wait(), Wait::NextRequest);
}

#[test]
fn a_redirect_answers_by_itself_and_the_connection_goes_on() {
    // Between two requests to a home, whose link is kept.
    let request = |method: &str, host: &str, target: &str, more: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")
    };
    let row = [
        request("GET", "a", "/1", ""),
        request("GET", "TLS.:80", "/x?y=%0d%0aX:1", ""),
        request("POST", "moved", "/p", "Content-Length: 0\r\n"),
        request("GET", "moved", "http://moved:81/abs", ""),
        request("HEAD", "moved", "/h", ""),
        request("GET", "a", "/2", ""),
    ];
    let two = |_: usize, _: usize, sent: &[u8]| {
        (OK.repeat(whole_requests(sent).len()).into_bytes(), None)
    };
    let outcome = run_cut_everywhere(row.concat().as_bytes(), None, &two);
    assert_eq!(outcome.statuses(), [200, 308, 308, 301, 301, 200], "{}", outcome.visitor);
    let lines = outcome.visitor.split("\r\n");
    let locations: Vec<_> = lines.filter_map(|line| line.strip_prefix("Location: ")).collect();
    assert_eq!(
        locations,
        [
            "https://tls/x?y=%0d%0aX:1",
            "https://moved:8443/p",
            "https://moved:8443/abs",
            "https://moved:8443/h",
        ]
    );
    assert!(!outcome.visitor.contains("Connection: close"), "{}", outcome.visitor);
    assert_eq!((outcome.links.len(), outcome.done), (1, None), "one link for both");
    assert_eq!((outcome.refusals.len(), outcome.wait), (0, Wait::NextRequest));

    // A body that has not come is not waited for.
    let upload = request("POST", "tls", "/", "Content-Length: 9\r\n");
    let outcome = run_cut_everywhere(upload.as_bytes(), None, &two);
    assert_eq!((outcome.statuses(), outcome.done), (vec![308], Some(Action::Close)));
    assert!(outcome.visitor.contains("\r\nConnection: close\r\n"));
    // HTTP/1.0 keeps the connection if it is asked to, and has an end otherwise.
    let old = |more: &str| format!("GET / HTTP/1.0\r\nHost: tls\r\n{more}\r\n");
    let outcome = run_cut_everywhere(old("Connection: keep-alive\r\n").as_bytes(), None, &two);
    assert!(outcome.visitor.contains("\r\nConnection: keep-alive\r\n"), "{}", outcome.visitor);
    assert_eq!(outcome.done, None);
    let outcome = run_cut_everywhere(old("").as_bytes(), None, &two);
    assert_eq!((outcome.statuses(), outcome.done), (vec![308], Some(Action::Close)));

    // Without a name there is nowhere to go.
    let mut entry = fresh_entry(Pages::default());
    let mut out = Out::default();
    entry.handle_visitor(b"GET / HTTP/1.0\r\n\r\n", &mut out);
    entry.poll_action();
    assert_eq!(entry.target(), b"/");
    entry.handle_route(Routed::Https { redirect: Redirect::Moved, port: 443 }, &mut out);
    assert!(out.visitor.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(entry.take_refusal(), Some(Why::NameNeeded));
}

fn fresh_entry(pages: Pages) -> HttpEntry {
    let address = "192.0.2.7".parse().expect("an address");
    HttpEntry::new(Visitor::stranger(address, 80), pages.into())
}

#[test]
fn the_users_own_pages_are_shown_as_they_are() {
    let html = "text/html; charset=utf-8";
    let body = "<p>nobody is at home \u{2014} try later\r\n\r\n".as_bytes();
    let mut pages = Pages::default();
    for status in [404, 503, 400, 503] {
        pages.set(Page { status, media_type: html, body: body.to_vec() });
    }
    let ask = |request: &str, routed| {
        let mut entry = fresh_entry(pages.clone());
        let mut out = Out::default();
        entry.handle_visitor(request.as_bytes(), &mut out);
        if entry.poll_action() == Some(Action::Close) {
            return out.visitor;
        }
        entry.handle_route(routed, &mut out);
        assert_eq!(entry.wait(), Wait::NextRequest, "the connection goes on");
        out.visitor
    };
    let get = format!("{GET}\r\n");
    for (request, routed, line, field, whole) in [
        (&*get, Routed::Unknown, "404 Not Found", "Cache-Control: no-store", true),
        (&*get, Routed::Offline, "503 Service Unavailable", "Retry-After: 10", true),
        (&*get, Routed::AmbiguousPath, "400 Bad Request", "Cache-Control: no-store", true),
        ("GET / HTTP/1.1\r\n\r\n", Routed::Unknown, "400 Bad Request", "Connection: close", true),
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", Routed::Unknown, "404 Not Found", "", false),
    ] {
        let answer = ask(request, routed);
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let (head, shown) = answer.split_at(head_end);
        let head = String::from_utf8_lossy(head);
        assert!(head.starts_with(&format!("HTTP/1.1 {line}\r\n")), "{head}");
        assert!(head.contains(&format!("\r\nContent-Type: {html}\r\n")), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert!(head.contains(&format!("\r\n{field}")), "{head}");
        assert_eq!(shown, if whole { body } else { b"" }, "{line}");
    }
    // What has no page of the user's has the plain one.
    let answer = ask("GET / HTTP/2.2\r\nHost: x\r\n\r\n", Routed::Unknown);
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.contains("505 ") && answer.contains("text/plain"), "{answer}");
}

/// Every refusal has a status that a page can be given for.
#[test]
fn every_status_has_a_page() {
    let mut statuses: Vec<u16> = REFUSED.iter().map(|(status, _)| *status).collect();
    statuses.extend([403, 404, 408, 413, 429, 502, 503, 504, 508]);
    for status in statuses {
        assert!(STATUSES.contains(&status), "{status}");
    }
}

#[test]
fn pages_are_small_plain_and_nameless() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("HEAD x", 408),
    ] {
        let address = "192.0.2.7".parse().expect("an address");
        let mut entry = HttpEntry::new(Visitor::stranger(address, 80), Default::default());
        let mut out = Out::default();
        entry.handle_visitor(request.as_bytes(), &mut out);
        if status == 408 {
            entry.handle_timeout(&mut out);
        }
        entry.poll_action();
        entry.handle_route(Routed::Unknown, &mut out);
        let page = String::from_utf8(out.visitor).expect("text");
        let (head, body) = page.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{page}");
        assert!(head.contains("\r\nContent-Type: text/plain\r\n"));
        assert!(!page.to_ascii_lowercase().contains("underpass"));
        let length = format!("\r\nContent-Length: {}\r\n", body.len());
        if request.starts_with("HEAD /") {
            assert_eq!(body, "");
        } else {
            assert!(head.contains(&length), "{page}");
        }
    }
}
