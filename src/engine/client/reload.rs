//! Another file while everything goes on: services come and go on the session that stands. Another
//! server has its session before the one that is there is let go.

use std::io;
use std::sync::Arc;

use log::info;

use super::line::{Line, LineId, Role, Upstream, Way};
use super::link::LinkStep;
use super::{Client, Tunnel};
use crate::config::changes::{self, Change};
use crate::config::{ClientConfig, Protocol};
use crate::engine::conn::{Conn, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::numbered::{News, Number};
use crate::proto::time::Time;
use crate::wire::message::Message;

impl<N: Net> Client<N> {
    /// Takes another file's configuration. If that cannot be, nothing has changed.
    pub fn reload(&mut self, config: ClientConfig) -> io::Result<Vec<Change>> {
        let mut upstream = Upstream::new(&config, &mut self.core.io.net)?;
        let changes = changes::client(&self.config, &config);
        // From here on nothing fails.
        self.core.io.net.set_keepalive(config.tcp.keepalive);
        let news = self.services.reload(&config.services);
        self.config = config;
        let stays = self.upstream.is_same(&upstream);
        if stays {
            upstream.instance = self.upstream.instance;
        }
        self.upstream = Arc::new(upstream);
        self.retire_successors();
        for line in self.lines.values_mut().filter(|line| line.to.is_same(&self.upstream)) {
            line.to = Arc::clone(&self.upstream);
        }
        self.tell(&news);
        for line in self.lines.values_mut() {
            let its = line.service.and_then(|service| self.services.get(service));
            let interval = its.map_or(self.config.retry_interval, |its| its.retry_interval);
            line.backoff.set_base(interval);
        }
        if !stays && !self.lines.values().any(|line| self.is_current(line)) {
            info!("another server: its session is to stand before the former one is let go");
            self.draw_lines(Role::Next);
        }
        self.measure();
        Ok(changes)
    }

    /// A line for all services, or for each, to the file's server.
    pub(super) fn draw_lines(&mut self, role: Role) {
        match self.upstream.protocol {
            Protocol::Native => self.draw_line(role, None),
            Protocol::Rathole => {
                let numbers: Vec<Number> = self.services.iter().map(|(number, _)| number).collect();
                numbers.into_iter().for_each(|number| self.draw_line(role, Some(number)));
            }
        }
    }

    fn draw_line(&mut self, role: Role, service: Option<Number>) {
        let its = service.and_then(|service| self.services.get(service));
        let retry_interval = its.map_or(self.config.retry_interval, |its| its.retry_interval);
        let (to, now) = (Arc::clone(&self.upstream), self.core.now());
        let line = Line::new(to, service, role, retry_interval, now);
        self.lines.insert(self.next_line, line);
        self.next_line += 1;
    }

    /// Whether a line leads to the file's server, and stays.
    fn is_current(&self, line: &Line) -> bool {
        !matches!(line.role, Role::Leaving { .. }) && line.to.is_same(&self.upstream)
    }

    /// Lines to a server that was never reached, and is not the file's any more.
    fn retire_successors(&mut self) {
        let is_old = |line: &Line| line.role == Role::Next && !line.to.is_same(&self.upstream);
        let old: Vec<LineId> =
            self.lines.iter().filter(|(_, line)| is_old(line)).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.drop_line(id));
        // The one that was to be left is the file's again.
        let is_back = |line: &&mut Line| line.role == Role::Active;
        if self.lines.values_mut().filter(is_back).any(|line| line.to.is_same(&self.upstream)) {
            let next: Vec<LineId> = self
                .lines
                .iter()
                .filter(|(_, line)| line.role == Role::Next)
                .map(|(id, _)| *id)
                .collect();
            next.into_iter().for_each(|id| self.drop_line(id));
        }
    }

    /// Services that have come, gone or changed, to every server that there is a session with.
    fn tell(&mut self, news: &News) {
        let lines: Vec<LineId> = self.lines.keys().copied().collect();
        for id in lines {
            let Some(line) = self.lines.get(&id) else { continue };
            if matches!(line.role, Role::Leaving { .. }) {
                continue;
            }
            match (line.service, &line.way) {
                (Some(service), _) if news.gone.contains(&service) => self.drop_line(id),
                // Another token: the channel is opened anew. Who is on a data channel goes on.
                (Some(service), _) if news.again.contains(&service) => {
                    let role = line.role;
                    self.drop_line(id);
                    self.draw_line(role, Some(service));
                }
                (None, Way::Up { control, .. }) => {
                    let control = *control;
                    if let Err(gone) = self.tell_session(control, news) {
                        self.end_session(control, gone);
                    }
                }
                _ => {}
            }
        }
        if self.upstream.protocol == Protocol::Rathole {
            let roles = [Role::Active, Role::Next];
            for role in roles {
                let is_its = |line: &Line| line.role == role && line.to.is_same(&self.upstream);
                if self.lines.values().any(is_its) || (role == Role::Active && self.is_idle()) {
                    news.new.iter().for_each(|service| self.draw_line(role, Some(*service)));
                    return;
                }
            }
        }
    }

    /// There is no line at all, as with a file that had no service.
    fn is_idle(&self) -> bool {
        !self.lines.values().any(|line| !matches!(line.role, Role::Leaving { .. }))
    }

    fn tell_session(&mut self, id: ConnId, news: &News) -> Result<(), Gone> {
        for number in &news.gone {
            let released = self.session(id).and_then(|session| session.release(*number));
            if let Some(message) = released {
                self.core.say(id, &message)?;
            }
        }
        for number in news.new.iter().chain(&news.again) {
            self.register(id, *number)?;
        }
        self.set_session_deadline(id);
        Ok(())
    }

    /// A line's session has what it asked for: those to the former server are let go.
    pub(super) fn stands(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.role != Role::Next {
            return;
        }
        line.role = Role::Active;
        let (service, to) = (line.service, Arc::clone(&line.to));
        let all_stand = !self.lines.values().any(|line| line.role == Role::Next);
        let is_replaced = |line: &Line| {
            let stands_for = match (line.service, service) {
                (Some(old), Some(new)) => old == new || all_stand,
                (None, Some(_)) => all_stand,
                (_, None) => true,
            };
            line.role == Role::Active && !line.to.is_same(&to) && stands_for
        };
        let old: Vec<LineId> =
            self.lines.iter().filter(|(_, line)| is_replaced(line)).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.let_go(id));
    }

    /// No new visitors come by this line; those who are on it have some time.
    fn let_go(&mut self, id: LineId) {
        let now = self.core.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Way::Up { control, server } = line.way else { return self.drop_line(id) };
        info!("{} is let go", line.to.server_at(server));
        let until = now + limits::LEAVING_TIME;
        line.role = Role::Leaving { until, look: now };
        let messages = self.session(control).map(|session| session.leave()).unwrap_or_default();
        for message in messages {
            if let Err(gone) = self.core.say(control, &message) {
                return self.end_session(control, gone);
            }
        }
    }

    /// A line that was let go: it ends when nobody is on it any more, or when its time is over.
    pub(super) fn see_off(&mut self, id: LineId, until: Time) {
        let now = self.core.now();
        let is_used = self.core.conns.iter().any(|(_, conn)| match conn {
            Conn::Tunnel(conn) => match &conn.stage {
                Tunnel::Link(link) => link.line == id && is_in_use(&link.step),
                Tunnel::Control(_) => false,
            },
            Conn::Plain(_) => false,
        });
        match self.lines.get_mut(&id) {
            Some(line) if is_used && now < until => {
                line.role = Role::Leaving { until, look: until.min(now + limits::LEAVING_LOOK) };
            }
            _ => self.drop_line(id),
        }
    }

    /// Ends a line, with its session. A rathole server's channels that carry a visitor go on.
    pub(super) fn drop_line(&mut self, id: LineId) {
        let is_its = |conn: &Conn<_, _, Tunnel>| match conn {
            Conn::Tunnel(conn) => {
                matches!(&conn.stage, Tunnel::Control(control) if control.line == id)
            }
            Conn::Plain(_) => false,
        };
        let controls: Vec<ConnId> =
            self.core.conns.iter().filter(|(_, conn)| is_its(conn)).map(|(id, _)| id).collect();
        for control in controls {
            if self.session(control).is_some() {
                // Whether it arrives or not, the session ends here.
                let _ = self.core.say(control, &Message::Goodbye);
            }
            self.core.close(control);
        }
        self.lose_links_of(id);
        self.lines.remove(&id);
    }
}

/// A visitor is on it, or its last bytes.
fn is_in_use(step: &LinkStep) -> bool {
    match step {
        LinkStep::Resolving { .. } | LinkStep::Leased { .. } | LinkStep::Datagrams { .. } => true,
        LinkStep::Settling => true,
        LinkStep::Connecting | LinkStep::Shaking | LinkStep::Introduced | LinkStep::Spare => false,
    }
}
