//! The table of connections, each of its type, with what is kept of every one.

use super::conn::{Conn, PlainConn, TunnelConn};
use super::conns::{ConnId, Conns};
use super::timers::Deadline;
use crate::proto::admission::Permit;
use crate::proto::time::Time;

/// The two ends of a relay.
pub type Ends<'a, S, P, T> = (&'a mut TunnelConn<S, T>, &'a mut PlainConn<S, P>);

/// All connections of an engine.
pub struct Table<S, P, T> {
    seats: Conns<Seat<S, P, T>>,
}

/// A connection, and what the table and its queues know of it.
pub(super) struct Seat<S, P, T> {
    pub(super) conn: Conn<S, P, T>,
    /// What it must not wait beyond.
    pub(super) deadline: Deadline,
    /// Whether it stands in the queue of those with something to do.
    pub(super) queued: bool,
    /// Its place in the house; goes back when it is closed.
    pub(super) permit: Option<Permit>,
    /// Bytes that had been written for it when it was charged last; the lower half tells whether
    /// there are more.
    pub(super) written_when_charged: u32,
}

impl<S, P, T> Table<S, P, T> {
    /// No connections.
    pub(super) fn new() -> Table<S, P, T> {
        Table { seats: Conns::new() }
    }

    /// The id that the next connection gets.
    pub fn next_id(&self) -> ConnId {
        self.seats.next_id()
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, conn: Conn<S, P, T>, permit: Option<Permit>) -> ConnId {
        let (deadline, queued, written_when_charged) = (Deadline::default(), false, 0);
        self.seats.insert(Seat { conn, deadline, queued, permit, written_when_charged })
    }

    /// Takes a connection out.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Seat<S, P, T>> {
        self.seats.remove(id)
    }

    /// A connection with what is kept of it, unless it has ended.
    pub(super) fn seat(&mut self, id: ConnId) -> Option<&mut Seat<S, P, T>> {
        self.seats.get_mut(id)
    }

    /// The connection, unless it has ended.
    pub fn get(&self, id: ConnId) -> Option<&Conn<S, P, T>> {
        self.seats.get(id).map(|seat| &seat.conn)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn<S, P, T>> {
        self.seats.get_mut(id).map(|seat| &mut seat.conn)
    }

    /// A plain connection.
    pub fn plain(&mut self, id: ConnId) -> Option<&mut PlainConn<S, P>> {
        match self.get_mut(id)? {
            Conn::Plain(conn) => Some(conn),
            Conn::Tunnel(_) | Conn::Admin(_) => None,
        }
    }

    /// A tunnel connection.
    pub fn tunnel(&mut self, id: ConnId) -> Option<&mut TunnelConn<S, T>> {
        match self.get_mut(id)? {
            Conn::Plain(_) | Conn::Admin(_) => None,
            Conn::Tunnel(conn) => Some(conn),
        }
    }

    /// Makes another type of a connection.
    pub(super) fn rework(&mut self, id: ConnId, make: impl FnOnce(Conn<S, P, T>) -> Conn<S, P, T>) {
        self.seats.rework(id, |seat| Seat { conn: make(seat.conn), ..seat });
    }

    /// The two ends of a relay.
    pub fn pair(&mut self, link: ConnId, plain: ConnId) -> Option<Ends<'_, S, P, T>> {
        let (link, plain) = self.seats.pair_mut(link, plain)?;
        match (&mut link.conn, &mut plain.conn) {
            (Conn::Tunnel(link), Conn::Plain(plain)) => Some((link, plain)),
            _ => None,
        }
    }

    /// All plain connections, to change them.
    pub fn iter_plain(&mut self) -> impl Iterator<Item = &mut PlainConn<S, P>> {
        self.seats.values_mut().filter_map(|seat| match &mut seat.conn {
            Conn::Plain(conn) => Some(conn),
            Conn::Tunnel(_) | Conn::Admin(_) => None,
        })
    }

    /// Whether a connection's socket is broken; one that has ended is not.
    pub fn is_broken(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|conn| conn.socket().is_broken())
    }

    /// Whether all that was sent on a connection has been handed to the network.
    pub fn is_clear(&self, id: ConnId) -> bool {
        self.get(id).is_some_and(|conn| conn.socket().is_clear())
    }

    /// When a connection's deadline passes, if it has one.
    pub fn deadline(&self, id: ConnId) -> Option<Time> {
        self.seats.get(id).and_then(|seat| seat.deadline.at())
    }

    /// As [`Table::deadline`], with what its timer knows.
    pub(super) fn armed(&self, id: ConnId) -> Option<Deadline> {
        self.seats.get(id).map(|seat| seat.deadline)
    }

    /// The permit of a connection, if it has one.
    pub(super) fn permit(&self, id: ConnId) -> Option<&Permit> {
        self.seats.get(id).and_then(|seat| seat.permit.as_ref())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn<S, P, T>)> {
        self.seats.iter().map(|(id, seat)| (id, &seat.conn))
    }
}
