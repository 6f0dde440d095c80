//! `underpass import` beside a real Traefik: for each stack, whoever asks for whatever gets the
//! same home from both, or nobody from ours, and then a comment says why.
//!
//! `oracle.py` runs Traefik, with a stand-in for Docker's socket. Traefik is in `target/venv`,
//! which `tests/all` makes.

mod cases;
mod generator;
mod tables;

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use regex_lite::Regex;
use serde_json::{Value, json};
use underpass::config::{Config, ServerConfig};
use underpass::import::{File, import};
use underpass::proto::route::{Ask, Entry};
use underpass::wire::client_hello::Alpn;
use underpass::wire::host::parse_host;

/// Files as a user has them.
#[derive(Debug, Clone, Default)]
struct Stack {
    name: String,
    compose: Vec<String>,
    /// Traefik's static configuration, in YAML.
    fixed: Option<String>,
    dynamic: Vec<String>,
    env: Vec<(String, String)>,
    /// More names to ask for.
    names: Vec<String>,
}

/// What a visitor asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    /// Traefik's port.
    entry: u16,
    tls: bool,
    name: String,
    path: String,
    password: bool,
}

/// What a visitor gets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The home behind rathole's port of this number.
    Home(u16),
    /// Sent to https.
    Redirect,
    Refused,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.name, self.entry, self.path)?;
        if self.password { write!(f, " with the password") } else { Ok(()) }
    }
}

/// Services on 5080, 5443, 5022, 5090 and 5091.
fn rathole() -> String {
    let more = "\n[server.services.four]\nbind_addr = \"0.0.0.0:5090\"\n\
                \n[server.services.five]\nbind_addr = \"0.0.0.0:5091\"\n";
    include_str!("../import-cases/rathole.server.toml").to_owned() + more
}

fn port_of(service: &str) -> u16 {
    match service {
        "web" => 5080,
        "tls" => 5443,
        "ssh" => 5022,
        "four" => 5090,
        "five" => 5091,
        _ => panic!("no service {service}"),
    }
}

/// The real Traefik.
struct Oracle {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    /// `number` keeps oracles of one program apart.
    fn start(number: u8) -> Oracle {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bin = root.join("target/venv/bin");
        for program in ["python", "traefik"] {
            let there = bin.join(program).exists();
            assert!(there, "{program} is not in target/venv: tests/all puts it there");
        }
        let pid = std::process::id();
        let address = format!("127.{}.{}.{}", 64 + number, (pid >> 8) & 255, pid & 255 | 1);
        let mut process = Command::new(bin.join("python"))
            .arg(root.join("tests/import_traefik/oracle.py"))
            .arg(bin.join("traefik"))
            .arg(address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Oracle { process, input, output }
    }

    fn ask(&mut self, stack: &Stack, questions: &[Question]) -> Vec<Answer> {
        let asked: Vec<Value> = questions
            .iter()
            .map(|q| {
                json!({
                    "entry": q.entry, "tls": q.tls, "name": q.name, "path": q.path,
                    "password": q.password,
                })
            })
            .collect();
        let env: serde_json::Map<String, Value> =
            stack.env.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let case = json!({
            "compose": stack.compose, "static": stack.fixed, "dynamic": stack.dynamic,
            "env": env, "questions": asked,
        });
        writeln!(self.input, "{case}").expect("the oracle lives");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the oracle lives");
        let answers: Vec<Value> = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("{}: {error}: {line}", stack.name);
        });
        answers
            .iter()
            .map(|answer| match (answer.as_u64(), answer.as_str()) {
                (Some(port), _) => Answer::Home(u16::try_from(port).expect("a port")),
                (_, Some("redirect")) => Answer::Redirect,
                _ => Answer::Refused,
            })
            .collect()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What `import` makes of the stack.
struct Imported {
    text: String,
    server: Option<ServerConfig>,
    /// The comments on what is not carried over.
    notes: Vec<String>,
}

impl Imported {
    fn new(stack: &Stack) -> Imported {
        let rathole = rathole();
        let mut files = vec![("r.toml".to_owned(), &*rathole)];
        let numbered = |kind: &'static str, texts: &'_ [String]| -> Vec<String> {
            (0..texts.len()).map(|i| format!("{kind}{i}.yml")).collect()
        };
        let names = numbered("c", &stack.compose);
        files.extend(names.into_iter().zip(stack.compose.iter().map(|text| &**text)));
        files.extend(stack.fixed.as_deref().map(|text| ("traefik.yml".to_owned(), text)));
        let names = numbered("d", &stack.dynamic);
        files.extend(names.into_iter().zip(stack.dynamic.iter().map(|text| &**text)));
        let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
        let env = |name: &str| {
            let mut known = stack.env.iter().filter(|(known, _)| known == name);
            known.next().map(|(_, value)| value.clone())
        };
        let text = match import(&files, &env) {
            Ok(text) => text,
            Err(error) => panic!("{}: {error}\n{}", stack.name, stack.compose.concat()),
        };
        let config = Config::parse("imported.toml", &text, &env)
            .unwrap_or_else(|error| panic!("{}: {error}\n{text}", stack.name));
        let notes: Vec<String> =
            text.lines().filter(|line| line.starts_with("# - ")).map(str::to_owned).collect();
        for note in &notes {
            let named = files.iter().any(|file| note.contains(file.name));
            assert!(named, "{}: it names nothing of the input: {note}", stack.name);
        }
        Imported { text, server: config.server, notes }
    }

    fn answer(&self, question: &Question) -> Answer {
        let Some(server) = &self.server else { return Answer::Refused };
        let is_entry = |addrs: &[std::net::SocketAddr]| {
            addrs.iter().any(|addr| addr.port() == question.entry && !addr.ip().is_loopback())
        };
        if let Some(own) = server.services.iter().find(|service| is_entry(&service.bind_addrs)) {
            return Answer::Home(port_of(&own.name));
        }
        let (entry, addrs) = match question.tls {
            true => (Entry::Https, &server.https_addrs),
            false => (Entry::Http, &server.http_addrs),
        };
        let Ok(host) = parse_host(question.name.as_bytes()) else { return Answer::Refused };
        if !addrs.iter().any(|addr| addr.port() == question.entry) {
            return Answer::Refused;
        }
        let ask = match entry {
            Entry::Http => Ask::Http { target: question.path.as_bytes() },
            Entry::Https => Ask::Https { alpn: Alpn::default() },
        };
        match server.routes.find(&host, ask) {
            Ok(Some(found)) => {
                let service = &server.services[found.service];
                match (entry, service.redirect_https) {
                    (Entry::Http, Some(_)) => Answer::Redirect,
                    _ => Answer::Home(port_of(&service.name)),
                }
            }
            _ => Answer::Refused,
        }
    }
}

/// Each entry point with each name and path that the rules may be about.
fn questions(stack: &Stack) -> Vec<Question> {
    let text = [&stack.compose[..], &stack.dynamic[..]].concat().concat();
    let text = text.replace("$$", "$");
    let fixed = stack.fixed.clone().unwrap_or_default();
    let addresses = Regex::new(r#"(?i)address["']?\s*[:=]\s*["']?[\w.\[\]:]*:(\d+)(/udp)?"#);
    let addresses = addresses.expect("good");
    let both = [&*text, &*fixed].concat();
    let entries: BTreeSet<u16> = addresses
        .captures_iter(&both)
        .filter(|found| found.get(2).is_none())
        .map(|found| found[1].parse().expect("a port"))
        .collect();
    let quoted = Regex::new("`([^`]*)`").expect("good");
    let (mut names, mut others) = (BTreeSet::new(), BTreeSet::new());
    let (mut paths, mut spellings) = (BTreeSet::new(), BTreeSet::new());
    for found in quoted.captures_iter(&text) {
        if found[1].starts_with('/') {
            paths.insert(found[1].to_owned());
            spellings.extend(near_path(&found[1]));
        } else {
            let mut near = near_name(&found[1]).into_iter();
            names.extend(near.next());
            others.extend(near);
        }
    }
    others.extend(stack.names.iter().cloned());
    others.insert("unknown.invalid".into());
    paths.insert("/".into());
    spellings.insert("/beside".into());
    let asks_password = text.contains("middlewares=auth") || text.contains("middlewares: [auth");
    let asks_password = asks_password || text.contains("middlewares: auth");
    let mut questions = BTreeSet::new();
    for &entry in &entries {
        let mut ask = |tls, name: &String, path: &str, password| {
            let (name, path) = (name.clone(), path.to_owned());
            questions.insert(Question { entry, tls, name, path, password });
        };
        for name in names.union(&others) {
            ask(true, name, "/", false);
            paths.iter().for_each(|path| ask(false, name, path, false));
        }
        for name in &names {
            spellings.iter().for_each(|path| ask(false, name, path, false));
            if asks_password {
                paths.iter().for_each(|path| ask(false, name, path, true));
            }
        }
    }
    questions.into_iter().collect()
}

/// A prefix, below it, beside it, and other ways to write it.
fn near_path(prefix: &str) -> Vec<String> {
    let bare = prefix.trim_end_matches('/');
    let first = bare.chars().nth(1).unwrap_or('x');
    let escaped = format!("/%{:02x}{}", first as u32, bare.get(2..).unwrap_or_default());
    let all = [
        bare.to_owned(),
        format!("{bare}x"),
        format!("{bare}/x"),
        format!("/{bare}"),
        format!("/beside/..{bare}"),
        bare.to_ascii_uppercase(),
        escaped,
    ];
    all.into_iter().filter(|path| path.starts_with('/')).collect()
}

/// A name that the text takes, if it is an expression for names; in capitals, one below, one above,
/// one beside.
fn near_name(text: &str) -> Vec<String> {
    let mut name = text.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
    for (from, to) in [
        (r"\{[A-Za-z0-9]*:?([^{}]|\{[^{}]*\})*\}", "abc"),
        (r"\[[^\]]*\](\+|\*|\{[^}]*\})?", "abc"),
        (r"\(\??:?([^()|]*)(\|[^()]*)?\)\??", "${1}"),
        (r"\.\+|\.\*", "abc."),
        (r"\*", "abc"),
    ] {
        name = Regex::new(from).expect("good").replace_all(&name, to).into_owned();
    }
    let name = name.replace("..", ".").trim_matches('.').to_owned();
    let is_name = |name: &String| {
        let good = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
        !name.is_empty() && name.chars().all(good)
    };
    let above = name.split_once('.').map_or(String::new(), |(_, above)| above.to_owned());
    let beside = format!("x{name}");
    let all = [name.clone(), name.to_ascii_uppercase(), format!("more.{name}"), above, beside];
    all.into_iter().filter(is_name).collect()
}

/// Compares all answers; how many homes were reached through both.
fn compare(oracle: &mut Oracle, stack: &Stack) -> Result<usize, String> {
    let questions = questions(stack);
    let imported = Imported::new(stack);
    let real = oracle.ask(stack, &questions);
    assert_eq!(real.len(), questions.len(), "{}", stack.name);
    let mut same = 0;
    let mut wrong = Vec::new();
    for (question, real) in questions.iter().zip(real) {
        let ours = imported.answer(question);
        let explained = imported.notes.iter().any(|note| {
            ["router ", "container ", "entry point "].iter().any(|word| note.contains(word))
        });
        match (&real, &ours) {
            (Answer::Refused, Answer::Refused) => {}
            (real, ours) if real == ours => same += 1,
            // With a path that may be read in two ways, everybody is refused, which README says.
            // Names that nobody here has are not redirected, which a note says.
            (_, Answer::Refused) if explained || is_odd(&question.path) => {}
            _ => wrong.push(format!("{question}: Traefik {real:?}, underpass {ours:?}")),
        }
    }
    match wrong.is_empty() {
        true => Ok(same),
        false => Err(format!(
            "{}:\n{}\n{}\n{}\n{}",
            stack.name,
            wrong.join("\n"),
            stack.compose.join("\n---\n"),
            stack.dynamic.join("\n---\n"),
            imported.text
        )),
    }
}

fn is_odd(path: &str) -> bool {
    path.contains("..")
        || path.contains("//")
        || path.contains('%')
        || path.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[test]
fn stacks_as_people_write_them() {
    let mut oracle = Oracle::start(0);
    let stacks = cases::all();
    assert!(stacks.len() >= 60, "{} are few", stacks.len());
    let mut failures = Vec::new();
    for (stack, homes) in stacks {
        match compare(&mut oracle, &stack) {
            Ok(same) if (same > 0) == homes => {}
            Ok(same) => failures.push(format!(
                "{}: {same} answers are a home or a redirect from both; expected some: {homes}\n{}",
                stack.name,
                Imported::new(&stack).text
            )),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}\n{} of them", failures.join("\n\n"), failures.len());
}

#[test]
fn stacks_that_a_generator_makes() {
    let mut oracle = Oracle::start(1);
    let stacks = generator::all(300);
    let (mut failures, mut carried, mut total) = (Vec::new(), 0, 0);
    for stack in &stacks {
        total += 1;
        match compare(&mut oracle, stack) {
            Ok(same) => carried += usize::from(same > 0),
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}\n{} of them", failures.join("\n\n"), failures.len());
    assert_eq!(total, 300);
    assert!(carried > total / 3, "{carried} of {total} lead to a home: the rest shows nothing");
}
