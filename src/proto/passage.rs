//! The way through a proxy, from the first byte to it until what follows is the server's.
//!
//! ```text
//! SOCKS5  Method --> Login --> Reply --> open        without a login, or if the proxy wants none:
//!            \________________/^                     straight on
//! HTTP    Answer --> open
//! ```
//!
//! The caller sends what [`Passage::poll_send`] gives, at the start and after each
//! [`Passage::handle`], and hands over what comes until that says that the way is open. The time
//! for all of it is the caller's to bound.

use std::fmt;

use crate::config::{HostPort, Login, Proxy, ProxyScheme};
use crate::wire::{Status, http_connect, socks5};

/// Not `Debug`: it holds a password.
pub struct Passage {
    step: Step,
    outgoing: Vec<u8>,
    /// Of the proxy's next answer, what has come so far.
    inbox: Vec<u8>,
}

/// Which answer is due.
enum Step {
    Method { login: Option<Login>, target: HostPort },
    Login { target: HostPort },
    Reply,
    Answer,
}

/// Why there is no way through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A SOCKS5 proxy's.
    Socks5(socks5::Reject),
    /// An HTTP proxy's.
    Http(http_connect::Reject),
    /// Bytes from behind the proxy, where the client speaks first.
    Early,
    /// It closed the connection.
    Closed,
    /// It did not answer in time.
    Silent,
}

impl Passage {
    /// Through `proxy` to `target`, whose name the proxy resolves.
    pub fn new(proxy: &Proxy, target: &HostPort) -> Passage {
        let mut outgoing = Vec::new();
        let login = proxy.login.as_ref();
        let step = match proxy.scheme {
            ProxyScheme::Socks5 => {
                socks5::encode_greeting(login.is_some(), &mut outgoing);
                Step::Method { login: login.cloned(), target: target.clone() }
            }
            ProxyScheme::Http => {
                let login = login.map(|login| (login.user.expose(), login.password.expose()));
                http_connect::encode_connect(&target.to_string(), login, &mut outgoing);
                Step::Answer
            }
        };
        Passage { step, outgoing, inbox: Vec::new() }
    }

    /// What is to be sent now; nothing twice.
    pub fn poll_send(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Takes bytes of the proxy in; whether the way is open.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<bool, Reject> {
        self.inbox.extend_from_slice(bytes);
        let taken = match &self.step {
            Step::Method { login, target } => {
                match socks5::decode_method(&self.inbox, login.is_some()).map_err(Reject::Socks5)? {
                    Status::Partial => return Ok(false),
                    Status::Complete((method, taken)) => {
                        self.step = match (method, login) {
                            (socks5::Method::Login, Some(login)) => {
                                let (user, password) =
                                    (login.user.expose(), login.password.expose());
                                socks5::encode_login(user, password, &mut self.outgoing);
                                Step::Login { target: target.clone() }
                            }
                            _ => connect(target, &mut self.outgoing),
                        };
                        taken
                    }
                }
            }
            Step::Login { target } => {
                match socks5::decode_login(&self.inbox).map_err(Reject::Socks5)? {
                    Status::Partial => return Ok(false),
                    Status::Complete(((), taken)) => {
                        self.step = connect(target, &mut self.outgoing);
                        taken
                    }
                }
            }
            Step::Reply => match socks5::decode_reply(&self.inbox).map_err(Reject::Socks5)? {
                Status::Partial => return Ok(false),
                Status::Complete(((), taken)) => return self.open(taken),
            },
            Step::Answer => {
                match http_connect::decode_answer(&self.inbox).map_err(Reject::Http)? {
                    Status::Partial => return Ok(false),
                    Status::Complete(taken) => return self.open(taken),
                }
            }
        };
        // Each answer is to a question that has not been sent yet.
        match self.inbox.len() == taken {
            true => self.inbox.clear(),
            false => return Err(Reject::Early),
        }
        Ok(false)
    }

    fn open(&self, taken: usize) -> Result<bool, Reject> {
        if self.inbox.len() == taken { Ok(true) } else { Err(Reject::Early) }
    }
}

fn connect(target: &HostPort, out: &mut Vec<u8>) -> Step {
    socks5::encode_connect(&target.host, target.port, out);
    Step::Reply
}

/// Goes behind the proxy's name: what it did.
impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reject::Socks5(socks5::Reject::NotSocks5) => f.write_str("it does not speak SOCKS5"),
            Reject::Socks5(socks5::Reject::NoMethod) => {
                f.write_str("it wants another way to log in: user and password, or none")
            }
            Reject::Socks5(socks5::Reject::OtherMethod) => {
                f.write_str("it chose a way to log in that it was not offered")
            }
            Reject::Socks5(socks5::Reject::WrongLogin) => {
                f.write_str("it does not take this user and password")
            }
            Reject::Socks5(socks5::Reject::Refused(code)) => {
                write!(f, "it does not connect: {} ({code})", socks5::reply_text(*code))
            }
            Reject::Socks5(socks5::Reject::AddressType) => {
                f.write_str("it answered with an address of an unknown type")
            }
            Reject::Http(http_connect::Reject::NotHttp) => f.write_str("it does not speak HTTP"),
            Reject::Http(http_connect::Reject::TooLong) => f.write_str("its answer is too long"),
            // 407 is the right one; tinyproxy says 401.
            Reject::Http(http_connect::Reject::Status(status @ (401 | 407))) => {
                write!(f, "it wants another user and password (status {status})")
            }
            Reject::Http(http_connect::Reject::Status(status)) => {
                write!(f, "it does not connect (status {status})")
            }
            Reject::Early => f.write_str("it sent bytes that nobody asked for"),
            Reject::Closed => f.write_str("it closed the connection"),
            Reject::Silent => f.write_str("it did not answer in time"),
        }
    }
}

/// For the fuzz target `proxy`.
#[doc(hidden)]
pub mod fuzz {
    use super::*;
    use crate::config::Secret;

    /// A proxy may answer anything, byte by byte.
    pub fn check(bytes: &[u8]) {
        socks5::fuzz::check(bytes);
        http_connect::fuzz::check(bytes);
        for scheme in [ProxyScheme::Socks5, ProxyScheme::Http] {
            let login = Login { user: Secret::new(*b"me"), password: Secret::new(*b"pass") };
            let addr = HostPort { host: "192.0.2.1".to_owned(), port: 1080 };
            let mut passage = Passage::new(
                &Proxy { scheme, addr, login: Some(login) },
                &HostPort { host: "vps.example.com".to_owned(), port: 2333 },
            );
            let mut more = bytes.iter();
            while more.next().is_some_and(|byte| passage.handle(&[*byte]) == Ok(false)) {
                passage.poll_send();
            }
            assert!(passage.inbox.len() <= http_connect::HEAD_BYTES + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn passage(scheme: ProxyScheme, login: bool) -> Passage {
        let login =
            login.then(|| Login { user: Secret::new(*b"me"), password: Secret::new(*b"pass") });
        let addr = HostPort { host: "127.0.0.1".to_owned(), port: 1080 };
        let target = HostPort { host: "vps.d".to_owned(), port: 80 };
        Passage::new(&Proxy { scheme, addr, login }, &target)
    }

    /// The proxy's bytes go in piece by piece; gives back what was said before each piece.
    fn play(mut passage: Passage, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Result<bool, Reject>) {
        let mut said = Vec::new();
        let mut last = Ok(false);
        for piece in pieces {
            assert_eq!(last, Ok(false));
            said.push(passage.poll_send());
            last = passage.handle(piece);
        }
        (said, last)
    }

    const GREETING: &[u8] = &[5, 2, 0, 2];
    const LOGIN: &[u8] = b"\x01\x02me\x04pass";
    const CONNECT: &[u8] = b"\x05\x01\x00\x03\x05vps.d\x00\x50";
    const REPLY: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 0, 9];
    const HEAD: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

    #[test]
    fn socks5_with_and_without_a_login() {
        let (said, end) = play(passage(ProxyScheme::Socks5, true), &[&[5, 2], &[1, 0], REPLY]);
        assert_eq!((said, end), (vec![GREETING.into(), LOGIN.into(), CONNECT.into()], Ok(true)));
        let (said, end) = play(passage(ProxyScheme::Socks5, true), &[&[5, 0], REPLY]);
        assert_eq!((said, end), (vec![GREETING.into(), CONNECT.into()], Ok(true)));
        let (said, end) = play(passage(ProxyScheme::Socks5, false), &[&[5, 0], REPLY]);
        assert_eq!((said, end), (vec![vec![5, 1, 0], CONNECT.into()], Ok(true)));
    }

    #[test]
    fn answers_may_be_cut_anywhere() {
        for (scheme, answers) in [
            (ProxyScheme::Socks5, &[&[5, 2][..], &[1, 0], REPLY][..]),
            (ProxyScheme::Http, &[HEAD]),
        ] {
            for cut in 1..HEAD.len() {
                let cuts = answers.iter().flat_map(|answer| answer.chunks(cut));
                let (_, end) = play(passage(scheme, true), &cuts.collect::<Vec<_>>());
                assert_eq!(end, Ok(true), "{scheme:?} in pieces of {cut}");
            }
            // Truncated at every length, it is not open.
            let (last, before) = answers.split_last().expect("not empty");
            for length in 0..last.len() {
                let pieces: Vec<&[u8]> = before.iter().copied().chain([&last[..length]]).collect();
                let (_, end) = play(passage(scheme, true), &pieces);
                assert_eq!(end, Ok(false), "{scheme:?} without the bytes from {length}");
            }
        }
    }

    #[test]
    fn any_answer_is_taken_or_refused() {
        fuzz::check(&[&[5, 2, 1, 0][..], REPLY].concat());
        fuzz::check(HEAD);
        fuzz::check(b"HTTP/1.1 407 No\r\n\r\n");
    }

    #[test]
    fn bytes_that_nobody_asked_for_are_refused() {
        for answers in
            [&[&[5, 2, 1][..]][..], &[&[5, 2], &[1, 0, 5]], &[&[5, 0], &[REPLY, &[0]].concat()]]
        {
            let (_, end) = play(passage(ProxyScheme::Socks5, true), answers);
            assert_eq!(end, Err(Reject::Early));
        }
        let (_, end) = play(passage(ProxyScheme::Http, false), &[&[HEAD, b"x"].concat()]);
        assert_eq!(end, Err(Reject::Early));
    }

    #[test]
    fn a_refusal_says_which_and_no_password() {
        let refused = |scheme, pieces: &[&[u8]]| match play(passage(scheme, true), pieces).1 {
            Err(reject) => reject.to_string(),
            Ok(_) => panic!("not refused"),
        };
        let socks5 = |pieces: &[&[u8]]| refused(ProxyScheme::Socks5, pieces);
        assert_eq!(socks5(&[&[5, 2], &[1, 1]]), "it does not take this user and password");
        assert_eq!(socks5(&[&[5, 0], &[5, 5]]), "it does not connect: connection refused (5)");
        assert_eq!(socks5(&[b"HTTP"]), "it does not speak SOCKS5");
        let denied = b"HTTP/1.1 407 No\r\n\r\n";
        let text = "it wants another user and password (status 407)";
        assert_eq!(refused(ProxyScheme::Http, &[denied]), text);
    }
}
