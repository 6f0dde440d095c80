//! Draws what visitors of all kinds and their homes will do.

use super::*;

impl Scenario {
    /// A visitor over UDP.
    pub(super) fn add_asker(&mut self, start: Time, home: Option<usize>) -> datagrams::AskerId {
        let rng = &mut self.udp_rng;
        let drawn = rng.below(self.homes.len() as u64) as usize;
        let home = home.unwrap_or(drawn);
        let offset = rng.below(u64::from(self.ports.at_server())) as u16;
        let at_home = UDP_HOME_PORT + (self.ports.at_home(offset) - HOME_PORT);
        let id = self.post.borrow_mut().add(home, at_home, self.longest as usize, rng);
        let to = SocketAddr::new(self.server, udp_port(home) + offset);
        let task = *rng.pick(&self.udp_visitors);
        if let Some(Actor::UdpVisitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, to, id);
        }
        self.driver.touched(task);
        id
    }

    pub(super) fn draw_ending(&mut self) -> Ending {
        *self.rng.pick(&[
            Ending::VisitorFirst,
            Ending::VisitorFirst,
            Ending::VisitorFirst,
            Ending::HomeFirst,
            Ending::HomeFirst,
            Ending::Both,
            Ending::Both,
            Ending::VisitorResets,
            Ending::VisitorResets,
            Ending::HomeResets,
            Ending::HomeResets,
            Ending::VisitorCloses,
            Ending::Refused,
            Ending::HalfHello,
            Ending::UnknownName,
            Ending::NoName,
            Ending::Junk,
        ])
    }

    /// Writes a story and plans its visitor. Its home is drawn, unless given.
    pub(super) fn add_story(&mut self, ending: Ending, start: Time, home: Option<usize>) -> usize {
        let drawn = self.rng.below(self.homes.len() as u64) as usize;
        let home = home.unwrap_or(drawn);
        let id = self.book.borrow().stories.len();
        let rng = &mut self.rng;
        let tcp = rng.chance(1, 4)
            && !self.draws_guest
            && !matches!(
                ending,
                Ending::Refused
                    | Ending::HalfHello
                    | Ending::UnknownName
                    | Ending::NoName
                    | Ending::Junk
            );
        let name = match ending {
            Ending::UnknownName => Some("nobody.example".to_owned()),
            Ending::NoName => None,
            Ending::Refused => Some(format!("shut{home}.example")),
            _ if self.draws_guest => Some("guest.example".to_owned()),
            // All homes have this name; the protocol says whose it is.
            _ if id % 4 == 3 => Some("way.example".to_owned()),
            _ if rng.chance(1, 2) => Some(format!("h{home}.example")),
            _ => Some(format!("A.b.H{home}.Example")),
        };
        let most = if self.longest <= 600 { 300 } else { 6_000 };
        let length = rng.log_between(128, most) as usize;
        let protocol = format!("x-{home}");
        let alpn = match name.as_deref() {
            Some("way.example") => vec!["h2", &protocol],
            _ => Vec::new(),
        };
        let mut opening = hello_with_alpn(id, name.as_deref(), &alpn, length, rng);
        match ending {
            Ending::HalfHello => {
                opening.truncate(rng.between(1, opening.len() as u64 - 1) as usize)
            }
            Ending::Junk => {
                rng.fill(&mut opening);
                opening[0] = *rng.pick(b"GPS\x00\x80\x17"); // no handshake record
            }
            _ => {}
        }
        let scripts = draw_scripts(ending, opening.len(), self.longest, rng);
        let nobody = matches!(
            ending,
            Ending::HalfHello | Ending::UnknownName | Ending::NoName | Ending::Junk
        );
        let witnesses = [Witness::default(), Witness::default()];
        let home_of_story = (!nobody).then_some(home);
        let offset = rng.below(self.ports.at_server().into()) as u16;
        let (port, at_home) = match tcp {
            true => (server_port(home) + offset, self.ports.at_home(offset)),
            false => (443, 443),
        };
        let (home, port_there) = (home_of_story, Some(at_home));
        let header = Vec::new();
        let story = Story { ending, home, port: port_there, header, opening, scripts, witnesses };
        let drawn = *self.rng.pick(&self.visitors);
        // Where somebody means harm, nobody else's network holds more than others'.
        let task = if self.malice { self.visitors[id % self.visitors.len()] } else { drawn };
        self.tell(task, start, port, story)
    }

    /// Plans a story's visitor, of the host with this task.
    pub(super) fn tell(&mut self, task: usize, start: Time, port: u16, story: Story) -> usize {
        self.book.borrow_mut().stories.push(story);
        let id = self.book.borrow().stories.len() - 1;
        if let Some(Actor::Visitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, SocketAddr::new(self.server, port), id);
        }
        self.driver.touched(task);
        id
    }

    /// HTTP visitors.
    pub(super) fn add_calls(&mut self, begin: Time, span: u64) {
        let tiny = self.longest <= 600;
        let draw = self.web_draw();
        for _ in 0..self.web_rng.log_between(1, if tiny { 8 } else { 24 }) {
            let start = Time(begin.0 + self.web_rng.below(span));
            let (from, task) = *self.web_rng.pick(&self.web_visitors);
            let call = draw.call(from, &mut self.calls.borrow_mut(), &mut self.web_rng);
            self.plan_call(task, start, call);
        }
    }

    pub(super) fn web_draw(&self) -> web::draw::Draw {
        let tiny = self.longest <= 600;
        let longest = if tiny { 300 } else { self.longest.min(150_000) };
        web::draw::Draw { homes: self.homes.len(), longest, most: if tiny { 4 } else { 20 } }
    }

    pub(super) fn plan_call(&mut self, task: usize, start: Time, call: usize) {
        if let Some(Actor::WebVisitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, call);
        }
        self.driver.touched(task);
    }

    // Faults.
}

/// The two ends' plans. The visitor's stream begins with an opening of `opening` bytes.
fn draw_scripts(ending: Ending, opening: usize, longest: u64, rng: &mut Rng) -> [Script; 2] {
    let quiet = |acts| Script { acts, reading: Reading::Eager };
    if matches!(ending, Ending::HalfHello | Ending::UnknownName | Ending::NoName | Ending::Junk) {
        let acts = sends(opening, rng, SECOND);
        return [quiet([acts, vec![Act::AwaitEnd]].concat()), Script::default()];
    }
    let amount = |rng: &mut Rng| match rng.below(4) {
        0 => 0,
        _ => rng.log_between(1, longest) as usize,
    };
    // The hello has 10 s in all.
    let mut visitor = sends(opening, rng, SECOND / 2);
    let (up, down) = (amount(rng), amount(rng));
    visitor.extend(sends(up, rng, 3 * SECOND));
    let mut home = sends(down, rng, 3 * SECOND);
    let both_open = !matches!(ending, Ending::HomeFirst | Ending::Both);
    if both_open && rng.chance(1, 30) {
        // Between two open ends there is no deadline (P16); after the first end there is one.
        visitor.push(Act::Pause(600 * SECOND));
    }
    match ending {
        Ending::VisitorFirst => {
            visitor.extend([Act::Fin, Act::AwaitEnd]);
            // The answer after the end, before it, or around it.
            home.insert(rng.below(home.len() as u64 + 1) as usize, Act::AwaitEnd);
            home.extend([Act::AwaitEnd, Act::Fin]);
        }
        Ending::HomeFirst => {
            let at = rng.below(visitor.len() as u64 + 1) as usize;
            let opened = visitor.iter().scan(0, |sum, act| {
                if let Act::Send(count) = act {
                    *sum += count;
                }
                Some(*sum)
            });
            // Not before the home can know whom it talks to.
            let least = opened.take_while(|sum| *sum < opening).count() + 1;
            visitor.insert(at.max(least), Act::AwaitEnd);
            visitor.push(Act::Fin);
            home.push(Act::Fin);
        }
        Ending::Both => {
            visitor.push(Act::Fin);
            home.push(Act::Fin);
        }
        Ending::VisitorResets => {
            visitor.push(Act::Reset);
            home.push(Act::AwaitEnd);
        }
        Ending::HomeResets => {
            visitor.push(Act::AwaitEnd);
            home.push(Act::Reset);
        }
        Ending::VisitorCloses => {
            visitor.push(Act::Close);
            home.extend([Act::AwaitEnd, Act::Fin]);
        }
        _ => visitor.push(Act::AwaitEnd),
    }
    let reading = |total: usize, rng: &mut Rng| match rng.below(4) {
        0 => Reading::After(rng.below(20 * SECOND)),
        1 => Reading::Sips(total / 50 + 1, rng.below(SECOND / 5)),
        _ => Reading::Eager,
    };
    [
        Script { acts: visitor, reading: reading(down, rng) },
        // Its first reading names the story, so a home's laziness begins after that.
        Script { acts: home, reading: reading(up + opening, rng) },
    ]
}

/// `total` bytes in some pieces, with pauses of `pauses` at most in all.
fn sends(total: usize, rng: &mut Rng, pauses: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    let pieces = *rng.pick(&[1, 1, 2, 3, 6]);
    let mut left = total;
    for piece in 0..pieces {
        let last = piece + 1 == pieces;
        let count = if last { left } else { rng.below(left as u64 + 1) as usize };
        if count > 0 {
            acts.push(Act::Send(count));
            left -= count;
        }
        if rng.chance(1, 2) {
            acts.push(Act::Pause(rng.log_between(1, (pauses / pieces).max(1))));
        }
    }
    acts
}
