//! The relay path allocates nothing: the real engines on the real network, each on a thread of its
//! own, whose allocations are counted; what mio, snow and ring ask for is counted with it.

#[path = "support/counting.rs"]
mod counting;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use underpass::config::Config;
use underpass::engine::client::Client;
use underpass::engine::core::Flow;
use underpass::engine::mio_net::{MioNet, Stopper};
use underpass::engine::server::Server;

/// For whatever has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const BLINK: Duration = Duration::from_millis(2);
/// What has not changed for so long has come to rest.
const STILL: Duration = Duration::from_millis(200);
const BLOCK: usize = 64 * 1024;
const HELLO: &[u8] = include_bytes!("corpus/tls/curl-default.bin");

/// Allocations of the server and of the client for one visitor on a warm link, at most. Server:
/// its place among the guests, its stage and its name, until it has a link. Client: the home's
/// name, its addresses, and the dial.
const PER_VISITOR: [u64; 2] = [3, 3];
/// For a hundred of them, what comes now and then: a block of the resolver's queue, a larger heap
/// of deadlines.
const NOW_AND_THEN: u64 = 50;
/// What a reader that is behind costs at most, whatever it reads: a few buffers, each of which
/// doubles until it holds what one write can leave, and is then kept.
const BUFFERS: u64 = 40;

#[test]
fn a_relay_allocates_nothing() {
    let house = House::new();
    let pair = house.visit();
    house.rest(&pair);

    let ping_pong = house.count(&pair, |pair| (0..1000).for_each(|_| pair.ping()));
    assert_eq!(ping_pong, [0, 0], "ping-pong");

    // More than the sockets on the way hold: connections wait for their readers.
    let behind = house.count(&pair, |pair| pair.flood(128 << 20));
    assert!(behind.iter().all(|count| *count <= BUFFERS), "readers behind: {behind:?}");

    // A frame may be cut anywhere: the rest of it waits in a buffer, and now there are some.
    let bulk = house.count(&pair, |pair| pair.lockstep(16 << 20));
    assert_eq!(bulk, [0, 0], "readers that keep up");
}

#[test]
fn a_visitor_on_a_warm_link_costs_few_allocations() {
    const VISITS: u64 = 100;
    let house = House::new();
    let pair = house.visit();
    // Whatever grows with the number of visitors has grown.
    (0..VISITS).for_each(|_| house.visit().end());
    house.rest(&pair);
    let count = house.count(&pair, |_| (0..VISITS).for_each(|_| house.visit().end()));
    let most = PER_VISITOR.map(|each| each * VISITS + NOW_AND_THEN);
    assert!(count[0] <= most[0] && count[1] <= most[1], "{count:?}, at most {most:?}");
    assert!(count.iter().all(|count| *count > 0), "the counter counts");
}

/// A visitor and the home's end of its connection.
struct Pair {
    visitor: TcpStream,
    home: TcpStream,
}

impl Pair {
    /// A byte there, a byte back.
    fn ping(&self) {
        for (mut from, mut to) in [(&self.visitor, &self.home), (&self.home, &self.visitor)] {
            from.write_all(b"x").expect("room for a byte");
            to.read_exact(&mut [0]).expect("it arrives");
        }
    }

    /// `total` bytes each way; what is sent is read before more is.
    fn lockstep(&self, total: usize) {
        let mut block = [7; BLOCK];
        for _ in 0..total / BLOCK {
            for (mut from, mut to) in [(&self.visitor, &self.home), (&self.home, &self.visitor)] {
                from.write_all(&block).expect("room for a block");
                to.read_exact(&mut block).expect("it arrives");
            }
        }
    }

    /// `total` bytes each way, at once; nobody reads until both writers are stuck.
    fn flood(&self, total: usize) {
        let sent = [AtomicU64::new(0), AtomicU64::new(0)];
        let ends = [&self.visitor, &self.home];
        thread::scope(|scope| {
            for (mut from, sent) in ends.into_iter().zip(&sent) {
                scope.spawn(move || {
                    for _ in 0..total / BLOCK {
                        from.write_all(&[7; BLOCK]).expect("room in the end");
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let so_far = || sent.each_ref().map(|sent| sent.load(Ordering::Relaxed));
            until_still(so_far);
            let all = (total / BLOCK) as u64;
            assert!(so_far().iter().all(|sent| *sent < all), "it all fits into the sockets");
            for mut to in ends {
                scope.spawn(move || {
                    let mut block = [0; BLOCK];
                    (0..total / BLOCK).for_each(|_| to.read_exact(&mut block).expect("it arrives"));
                });
            }
        });
    }

    /// Both sides end in order, and each hears of it.
    fn end(self) {
        for (from, mut to) in [(&self.visitor, &self.home), (&self.home, &self.visitor)] {
            from.shutdown(Shutdown::Write).expect("open");
            assert_eq!(to.read(&mut [0]).expect("an end"), 0);
        }
    }
}

/// A server, a client and a home.
struct House {
    https: SocketAddr,
    home: TcpListener,
    server: Running,
    client: Running,
}

impl House {
    /// Over Noise, with every name going to one home.
    fn new() -> House {
        let home = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let keys =
            snow::Builder::new("Noise_NK_25519_ChaChaPoly_BLAKE2s".parse().expect("a pattern"));
        let keys = keys.generate_keypair().expect("keys");
        let private = STANDARD.encode(keys.private);
        let text = format!(
            "[server]\nbind_addr = '127.0.0.1:0'\nhttps_addr = '127.0.0.1:0'\n\
             [server.transport]\ntype = 'noise'\n\
             [server.transport.noise]\nlocal_private_key = '{private}'\n\
             [server.services.home]\ntype = 'https'\ntoken = 'token'\nhosts = ['**']\n",
        );
        let config = parse(&text).server.expect("a server");
        let (server, addresses) = Running::start(move |net| {
            let mut server = Server::new(config, net)?;
            Ok((server.local_addrs(), Box::new(move || server.turn())))
        });
        let [tunnel, https] = addresses[..] else { panic!("{addresses:?}") };
        let (public, at) = (STANDARD.encode(keys.public), home.local_addr().expect("bound"));
        let text = format!(
            "[client]\nremote_addr = '{tunnel}'\n\
             [client.transport]\ntype = 'noise'\n\
             [client.transport.noise]\nremote_public_key = '{public}'\n\
             [client.services.home]\ntype = 'https'\ntoken = 'token'\nlocal_addr = '{at}'\n",
        );
        let config = parse(&text).client.expect("a client");
        let (client, ()) = Running::start(move |net| {
            let mut client = Client::new(config, net)?;
            Ok(((), Box::new(move || client.turn())))
        });
        House { https, home, server, client }
    }

    /// A visitor whose hello has reached the home. Until the client has registered, there is none.
    fn visit(&self) -> Pair {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut visitor = TcpStream::connect(self.https).expect("the entry listens");
            patient(&visitor);
            visitor.write_all(HELLO).expect("sent");
            if let Some(mut home) = self.received(&visitor) {
                home.read_exact(&mut [0; HELLO.len()]).expect("the hello");
                return Pair { visitor, home };
            }
            assert!(Instant::now() < deadline, "no visitor reaches the home");
        }
    }

    /// The home's end of a visitor's connection; `None` if the visitor was sent away.
    fn received(&self, visitor: &TcpStream) -> Option<TcpStream> {
        let deadline = Instant::now() + PATIENCE;
        self.home.set_nonblocking(true).expect("a socket");
        visitor.set_nonblocking(true).expect("a socket");
        while Instant::now() < deadline {
            if let Ok((home, _)) = self.home.accept() {
                visitor.set_nonblocking(false).expect("a socket");
                patient(&home);
                return Some(home);
            }
            // An alert, an end or a reset.
            match visitor.peek(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BLINK),
                _ => return None,
            }
        }
        None
    }

    /// Waits until the links that stand ready are there: opening one allocates.
    fn rest(&self, pair: &Pair) {
        until_still(|| self.so_far(pair));
    }

    /// What both engines allocate in `work`.
    fn count(&self, pair: &Pair, work: impl FnOnce(&Pair)) -> [u64; 2] {
        let before = self.so_far(pair);
        work(pair);
        let after = self.so_far(pair);
        [after[0] - before[0], after[1] - before[1]]
    }

    /// What both have allocated up to now. An engine tells after each turn; the bytes of a ping
    /// cross in later turns than all that was before it.
    fn so_far(&self, pair: &Pair) -> [u64; 2] {
        pair.ping();
        [&self.server, &self.client].map(|engine| engine.allocations.load(Ordering::Acquire))
    }
}

/// Waits until `look` has seen the same for a while.
fn until_still<T: PartialEq>(mut look: impl FnMut() -> T) {
    let deadline = Instant::now() + PATIENCE;
    let (mut seen, mut since) = (look(), Instant::now());
    while since.elapsed() < STILL {
        assert!(Instant::now() < deadline, "it does not come to rest");
        thread::sleep(BLINK);
        let now = look();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
}

/// Without Nagle's delay, and every call has its deadline.
fn patient(stream: &TcpStream) {
    stream.set_nonblocking(false).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
}

fn parse(text: &str) -> Config {
    Config::parse("test.toml", text, &|_| None).expect("a sound file")
}

/// One turn of an engine.
type Turn = Box<dyn FnMut() -> io::Result<Flow>>;

/// An engine on its thread.
struct Running {
    stopper: Stopper,
    /// Of that thread, after its last turn.
    allocations: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Runs what `build` makes; what else it tells comes back.
    fn start<T: Send + 'static>(
        build: impl FnOnce(MioNet) -> io::Result<(T, Turn)> + Send + 'static,
    ) -> (Running, T) {
        let (tells, told) = mpsc::channel();
        let allocations = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&allocations);
        let thread = thread::spawn(move || {
            let net = MioNet::new().expect("a network");
            let stopper = net.stopper();
            let (made, mut turn) = build(net).expect("an engine");
            tells.send((stopper, made)).expect("the test waits");
            while turn().expect("a sound network") == Flow::Continue {
                counter.store(counting::so_far(), Ordering::Release);
            }
        });
        let (stopper, made) = told.recv_timeout(PATIENCE).expect("it starts");
        (Running { stopper, allocations, thread: Some(thread) }, made)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the engine has panicked");
    }
}
