//! A hostile client: the native protocol by hand, over transport `tcp`, with a valid token or none.
//! Frames, messages and proofs are the crate's; what is said when is the test's.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use underpass::proto::noise::HandshakeHash;
use underpass::proto::proof;
use underpass::wire::message::{Message, Part, Register, Registration, VERSION, kind};

use crate::harness::{PATIENCE, SECRET};
use crate::visitor::connect_from;

/// Types of services, as REGISTER has them.
pub(crate) const HTTPS: u8 = 3;

/// A connection to the tunnel's port.
pub(crate) struct Native {
    pub(crate) stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// What a frame held: the message's kind and its payload.
pub(crate) type Heard = (u8, Vec<u8>);

impl Native {
    pub(crate) fn dial(source: Ipv4Addr, tunnel: SocketAddr) -> io::Result<Native> {
        let stream = connect_from(source, tunnel)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = BufReader::new(stream.try_clone()?);
        Ok(Native { stream, reader })
    }

    pub(crate) fn say(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.stream.write_all(&frame(message))
    }

    /// The next message; an end of file is an error.
    pub(crate) fn hear(&mut self) -> io::Result<Heard> {
        let mut length = [0; 2];
        self.reader.read_exact(&mut length)?;
        let mut body = vec![0; usize::from(u16::from_le_bytes(length))];
        self.reader.read_exact(&mut body)?;
        let kind = body.pop().ok_or(ErrorKind::InvalidData)?;
        Ok((kind, body))
    }

    /// The next message, which must be of this kind.
    pub(crate) fn expect(&mut self, wanted: u8) -> io::Result<Vec<u8>> {
        let (kind, payload) = self.hear()?;
        match kind == wanted {
            true => Ok(payload),
            false => Err(io::Error::other(format!("{kind:#x} in place of {wanted:#x}"))),
        }
    }

    /// Whether the server has ended it, within so long.
    pub(crate) fn is_ended_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }
}

/// A message as it travels in clear.
pub(crate) fn frame(message: &Message<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode(&mut body);
    let length = u16::try_from(body.len()).unwrap();
    [&length.to_le_bytes(), &body[..]].concat()
}

/// A control session.
pub(crate) struct Session {
    pub(crate) control: Native,
    source: Ipv4Addr,
    tunnel: SocketAddr,
    id: u64,
    key: [u8; 32],
    nonce: [u8; 32],
}

impl Session {
    /// HELLO and WELCOME; `instance` tells one client from another.
    pub(crate) fn open(source: Ipv4Addr, tunnel: SocketAddr, instance: u64) -> io::Result<Session> {
        let mut control = Native::dial(source, tunnel)?;
        let mut random = [0xa5; 32];
        random[..8].copy_from_slice(&instance.to_le_bytes());
        let (min_version, max_version) = (VERSION, VERSION);
        control.say(&Message::Hello { min_version, max_version, instance: random })?;
        let welcome = control.expect(kind::WELCOME)?;
        match Message::decode(kind::WELCOME, &welcome) {
            Ok(Message::Welcome { session: id, key, nonce, .. }) => {
                Ok(Session { control, source, tunnel, id, key, nonce })
            }
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// [`Session::open`], and the token of service `name` proved.
    #[track_caller]
    pub(crate) fn registered(
        source: Ipv4Addr,
        tunnel: SocketAddr,
        instance: u64,
        kind: u8,
        name: &str,
    ) -> Session {
        let mut session = Session::open(source, tunnel, instance).expect("WELCOME");
        session.control.stream.write_all(&session.register(0, kind, name.as_bytes())).unwrap();
        assert_eq!(session.registration().unwrap(), Registration::Accepted, "{name}");
        session
    }

    /// The frame that asks for a service whose token is that of this tests' files.
    pub(crate) fn register(&self, number: u16, kind: u8, name: &[u8]) -> Vec<u8> {
        let token = [SECRET.as_bytes(), b"-", name].concat();
        self.register_with(number, kind, name, &token)
    }

    /// The same with any token.
    pub(crate) fn register_with(
        &self,
        number: u16,
        kind: u8,
        name: &[u8],
        token: &[u8],
    ) -> Vec<u8> {
        let proof = proof::service(token, &HandshakeHash::NONE, &self.nonce, kind, name);
        let (if_free, ports, part) = (false, 1, Part::default());
        frame(&Message::Register(Register { number, kind, if_free, ports, part, proof, name }))
    }

    /// The next REGISTERED; what else comes before it is read and dropped.
    pub(crate) fn registration(&mut self) -> io::Result<Registration> {
        loop {
            let (kind, payload) = self.control.hear()?;
            if let Ok(Message::Registered { answer, .. }) = Message::decode(kind, &payload) {
                return Ok(answer);
            }
        }
    }

    /// How many links the server asks for next.
    pub(crate) fn links_wanted(&mut self) -> io::Result<usize> {
        loop {
            let (kind, payload) = self.control.hear()?;
            if let Ok(Message::Links { count }) = Message::decode(kind, &payload) {
                return Ok(usize::from(count));
            }
        }
    }

    /// Dials a link; its READY has come.
    pub(crate) fn link(&self) -> io::Result<Native> {
        self.link_from(self.source)
    }

    /// The same from another address.
    pub(crate) fn link_from(&self, source: Ipv4Addr) -> io::Result<Native> {
        let mut link = Native::dial(source, self.tunnel)?;
        let proof = proof::link(&self.key, &HandshakeHash::NONE);
        link.say(&Message::LinkHello { version: VERSION, session: self.id, proof })?;
        link.expect(kind::READY)?;
        Ok(link)
    }
}
