//! A visitor, the machine and its homes, without sockets: what each side gets, however the bytes
//! of both are cut.

use underpass::proto::http_entry::{Action, HalfEnd, HttpEntry, Out, Redirect, Routed, Wait, Why};
use underpass::wire::host::HostName;
use underpass::wire::http::forwarded::Visitor;

/// What homes say: given the service, the link's number and all that came on it, all that goes
/// back, and how the home's direction ends after it. Must only grow as what came grows.
pub(crate) type Homes<'a> = &'a dyn Fn(usize, usize, &[u8]) -> (Vec<u8>, Option<HalfEnd>);

/// What everybody got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) visitor: String,
    pub(crate) links: Vec<Link>,
    /// `Relay`, `Close` or `Abort`, if the machine is done.
    pub(crate) done: Option<Action>,
    pub(crate) refusals: Vec<Why>,
    pub(crate) wait: Wait,
}

/// One link's use, in the order of opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) service: usize,
    /// What came to the home.
    pub(crate) sent: Vec<u8>,
    pub(crate) finished: bool,
    /// How it was left.
    pub(crate) left: Option<HalfEnd>,
    /// Of the home's answer, what has arrived.
    said: usize,
    home_ended: bool,
}

impl Outcome {
    /// All that came to any home.
    pub(crate) fn at_home(&self) -> String {
        self.links.iter().map(|link| String::from_utf8_lossy(&link.sent)).collect()
    }

    /// The statuses that the visitor got, by the lines that look like it.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let lines = self.visitor.split("\r\n");
        let after = lines.flat_map(|line| line.rsplit_once("HTTP/1.1 ").map(|(_, rest)| rest));
        after.filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
    }
}

/// `a` is service 0, `b` 1, `off` is offline; `tls` and `moved` are sent to TLS; no name and an
/// address are 2; all else is unknown.
fn route(host: &HostName) -> Routed {
    match host {
        HostName::Dns(name) => match name.as_str() {
            "a" => Routed::Service(0),
            "b" => Routed::Service(1),
            "off" => Routed::Offline,
            "tls" => Routed::Https { redirect: Redirect::Permanent, port: 443 },
            "moved" => Routed::Https { redirect: Redirect::Moved, port: 8443 },
            _ => Routed::Unknown,
        },
        HostName::Ip(_) | HostName::Empty => Routed::Service(2),
    }
}

/// How both streams arrive: a piece of `first` bytes, then pieces of `then`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) first: usize,
    pub(crate) then: usize,
}

impl Cut {
    pub(crate) const NONE: Cut = Cut { first: usize::MAX / 4, then: usize::MAX / 4 };

    fn after(self, at: usize) -> usize {
        if at < self.first { self.first } else { at + self.then }
    }
}

/// What comes of it, checked to be the same however both streams are cut.
pub(crate) fn run_cut_everywhere(
    visitor: &[u8],
    ends: Option<HalfEnd>,
    homes: Homes<'_>,
) -> Outcome {
    let whole = run(visitor, ends, Cut::NONE, homes);
    let longest = visitor.len().max(whole.visitor.len() + 64);
    let splits = (1..longest.min(600)).map(|first| Cut { first, ..Cut::NONE });
    for cut in splits.chain([1, 2, 7].map(|size| Cut { first: size, then: size })) {
        let outcome = run(visitor, ends, cut, homes);
        assert_eq!(outcome, whole, "{cut:?}: {}", visitor.escape_ascii());
    }
    whole
}

/// The home's bytes go first; until nothing moves any more.
pub(crate) fn run(visitor: &[u8], ends: Option<HalfEnd>, cut: Cut, homes: Homes<'_>) -> Outcome {
    let address = "192.0.2.7".parse().expect("an address");
    let mut driver = Driver {
        entry: HttpEntry::new(Visitor::stranger(address, 80), Default::default()),
        out: Out::default(),
        visitor: Vec::new(),
        links: Vec::new(),
        held: false,
        done: None,
        refusals: Vec::new(),
    };
    let (mut unread, mut arrived, mut ended) = (Vec::new(), 0, false);
    loop {
        if driver.hear_home(cut, homes) {
            continue;
        }
        if driver.done.is_some() {
            break;
        }
        let mut moved = false;
        if arrived < visitor.len() && (unread.is_empty() || driver.entry.wants_visitor()) {
            let piece = &visitor[arrived..visitor.len().min(cut.after(arrived))];
            unread.extend_from_slice(piece);
            arrived += piece.len();
            moved = true;
        }
        let taken = driver.entry.handle_visitor(&unread, &mut driver.out);
        unread.drain(..taken);
        driver.settle();
        moved |= taken > 0;
        let all_given = unread.is_empty() || taken == 0 && driver.entry.wants_visitor();
        let end_is_due = arrived == visitor.len() && all_given && !ended && driver.done.is_none();
        if let Some(end) = ends.filter(|_| end_is_due) {
            ended = true;
            moved = true;
            driver.entry.handle_visitor_end(end, &mut driver.out);
            driver.settle();
        }
        if !moved {
            break;
        }
    }
    // How much of what nobody wanted had arrived depends on the cut.
    driver.links.iter_mut().for_each(|link| link.said = 0);
    Outcome {
        visitor: String::from_utf8_lossy(&driver.visitor).into_owned(),
        wait: driver.entry.wait(),
        links: driver.links,
        done: driver.done,
        refusals: driver.refusals,
    }
}

struct Driver {
    entry: HttpEntry,
    out: Out,
    visitor: Vec<u8>,
    links: Vec<Link>,
    /// Whether the last of `links` is held.
    held: bool,
    done: Option<Action>,
    refusals: Vec<Why>,
}

impl Driver {
    /// One piece of what the home says, or its end; whether there was any.
    fn hear_home(&mut self, cut: Cut, homes: Homes<'_>) -> bool {
        let number = self.links.len();
        let Some(link) = self.links.last_mut().filter(|_| self.held && self.done.is_none()) else {
            return false;
        };
        let (reply, end) = homes(link.service, number - 1, &link.sent);
        let taken_before = link.said;
        let mut arrived = taken_before;
        while arrived < reply.len() {
            arrived = cut.after(arrived).min(reply.len());
            // What was not taken is given again, in front of what came since.
            let link = self.links.last_mut().expect("a link");
            link.said += self.entry.handle_home(&reply[link.said..arrived], &mut self.out);
            self.settle();
            if !self.held || self.done.is_some() {
                return true;
            }
        }
        let link = self.links.last_mut().expect("a link");
        let progress = link.said > taken_before;
        match end {
            Some(end) if !link.home_ended => {
                link.home_ended = true;
                self.entry.handle_home_end(end, &mut self.out);
                self.settle();
                true
            }
            _ => progress,
        }
    }

    /// Sends what there is, then does what is to be done.
    fn settle(&mut self) {
        loop {
            if let Some(link) = self.links.last_mut().filter(|_| self.held) {
                link.sent.append(&mut self.out.home);
            }
            assert!(self.out.home.is_empty(), "bytes for a home without a link");
            self.visitor.append(&mut self.out.visitor);
            self.refusals.extend(self.entry.take_refusal());
            let Some(action) = self.entry.poll_action() else { return };
            assert_eq!(self.done, None, "{action:?} after the end");
            match action {
                Action::Route(host) => self.entry.handle_route(route(&host), &mut self.out),
                Action::Open { service } => {
                    assert!(!self.held, "two links at once");
                    self.held = true;
                    let service = service as usize; // of three
                    let (sent, finished, left) = (Vec::new(), false, None);
                    let (said, home_ended) = (0, false);
                    self.links.push(Link { service, sent, finished, left, said, home_ended });
                    self.entry.handle_link(false, &mut self.out);
                }
                Action::Finish => {
                    assert!(self.held, "FIN without a link");
                    self.links.last_mut().expect("a link").finished = true;
                }
                Action::Leave(end) => {
                    assert!(std::mem::take(&mut self.held), "left twice");
                    self.links.last_mut().expect("a link").left = Some(end);
                }
                Action::Relay | Action::Close | Action::Abort => {
                    assert!(action == Action::Relay || !self.held, "a link left behind");
                    self.done = Some(action);
                }
            }
        }
    }
}

/// The requests in `bytes` that are whole: where each ends. Knows canonical framing alone.
pub(crate) fn whole_requests(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while let Some(head) = find(&bytes[at..], b"\r\n\r\n") {
        let text = String::from_utf8_lossy(&bytes[at..at + head]).into_owned();
        at += head + 4;
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if let Some(length) = length {
            at += length.parse::<usize>().expect("a canonical length");
        } else if text.contains("Transfer-Encoding: chunked") {
            match find(&bytes[at..], b"0\r\n\r\n") {
                Some(body) => at += body + 5,
                None => break,
            }
        }
        if at > bytes.len() {
            break;
        }
        ends.push(at);
    }
    ends
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A home that answers each whole request with the next of `answers`, the last one again and again.
pub(crate) fn answers<'a>(
    answers: &'a [&'a str],
    end: Option<HalfEnd>,
) -> impl Fn(usize, usize, &[u8]) -> (Vec<u8>, Option<HalfEnd>) + 'a {
    move |_, _, sent| {
        let count = whole_requests(sent).len();
        let of = |number: usize| answers[number.min(answers.len() - 1)];
        let reply = (0..count).map(of).collect::<String>().into_bytes();
        (reply, end.filter(|_| count > 0))
    }
}

/// What the machine adds to every request.
pub(crate) fn forwarded(host: &str) -> String {
    format!(
        "CDN-Loop: underpass\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: {host}\r\n\
         X-Forwarded-Port: 80\r\nX-Forwarded-Proto: http\r\nX-Real-IP: 192.0.2.7\r\n\r\n"
    )
}
