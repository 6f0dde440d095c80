//! The two networks that the script runs on, real loopback sockets and the simulated ones.

use std::time::Duration;

use socket2::SockRef;
use underpass::engine::mio_net::MioNet;
use underpass::engine::net::{Net, Wake};
use underpass::proto::time::Time;

use super::Stream;
use crate::net::SimNet;
use crate::world::Shared;

/// A network, and a way to let it come to rest.
pub trait Rig {
    type N: Net;
    fn net(&mut self) -> &mut Self::N;
    /// Lets what was sent arrive, without a poll.
    fn arrive(&mut self);
    /// Sends one urgent byte.
    fn urge(&mut self, stream: &mut Stream<Self>);
    /// Polls until nothing more happens.
    fn settle(&mut self, wakes: &mut Vec<Wake>);
}

pub struct Real(pub MioNet);

impl Rig for Real {
    type N = MioNet;
    fn net(&mut self) -> &mut MioNet {
        &mut self.0
    }
    fn arrive(&mut self) {
        std::thread::sleep(Duration::from_millis(20));
    }
    fn urge(&mut self, stream: &mut Stream<Real>) {
        SockRef::from(&*stream).send_out_of_band(b"!").unwrap();
    }
    fn settle(&mut self, wakes: &mut Vec<Wake>) {
        let mut seen = usize::MAX;
        while std::mem::replace(&mut seen, wakes.len()) != wakes.len() {
            // `now` moves with `poll` only.
            self.0.poll(Some(Time(0)), wakes).unwrap();
            let until = self.0.now() + Duration::from_millis(25);
            while self.0.now() < until {
                self.0.poll(Some(until), wakes).unwrap();
            }
        }
    }
}

pub struct Simulated(pub SimNet, pub Shared);

impl Rig for Simulated {
    type N = SimNet;
    fn net(&mut self) -> &mut SimNet {
        &mut self.0
    }
    fn arrive(&mut self) {
        let until = Time(self.1.borrow().now().0 + 1_000_000_000);
        while self.1.borrow().now() < until {
            self.1.borrow_mut().advance(until);
        }
    }
    fn urge(&mut self, stream: &mut Stream<Simulated>) {
        stream.write_urgent();
    }
    fn settle(&mut self, wakes: &mut Vec<Wake>) {
        let until = Time(self.1.borrow().now().0 + 1_000_000_000);
        while self.1.borrow().now() < until {
            self.0.poll(None, wakes).unwrap();
            self.1.borrow_mut().advance(until);
        }
        self.0.poll(None, wakes).unwrap();
    }
}
