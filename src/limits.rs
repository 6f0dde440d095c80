//! Every bound and every deadline, with its reason. What a user has a reason to change is a key of
//! the configuration too; the constants here are then the defaults.

use std::time::Duration;

/// A ClientHello or a request's head, the first from accept to its last byte, later heads from
/// their first byte: ten times what a bad mobile line needs.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// The handshake message's bytes; post-quantum hellos are 2 KB, resumption tickets up to 16 KB.
pub const CLIENT_HELLO_BYTES: usize = 64 * 1024;

/// A PROXY header of version 2 behind its first 16 bytes: addresses, and TLVs that may hold a
/// certificate.
pub const PROXY_HEADER_BYTES: usize = 4096;

/// Silence on the TLS port after which a visitor counts as one that waits for SSH's server to speak
/// first, if a service takes those: a hello follows the connection within a round trip.
pub const SSH_WAIT: Duration = Duration::from_secs(2);

/// An HTTP head, request or response: browsers with many cookies reach 16 KB.
pub const HTTP_HEAD_BYTES: usize = 64 * 1024;
/// Fields of an HTTP head, request or response: 200 Set-Cookie lines exist.
pub const HTTP_FIELDS: usize = 256;
/// Heads of interim responses to one request. One that says 102 every 30 s may do so for days; an
/// endless row of them is no answer.
pub const HTTP_INTERIM_BYTES: usize = 1024 * 1024;
/// So often may a request come back to where it was sent from, by a home that leads there; then it
/// is a loop. Two servers in a row are none.
pub const ROUNDS: usize = 3;
/// The same for a service's own port, where nothing tells one visitor from another: so many from
/// where the home is that have no answer yet. People at home come by their own way.
pub const ROUNDS_OF_A_PORT: usize = 16;
/// Silence between two requests; below the 75 s after which nginx would close at home.
pub const HTTP_IDLE_TIME: Duration = Duration::from_secs(60);
/// What the kernel keeps for a connection behind what is under way, before the one who sends waits:
/// two batches, so that a sender has a next one ready.
pub const UNSENT_BYTES: u32 = 128 * 1024;
/// Visits that failed, and had a service, whose details are kept for who looks.
pub const FAILURES_KEPT: usize = 40;
/// The same of those who had none: strangers of all kinds, all day.
pub const STRAY_FAILURES_KEPT: usize = 20;
/// Services whose last hour and day are kept, at 26 KB each: 13 MB at most.
pub const HISTORIES_KEPT: usize = 500;
/// Connections at the admin door: a few people, a Prometheus and a health check.
pub const ADMIN_CONNECTIONS: usize = 32;
/// From the accept of one of them until it has said what it asks for; and as long may pass without
/// it taking any of the answer.
pub const ADMIN_TIME: Duration = Duration::from_secs(10);
/// So often who watches is told how it is.
pub const EVENTS_PAUSE: Duration = Duration::from_secs(2);
/// After a start, homes have so long to come back before health checks are told that all is well.
pub const STARTING_TIME: Duration = Duration::from_secs(10);
/// A page of the user's own: it is copied for each visitor that gets it.
pub const ERROR_PAGE_BYTES: usize = 64 * 1024;
/// From the end of a request to the home's answer: reports and uploads are slow to digest.
pub const HTTP_RESPONSE_TIME: Duration = Duration::from_secs(300);

/// A tunnel connection, from accept until its first message is whole: the line of a home that is
/// far away has carried it together with the connection.
pub const TUNNEL_PROOF_TIME: Duration = Duration::from_secs(5);
/// From one of its messages to the next, until it has proved a token or a session key; in all it
/// has [`BEGIN_TIME`]. The first Noise message can be replayed by anyone who has seen one.
pub const TUNNEL_STEP_TIME: Duration = Duration::from_secs(10);
/// The same for networks with a session whose round trip is longer, twice that, and in all.
pub const SLOW_BEGIN_TIME: Duration = Duration::from_secs(90);
/// A client's visitors by way of a server that is its server no more have so long.
pub const LEAVING_TIME: Duration = Duration::from_secs(30);
/// So often the client looks whether they have gone.
pub const LEAVING_LOOK: Duration = Duration::from_millis(250);
/// Names of services that are not in the file, before the first proof; a client with more services
/// than this is not one of ours.
pub const UNKNOWN_NAMES: usize = 256;
/// Refused registrations of one session that are remembered for the day when the file has another
/// word for them: 2 KB, for a stranger too.
pub const REFUSALS_KEPT: usize = 64;
/// Tunnel connections that have proved nothing, in all and of one address; the longest-waiting
/// goes. Homes behind one CGNAT share an address and a rush dials many links at once.
pub const TUNNEL_STRANGERS: usize = 512;
/// See [`TUNNEL_STRANGERS`].
pub const TUNNEL_STRANGERS_PER_ADDRESS: usize = 256;
/// Connections of networks without a session that the tunnel port takes, as (a second, at once);
/// more are aborted at accept. Of a flood of 5,000 a second, 4,000 cost 0.02 ms each so, and 1,000
/// three times that: 14 % of a processor. 1,000 homes can come back at once after a restart.
pub const CONNECTS: (u32, u32) = (1000, 2000);
/// The same of one network: fifty hostile ones leave room for others. At once, all the services of
/// a rathole client, or the homes behind one carrier's NAT.
pub const CONNECTS_PER_NETWORK: (u32, u32) = (16, 128);
/// Handshakes answered for networks without a session, as (a second, at once): 0.2 ms each, so 10 %
/// of a processor, and 1,000 homes at once in 0.2 s.
pub const HANDSHAKES: (u32, u32) = (500, 1000);
/// The same for one network; see [`CONNECTS_PER_NETWORK`].
pub const HANDSHAKES_PER_NETWORK: (u32, u32) = (8, 128);
/// The same for networks with a session, beside those: four spare links for each of 1,000 homes at
/// once.
pub const KNOWN_HANDSHAKES: (u32, u32) = (1000, 4000);
/// The same for one of them: the rushes of four homes at one address
/// ([`LINKS_DIALLED_AT_ONCE`]), and then two a second. Junk from a home's neighbours behind one NAT
/// costs 5 % of a processor.
pub const KNOWN_HANDSHAKES_PER_NETWORK: (u32, u32) = (256, 512);
/// Wrong proofs on one connection, and of one network until it has to wait.
pub const WRONG_PROOFS: u8 = 8;
/// The first wait of a network with too many wrong proofs; it doubles.
pub const PROOF_WAIT: Duration = Duration::from_secs(10);
/// The longest: some 2,300 guesses a day.
pub const PROOF_WAIT_MAX: Duration = Duration::from_secs(5 * 60);
/// After a wait, a network that says no wrong proof for so long starts over.
pub const PROOFS_FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// Networks whose rates and wrong proofs are remembered, 0.2 MB for each kind.
pub const NETWORKS_REMEMBERED: usize = 4096;
/// Descriptors that a server with few services keeps for spare links, or a quarter of all.
pub const SPARE_LINKS: usize = 256;
/// Servers in a client's file, and of the addresses of one name those that are servers.
pub const SERVERS: usize = 16;
/// Lines to addresses of one name, those included that are no more the name's and have a session.
pub const LINES_OF_A_NAME: usize = 2 * SERVERS;
/// A name whose addresses are servers is looked up so long after the last answer: a new one is
/// dialled within 30 s.
pub const ADDRESSES_FRESH: Duration = Duration::from_secs(28);
/// The same when a line to one of them has failed: it may be another one by now.
pub const ADDRESSES_DOUBTED: Duration = Duration::from_secs(5);
/// Links that a client has under way at once; stays below [`TUNNEL_STRANGERS_PER_ADDRESS`].
pub const LINKS_DIALLED_AT_ONCE: usize = 128;
/// Of the links that a client may have, those that each server gets whatever the others want, if
/// that is no more than half of all.
pub const LINKS_OF_EACH: usize = 8;
/// Sessions that have lost their services to others and wait for them to be free again, where
/// there are descriptors for that.
pub const SESSIONS_WITHOUT_A_SERVICE: usize = 24;
/// Bytes that the server holds in all, for readers that do not take them and until what comes is
/// whole; beyond it, the longest-stalled connection of who holds most goes.
pub const MEMORY: usize = 64_000_000;
/// A visitor without a spare link waits so long for one.
pub const LINK_WAIT: Duration = Duration::from_secs(10);
/// Visitors that may wait for a link of one session; more are answered as if it were offline.
pub const VISITORS_WAITING: usize = 4096;
/// The home's service must accept within this.
pub const HOME_DIAL_TIME: Duration = Duration::from_secs(5);
/// Each step of a connection to the server, the TCP connect, the handshake, its first answer, may
/// take so long from what was last heard of it: twice the round trip of a satellite's bad day, or
/// of an uplink whose queue is full.
pub const SERVER_STEP_TIME: Duration = Duration::from_secs(10);
/// The connect alone, where there are other addresses to try.
pub const SERVER_CONNECT_TIME: Duration = Duration::from_secs(5);
/// All of it at the server, and three steps at home.
pub const BEGIN_TIME: Duration = Duration::from_secs(30);
/// A rathole server says no to an unknown service in the same breath as its hello.
pub const PROBE_ACK_TIME: Duration = Duration::from_secs(1);
/// Silence on a connection of which one direction has ended.
pub const HALF_CLOSED_SILENCE: Duration = Duration::from_secs(5 * 60);
/// After our RESET the peer has so long to end its direction; then the link is closed.
pub const RESET_ANSWER_TIME: Duration = Duration::from_secs(1);
/// A link whose visitor has ended in order: what has arrived at home and a slow service there has
/// not read yet, some megabytes, takes so long at most.
pub const SETTLING_TIME: Duration = Duration::from_secs(30 * 60);
/// A visitor that was told no may take so long to read it.
pub const PARTING_TIME: Duration = Duration::from_secs(2);
/// One that is still sending gets more: a client may read the answer only once it has sent all.
pub const LINGER_TIME: Duration = Duration::from_secs(30);
/// Bytes that are thrown away for it meanwhile.
pub const LINGER_BYTES: u64 = 64 * 1024 * 1024;
/// The longest body of a control message: a REGISTER is under 400 bytes.
pub const CONTROL_BODY: usize = 1024;
/// Bytes that may wait for a control peer; one that lets more pile up is not reading.
pub const CONTROL_BACKLOG: usize = 256 * 1024;
/// Connections taken from one listener before others have their turn.
pub const ACCEPTS_A_TURN: usize = 64;
/// After an accept that failed for lack of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Connections that wait in the kernel for accept.
pub const BACKLOG: i32 = 4096;
/// A looked-up address of a home service is used so long: a container that moved is found soon.
pub const RESOLVED_FRESH: Duration = Duration::from_secs(5);
/// An older one is used so long, where a new one does not come.
pub const RESOLVED_USABLE: Duration = Duration::from_secs(60 * 60);
/// Until it counts as not coming: a name server that is there answers in a tenth of it.
pub const RESOLVE_WAIT: Duration = Duration::from_millis(500);
/// A home of a UDP session that has said nothing to a visitor who goes on talking is looked up anew
/// after so long: it may have moved.
pub const UDP_SILENCE: Duration = Duration::from_secs(5);
/// The same where something says that nobody is there.
pub const UDP_REFUSED: Duration = Duration::from_secs(1);
/// Listening sockets of one file, which ranges of ports make many of: each is a descriptor for
/// good, and half of the smallest hard limit in use, 4096, is left for visitors.
pub const LISTENERS: usize = 2048;
/// From so many bytes on, a splice costs less than a read and a write: it takes three system calls
/// for two.
pub const SPLICE_WORTH: usize = 16 * 1024;
/// Of the pipe that bytes are spliced through. It has a slot for each 4 KB of it, and a segment of
/// a real network, 1.4 KB, takes one slot: so all that a splice may move fits.
pub const PIPE_SIZE: usize = 512 * 1024;
/// Descriptors for the process itself: standard streams, epoll, signals, a pipe, log files.
pub const OWN_DESCRIPTORS: usize = 16;
/// TCP keepalive probes without an answer until a peer is dead.
pub const KEEPALIVE_RETRIES: u32 = 4;
/// A UDP socket's send and receive buffer; the kernel gives less where it must (`rmem_max`).
pub const UDP_SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// A session of a UDP service ends after so long without a datagram; most protocols over UDP say
/// something within half of it.
pub const UDP_IDLE_TIME: Duration = Duration::from_secs(60);
/// Sessions of one UDP service; the one that is idle for longest goes. Each is a socket at home.
pub const UDP_SESSIONS: usize = 4096;
/// Links of one UDP service: a lost TCP segment holds up the sessions of one alone.
pub const UDP_LINKS: usize = 2;
/// Bytes of datagrams that may wait on one link, beside what the kernel holds: one datagram of the
/// longest kind, and a little. What comes late is worth little.
pub const UDP_BACKLOG: usize = 96 * 1024;
/// Datagrams taken from one UDP socket before others have their turn.
pub const DATAGRAMS_A_TURN: usize = 64;
/// Datagrams of one session that wait for its home's address.
pub const UDP_HELD: usize = 16;
/// Bytes of all such datagrams.
pub const UDP_HELD_BYTES: usize = 1024 * 1024;
/// Wrong passwords of one network at the admin door: so many at once, and one more in each
/// [`ADMIN_FAILURE_TIME`], which is ten a minute. People mistype; programs guess.
pub const ADMIN_FAILURES: u32 = 10;
/// See [`ADMIN_FAILURES`].
pub const ADMIN_FAILURE_TIME: Duration = Duration::from_secs(6);
/// Passwords that wait to be checked, in all: at bcrypt's usual cost they are done in a second.
pub const ADMIN_CHECKS: usize = 8;
/// Those of one network, so that nobody has all of them.
pub const ADMIN_CHECKS_PER_NETWORK: usize = 4;
/// A password that was right is not checked again for so long: a page asks every few seconds.
pub const ADMIN_REMEMBERED_TIME: Duration = Duration::from_secs(5 * 60);
/// Passwords that are remembered as right: more people do not look at once.
pub const ADMIN_REMEMBERED: usize = 64;
/// User and password together, in base64: of each, `htpasswd` takes 255 bytes.
pub const ADMIN_LOGIN_BYTES: usize = 1024;

/// Visitors in all, at most, where the descriptor limit allows as many: 64 MB at 1 KB each.
pub const MAX_VISITORS: usize = 65_536;

/// Between the server's pings on a native session.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Silence after which the server counts as dead: two pings lost, and a slow line.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(25);
/// The same where rathole's servers beat, every 30 s by default; rathole's.
pub const RATHOLE_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(40);
/// Who is here when the program is asked to end has so long: a page's requests are done by then,
/// and a restart is not felt.
pub const DRAIN_TIME: Duration = Duration::from_secs(3);
/// Meanwhile, who has not said a word yet has so long for the first one: what was sent before the
/// doors were closed has arrived by then, also over a bad mobile line.
pub const FIRST_WORD_TIME: Duration = Duration::from_secs(1);
/// The longest pause before the client dials again: a line that is back is used in 5 s.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// The first pause before the client dials again.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Silence before the first TCP keepalive probe; rathole's.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// Between TCP keepalive probes; rathole's.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(8);
/// After a link that could not be dialled, the first pause.
pub const LINK_RETRY: Duration = Duration::from_millis(200);
/// A link that a visitor's next request does not go to: the home has so long to end its direction.
pub const HTTP_LEAVE_TIME: Duration = Duration::from_secs(5);
