#!/usr/bin/env python3
"""Does the simulation bite? Plants one typical bug at a time into a copy of the engine and runs the
simulation on it. A bug is caught when a seed, or a play of `pitfalls.rs` or `malice.rs`, fails.

    tests/sim/plant.py            all bugs, SEEDS (300) seeds each; for some the fixed plays
    tests/sim/plant.py fin-lost   those named
    tests/sim/plant.py --fit      none: only whether each one still fits the source

Needs cargo. The exit code is 1 if a bug no longer fits the source. ARCHITECTURE.md has the result.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# name, what it is, file, the right lines, the wrong ones
BUGS = [
    ("visit-counted-twice", "a visit that is over is counted as two",
     "src/engine/server/access.rs",
     "        self.stats.ended(visit.service, visit.entry, end);\n        if visit.end",
     "        self.stats.ended(visit.service, visit.entry, end);\n"
     "        self.stats.ended(visit.service, visit.entry, end);\n        if visit.end"),
    ("last-bytes-uncounted", "bytes of a visitor's last turn are not counted",
     "src/engine/server/access.rs",
     "VisitEnd) {\n        self.count_bytes(id);\n",
     "VisitEnd) {\n"),
    ("former-forgotten", "what services had that are gone is forgotten",
     "src/proto/stats.rs",
     "            slot.iter().for_each(|traffic| former.add(traffic));\n",
     "            let _ = (slot, former);\n"),
    ("watcher-not-waited-for", "who watches is told on, whether it reads or not",
     "src/engine/admin.rs",
     "            if self.conns.is_clear(id) {\n                self.send_admin",
     "            if self.conns.is_clear(id) || true {\n                self.send_admin"),
    ("slices-without-end", "an answer in slices ends with the connection alone",
     "src/engine/admin.rs",
     "                (None, true) => \"0\\r\\n\\r\\n\".to_owned(),",
     "                (None, true) => String::new(),"),
    ("admins-without-deadline", "who says nothing at the admin door stays for ever",
     "src/engine/admin.rs",
     "            Ok(id) => self.set_deadline(id, Some(now + limits::ADMIN_TIME)),",
     "            Ok(_) => {}"),
    ("reload-renames", "a service that stays is another one after a reload",
     "src/proto/services.rs",
     "let same = self.iter().find(|(_, known)| is_same(known)).map(|(id, _)| id);",
     "let same = self.iter().find(|(_, known)| is_same(known) && false).map(|(id, _)| id);"),
    ("reload-by-place", "after a reload a name leads to what stood at its service's place before",
     "src/proto/services.rs",
     "        self.listed = plan.listed.clone();\n",
     "        if self.listed.len() != plan.listed.len() {\n"
     "            self.listed = plan.listed.clone();\n"
     "        }\n"),
    ("reload-shuts-doors", "a reload closes the listeners that stay",
     "src/engine/server/doors.rs",
     "former.remove(&id).or_else(|| plan.opened.remove(&id))",
     "plan.opened.remove(&id)"),
    ("reload-cuts", "a service that is gone takes its visitors with it",
     "src/proto/broker.rs",
     "self.withdraw(session, service, Withdrawn::Gone);",
     "self.withdraw(session, service, Withdrawn::Revoked);"),
    ("reload-unseats", "a reload forgets who has a seat",
     "src/proto/gates.rs",
     "Some(gate) => gate.set(&service.visitors, service.max_visitors),",
     "Some(gate) => *gate = Gate::new(&service.visitors, service.max_visitors),"),
    ("reload-one-token", "a session keeps its service only by the first of the tokens",
     "src/proto/control_server.rs",
     "if !service.tokens.iter().any(",
     "if !service.tokens.iter().take(1).any("),
    ("reload-same-instance", "a client's session with another server ends the one that it has",
     "src/engine/client/servers.rs",
     "self.core.io.net.random(&mut line.instance);",
     "line.instance = [7; 32];"),
    ("wake-up-lost", "a connection that has had its turn is never queued again",
     "src/engine/core.rs",
     "                seat.queued = false;\n                return Some(id);",
     "                let _ = seat;\n                return Some(id);"),
    ("wake-up-dropped", "an event is noted and its connection not queued",
     "src/engine/core.rs",
     "                conn.heard = now;\n            }\n            self.enqueue(id);",
     "                conn.heard = now;\n            }"),
    ("read-once", "after one read the socket counts as drained",
     "src/engine/socket.rs",
     "if is_short && !self.read_closed && !self.urgent && !self.broken {",
     "if matches!(received, Received::Bytes(_)) {"),
    ("end-behind-short-read", "a short read hides the end of file behind it",
     "src/engine/socket.rs",
     "if is_short && !self.read_closed && !self.urgent && !self.broken {",
     "if is_short && !self.urgent {"),
    ("mark-is-drained", "a read that stops at a mark of urgent data hides what is behind it",
     "src/engine/socket.rs",
     "if is_short && !self.read_closed && !self.urgent && !self.broken {",
     "if is_short && !self.read_closed && !self.broken {"),
    ("remainder-lost", "what a short write leaves over is dropped",
     "src/engine/socket.rs",
     "buffers.append(&mut self.pending, &bytes[written..]);",
     "if written == 0 { buffers.append(&mut self.pending, bytes); }"),
    ("remainder-unflushed", "bytes behind earlier pending ones are written first",
     "src/engine/socket.rs",
     "let written = if self.pending.is_empty() { self.write(net, bytes)? } else { 0 };",
     "let written = self.write(net, bytes)?;"),
    ("fin-lost", "a FIN behind queued bytes is never sent",
     "src/engine/socket.rs",
     "self.fin = Fin::BehindPending;",
     ""),
    ("fin-early", "a FIN overtakes queued bytes",
     "src/engine/socket.rs",
     """        if self.pending.is_empty() {
            self.shut_down(net);
        } else {""",
     """        if true {
            self.shut_down(net);
        } else {"""),
    ("abort-is-close", "a reset is passed on as an end of file",
     "src/engine/socket.rs",
     "net.abort(self.stream);",
     "let _ = net;"),
    ("buffer-kept", "an aborted connection's buffer is not given back",
     "src/engine/socket.rs",
     """    pub fn abort<N: Net<Stream = S>>(mut self, net: &mut N, buffers: &mut Buffers) {
        buffers.give_back(&mut self.pending);""",
     """    pub fn abort<N: Net<Stream = S>>(self, net: &mut N, _: &mut Buffers) {"""),
    ("slot-reuse", "an event for a connection that has ended reaches the next one in its slot",
     "src/engine/conns.rs",
     """        let (generation, conn) = self.slab.get_mut(id.index as usize)?;
        (*generation == id.generation).then_some(conn)""",
     """        self.slab.get_mut(id.index as usize).map(|(_, conn)| conn)"""),
    ("double-close", "a link that is lost is counted out twice",
     "src/proto/broker.rs",
     "                session.pool.lost_lent();\n",
     "                session.pool.lost_lent();\n                session.pool.lost_lent();\n"),
    ("deadline-cleared", "the hello's deadline is gone with its first byte",
     "src/engine/server/visitor.rs",
     "    pub(super) fn hear_hello(&mut self, id: ConnId) {\n",
     "    pub(super) fn hear_hello(&mut self, id: ConnId) {\n"
     "        self.core.set_deadline(id, None);\n"),
    ("deadline-between-ends", "a relay with both directions open has a deadline",
     "src/engine/relay.rs",
     "_ => lease.said() == LeaseEnd::Open && lease.heard() != LeaseEnd::Open,",
     "_ => lease.said() == LeaseEnd::Open,"),
    ("timer-not-rearmed", "a deadline that moved to later never fires",
     "src/engine/timers.rs",
     "        self.set(id, deadline, later);\n        is_due",
     "        let _ = (id, later);\n        is_due"),
    ("link-back-early", "a link is spare before the client has read the last lease's end",
     "src/engine/server/links.rs",
     "self.core.settle(id, Lease::is_over, patience)",
     "self.core.settle(id, Lease::has_ended, patience)"),
    ("link-back-unflushed", "a link is spare with bytes still pending",
     "src/engine/relay.rs",
     "return Ok(if link.socket.is_clear() { Turn::Done(()) } else { Turn::Waiting });",
     "return Ok(Turn::Done(()));"),
    ("link-not-back", "a link whose lease is over never comes back to the pool",
     "src/engine/server/links.rs",
     "        self.use_link(id, LinkUse::Spare);\n"
     "        self.broker.link_returned(session, id, now);",
     "        self.use_link(id, LinkUse::Spare);\n        let _ = session;"),
    ("reset-kept", "a connection that breaks is not told to the peer",
     "src/engine/relay.rs",
     "    match link.say_reset(io, reason) {\n        Ok(()) => Outcome::PlainBroken,",
     "    let _ = reason;\n"
     "    match link.flush(io).map(|_| ()) {\n        Ok(()) => Outcome::PlainBroken,"),
    ("link-end-is-fin", "a tunnel connection that ends counts as an end of file",
     "src/engine/relay.rs",
     "            Err(Cut::Source(gone)) => return Outcome::LinkGone(gone),\n"
     "            Err(Cut::Sink(_))",
     """            Err(Cut::Source(gone)) => {
                plain.socket.finish(&mut io.net);
                let _ = plain.flush(io);
                return Outcome::LinkGone(gone);
            }
            Err(Cut::Sink(_))"""),
    ("no-back-pressure", "a sink with pending bytes is given more",
     "src/engine/relay.rs",
     "if !open || !sink.socket().is_clear() {",
     "if !open {"),
    ("not-requeued", "a relay that has used up its budget is not queued again",
     "src/engine/pair.rs",
     """                self.note_progress(plain, progress);
                self.enqueue(link);""",
     "                self.note_progress(plain, progress);"),
    ("half-close-is-close", "the end of one direction ends both",
     "src/engine/relay.rs",
     "        if lease.has_ended() {\n            return Outcome::Done;",
     "        if lease.said() != LeaseEnd::Open || lease.heard() != LeaseEnd::Open {\n"
     "            return Outcome::Done;"),
    ("kind-not-restored", "the byte under a frame's kind is not put back",
     "src/proto/tunnel/frames.rs",
     "clear[end] = borrowed;",
     "let _ = borrowed;"),
    ("cut-frame-lost", "a frame that is cut is thrown away",
     "src/engine/tunnel.rs",
     "buffers.append(&mut self.inbox, &scratch.wire[rest]);",
     "let _ = rest;"),
    ("pipe-not-emptied", "what the network did not take of a splice stays in the pipe",
     "src/engine/socket.rs",
     "let left = net.empty_pipe(scratch);",
     "let left = if self.pending.is_empty() { net.empty_pipe(scratch) } else { 0 };"),
    ("spliced-rest-lost", "what the network did not take of a splice is lost",
     "src/engine/socket.rs",
     "buffers.append(&mut self.pending, &scratch[..left]);",
     "let _ = left;"),
    ("run-not-counted", "what is spliced of a run is not counted",
     "src/proto/tunnel/runs.rs",
     "        self.runs.left -= length;\n",
     "        self.runs.left = self.runs.left.saturating_sub(length.min(4096));\n"),
    ("run-header-lost", "bytes read along with a run's header are overtaken by what follows",
     "src/proto/tunnel/runs.rs",
     "left @ 1.. if kept == 0 => Expects::Data(left),",
     "left @ 1.. => Expects::Data(left),"),
    ("waiting-forgotten", "a free link is not given to the visitor that waits for one",
     "src/proto/broker.rs",
     "        while !session.pool.is_empty() {\n            let has",
     "        while now < Time(0) && !session.pool.is_empty() {\n            let has"),
    ("waiting-not-forgotten", "a visitor that leaves the queue is remembered as one that waits",
     "src/proto/broker.rs",
     "        let place = self.places.remove(&visitor);\n",
     "        let place = self.places.get(&visitor).copied();\n"),
    ("effect-lost", "a visitor is not told that its link is gone",
     "src/engine/server.rs",
     "Effect::Cut { visitor, link } => self.cut_visitor(visitor, link),",
     "Effect::Cut { .. } => {}"),
    ("effect-not-asked-for", "a client is not asked for links when a visitor waits for one",
     "src/proto/broker.rs",
     "        self.effects.push_back(Effect::Ask { session: id });\n        Answer::Queued",
     "        Answer::Queued"),
    ("permit-kept", "a connection that is reset keeps its place",
     "src/engine/core.rs",
     "            self.dismiss(permit);\n            let Io { net, buffers, .. } = &mut self.io;",
     "            let _ = permit;\n            let Io { net, buffers, .. } = &mut self.io;"),
    ("permit-kept-by-the-promoted", "a stranger that proves a token keeps the stranger's place too",
     "src/engine/core.rs",
     "        self.dismiss(former);\n",
     "        let _ = former;\n"),
    ("charge-kept", "what a visitor has held is not taken off its account when it leaves",
     "src/proto/admission.rs",
     "        self.hold(key, 0, stalled_since);\n",
     "        let _ = stalled_since;\n"),
    ("visitors-outlive-session", "the end of a session leaves its visitors hanging",
     "src/proto/broker.rs",
     "if are_bound || !matches!(state, LinkState::Lent(_)) {",
     "if !matches!(state, LinkState::Lent(_)) && (are_bound || true) {"),
    ("emfile-forgets-door", "an accept that fails for lack of descriptors spins",
     "src/engine/server/doors.rs",
     "door.pause = Some(now + limits::ACCEPT_PAUSE);",
     ""),
    ("wrong-home", "a visitor waits at the session of another service's home",
     "src/proto/broker.rs",
     "let holder = self.pick(service, network, tried, now);",
     "let other = self.services.iter().find(|(_, slot)| !slot.holders.is_empty());\n"
     "        let other = other.map_or(service, |(id, _)| id);\n"
     "        let holder = self.pick(other, network, tried, now);"),
    ("http-end-before-relay", "the home's end behind its 101 is taken from the relay",
     "src/engine/server/http.rs",
     "if let Some(end) = http.home_end.filter(|_| !moved) {",
     "if let Some(end) = http.home_end.filter(|_| http.unheard.is_empty() || !moved) {"),
    ("http-fin-twice", "FIN is said again when the relay begins",
     "src/engine/server/http/link.rs",
     "visitor_end.is_some() && is_open {",
     "visitor_end.is_some() && (is_open || true) {"),
    ("http-end-overtakes", "the home's end overtakes bytes that the visitor has no room for",
     "src/engine/server/http.rs",
     "if let Some(end) = http.home_end.filter(|_| !moved) {",
     "if let Some(end) = http.home_end {"),
    ("http-unread-lost", "requests behind the one at hand are dropped",
     "src/engine/server/http.rs",
     "self.core.io.buffers.append(&mut http.unread, &bytes[taken..]);",
     "let _ = taken;"),
    ("http-unheard-lost", "a part of a response's head is dropped",
     "src/engine/server/http.rs",
     "self.core.io.buffers.append(&mut http.unheard, &bytes[taken..]);",
     "let _ = taken;"),
    ("http-no-back-pressure", "the home is read though the visitor takes nothing",
     "src/engine/server/http.rs",
     "if !is_clear && http.home_end != Some(HalfEnd::Reset) {",
     "if !is_clear && false {"),
    ("http-queue-kept", "a visitor that leaves the queue for a link stays in it",
     "src/engine/server/http.rs",
     "http.waiting.take()).is_some() {\n            self.broker.forget(id);",
     "http.waiting.take()).is_some() {"),
    ("http-link-lost-unseen", "a visitor is not told that its link is gone",
     "src/engine/server/http.rs",
     "            http.link = None;\n            http.home_end = Some(HalfEnd::Reset);",
     "            http.link = None;"),
    ("http-reset-is-fin", "a request that is cut off ends in order at home",
     "src/engine/server/http/link.rs",
     "HalfEnd::Reset => conn.say_reset(&mut self.core.io, Reason::Broken),",
     "HalfEnd::Reset if is_open => conn.finish(&mut self.core.io),\n"
     "            HalfEnd::Reset => Ok(()),"),
    ("http-no-deadline", "a home that is silent is waited for without end",
     "src/engine/server/http.rs",
     "Wait::Response => times.response.map(|patience| now + patience),",
     "Wait::Response => None,"),
    ("http-idle-for-ever", "an idle connection is kept without end",
     "src/engine/server/http.rs",
     "Wait::NextRequest => Some(now + times.idle),",
     "Wait::NextRequest => None,"),
    ("http-first-home", "all requests of a connection go to the first one's home",
     "src/proto/http_entry.rs",
     "Routed::Service(service) if self.link == Some(service) => {",
     "Routed::Service(_) if self.link.is_some() => {"),
    ("http-post-twice", "a POST is repeated when a kept link has ended",
     "src/proto/http_entry.rs",
     "let may_repeat = order.traits.is_repeatable;",
     "let may_repeat = true;"),
    ("http-body-repeated", "a request is repeated of whose body a part is gone",
     "src/proto/http_entry.rs",
     "                order.head = Vec::new();\n                match order.body.decode",
     "                match order.body.decode"),
    ("http-never-repeated", "a request that met the end of a kept link is not repeated",
     "src/proto/http_entry.rs",
     "let may_repeat = order.traits.is_repeatable;",
     "let may_repeat = false;"),
    ("http-cut-is-end", "a response that is cut off ends in order",
     "src/proto/http_entry/answers.rs",
     "self.close(Parting::Abort);\n            }\n            Stage::Routing",
     "self.close(Parting::Close);\n            }\n            Stage::Routing"),
    ("http-page-body-unread", "a connection is kept behind a page though a body is still to come",
     "src/proto/http_entry/answers.rs",
     "order.traits.persists && order.body.is_done() && !self.ended",
     "order.traits.persists && !self.ended"),
    ("http-stray-kept", "what an idle home says is kept for the next request",
     "src/proto/http_entry/home.rs",
     "            _ => {\n                self.let_go(HalfEnd::Reset);\n"
     "                bytes.len()\n            }",
     "            _ => 0,"),
    ("http-early-kept", "a link is kept behind a response that came before the request's end",
     "src/proto/http_entry/home.rs",
     "        if !order.body.is_done() {\n            self.let_go(HalfEnd::Reset);\n"
     "        } else if",
     "        if"),
    ("http-close-ignored", "a link is kept though the home has said close",
     "src/proto/http_entry/home.rs",
     "} else if !home_persists || self.ended {",
     "} else if !home_persists && self.ended {"),
    ("http-never-kept", "no link is kept for the next request",
     "src/proto/http_entry/home.rs",
     "} else if !home_persists || self.ended {",
     "} else if home_persists || !home_persists {"),
    ("http-until-close-kept", "a response that ends with its connection leaves it open",
     "src/proto/http_entry/home.rs",
     "Framing::UntilClose => false,",
     "Framing::UntilClose => true,"),
    ("parting-cut", "a visitor that has ended its side loses what still waits for it",
     "src/engine/server/visitor.rs",
     "            Parting::Waits if !lingers => return,",
     "            Parting::Waits if !lingers => {\n"
     "                return self.close_visitor(id, VisitEnd::Done);\n            }"),
    ("parting-in-order", "a visitor that does not read is cut off by an end of file",
     "src/engine/server/visitor.rs",
     "            true => self.drop_visitor(id, VisitEnd::Idle),",
     "            _ => self.drop_visitor(id, VisitEnd::Idle),"),
    ("channel-end-lost", "the end of a direction is not passed on to a rathole channel",
     "src/engine/tunnel.rs",
     "            Tell::EndOfFile => {\n                self.socket.finish(&mut io.net);\n",
     "            Tell::EndOfFile => {\n"),
    ("udp-link-kept", "a UDP link that is lost stays in its service's books",
     "src/engine/server/udp.rs",
     "            service.links.remove(&link);\n",
     "            let _ = service;\n"),
    ("channels-unbounded", "each rathole client has eight spare channels, however few descriptors",
     "src/engine/server/rathole.rs",
     "terms.within(self.channels)",
     "terms"),
]

# The same, for `pitfalls.rs`: what shows in deadlines, in hours, or after the hundredth time only.
LATE_BUGS = [
    ("proof-deadline-moved", "each byte of a stranger on the tunnel port gives it more time",
     "src/engine/server/greeting.rs",
     "    fn try_greet(&mut self, id: ConnId) -> Result<(), Gone> {\n",
     "    fn try_greet(&mut self, id: ConnId) -> Result<(), Gone> {\n"
     "        let at = self.core.now() + limits::TUNNEL_PROOF_TIME;\n"
     "        self.greeting(id).into_iter().for_each(|greeting| greeting.until = at);\n"
     "        self.core.set_deadline(id, Some(at));\n"),
    ("proof-deadline-cleared", "who has said HELLO needs no token any more to stay",
     "src/engine/server/greeting.rs",
     "        self.core.enqueue(id);\n        Ok(())\n    }\n\n    fn add_link",
     "        self.core.set_deadline(id, None);\n"
     "        self.core.enqueue(id);\n        Ok(())\n    }\n\n    fn add_link"),
    ("hello-deadline-moved", "each byte of a hello gives it more time",
     "src/engine/server/visitor.rs",
     "    pub(super) fn hear_hello(&mut self, id: ConnId) {\n",
     "    pub(super) fn hear_hello(&mut self, id: ConnId) {\n"
     "        let at = self.core.now() + limits::CLIENT_HELLO_TIME;\n"
     "        self.core.set_deadline(id, Some(at));\n"),
    ("half-close-wall-clock", "after a half-close there are five minutes in all",
     "src/engine/pair.rs",
     "true if progress.moved || !is_set => {",
     "true if !is_set => {"),
    ("half-close-for-ever", "who never closes after a half-close is kept for an hour",
     "src/limits.rs",
     "HALF_CLOSED_SILENCE: Duration = Duration::from_secs(5 * 60);",
     "HALF_CLOSED_SILENCE: Duration = Duration::from_secs(3600);"),
    ("reset-is-fin", "a visitor whose home resets sees an end of file",
     "src/engine/server/visitor.rs",
     "            self.leave_queues(id);\n            self.core.abort(id);",
     "            self.leave_queues(id);\n            self.core.close(id);"),
    ("wait-for-the-dead", "a service that has an owner is not given to another",
     "src/engine/server/sessions.rs",
     "if (if_free && !is_free) || !self",
     "if !is_free || !self"),
    ("never-polite", "who has lost a service takes it back",
     "src/proto/control_client.rs",
     "&self.hash, service, server, *number, true, is_well",
     "&self.hash, service, server, *number, false, is_well"),
    ("loser-untold", "who has lost a service is not told",
     "src/engine/server/sessions.rs",
     "let _ = self.core.say(id, &Message::Withdrawn { number });",
     "let _ = number;"),
    ("newest-goes", "when there are too many strangers, the newest one goes",
     "src/proto/admission.rs",
     "self.networks.node(network).members[standing as usize].first();",
     "self.networks.node(network).members[standing as usize].iter(&self.members).last();"),
    ("wall-clock", "a visitor has six hours",
     "src/engine/server/links.rs",
     "        self.core.set_deadline(visitor, None);\n        Some(waiting)",
     "        let at = self.core.now() + std::time::Duration::from_secs(6 * 3600);\n"
     "        self.core.set_deadline(visitor, Some(at));\n        Some(waiting)"),
    ("no-jitter", "all clients pause equally long",
     "src/proto/backoff.rs",
     "half + half.mul_f64(random as f64 / u64::MAX as f64)",
     "{ let _ = random; whole }"),
    ("back-off-far", "the pause grows to a minute",
     "src/proto/backoff.rs",
     "AT_MOST: Duration = Duration::from_secs(5);",
     "AT_MOST: Duration = Duration::from_secs(60);"),
    ("visitors-miscounted", "a connection that is closed in order keeps its place",
     "src/engine/core.rs",
     "            self.dismiss(permit);\n            let buffers = &mut self.io.buffers;",
     "            let _ = permit;\n            let buffers = &mut self.io.buffers;"),
    ("links-miscounted", "a link that is lost still counts",
     "src/engine/client/link.rs",
     "        self.links -= 1;\n",
     ""),
    ("session-kept", "a client that is gone for long keeps its session",
     "src/proto/control_server.rs",
     "Keepalive::new(interval, interval.map(|interval| interval * 5 / 2), now)",
     "Keepalive::new(interval, None, now)"),
    ("channel-stop-is-end", "a server that stops ends the requests to rathole clients",
     "src/engine/server.rs",
     "LinkUse::Leased { .. }, .. })) => {\n                    self.core.abort(id);",
     "LinkUse::Leased { .. }, .. })) => {\n                    self.core.close(id);"),
]

# The same, for `malice.rs`: what shows only when somebody means harm.
HOMES_BUGS = [
    ("shared-miscount", "who waits for one of several homes is counted for none",
     "src/proto/broker.rs",
     "        self.next_place += 1;\n        self.count_in(id, service);",
     "        self.next_place += 1;"),
    ("shared-forgotten", "who waits at a home that goes is not sent to another",
     "src/proto/broker.rs",
     "true => Effect::Again { visitor },\n                false => Effect::TurnAway { visitor },",
     "_ => Effect::TurnAway { visitor },"),
    ("unwell-served", "a home that says it is down has visitors all the same",
     "src/proto/broker/sharing.rs",
     "it.part.is_well && !self.is_draining",
     "!self.is_draining"),
    ("again-too-late", "a visitor that has had a byte of one home is brought to another",
     "src/engine/server/again.rs",
     "let was_answered = conn.socket.written() != again.written;",
     "let was_answered = false;"),
    ("again-cut", "a visitor that has said more is brought to another home without it",
     "src/engine/server/again.rs",
     "let has_said_more = conn.socket.read() != again.read;",
     "let has_said_more = false;"),
    ("again-in-circles", "a home that could not be reached is asked again and again",
     "src/engine/server/again.rs",
     "        tried.push(session);\n",
     ""),
    ("again-uncharged", "what is kept for another home is nobody's",
     "src/engine/server/visitor.rs",
     "asking + self.again.as_ref().map_or(0, |again| again.held())",
     "asking"),
]

MALICE_BUGS = [
    ("wrong-purse", "what those with a route hold is charged to those who have none yet",
     "src/proto/admission/bytes.rs",
     "    usize::from(member.standing != Standing::Unproved)",
     "    usize::from(member.standing != Standing::Unproved) * 0"),
    ("constant-share", "the share of one network is a constant",
     "src/proto/admission.rs",
     "set.unwrap_or(self.of(class) / 2).max(1)",
     "set.unwrap_or(32_768).max(1)"),
    ("smallest-gives", "when the house is full, it is the newcomer who is refused",
     "src/proto/admission.rs",
     "                self.giver(class, place).ok_or(Refused::Full)?",
     "                return Err(Refused::Full);"),
    ("nobody-stalls", "what is held has no bound",
     "src/proto/admission/bytes.rs",
     "            if self.held_as(kind) > bound {",
     "            if self.held_as(kind) > bound && kind == Kind::Unproved {"),
    ("losers-stay", "who has lost his last service keeps his place",
     "src/engine/server/sessions.rs",
     "        self.core.set_standing(id, Standing::Idle);\n"
     "        self.core.name",
     "        self.core.name"),
    ("surplus-links", "a link that nobody has asked for is taken in",
     "src/proto/link_pool.rs",
     "self.owed > 0 || self.spare.len() < wanted;",
     "self.owed > 0 || self.spare.len() < wanted + 10_000;"),
    ("settles-for-ever", "a link that is never ready again is kept",
     "src/engine/pair.rs",
     "            Patience::Once(patience) if !is_set => Some(patience),\n",
     ""),
    ("endless-guesses", "a connection may say wrong tokens without end",
     "src/proto/control_server.rs",
     "let is_last = self.wrong >= limits::WRONG_PROOFS;",
     "let is_last = false;"),
    ("guesses-forgotten", "a network that has said wrong tokens may try again at once",
     "src/proto/handshakes.rs",
     "Some(guesses) if !has_session && now < guesses.waits_until => Err(guesses.waits_until),",
     "Some(guesses) if has_session && now < guesses.waits_until => Err(guesses.waits_until),"),
    ("waiting-left-behind", "those who wait for a service that moves to another session are lost",
     "src/proto/broker.rs",
     "            session.queue.insert(place, (visitor, service));\n"
     "            self.places.insert(visitor, (to, place));",
     "            let _ = (&mut session.queue, service);\n"
     "            self.places.insert(visitor, (to, place));"),
    ("promise-broken", "a client that comes back finds those who wait for its first service alone",
     "src/proto/broker.rs",
     "        self.move_queue(former, heir, |_| true);",
     "        self.move_queue(former, heir, |waits_for| waits_for == service);"),
]

def replace(tree, file, right, wrong):
    path = tree / file
    text = path.read_text() if path.exists() else ""
    if text.count(right) != 1:
        return False
    path.write_text(text.replace(right, wrong))
    return True


def misfits():
    """The bugs whose lines are no longer in the source, or more than once."""
    return [name for name, _, file, right, _ in BUGS + LATE_BUGS + HOMES_BUGS + MALICE_BUGS
            if not (ROOT / file).exists() or (ROOT / file).read_text().count(right) != 1]


def run(tree, bug, tests):
    """'caught', 'missed', 'does not build' or 'does not fit', and the first failing line."""
    _, _, file, right, wrong = bug
    sources = {path: path.read_bytes() for path in (tree / "src").rglob("*.rs")}
    try:
        if not replace(tree, file, right, wrong):
            return "does not fit", ""
        command = ["cargo", "test", "--quiet", "--test", "sim", tests]
        quiet = {"RUSTFLAGS": "--cap-lints=allow", "SEEDS": os.environ.get("SEEDS", "300")}
        environment = os.environ | quiet
        built = subprocess.run(command[:3] + ["--no-run"] + command[3:-1], cwd=tree,
                               env=environment, capture_output=True, text=True)
        if built.returncode != 0:
            return "does not build", built.stderr[-2000:]
        try:
            tested = subprocess.run(command, cwd=tree, env=environment, capture_output=True,
                                    text=True, timeout=600)
        except subprocess.TimeoutExpired:
            return "caught", "hangs"
        if tested.returncode == 0:
            return "missed", ""
        lines = (tested.stdout + tested.stderr).splitlines()
        told = [line.strip() for line in lines if "SEED=" in line or "panicked" in line]
        return "caught", (told or [""])[0][:110]
    finally:
        for path, content in sources.items():
            if path.read_bytes() != content:
                path.write_bytes(content)


def main():
    if sys.argv[1:] == ["--fit"]:
        for name in misfits():
            print(f"{name} does not fit")
        return 1 if misfits() else 0
    wanted = set(sys.argv[1:])
    lists = [("every_seed", BUGS), ("pitfalls", LATE_BUGS), ("homes", HOMES_BUGS),
             ("malice", MALICE_BUGS)]
    bugs = [(bug, tests) for tests, bugs in lists for bug in bugs]
    bugs = [(bug, tests) for bug, tests in bugs if not wanted or bug[0] in wanted]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignore = shutil.ignore_patterns("target", ".git", "corpus")
        shutil.copytree(ROOT, tree, ignore=ignore)
        for bug, tests in bugs:
            verdict, detail = run(tree, bug, tests)
            rows.append((bug[0], verdict))
            print(f"{bug[0]:26} {verdict:15} {bug[1]}\n{'':26} {detail}", flush=True)
    caught = sum(verdict == "caught" for _, verdict in rows)
    print(f"{caught} of {len(rows)} caught")
    return 0 if all(verdict in ("caught", "missed") for _, verdict in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
