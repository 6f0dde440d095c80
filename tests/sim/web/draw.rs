//! Draws calls.

use std::net::IpAddr;

use super::plan::{
    Ask, Begins, Call, CallId, Fault, Framing, How, Leaves, Ledger, Pace, Payload, Reply, Seen,
    Then, To,
};
use super::wire;
use crate::rng::Rng;
use crate::story::Reading;

const SECOND: u64 = 1_000_000_000;

/// What calls may be like in this world.
pub struct Draw {
    pub homes: usize,
    /// The longest body.
    pub longest: u64,
    /// Requests on one connection.
    pub most: u64,
}

impl Draw {
    /// One more call.
    pub fn call(&self, from: IpAddr, book: &mut Ledger, rng: &mut Rng) -> CallId {
        let call = book.calls.len();
        let first = book.asks.len();
        let count = rng.log_between(1, self.most);
        // One home mostly, or one after the other.
        let loyal = rng.chance(1, 2);
        let home = rng.below(self.homes as u64) as usize;
        let smooth = rng.chance(1, 2);
        for number in 0..count {
            let is_last = number + 1 == count;
            let drawn = rng.below(self.homes as u64) as usize;
            let home = if loyal { home } else { drawn };
            let ask = self.ask(call, home, is_last, smooth, book, rng);
            book.asks.push(ask);
        }
        let ahead = *rng.pick(&[1, 1, 1, 2, 4, 50]);
        let total: usize = (first..book.asks.len())
            .map(|id| wire::request_head(&book.asks[id], id).len())
            .sum::<usize>()
            .max(2);
        let leaves = match rng.below(10) {
            0 => Leaves::AfterSent(rng.between(1, total as u64) as usize, draw_how(rng)),
            1 => Leaves::AfterReceived(rng.log_between(1, self.longest) as usize, draw_how(rng)),
            2 | 3 => Leaves::Finishes,
            4 => Leaves::Stays,
            _ => Leaves::Closes,
        };
        let bytes: usize = book.asks[first..].iter().map(|ask| ask.reply.payload.length).sum();
        let asks = first..book.asks.len();
        // Whoever waits for the answer gets nothing behind it, so nothing is taken for it.
        let babbles = book.asks[first..].iter().any(|ask| ask.reply.then == Then::Babble);
        book.calls.push(Call {
            from,
            asks,
            ahead: if babbles { 1 } else { ahead },
            reading: match rng.below(60) {
                0 => Reading::After(400 * SECOND),
                1..10 => Reading::After(rng.below(10 * SECOND)),
                10..20 => Reading::Sips(bytes / 40 + 50, rng.below(SECOND / 5)),
                _ => Reading::Eager,
            },
            leaves,
            hasty: rng.chance(1, 2),
            seen: Seen::default(),
        });
        call
    }

    /// A call of one plain request, for a look whether a home is served.
    pub fn plain(&self, from: IpAddr, home: usize, book: &mut Ledger, rng: &mut Rng) -> CallId {
        let (call, id) = (book.calls.len(), book.asks.len());
        let mut ask = self.ask(call, home, true, true, book, rng);
        (ask.to, ask.method, ask.fault, ask.body) = (To::Home(home), "GET", None, None);
        (ask.expects, ask.upgrades, ask.pause) = (None, false, 0);
        ask.reply = self.reply(false, rng);
        ask.reply.payload.framing = Framing::Length;
        (ask.reply.cut, ask.reply.begins, ask.reply.then) = (None, Begins::Whole, Then::Keep);
        (ask.reply.status, ask.reply.pause, ask.reply.pace) = (200, 0, Pace::default());
        book.asks.push(ask);
        book.calls.push(Call {
            from,
            asks: id..id + 1,
            ahead: 1,
            reading: Reading::Eager,
            leaves: Leaves::Closes,
            hasty: true,
            seen: Seen::default(),
        });
        call
    }

    fn ask(
        &self,
        call: CallId,
        home: usize,
        is_last: bool,
        smooth: bool,
        book: &Ledger,
        rng: &mut Rng,
    ) -> Ask {
        let to = match rng.below(if smooth { 100 } else { 20 }) {
            0 => To::Nobody,
            1 => To::Gone,
            2 => To::Shut(home),
            3 => To::Secure,
            _ => To::Home(home),
        };
        let method = *rng.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"]);
        let old = rng.chance(1, 12);
        let has_body = matches!(method, "POST" | "PUT") || rng.chance(1, 20);
        let body = has_body.then(|| self.payload(!old, false, rng));
        let mut ask = Ask {
            call,
            to,
            method,
            old,
            keeps: if is_last { rng.chance(2, 3) } else { !rng.chance(1, 30) },
            body,
            expects: None,
            upgrades: false,
            quirk: rng.next(),
            fault: None,
            pause: match rng.below(8) {
                0 => rng.below(4 * SECOND),
                _ => 0,
            },
            pace: draw_pace(rng, 2 * SECOND),
            reply: self.reply(smooth, rng),
            sent: false,
            arrivals: 0,
            outcome: None,
        };
        if is_last && method == "GET" && !old && !has_body && rng.chance(1, 3) {
            (ask.upgrades, ask.keeps) = (true, true);
            if rng.chance(3, 4) {
                ask.reply = Reply {
                    status: 101,
                    payload: Payload { length: 0, framing: Framing::UntilClose },
                    old: false,
                    cut: None,
                    then: Then::Keep,
                    begins: Begins::Whole,
                    raw: (self.length(rng), self.length(rng)),
                    ..ask.reply
                };
            }
        }
        if !old && ask.has_body() && rng.chance(1, 4) {
            ask.expects = Some(rng.below(5 * SECOND));
            ask.reply.says_100 = rng.chance(2, 3);
        }
        if ask.has_body() && rng.chance(1, 6) {
            ask.reply.begins = *rng.pick(&[Begins::Early, Begins::Early, Begins::Deaf]);
        }
        if rng.chance(1, if smooth { 200 } else { 30 }) {
            ask.fault = Some(self.fault(&mut ask, rng));
        }
        // The stale bytes have come, if nothing goes wrong, long before the next request.
        let babbles = |ask: &Ask| ask.reply.then == Then::Babble;
        if book.asks.last().is_some_and(|last| last.call == call && babbles(last)) {
            ask.pause = 30 * SECOND;
        }
        let until_close = wire::is_until_close(&ask);
        let sound = book.calm && ask.reply.cut.is_none() && !until_close && !ask.reply.old;
        let whole = !ask.has_body() || ask.reply.begins == Begins::Whole;
        if ask.reply.then == Then::Babble && !(sound && whole && ask.reply.status != 101) {
            ask.reply.then = Then::Keep;
        }
        if let Some((_, how)) = ask.reply.cut {
            let total = wire::hints(&ask, 0).len() + wire::reply(&ask, 0).len();
            let how = if until_close { How::Reset } else { how };
            ask.reply.cut = Some((rng.below(total as u64) as usize, how));
        }
        ask
    }

    fn fault(&self, ask: &mut Ask, rng: &mut Rng) -> Fault {
        if ask.body.is_some() && !ask.old {
            ask.body = Some(Payload { length: self.length(rng), framing: Framing::Chunked(99) });
            return Fault::Chunk;
        }
        (ask.body, ask.expects) = (None, None);
        *rng.pick(&[
            Fault::TwoHosts,
            Fault::TwoLengths,
            Fault::LengthWithCoding,
            Fault::BareLf,
            Fault::Fold,
        ])
    }

    fn reply(&self, smooth: bool, rng: &mut Rng) -> Reply {
        let old = rng.chance(1, 12);
        let trouble = !smooth && rng.chance(1, 6);
        Reply {
            says_100: false,
            hints: if rng.chance(1, 6) { rng.between(1, 3) as usize } else { 0 },
            status: *rng.pick(&[200, 200, 200, 200, 404, 500, 204, 304]),
            payload: self.payload(!old, !smooth, rng),
            old,
            begins: if !smooth && rng.chance(1, 150) { Begins::Never } else { Begins::Whole },
            pause: if rng.chance(1, 4) { rng.log_between(1, 8 * SECOND) } else { 0 },
            pace: draw_pace(rng, 3 * SECOND),
            reading: match rng.below(6) {
                0 => Reading::Sips(self.longest as usize / 30 + 20, rng.below(SECOND / 5)),
                _ => Reading::Eager,
            },
            cut: (trouble && rng.chance(1, 2)).then(|| (0, draw_how(rng))),
            then: match rng.below(if smooth { 40 } else { 10 }) {
                0 => Then::Close(rng.log_between(1, 3 * SECOND)),
                1 => Then::IdleClose(rng.log_between(1, 5 * SECOND)),
                2 => Then::IdleClose(0),
                3 => Then::Babble,
                _ => Then::Keep,
            },
            raw: (0, 0),
        }
    }

    fn payload(&self, chunks: bool, until_close: bool, rng: &mut Rng) -> Payload {
        let length = self.length(rng);
        let framing = match rng.below(5) {
            0 | 1 if chunks => {
                Framing::Chunked(rng.log_between(length as u64 / 100 + 1, 20_000) as usize)
            }
            2 if until_close => Framing::UntilClose,
            _ => Framing::Length,
        };
        Payload { length, framing }
    }

    fn length(&self, rng: &mut Rng) -> usize {
        if rng.chance(1, 5) { 0 } else { rng.log_between(1, self.longest) as usize }
    }
}

fn draw_how(rng: &mut Rng) -> How {
    *rng.pick(&[How::Fin, How::Reset, How::Close])
}

fn draw_pace(rng: &mut Rng, most: u64) -> Pace {
    match rng.below(4) {
        0 => {
            let count = rng.between(1, 5);
            Pace(count, rng.log_between(1, most / count))
        }
        _ => Pace::default(),
    }
}
