//! What the entry answers by itself: pages, redirects, and the word for who asks after our health.

use super::order::{Order, Traits};
use super::{HalfEnd, HttpEntry, Out, Parting, Redirect, Reply, Stage, Why, page};
use crate::proto::access;
use crate::wire::http::forwarded::Origin;
use crate::wire::http::rewrite::Answer;
use crate::wire::http::{HeadScan, Kind, Version};

impl HttpEntry {
    /// What is under way cannot be brought to its end.
    pub(super) fn fail(&mut self, why: Why, out: &mut Out) {
        if let Stage::Exchange { reply: Reply::Body { .. }, .. } = &self.stage {
            self.conclude(why.end());
            self.note_why(why);
        }
        match self.take_stage() {
            Stage::Exchange { order, reply: Reply::Head { .. } } => {
                self.let_go(HalfEnd::Reset);
                self.say_page(why, &order, out);
            }
            Stage::Exchange { reply: Reply::Body { .. }, .. } => {
                self.let_go(HalfEnd::Reset);
                self.refusal = Some(why);
                self.close(Parting::Abort);
            }
            Stage::Routing { order, .. } | Stage::Linking { order, .. } => {
                self.say_page(why, &order, out);
            }
            stage => self.stage = stage,
        }
    }

    /// Answers a request with a page.
    pub(super) fn say_page(&mut self, why: Why, order: &Order, out: &mut Out) {
        self.refusal = Some(why);
        let before = out.visitor.len();
        page::write(why, &self.pages, self.answer_to(order), &mut out.visitor);
        self.conclude_with_answer(why.end(), Some(&order.body), &out.visitor[before..]);
        self.note_why(why);
        self.go_on_after(order);
    }

    /// Answers a request with the address of the same thing over TLS.
    pub(super) fn send_away(
        &mut self,
        redirect: Redirect,
        port: u16,
        order: &Order,
        out: &mut Out,
    ) {
        let asked = (&order.host, order.target());
        let answer = self.answer_to(order);
        let before = out.visitor.len();
        if redirect.write(asked, port, order.traits.reads, answer, &mut out.visitor) {
            let end = access::VisitEnd::Redirected;
            self.conclude_with_answer(end, Some(&order.body), &out.visitor[before..]);
            self.go_on_after(order);
        } else {
            self.say_page(Why::NameNeeded, order, out);
        }
    }

    fn answer_to(&self, order: &Order) -> Answer {
        let Traits { version, is_head, .. } = order.traits;
        let persists = self.may_go_on_after(order);
        Answer { to: version, to_head: is_head, persists, trailers: false }
    }

    /// After an answer of our own the connection lives on if the request was read to its end.
    fn may_go_on_after(&self, order: &Order) -> bool {
        order.traits.persists && order.body.is_done() && !self.ended && !self.last
    }

    pub(super) fn go_on_after(&mut self, order: &Order) {
        if self.may_go_on_after(order) {
            self.enter(Stage::Head(HeadScan::new(Kind::Request)));
        } else {
            self.close(Parting::Close);
        }
    }

    /// Answers what is no request.
    pub(super) fn refuse(&mut self, why: Why, is_head: bool, out: &mut Out) {
        self.refusal = Some(why);
        if self.visitor.origin == Origin::Headerless {
            self.conclude(why.end());
            return self.close(Parting::Abort);
        }
        let (to, persists, trailers) = (Version::Http11, false, false);
        let answer = Answer { to, to_head: is_head, persists, trailers };
        let before = out.visitor.len();
        page::write(why, &self.pages, answer, &mut out.visitor);
        self.conclude_with_answer(why.end(), None, &out.visitor[before..]);
        self.close(Parting::Close);
    }

    /// After [`super::Action::Route`], in place of an answer to it: the request, as a home would
    /// get it, for somebody who takes over from here.
    pub fn take_head(&mut self) -> Vec<u8> {
        self.forget();
        match self.take_stage() {
            Stage::Routing { order, .. } => order.head,
            _ => Vec::new(),
        }
    }

    /// Answers a check; the access log has no line for it.
    pub(super) fn say_health(&mut self, draining: bool, order: &Order, out: &mut Out) {
        self.forget();
        page::write_health(draining, self.answer_to(order), &mut out.visitor);
        self.go_on_after(order);
    }
}
