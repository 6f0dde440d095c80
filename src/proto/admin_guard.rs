//! Who may use the admin door: Basic authentication (RFC 7617) with a slow check of the password,
//! which is made elsewhere.
//!
//! A request asks. If its password was found right lately it goes on at once; if it has to be
//! checked, the guard gives a [`Job`], which somebody runs where it may take a second, and tells
//! the result with the job's ticket. Each network may be wrong [`limits::ADMIN_FAILURES`] times,
//! then it waits, whatever it says: who is told whether a password is right can go on guessing.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::buckets::{Buckets, Rate};
use super::htpasswd::Users;
use super::network::Network;
use super::proof::hmac;
use super::time::Time;
use crate::config::Secret;
use crate::limits;

/// See the module.
pub struct Guard {
    users: Arc<Users>,
    /// Of this process alone.
    key: [u8; 32],
    failures: Buckets,
    /// The oldest first; at most [`limits::ADMIN_REMEMBERED`].
    remembered: Vec<Remembered>,
    /// At most [`limits::ADMIN_CHECKS`]. Each has taken a token of its network.
    checks: Vec<Check>,
    next_ticket: u64,
}

/// A login that was right.
struct Remembered {
    proof: Proof,
    until: Time,
}

/// A job that has not been told the end of.
struct Check {
    ticket: u64,
    network: Network,
    proof: Proof,
    /// The users have not been replaced since.
    is_current: bool,
}

/// Of a user as stored and a password, keyed: HMAC-SHA256.
type Proof = [u8; 32];

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It is answered.
    Allowed,
    /// 401, with [`CHALLENGE`].
    Challenge,
    /// 429: its network was wrong too often.
    TooMany {
        /// Seconds, for Retry-After; at least 1.
        retry_after: u64,
    },
    /// It waits until the job is done and [`Guard::checked`] has been told.
    Check(Job),
    /// 503: too many wait already.
    Busy,
}

/// The value of WWW-Authenticate.
pub const CHALLENGE: &str = "Basic realm=\"underpass\", charset=\"UTF-8\"";

/// A password to be checked, slowly.
pub struct Job {
    ticket: u64,
    users: Arc<Users>,
    name: Secret,
    password: Secret,
}

impl Job {
    /// For [`Guard::checked`].
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Whether it is right. It may take seconds.
    pub fn run(self) -> bool {
        self.users.is_right(self.name.expose(), self.password.expose())
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.ticket)
    }
}

impl Guard {
    /// `key` is random. Without users everybody is allowed: who can reach the door may come in.
    pub fn new(users: Arc<Users>, key: [u8; 32]) -> Guard {
        let each = Rate::every(limits::ADMIN_FAILURE_TIME, limits::ADMIN_FAILURES);
        Guard {
            users,
            key,
            failures: Buckets::new(each, None, limits::NETWORKS_REMEMBERED),
            remembered: Vec::new(),
            checks: Vec::new(),
            next_ticket: 0,
        }
    }

    /// After a reload. If these are others, nothing is remembered of those who came before, and
    /// what is being checked counts as wrong. Whether they are others.
    pub fn set_users(&mut self, users: Arc<Users>) -> bool {
        let are_others = users.digest() != self.users.digest();
        if are_others {
            self.remembered.clear();
            for check in &mut self.checks {
                check.is_current = false;
            }
        }
        self.users = users;
        are_others
    }

    /// Whether there is anybody to be.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// A request comes, with this value of its Authorization field.
    pub fn ask(&mut self, authorization: Option<&[u8]>, from: IpAddr, now: Time) -> Verdict {
        if !self.has_users() {
            return Verdict::Allowed;
        }
        let Some(login) = authorization.and_then(Login::parse) else { return Verdict::Challenge };
        let network = Network::from(from);
        if let Err(at) = self.failures.take(network, now) {
            let seconds = (at - now).as_nanos().div_ceil(1_000_000_000);
            return Verdict::TooMany { retry_after: u64::try_from(seconds).unwrap_or(1).max(1) };
        }
        let proof = self.proof(&login);
        self.remembered.retain(|right| right.until > now);
        let known = |right: &Remembered| bool::from(right.proof.ct_eq(&proof));
        // Not `any`, which ends at the first.
        let verdict = if self.remembered.iter().filter(|right| known(right)).count() > 0 {
            Verdict::Allowed
        } else if self.is_busy(network) {
            Verdict::Busy
        } else {
            return Verdict::Check(self.start(login, network, proof));
        };
        self.failures.give_back(network, now);
        verdict
    }

    /// The job with this ticket is done: whether its request is answered, or else gets 401.
    #[must_use]
    pub fn checked(&mut self, ticket: u64, is_right: bool, now: Time) -> bool {
        let Some(place) = self.checks.iter().position(|check| check.ticket == ticket) else {
            return false;
        };
        let Check { network, proof, is_current, .. } = self.checks.remove(place);
        if !is_right {
            return false;
        }
        self.failures.give_back(network, now);
        if is_current {
            if self.remembered.len() == limits::ADMIN_REMEMBERED {
                self.remembered.remove(0);
            }
            let until = now + limits::ADMIN_REMEMBERED_TIME;
            self.remembered.push(Remembered { proof, until });
        }
        is_current
    }

    fn is_busy(&self, network: Network) -> bool {
        let own = self.checks.iter().filter(|check| check.network == network).count();
        self.checks.len() >= limits::ADMIN_CHECKS || own >= limits::ADMIN_CHECKS_PER_NETWORK
    }

    fn start(&mut self, login: Login, network: Network, proof: Proof) -> Job {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.checks.push(Check { ticket, network, proof, is_current: true });
        let Login { name, password } = login;
        Job { ticket, users: self.users.clone(), name, password }
    }

    /// No user, and no other line of the same user, has the same one.
    fn proof(&self, login: &Login) -> Proof {
        let mark = self.users.mark(login.name.expose()).unwrap_or(&[0; 32]);
        hmac(&self.key, &[mark, login.password.expose()])
    }
}

/// What a request says of who makes it.
struct Login {
    name: Secret,
    password: Secret,
}

impl Login {
    /// `Basic`, blanks, and `USER:PASSWORD` in base64. `None`: it is none of this scheme.
    fn parse(value: &[u8]) -> Option<Login> {
        let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || !rest.starts_with(b" ") {
            return None;
        }
        let text = rest.trim_ascii();
        if text.len() > limits::ADMIN_LOGIN_BYTES {
            return None;
        }
        let login = STANDARD.decode(text).ok()?;
        let colon = login.iter().position(|byte| *byte == b':')?;
        Some(Login {
            name: Secret::new(&login[..colon]),
            password: Secret::new(&login[colon + 1..]),
        })
    }
}

const SCHEME: &[u8] = b"Basic";

/// What the fuzz target checks.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// An Authorization field's value, a line feed, and htpasswd lines. Panics if reading does, or
    /// if somebody is let in without a check.
    pub fn check(bytes: &[u8]) {
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let (value, lines) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mut users = Users::default();
        let mut count = 0;
        for line in String::from_utf8_lossy(lines).lines() {
            match users.add(line) {
                Ok(()) => count += 1,
                Err(error) => assert!(!error.to_string().contains(char::is_control)),
            }
        }
        assert_eq!(users.names().count(), count);
        let mut guard = Guard::new(Arc::new(users), [1; 32]);
        let from = IpAddr::from([192, 0, 2, 1]);
        match (guard.ask(Some(value), from, Time(1)), count) {
            (Verdict::Allowed, 0) => {}
            (Verdict::Check(job), 1..) => {
                assert!(!guard.checked(job.ticket(), false, Time(2)));
                assert!(matches!(guard.ask(Some(value), from, Time(3)), Verdict::Check(_)));
            }
            (Verdict::Challenge, 1..) => assert!(Login::parse(value).is_none()),
            (other, users) => panic!("{other:?} with {users} users"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbs ann secret` and so on.
    const ANN: &str = "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    const BOB: &str = "bob:{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=";

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn users(lines: &[&str]) -> Arc<Users> {
        let mut users = Users::default();
        for line in lines {
            users.add(line).expect("a line");
        }
        Arc::new(users)
    }

    fn guard() -> Guard {
        Guard::new(users(&[ANN, BOB]), [7; 32])
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn basic(login: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(login)).into_bytes()
    }

    /// How a verdict begins: `Job(…)`s have numbers.
    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Allowed => "allowed",
            Verdict::Challenge => "401",
            Verdict::TooMany { .. } => "429",
            Verdict::Check(_) => "check",
            Verdict::Busy => "503",
        }
    }

    /// Asks and runs what is to be checked: whether it was allowed, and how.
    fn whole(guard: &mut Guard, login: &str, from: IpAddr, now: Time) -> (&'static str, bool) {
        match guard.ask(Some(&basic(login)), from, now) {
            Verdict::Check(job) => {
                let ticket = job.ticket();
                let is_right = job.run();
                ("check", guard.checked(ticket, is_right, now))
            }
            other => (word(&other), matches!(other, Verdict::Allowed)),
        }
    }

    #[test]
    fn what_was_right_is_right_for_five_minutes() {
        let mut guard = guard();
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(0)), ("check", true));
        assert_eq!(whole(&mut guard, "ann:secret", THERE, at(1)), ("allowed", true));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(299)), ("allowed", true));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(300)), ("check", true));
        assert_eq!(whole(&mut guard, "ann:hello", HERE, at(301)), ("check", false));
        assert_eq!(whole(&mut guard, "bob:secret", HERE, at(301)), ("check", false));
        assert_eq!(whole(&mut guard, "bob:hello", HERE, at(301)), ("check", true));
        assert_eq!(whole(&mut guard, "eve:secret", HERE, at(302)), ("check", false));
        assert_eq!(whole(&mut guard, ":", HERE, at(302)), ("check", false));
    }

    #[test]
    fn without_users_whoever_reaches_it_may_come_in() {
        let mut guard = Guard::new(users(&[]), [0; 32]);
        assert_eq!(word(&guard.ask(None, HERE, at(0))), "allowed");
        assert_eq!(word(&guard.ask(Some(b"x"), HERE, at(0))), "allowed");
    }

    #[test]
    fn what_is_no_login_is_asked_for_one_and_costs_nothing() {
        let mut guard = guard();
        let encoded = |text: &[u8]| [b"Basic ", &*STANDARD.encode(text).into_bytes()].concat();
        let right = STANDARD.encode("ann:secret");
        for value in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"Basic !!!!",
            b"Bearer abcd",
            b"Basicx YTpi",
            &encoded(b"no colon"),
            &encoded(&[b':'; 800]),
            format!("Digest {right}").as_bytes(),
            format!("Basic {}", right.trim_end_matches('=')).as_bytes(),
            format!("Basic{right}").as_bytes(),
            format!("Basic {right} x").as_bytes(),
        ] {
            let shown = String::from_utf8_lossy(value);
            assert_eq!(word(&guard.ask(Some(value), HERE, at(0))), "401", "{shown}");
        }
        for _ in 0..100 {
            assert_eq!(word(&guard.ask(None, HERE, at(0))), "401");
        }
        // The scheme's name is of no case, and the password may have colons and any bytes.
        for value in [format!("bASIC   {right}  ").as_bytes(), &encoded(b"a:b:c\xff")] {
            assert_eq!(word(&guard.ask(Some(value), HERE, at(0))), "check");
        }
    }

    #[test]
    fn a_network_that_is_wrong_ten_times_waits_and_no_other() {
        let mut guard = guard();
        for _ in 0..10 {
            assert_eq!(whole(&mut guard, "ann:guess", HERE, at(0)), ("check", false));
        }
        let wait = |guard: &mut Guard, now| match guard.ask(Some(&basic("ann:secret")), HERE, now) {
            Verdict::TooMany { retry_after } => retry_after,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(&mut guard, at(0)), 6);
        assert_eq!(wait(&mut guard, Time(at(5).0 + 1)), 1, "what is left, and not 0");
        // It is not told whether a password is right, though it is known by then.
        assert_eq!(whole(&mut guard, "ann:secret", THERE, at(1)), ("check", true));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(1)), ("429", false));
        assert_eq!(word(&guard.ask(None, HERE, at(1))), "401");
        // Who is right uses nothing up.
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(6)), ("allowed", true));
        for _ in 0..100 {
            assert_eq!(whole(&mut guard, "ann:secret", HERE, at(6)), ("allowed", true));
        }
        assert_eq!(whole(&mut guard, "ann:guess", HERE, at(6)), ("check", false));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(6)), ("429", false));
        let tries = (7..607)
            .filter(|second| whole(&mut guard, "ann:guess", HERE, at(*second)).0 == "check");
        assert_eq!(tries.count(), 100, "ten a minute");
    }

    #[test]
    fn what_is_being_checked_counts_until_it_was_right() {
        let mut guard = guard();
        for _ in 0..8 {
            assert_eq!(whole(&mut guard, "ann:guess", HERE, at(0)), ("check", false));
        }
        let ask = |guard: &mut Guard, login| guard.ask(Some(&basic(login)), HERE, at(0));
        let jobs = [ask(&mut guard, "ann:secret"), ask(&mut guard, "bob:hello")];
        assert_eq!(word(&ask(&mut guard, "ann:guess")), "429");
        let jobs = jobs.map(|verdict| match verdict {
            Verdict::Check(job) => job,
            other => panic!("{other:?}"),
        });
        for job in jobs {
            assert!(guard.checked(job.ticket(), true, at(0)));
            assert!(!guard.checked(job.ticket(), true, at(0)), "once");
        }
        assert_eq!(word(&ask(&mut guard, "ann:guess")), "check");
    }

    #[test]
    fn few_wait_and_of_one_network_fewer() {
        let mut guard = guard();
        let mut ask = |host: u8, login: &str, now| {
            guard.ask(Some(&basic(login)), IpAddr::from([192, 0, 2, host]), now)
        };
        let mut jobs = Vec::new();
        for (host, most) in [(1, 4), (2, 3), (3, 1)] {
            for _ in 0..most {
                let Verdict::Check(job) = ask(host, "ann:secret", at(0)) else { panic!("a check") };
                jobs.push(job);
            }
            // Again and again, and it costs nothing.
            for _ in 0..if most == 3 { 0 } else { 20 } {
                assert_eq!(word(&ask(host, "ann:secret", at(0))), "503");
            }
        }
        assert_eq!(word(&ask(9, "ann:secret", at(0))), "503", "eight in all");
        for job in jobs {
            assert!(guard.checked(job.ticket(), true, at(0)));
        }
        assert!(guard.checks.is_empty());
    }

    #[test]
    fn other_users_are_asked_anew_and_the_same_ones_are_not() {
        let mut guard = guard();
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(0)), ("check", true));
        guard.set_users(users(&[ANN, BOB]));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(0)), ("allowed", true));
        let Verdict::Check(job) = guard.ask(Some(&basic("bob:hello")), HERE, at(0)) else {
            panic!("a check")
        };
        guard.set_users(users(&[ANN]));
        assert!(!guard.checked(job.ticket(), true, at(0)), "bob is gone");
        assert_eq!(whole(&mut guard, "bob:hello", HERE, at(0)), ("check", false));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(0)), ("check", true));
        let other = ANN.replace("5en6G6MezRroT3XKqkdPOmY/BfQ=", "qvTGHdzF6KLavt4PO0gs2a6pQ00=");
        guard.set_users(users(&[&other]));
        assert_eq!(whole(&mut guard, "ann:secret", HERE, at(0)), ("check", false));
        assert_eq!(whole(&mut guard, "ann:hello", HERE, at(0)), ("check", true));
    }

    #[test]
    fn the_fuzz_check_holds_on_every_prefix() {
        let value = [&*basic("ann:secret"), b"\n# all\n"].concat();
        let lines =
            format!("{ANN}\n{BOB}\nc:$apr1$UTUqVY6B$SG8yMVVUQ4Or3SA.nIC2k1\nd:$5$rounds=1000$");
        let whole = [&*value, lines.as_bytes()].concat();
        for end in 0..=whole.len() {
            fuzz::check(&whole[..end]);
        }
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let lines: Vec<String> =
            (0..200).map(|user| ANN.replace("ann", &format!("u{user}"))).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut guard = Guard::new(users(&lines), [7; 32]);
        for user in 0..200 {
            let login = format!("u{user}:secret");
            assert_eq!(whole(&mut guard, &login, HERE, at(0)), ("check", true));
            assert!(guard.remembered.len() <= limits::ADMIN_REMEMBERED);
        }
        assert_eq!(whole(&mut guard, "u136:secret", HERE, at(0)), ("allowed", true));
        assert_eq!(whole(&mut guard, "u135:secret", HERE, at(0)), ("check", true));
        assert_eq!(whole(&mut guard, "u136:secret", HERE, at(0)), ("check", true), "the oldest");
    }
}
