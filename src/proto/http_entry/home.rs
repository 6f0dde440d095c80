//! What the home says: the response to the one request that is open, or nothing.

use super::{HalfEnd, HttpEntry, Out, Parting, Reply, Stage, Traits, Why};
use crate::proto::access;
use crate::wire::Status;
use crate::wire::http::body::{Body, Form};
use crate::wire::http::response::Response;
use crate::wire::http::rewrite::{self, Answer};
use crate::wire::http::{Framing, HeadScan, Kind, Slots, Version};

impl HttpEntry {
    pub(super) fn take_from_home(&mut self, bytes: &[u8], out: &mut Out) -> usize {
        if self.link.is_none() {
            return bytes.len();
        }
        match &mut self.stage {
            Stage::Exchange { order, reply: Reply::Head { scan, .. } } => {
                order.head = Vec::new();
                match scan.scan(bytes) {
                    Ok(Status::Partial) => 0,
                    Ok(Status::Complete(head)) => {
                        let end = head.end;
                        self.hear_head(&bytes[head], out);
                        end
                    }
                    Err(reject) => {
                        self.fail(Why::Response(reject), out);
                        bytes.len()
                    }
                }
            }
            Stage::Exchange { reply: Reply::Body { body, .. }, .. } => {
                match body.decode(bytes, &mut out.visitor) {
                    Ok(taken) => {
                        if body.is_done() {
                            self.complete();
                        }
                        taken
                    }
                    Err(reject) => {
                        self.fail(Why::ResponseBody(reject), out);
                        bytes.len()
                    }
                }
            }
            Stage::Relay { .. } => 0,
            // Nobody has asked for anything.
            _ => {
                self.let_go(HalfEnd::Reset);
                bytes.len()
            }
        }
    }

    fn hear_head(&mut self, head: &[u8], out: &mut Out) {
        let Stage::Exchange { order, reply } = &mut self.stage else { return };
        let Reply::Head { scan, patience } = reply else { return };
        let Traits { version, is_head, takes_trailers, .. } = order.traits;
        let mut slots = Slots::new();
        let response = match Response::parse(head, &mut slots) {
            Ok(response) => response,
            Err(reject) => return self.fail(Why::Response(reject), out),
        };
        let mut answer =
            Answer { to: version, to_head: is_head, persists: true, trailers: takes_trailers };
        if response.is_interim() {
            // Any number may come (RFC 9110 15.2), and each starts the wait anew: a home that
            // says 102 is at work. What is bounded is how much it says before it answers.
            let Some(left) = patience.checked_sub(head.len()) else {
                return self.fail(Why::EndlessInterim, out);
            };
            *patience = left;
            *scan = HeadScan::new(Kind::Response);
            order.traits.expects_continue &= response.status != 100;
            self.turn = self.turn.wrapping_add(1);
            // HTTP/1.0 has no interim responses (RFC 9110 15.2).
            if version == Version::Http11 {
                rewrite::response(&response, answer, &mut out.visitor);
            }
            return;
        }
        if response.status == 101 {
            if !order.traits.asks_upgrade || !order.body.is_done() {
                return self.fail(Why::Switched, out);
            }
            rewrite::response(&response, answer, &mut out.visitor);
            self.note_status(101);
            return self.enter(Stage::Relay { told: false });
        }
        let framing = response.framing(is_head);
        let form = match version {
            Version::Http10 => Form::Plain,
            Version::Http11 if takes_trailers => Form::WithTrailers,
            Version::Http11 => Form::Chunked,
        };
        let ends_itself = match framing {
            Framing::None | Framing::Length(_) => true,
            Framing::Chunked => form != Form::Plain,
            Framing::UntilClose => false,
        };
        let is_read = order.body.is_done();
        let may_go_on = !self.ended && !self.last;
        answer.persists = order.traits.persists && ends_itself && is_read && may_go_on;
        let home_persists = framing != Framing::UntilClose
            && !order.traits.home_closes
            && !response.is_faulty
            && response.options.persists(response.version);
        rewrite::response(&response, answer, &mut out.visitor);
        let body = Body::new(Kind::Response, framing, form);
        let is_done = body.is_done();
        *reply = Reply::Body { body, visitor_persists: answer.persists, home_persists };
        self.note_status(response.status);
        if is_done {
            self.complete();
        }
    }

    /// The response is whole.
    pub(super) fn complete(&mut self) {
        self.conclude(access::VisitEnd::Done);
        let Stage::Exchange { order, reply } = self.take_stage() else { return };
        let Reply::Body { visitor_persists, home_persists, .. } = reply else { return };
        if !order.body.is_done() {
            self.let_go(HalfEnd::Reset);
        } else if !home_persists || self.ended {
            self.let_go(HalfEnd::Fin);
        }
        if visitor_persists && !self.ended && !self.last {
            self.enter(Stage::Head(HeadScan::new(Kind::Request)));
        } else {
            self.close(Parting::Close);
        }
    }
}
