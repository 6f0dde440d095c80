//! Another file while everything goes on: services come and go on the session that stands. Another
//! server has its session before the one that is there is let go.

use std::io;
use std::sync::Arc;

use log::info;

use super::line::{LineId, Role, Way};
use super::link::LinkStep;
use super::servers::Upstream;
use super::{Client, Tunnel, capacity};
use crate::config::ClientConfig;
use crate::config::changes::{self, Change};
use crate::engine::conn::{Conn, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::backoff::Backoff;
use crate::proto::numbered::News;
use crate::proto::services::ServiceId;
use crate::proto::time::Time;
use crate::wire::message::Message;

impl<N: Net> Client<N> {
    /// Takes another file's configuration. If that cannot be, nothing has changed.
    pub fn reload(&mut self, config: ClientConfig) -> io::Result<Vec<Change>> {
        let upstreams = Upstream::all(&config)?;
        let desk = self.core.desk.plan(config.admin.as_ref(), &mut self.core.io.net)?;
        let changes = changes::client(&self.config, &config);
        // From here on nothing fails.
        self.core.io.net.set_tcp(&config.tcp);
        let news = self.services.reload(&config.services);
        self.core.commit_desk(desk, config.admin.as_ref());
        self.core.admission.set_capacity(capacity(&config));
        self.config = config;
        for number in &news.gone {
            self.counters.remove(number);
            if let Some(history) = self.core.desk.history() {
                history.forget(ServiceId::nth((*number).into()));
            }
        }
        self.set_upstreams(upstreams);
        self.retire_successors();
        self.watch_homes();
        self.refresh_lines();
        self.tell(&news);
        self.draw_lines();
        if self.lines.values().any(|line| line.role == Role::Next) {
            info!("another server: its session is to stand before the former one is let go");
        }
        self.settle_lines();
        self.measure();
        Ok(changes)
    }

    /// What else a new file says of the lines that stay.
    fn refresh_lines(&mut self) {
        let all = std::mem::take(&mut self.lines);
        for (id, mut line) in all {
            if let Some(source) = self.source_of(&line) {
                line.to = Arc::clone(&source.to);
                let its = line.service.and_then(|service| self.services.get(service));
                let first_pause = its.map_or(self.config.retry_interval, |its| its.retry_interval);
                line.backoff = Backoff::new(first_pause);
            }
            self.lines.insert(id, line);
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
                (Some(service), _) if news.again.contains(&service) => self.drop_line(id),
                (None, Way::Up { control, .. }) => {
                    let control = *control;
                    if let Err(gone) = self.tell_session(control, news) {
                        self.end_session(control, gone);
                    }
                }
                _ => {}
            }
        }
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

    /// A line's session has what it asked for.
    pub(super) fn stands(&mut self, id: LineId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.role == Role::Next {
            line.role = Role::Active;
        }
        self.settle_lines();
    }

    /// No new visitors come by this line; those who are on it have some time.
    pub(super) fn let_go(&mut self, id: LineId) {
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
            Conn::Plain(_) | Conn::Admin(_) => false,
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
            Conn::Plain(_) | Conn::Admin(_) => false,
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
        self.forget_line(id);
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
