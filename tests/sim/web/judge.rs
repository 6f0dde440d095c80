//! What must have come of a call.

use std::ops::Range;

use super::plan::{
    Ask, AskId, Begins, Call, CallId, Fault, How, Leaves, Ledger, Outcome, Then, To,
};
use super::wire;
use crate::story::{End, Reading};

const SECOND: u64 = 1_000_000_000;
/// The server lets an idle connection live for 60 s.
const IDLE: u64 = 61 * SECOND;

/// Whether request `id` may be answered by a page of this status.
pub fn may_get_page(book: &Ledger, id: AskId, status: u16) -> bool {
    let may = expected(book, id);
    let leaves = book.calls[book.asks[id].call].leaves;
    let cut = matches!(leaves, Leaves::AfterSent(_, How::Fin) | Leaves::AfterReceived(_, How::Fin));
    may.page == Some(status)
        || sleeps(&book.calls[book.asks[id].call]) && status == 504
        || may.is_risky && status == 502
        || cut && status == 400
        || !book.calm && matches!(status, 408 | 502 | 503 | 504)
}

/// Whoever does not read for minutes is idle, or given up.
fn sleeps(call: &Call) -> bool {
    matches!(call.reading, Reading::After(nanos) if nanos > 250 * SECOND)
}

/// What may become of a request in a world without faults.
struct Expected {
    answer: bool,
    page: Option<u16>,
    /// A reset in the midst of the answer.
    reset: bool,
    /// The connection to the home may end under it, so that 502 is an answer too.
    is_risky: bool,
}

fn expected(book: &Ledger, id: AskId) -> Expected {
    let ask = &book.asks[id];
    let page =
        |status| Expected { answer: false, page: Some(status), reset: false, is_risky: false };
    match (ask.fault, ask.to) {
        (None | Some(Fault::Chunk), To::Home(_)) => {}
        (None | Some(Fault::Chunk), To::Nobody) => return page(404),
        (None | Some(Fault::Chunk), To::Gone) => return page(503),
        (None | Some(Fault::Chunk), To::Secure) => return page(308),
        (None, To::Shut(_)) => return page(502),
        // The bad chunk is seen before the home's refusal, or behind it.
        (Some(Fault::Chunk), To::Shut(_)) => {
            return Expected { is_risky: true, ..page(400) };
        }
        (Some(_), _) => return page(400),
    }
    let reply = &ask.reply;
    let early = ask.has_body() && reply.begins != Begins::Whole;
    // A home that closes on unread bytes resets its connection.
    let closes = reply.then != Then::Keep || wire::closes_unsaid(ask);
    let deaf = early && (reply.begins == Begins::Deaf || closes);
    // A home that closes an idle connection may do so while the request is on its way. It is
    // repeated unless it may have had an effect.
    let races = is_on_closing(book, id) && (ask.has_body() || !ask.is_repeatable());
    let mut may = Expected { answer: true, page: None, reset: deaf, is_risky: races || deaf };
    if ask.fault.is_some() {
        may = Expected { answer: early, page: Some(400), reset: early, is_risky: true };
    }
    if reply.begins == Begins::Never {
        let status = if ask.fault.is_some() { 400 } else { 504 };
        return Expected { answer: false, page: Some(status), reset: false, is_risky: races };
    }
    if let Some((cut, how)) = reply.cut {
        let body = wire::hints(ask, id).len() + head_length(&wire::reply(ask, id));
        may.answer = false;
        // What a reset overtakes in the client is lost.
        may.reset |= cut >= body || early;
        may.is_risky |= cut < body || how != How::Fin || early;
    }
    may
}

fn head_length(reply: &[u8]) -> usize {
    reply.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4)
}

/// Whether the home may close the connection that this request comes on, or should.
fn is_on_closing(book: &Ledger, id: AskId) -> bool {
    let ask = &book.asks[id];
    let before = (book.calls[ask.call].asks.start..id).rev();
    let last = before.map(|id| &book.asks[id]).find(|ask| is_with_a_home(ask));
    let closes = |last: &Ask| {
        let deaf = last.has_body() && last.reply.begins == Begins::Deaf;
        deaf || matches!(last.reply.then, Then::IdleClose(_))
    };
    last.is_some_and(|last| last.to == ask.to && closes(last))
}

/// It is answered elsewhere than at the server alone.
fn is_with_a_home(ask: &Ask) -> bool {
    matches!(ask.to, To::Home(_) | To::Shut(_))
}

/// So many connections at home may carry this call's requests.
fn most_lines(book: &Ledger, call: &Call) -> usize {
    let (mut lines, mut held) = (0, None);
    for id in call.asks.clone() {
        let ask = &book.asks[id];
        match ask.to {
            To::Nobody | To::Gone | To::Secure => continue,
            To::Shut(_) => held = None,
            To::Home(_) => {
                let service = (ask.to, wire::goes_by_path(ask));
                lines += usize::from(held != Some(service) || is_repeated(ask));
                held = keeps_line(ask).then_some(service);
            }
        }
    }
    lines
}

/// On a kept connection that ends before any byte of the reply, it is sent again on a fresh one. A
/// reset may overtake bytes in the client.
fn is_repeated(ask: &Ask) -> bool {
    let is_lost = |(at, how)| at == 0 || how != How::Fin;
    ask.is_repeatable() && !ask.has_body() && ask.reply.cut.is_some_and(is_lost)
}

/// The home's connection lives on after this request.
fn keeps_line(ask: &Ask) -> bool {
    let reply = &ask.reply;
    reply.then == Then::Keep
        && !wire::closes_unsaid(ask)
        && reply.cut.is_none()
        && ask.fault.is_none()
        && (reply.begins == Begins::Whole || !ask.has_body() && reply.begins != Begins::Never)
}

/// What was wrong with a call in a world without faults.
pub fn judge(book: &Ledger, id: CallId) -> Result<(), String> {
    let call = &book.calls[id];
    let seen = &call.seen;
    let sends_on = |ask: &Ask| ask.has_body() || call.ahead > 1;
    let is_late =
        |ask: &Ask, id| !matches!(call.reading, Reading::Eager) || wire::answer_body(ask, id).1;
    let resets = |mut asks: Range<AskId>| asks.any(|id| expected(book, id).reset);
    let mut lives = true;
    for id in call.asks.clone() {
        let ask = &book.asks[id];
        let fail = |what: &str| Err(format!("request {id}: {what}: {ask:?} of {call:?}"));
        let may = expected(book, id);
        match ask.outcome {
            None if !lives => {
                if ask.arrivals > 0 {
                    return fail("came to a home behind the last one");
                }
            }
            None if seen.left => break,
            // A reset for a later one takes with it what the network had not yet sent.
            None if seen.end == Some(End::Reset) && resets(id..call.asks.end) => {
                lives = false;
                break;
            }
            // What is still sent to a connection that was closed resets it. Whoever reads late
            // loses the answer by it, or only the end of one that the end completes.
            None if seen.end == Some(End::Reset) && sends_on(ask) && is_late(ask, id) => {
                lives = false;
                break;
            }
            None if sleeps(call) => {
                lives = false;
                break;
            }
            None => return fail("has no answer"),
            Some(Outcome::Answered { .. }) if !may.answer => return fail("was answered"),
            Some(Outcome::Answered { persists }) => lives = persists && ask.reply.status != 101,
            Some(Outcome::Page { status, persists }) => {
                // With a body, it depends on how much of it was read.
                let must = ask.keeps && (ask.fault.is_none() || ask.fault == Some(Fault::Chunk));
                let last = call.leaves == Leaves::Finishes && id + 1 == call.asks.end;
                let fixed = !last && (!ask.has_body() || !matches!(status, 502 | 504));
                if fixed && persists != (must && !ask.has_body()) && !seen.left {
                    return fail("was refused for good, or not for good");
                }
                lives = persists;
            }
        }
    }
    let fail = |what: &str| Err(format!("{what}: {call:?}"));
    let waits = matches!(call.leaves, Leaves::Finishes | Leaves::Stays);
    if lives && !seen.left && waits && seen.end != Some(End::Eof) {
        return fail("the connection did not end in order");
    }
    let idle = seen.done.unwrap_or(u64::MAX).saturating_sub(seen.answered);
    if seen.end.is_some() && idle > IDLE + 30 * SECOND && !sleeps(call) {
        return fail("the connection outlived its last response");
    }
    if seen.lines > most_lines(book, call) {
        return fail("connections to homes were not kept");
    }
    Ok(())
}

/// A call whose every request was answered by its home.
pub fn is_served(book: &Ledger, id: CallId) -> bool {
    let mut asks = book.calls[id].asks.clone();
    asks.all(|id| matches!(book.asks[id].outcome, Some(Outcome::Answered { .. })))
}
