//! Strangers on a port with Noise: what a TCP connection costs before it has said a message.

use std::io::Write;
use std::time::Duration;

use super::hostile;
use crate::harness::alone;
use crate::house::{Transport, Vps};
use crate::visitor::{INTERNAL_ERROR, Seen, connect_from, reset};

/// No key agreement for a TCP connection: 15,000 that say nothing or one byte cost a server with
/// Noise hardly more than one without.
#[test]
fn a_tcp_connection_buys_no_key_agreement() {
    const STRANGERS: usize = 15_000;
    let _alone = alone();
    let spent = [Transport::Tcp, Transport::Noise].map(|transport| {
        let vps = Vps::with(transport);
        let server = vps.server("");
        let before = server.cpu();
        for number in 0..STRANGERS {
            let Ok(mut stream) = connect_from(hostile(number, 50), vps.tunnel) else { continue };
            if number % 2 == 0 {
                let _ = stream.write_all(&[1]);
            }
            // Without an end that the server would have to answer.
            reset(stream);
        }
        // All have been looked at when one more is answered: by an alert, nobody is at home.
        vps.wait_seen("ready.test", &Seen::Alert(INTERNAL_ERROR));
        server.cpu() - before
    });
    let [clear, noise] = spent;
    eprintln!("{STRANGERS} TCP connections: {clear:?} over tcp, {noise:?} over noise");
    let bound = clear * 5 / 4 + Duration::from_millis(80);
    assert!(noise < bound, "{noise:?} of processor for strangers, {clear:?} without encryption");
}
