//! Password checks beside the programs that make the hashes: Apache's `htpasswd`, and `openssl`.

use std::process::Command;

use underpass::proto::htpasswd::Users;

/// Options of `htpasswd` for the hashes that are taken, and how many bytes of a password count.
const KINDS: &[(&[&str], usize)] = &[
    (&["-m"], usize::MAX),
    (&["-s"], usize::MAX),
    (&["-2"], usize::MAX),
    (&["-2", "-r", "1000"], usize::MAX),
    (&["-5"], usize::MAX),
    (&["-5", "-r", "12345"], usize::MAX),
    (&["-B"], 72),
    (&["-B", "-C", "4"], 72),
    (&["-B", "-C", "8"], 72),
];

/// The line that a program prints, whatever it says beside.
fn line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn htpasswd(options: &[&str], user: &str, password: &str) -> String {
    line("htpasswd", &[&["-nb"], options, &[user, password]].concat())
}

fn users(lines: &[String]) -> Users {
    let mut users = Users::default();
    for line in lines {
        users.add(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    users
}

/// One that no other run has.
fn random(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).expect("randomness");
    // Printable, and of all byte values that an argument can have in UTF-8.
    random.into_iter().map(|byte| char::from(byte.max(1))).collect()
}

#[test]
fn each_hash_of_htpasswd_is_of_its_password_and_of_no_other() {
    let mut passwords: Vec<String> =
        ["", "x", "secret", " a b ", "pässwörter ☃", "a:b:c", "\u{1}\u{7f}"]
            .map(str::to_owned)
            .into();
    for length in [7, 8, 9, 15, 16, 17, 31, 32, 33, 55, 56, 64, 71, 72, 73, 74, 128, 254, 255] {
        passwords.push("0123456789abcdefghijklmnopqrstuvwxyz".repeat(8)[..length].to_owned());
    }
    passwords.extend([3, 20, 60].map(random));
    for (options, counts) in KINDS {
        for password in &passwords {
            let line = htpasswd(options, "bob", password);
            let users = users(std::slice::from_ref(&line));
            let is_right = |password: &[u8]| users.is_right(b"bob", password);
            let shown = format!("{options:?} {password:?} {line}");
            assert!(is_right(password.as_bytes()), "{shown}");
            assert!(!users.is_right(b"ann", password.as_bytes()), "{shown}");
            assert!(!users.is_right(b"bo", password.as_bytes()), "{shown}");
            // What lies behind the bytes that count does not.
            let bytes = password.as_bytes();
            let longer = [bytes, b"x"].concat();
            assert_eq!(is_right(&longer), bytes.len() >= *counts, "{shown} and more");
            let in_c = [bytes, b"\0"].concat();
            assert!(!is_right(&in_c), "{shown} and a zero");
            if let Some((last, front)) = bytes.split_last() {
                assert_eq!(is_right(front), bytes.len() > *counts, "{shown} but the last");
                let other = [front, &[last ^ 1]].concat();
                assert_eq!(is_right(&other), bytes.len() > *counts, "{shown} but for a bit");
            }
        }
    }
}

#[test]
fn openssl_makes_the_same_with_any_salt() {
    for (option, password, salt) in [
        ("-apr1", "secret", "x"),
        ("-apr1", "secret", "a/.Z9xyz"),
        ("-apr1", "", "12345678"),
        ("-1", "a longer password than a block", "abcd"),
        ("-5", "secret", "1"),
        ("-5", "pässwort", "0123456789abcdef"),
        ("-6", "secret", "short"),
        ("-6", "x", "0123456789abcdef"),
    ] {
        let hash = line("openssl", &["passwd", option, "-salt", salt, password]);
        let users = users(&[format!("bob:{hash}")]);
        assert!(users.is_right(b"bob", password.as_bytes()), "{hash}");
        assert!(!users.is_right(b"bob", b"other"), "{hash}");
    }
}

/// Test vectors of bcrypt's and crypt's authors, with prefixes and rounds that htpasswd has not.
#[test]
fn hashes_of_other_programs_are_taken() {
    for (hash, password) in [
        ("$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.", ""),
        ("$2b$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
        (
            "$2y$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.",
            "abcdefghijklmnopqrstuvwxyz",
        ),
        (
            "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
            "Hello world!",
        ),
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYE\
             dFCoEOfaS35inz1",
            "Hello world!",
        ),
        (
            "$6$rounds=5000$toolongsaltstrin$iGlL7EUUfzNQx59x3ydJZ.zXPMUu1dOynSEl/vcNhLlas77qD0DzR\
             swhhB6LdrXTz250at0syAfUXra.XrxAI1",
            "Hello world!",
        ),
        ("{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=", "hello"),
    ] {
        let users = users(&[format!("bob:{hash}")]);
        assert!(users.is_right(b"bob", password.as_bytes()), "{hash}");
        assert!(!users.is_right(b"bob", b"other"), "{hash}");
    }
}

#[test]
fn each_user_of_several_has_the_own_password() {
    let all: Vec<String> = KINDS
        .iter()
        .enumerate()
        .map(|(number, (options, _))| {
            htpasswd(options, &format!("u{number}"), &format!("password {number}"))
        })
        .collect();
    let users = users(&all);
    assert_eq!(users.names().count(), KINDS.len());
    for user in 0..KINDS.len() {
        for password in 0..KINDS.len() {
            let (name, secret) = (format!("u{user}"), format!("password {password}"));
            let is_right = users.is_right(name.as_bytes(), secret.as_bytes());
            assert_eq!(is_right, user == password, "{name}: {secret}");
        }
    }
    assert!(!Users::default().is_right(b"", b""));
}

#[test]
fn what_htpasswd_makes_and_is_no_secret_is_refused() {
    for (option, reason) in [
        ("-d", "user bob: DES crypt (`htpasswd -d`) is not taken"),
        ("-p", "user bob: what follows is no hash that is taken"),
    ] {
        let line = htpasswd(&[option], "bob", "secret");
        let error = Users::default().add(&line).expect_err("refused").to_string();
        assert!(error.starts_with(reason) && !error.contains("secret"), "{line}: {error}");
    }
    // As dear as htpasswd itself allows, which takes it too long to make one.
    let dear = htpasswd(&["-B"], "bob", "secret").replace("$05$", "$17$");
    let error = Users::default().add(&dear).expect_err("refused").to_string();
    assert!(error.contains("cost"), "{error}");
}
