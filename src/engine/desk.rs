//! What both roles keep for the admin door: its listeners, who may come in and who has, and what
//! has passed lately.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use log::info;

use super::conns::{self, ConnId};
use super::net::{Net, Token};
use super::socket::Socket;
use crate::admin::metrics::Scrape;
use crate::admin::request::{Named, Request};
use crate::config::{AdminAddr, AdminConfig};
use crate::proto::admin_guard::Guard;
use crate::proto::history::{History, Span};
use crate::proto::services::ServiceId;
use crate::proto::time::Time;
use crate::status::Listener;
use crate::wire::http::{HeadScan, Kind};

/// What both roles keep for the admin door.
pub struct Desk<L> {
    pub(super) doors: BTreeMap<usize, Door<L>>,
    pub(super) knocked: BTreeSet<usize>,
    pub(super) guard: Option<Guard>,
    /// Connections whose passwords are being checked, by the ticket of the check.
    pub(super) checks: HashMap<u64, ConnId>,
    pub(super) watchers: Vec<ConnId>,
    /// When those are told next.
    pub(super) tick: Time,
    pub(super) history: Option<History>,
}

/// A listener.
pub(super) struct Door<L> {
    pub(super) listener: L,
    pub(super) at: AdminAddr,
    /// With the port that it got.
    pub(super) address: Option<SocketAddr>,
    /// After an accept that failed, not before this.
    pub(super) pause: Option<Time>,
    pub(super) accepted: u64,
    pub(super) refused: u64,
}

/// What becomes of the listeners with another file.
pub struct DeskPlan<L> {
    doors: BTreeMap<usize, Option<Door<L>>>,
}

/// Somebody at the door.
pub struct AdminConn<S> {
    /// The connection; perhaps one in the file system.
    pub socket: Socket<S>,
    pub(super) stage: Box<Stage>,
    /// What it is sent comes in chunks.
    pub(super) is_chunked: bool,
    pub(super) from: Caller,
}

/// Where somebody comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) named: Named,
    pub(super) is_trusted: bool,
}

pub(super) enum Stage {
    /// The request's head is not whole.
    Head { scan: HeadScan, held: Vec<u8> },
    /// Its password is being checked.
    Checking(Request),
    /// The answer is written as it is taken.
    Metrics(Box<Scrape>),
    /// The same, by services.
    History { span: Span, services: Vec<(Option<ServiceId>, String)>, next: usize },
    /// It is told how all is, again and again.
    Watching,
    /// The last bytes go out.
    Parting,
}

/// Tokens of listeners that nobody else has: the last ones.
const DOORS: usize = 16;
/// See [`DOORS`].
const FIRST_DOOR: usize = (conns::MOST & !1) - DOORS;

impl<L> Desk<L> {
    /// Nobody listens.
    pub(super) fn new() -> Desk<L> {
        Desk {
            doors: BTreeMap::new(),
            knocked: BTreeSet::new(),
            guard: None,
            checks: HashMap::new(),
            watchers: Vec::new(),
            tick: Time::default(),
            history: None,
        }
    }

    /// Opens what another file has and is not open yet; nothing changes before [`Desk::commit`].
    pub(super) fn plan<N: Net<Listener = L>>(
        &self,
        config: Option<&AdminConfig>,
        net: &mut N,
    ) -> io::Result<DeskPlan<L>> {
        let mut doors = BTreeMap::new();
        for at in config.map_or(&[][..], |config| &config.bind_addrs) {
            let same =
                self.doors.iter().find(|(id, door)| door.at == *at && !doors.contains_key(*id));
            if let Some((id, _)) = same {
                doors.insert(*id, None);
                continue;
            }
            let mut free = (FIRST_DOOR..FIRST_DOOR + DOORS)
                .filter(|id| !self.doors.contains_key(id) && !doors.contains_key(id));
            let id = free.next().ok_or_else(|| io::Error::other("too many admin addresses"))?;
            let token = Token(id as u64);
            let opened = match at {
                AdminAddr::Tcp(address) => {
                    net.listen(*address, token).map(|(listener, at)| (listener, Some(at)))
                }
                AdminAddr::Unix(path) => net.listen_unix(path, token).map(|it| (it, None)),
            };
            let (listener, address) = opened.map_err(|error| match config {
                Some(config) => config.cannot_listen(at, &error),
                None => error,
            })?;
            let door =
                Door { listener, at: at.clone(), address, pause: None, accepted: 0, refused: 0 };
            info!("listening on {} for the admin page", door.shown());
            doors.insert(id, Some(door));
        }
        Ok(DeskPlan { doors })
    }

    /// The listeners are what the plan says; users are those of the file. Whether somebody who is
    /// here may not be any more: its door is gone, or users are others.
    pub(super) fn commit(
        &mut self,
        plan: DeskPlan<L>,
        config: Option<&AdminConfig>,
        key: [u8; 32],
        now: Time,
    ) -> bool {
        let mut former = std::mem::take(&mut self.doors);
        for (id, opened) in plan.doors {
            if let Some(door) = opened.or_else(|| former.remove(&id)) {
                self.doors.insert(id, door);
            }
        }
        self.knocked.retain(|id| self.doors.contains_key(id));
        let Some(config) = config else {
            (self.guard, self.history) = (None, None);
            return true;
        };
        let are_others = match &mut self.guard {
            Some(guard) => guard.set_users(Arc::clone(&config.users)),
            None => {
                self.guard = Some(Guard::new(Arc::clone(&config.users), key));
                false
            }
        };
        self.history.get_or_insert_with(|| History::new(now));
        are_others || !former.is_empty()
    }

    /// Whether a password is asked for.
    pub(super) fn has_users(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::has_users)
    }

    /// Where it listens on TCP.
    pub(super) fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.doors.values().filter_map(|door| door.address)
    }

    /// Somebody is at a door, if it is one of these; whether it is.
    pub(super) fn note_door(&mut self, id: usize) -> bool {
        let is_ours = self.doors.contains_key(&id);
        if is_ours {
            self.knocked.insert(id);
        }
        is_ours
    }

    /// The listeners, as the snapshot has them.
    pub(super) fn listeners(&self) -> impl Iterator<Item = Listener> {
        self.doors.values().map(|door| Listener {
            address: door.shown(),
            entry: "admin".to_owned(),
            service: None,
            accepted: door.accepted,
            refused: door.refused,
        })
    }

    /// When there is something to do though nothing happens.
    pub(super) fn deadline(&self, now: Time) -> Option<Time> {
        let doors = self.knocked.iter().filter_map(|id| self.doors.get(id));
        let knocked = doors.map(|door| door.pause.unwrap_or(now));
        let tick = (!self.watchers.is_empty()).then_some(self.tick);
        knocked.chain(tick).chain(self.history.as_ref().map(History::next)).min()
    }

    /// What has passed lately, if that is kept.
    pub(super) fn history(&mut self) -> Option<&mut History> {
        self.history.as_mut()
    }

    /// Nobody is let in any more.
    pub(super) fn close(&mut self) {
        self.doors.clear();
        self.knocked.clear();
    }
}

impl<L> Door<L> {
    pub(super) fn shown(&self) -> String {
        match (self.address, &self.at) {
            (Some(address), _) => address.to_string(),
            (None, at) => at.to_string(),
        }
    }
}

impl<S> AdminConn<S> {
    /// Bytes of memory for what waits here.
    pub(super) fn held(&self) -> usize {
        let held = match &*self.stage {
            Stage::Head { held, .. } => held.len(),
            _ => 0,
        };
        held + self.socket.footprint()
    }

    /// Whether it has what it came for, or never will.
    pub(super) fn is_parting(&self) -> bool {
        matches!(*self.stage, Stage::Parting)
    }
}

impl<S> AdminConn<S> {
    pub(super) fn new(socket: Socket<S>, from: Caller, held: Vec<u8>) -> AdminConn<S> {
        let stage = Box::new(Stage::Head { scan: HeadScan::new(Kind::Request), held });
        AdminConn { socket, stage, is_chunked: false, from }
    }
}
