//! Every program of a world, as one type.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use underpass::config::Config;
use underpass::engine::client::Client;
use underpass::engine::core::Flow;
use underpass::engine::server::Server;
use underpass::proto::time::Time;

use super::actors::{Homes, Visitors};
use super::datagrams::{UdpHomes, UdpVisitors};
use super::driver::Program;
use super::hostile::Impostors;
use super::lookers::Lookers;
use super::net::SimNet;
use super::operator::Operator;
use super::web;

/// Bytes that the server holds in all.
const MEMORY: usize = 64_000_000;
/// Bytes that wait on one connection at most: two batches, one that was cut and one behind it.
const BACKLOG: usize = 2 * underpass::engine::buffers::BATCH;

/// A program of the scenario.
#[expect(clippy::large_enum_variant, reason = "there are few of them")]
pub enum Actor {
    Server(Server<SimNet>, File),
    Client(Client<SimNet>, File),
    Visitors(Visitors),
    Homes(Homes),
    WebVisitors(web::visitor::Visitors),
    WebHomes(web::home::Homes),
    UdpVisitors(UdpVisitors),
    UdpHomes(UdpHomes),
    Impostors(Impostors),
    Operator(Operator),
    Lookers(Lookers),
}

/// What an engine reads when it is asked to reload.
pub type File = Rc<RefCell<String>>;

/// One that cannot be had changes nothing: for lack of descriptors, in a world with faults.
fn read(file: &File) -> Config {
    let config = Config::parse("file", &file.borrow(), &|_| None);
    config.unwrap_or_else(|error| panic!("{error}"))
}

impl Actor {
    /// Asks an engine to end; whether it takes its time.
    pub fn drain(&mut self) -> bool {
        match self {
            Actor::Server(server, _) => server.drain(),
            Actor::Client(client, _) => client.drain(),
            _ => panic!("it is no engine"),
        }
    }
}

impl Program for Actor {
    fn turn(&mut self) -> io::Result<bool> {
        let (flow, census) = match self {
            Actor::Server(server, file) => {
                let flow = server.turn()?;
                if flow == Flow::Reload {
                    let _ = server.reload(read(file).server.expect("[server]"));
                }
                (flow, server.census())
            }
            Actor::Client(client, file) => {
                let flow = client.turn()?;
                if flow == Flow::Reload {
                    client.reload(read(file).client.expect("[client]"))?;
                }
                (flow, client.census())
            }
            Actor::Operator(operator) => return Ok(operator.turn()),
            Actor::Visitors(visitors) => return visitors.turn(),
            Actor::Homes(homes) => return homes.turn(),
            Actor::WebVisitors(visitors) => return visitors.turn(),
            Actor::WebHomes(homes) => return homes.turn(),
            Actor::UdpVisitors(visitors) => return visitors.turn(),
            Actor::UdpHomes(homes) => return homes.turn(),
            Actor::Impostors(impostors) => return impostors.turn(),
            Actor::Lookers(lookers) => return lookers.turn(),
        };
        assert!(census.backlog <= BACKLOG, "back-pressure failed: {census:?}");
        if let Actor::Server(..) = self {
            assert!(census.held <= MEMORY, "too much is held: {census:?}");
            // Each has its place, and those who had to make room have gone.
            let admitted: usize = census.admitted.iter().sum();
            assert_eq!(admitted, census.conns, "places and connections: {census:?}");
        }
        Ok(flow != Flow::Stop)
    }

    fn next_deadline(&self) -> Option<Time> {
        match self {
            Actor::Server(server, _) => server.next_deadline(),
            Actor::Client(client, _) => client.next_deadline(),
            Actor::Operator(operator) => operator.next_deadline(),
            Actor::Visitors(visitors) => visitors.next_deadline(),
            Actor::Homes(homes) => homes.next_deadline(),
            Actor::WebVisitors(visitors) => visitors.next_deadline(),
            Actor::WebHomes(homes) => homes.next_deadline(),
            Actor::UdpVisitors(visitors) => visitors.next_deadline(),
            Actor::UdpHomes(homes) => homes.next_deadline(),
            Actor::Impostors(impostors) => impostors.next_deadline(),
            Actor::Lookers(lookers) => lookers.next_deadline(),
        }
    }
}
