//! Where the values of a family are in the snapshot: of which role, and whether service by service.

use std::fmt;
use std::ops::Range;

use super::samples::Samples;
use crate::status::{
    ClientStatus, HomeService, Program, ServedService, ServerStatus, Status, Traffic, Upstream,
};

/// Writes what one of the places has.
type Write<T> = fn(&T, &mut Samples<'_>) -> fmt::Result;

pub(super) enum Source {
    Both(Write<Status>),
    Program(Write<Program>),
    Server(Write<ServerStatus>),
    Served(Write<ServedService>),
    /// With the service's name; that of strays is "".
    Traffic(fn(&str, &Traffic, &mut Samples<'_>) -> fmt::Result),
    Upstream(Write<Upstream>),
    Kept(Write<HomeService>),
}

impl Source {
    /// Into how much its work can be cut: services, or one; none in a role that has none of this.
    pub(super) fn rows(&self, status: &Status) -> usize {
        match (self, status) {
            (Source::Both(_) | Source::Program(_), _)
            | (Source::Server(_), Status::Server(_))
            | (Source::Upstream(_), Status::Client(_)) => 1,
            (Source::Served(_), Status::Server(status)) => status.services.len(),
            (Source::Traffic(_), Status::Server(status)) => status.services.len() + 1, // strays
            (Source::Kept(_), Status::Client(status)) => status.services.len(),
            _ => 0,
        }
    }

    /// Those of `rows`, each of which is below [`Source::rows`].
    pub(super) fn write(
        &self,
        status: &Status,
        mut rows: Range<usize>,
        out: &mut Samples<'_>,
    ) -> fmt::Result {
        match (self, status) {
            (Source::Both(write), status) => write(status, out),
            (Source::Program(write), status) => write(status.program(), out),
            (Source::Server(write), Status::Server(status)) => write(status, out),
            (Source::Served(write), Status::Server(status)) => {
                status.services[rows].iter().try_for_each(|service| write(service, out))
            }
            (Source::Traffic(write), Status::Server(status)) => rows.try_for_each(|row| {
                let (name, all) = match status.services.get(row) {
                    Some(service) => (&*service.name, &service.traffic),
                    None => ("", &status.strays),
                };
                all.iter().try_for_each(|traffic| write(name, traffic, out))
            }),
            (Source::Upstream(write), Status::Client(status)) => {
                upstreams(status).iter().try_for_each(|upstream| write(upstream, out))
            }
            (Source::Kept(write), Status::Client(status)) => {
                status.services[rows].iter().try_for_each(|service| write(service, out))
            }
            _ => Ok(()),
        }
    }
}

/// Each address of the file once: of a name that stands for several servers, all of them together,
/// and as bad as the worst. One that is being left may be of a server that stays, by another way.
fn upstreams(status: &ClientStatus) -> Vec<Upstream> {
    let mut all: Vec<Upstream> = Vec::new();
    for upstream in &status.servers {
        let rank = |it: &Upstream| STATES.iter().position(|state| *state == it.state);
        match all.iter_mut().find(|other| other.address == upstream.address) {
            None => all.push(upstream.clone()),
            Some(_) if upstream.state == "leaving" => {}
            Some(other) if other.state == "leaving" => *other = upstream.clone(),
            Some(other) => {
                let worst = |one: Option<f64>, another: Option<f64>| {
                    one.into_iter().chain(another).max_by(f64::total_cmp)
                };
                if rank(upstream) > rank(other) {
                    other.state.clone_from(&upstream.state);
                }
                other.round_trip_seconds =
                    worst(other.round_trip_seconds, upstream.round_trip_seconds);
                other.least_round_trip_seconds =
                    worst(other.least_round_trip_seconds, upstream.least_round_trip_seconds);
                other.spare_links += upstream.spare_links;
                other.used_links += upstream.used_links;
                other.sessions += upstream.sessions;
            }
        }
    }
    all
}

/// Of an upstream that is not being left, the best first.
const STATES: [&str; 3] = ["connected", "connecting", "waiting"];
