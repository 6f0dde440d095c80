//! Fixed plays in virtual time: where programs of this kind broke, by the numbers of the list that
//! the tests' names carry. Ten minutes or ten hours cost what happens in them, so each play asserts
//! the moments at which things happen, not only that they do.

mod addresses;
mod deadlines;
mod ends;
mod house;
mod sessions;
mod transfers;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use underpass::proto::time::Time;
use underpass::wire::proxy_header::{self, Ends, Version};

use super::driver::Driver;
use super::files::{Dialect, Ports, client_config, server_config};
use super::play::*;
use super::programs::Actor;
use super::rng::Rng;
use super::story::{Act, End, Ending, Party, Story, StoryId, client_hello, greeting};
use super::world::Tuning;
