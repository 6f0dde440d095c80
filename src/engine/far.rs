//! What TCP does on connections that cross the net, where bytes are lost and wait in queues.
//!
//! cubic, the usual default, takes each lost segment for a full queue and sends at half the rate;
//! over a home's line with some loss that is a tenth of what the line has. BBR measures the line.
//! And a kernel keeps megabytes for a reader that is slower than its home; here it keeps little
//! beside what is under way, and the rest waits where it comes from.

use std::io;

use log::{debug, warn};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::config::Congestion;
use crate::limits;

/// The options of such connections.
#[derive(Debug, Default)]
pub(super) struct Far {
    /// The kernel's name; `None`: the system's.
    congestion: Option<Vec<u8>>,
}

impl Far {
    /// Finds out what this process may have; what the file asks for and the kernel refuses is said.
    pub(super) fn new(wanted: &Congestion) -> Far {
        let congestion = match choose(wanted) {
            Ok(name) => name,
            Err(error) => {
                match wanted {
                    Congestion::Named(name) => warn!("congestion_control: no {name}: {error}"),
                    _ => debug!("congestion_control: no {BBR}: {error} ({HOW_TO_HAVE_BBR})"),
                }
                None
            }
        };
        Far { congestion }
    }

    /// Sets them; a socket that refuses is as good as before.
    pub(super) fn tune(&self, socket: SockRef<'_>) {
        let _ = socket.set_tcp_notsent_lowat(limits::UNSENT_BYTES);
        if let Some(name) = &self.congestion {
            let _ = socket.set_tcp_congestion(name);
        }
    }
}

/// What to do where the file has `auto` and the kernel no BBR for this process; for `check`.
pub fn advice(wanted: &Congestion) -> Option<String> {
    let error = choose(wanted).err()?;
    Some(match wanted {
        Congestion::Named(name) => format!("congestion_control: no {name} here: {error}"),
        _ => format!(
            "no {BBR} here: over a line that loses bytes it is several times as fast \
                      ({HOW_TO_HAVE_BBR})"
        ),
    })
}

/// The name to set, if it is not what the system takes anyway.
fn choose(wanted: &Congestion) -> io::Result<Option<Vec<u8>>> {
    let name = match wanted {
        Congestion::System => return Ok(None),
        Congestion::Auto => BBR,
        Congestion::Named(name) => name,
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    let usual = socket.tcp_congestion()?;
    if usual.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
        return Ok(None);
    }
    socket.set_tcp_congestion(name.as_bytes())?;
    Ok(Some(name.as_bytes().to_vec()))
}

const BBR: &str = "bbr";
const HOW_TO_HAVE_BBR: &str = "as root: `modprobe tcp_bbr` and \
    `sysctl -w net.ipv4.tcp_allowed_congestion_control=\"reno cubic bbr\"`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_is_taken_and_what_it_has_not_is_told() {
        let usual = choose(&Congestion::System).expect("needs nothing");
        assert_eq!(usual, None);
        let other = Congestion::Named("no_such_one".to_owned());
        let error = choose(&other).expect_err("the kernel has none");
        assert!(error.raw_os_error().is_some());
        let said = advice(&other).expect("it is refused");
        assert!(said.starts_with("congestion_control: no no_such_one here: "), "{said}");
        // Every process may have this one.
        let reno = Congestion::Named("reno".to_owned());
        assert_eq!(advice(&reno), None);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("one");
        Far::new(&reno).tune(SockRef::from(&socket));
        assert!(socket.tcp_congestion().expect("it has one").starts_with(b"reno"));
        let unsent = socket.tcp_notsent_lowat().expect("it has one");
        assert_eq!(unsent, limits::UNSENT_BYTES);
    }
}
