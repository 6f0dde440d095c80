//! The command line, and the commands that only read and print. Each gives its output or its error
//! as text; nothing here prints or exits.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lexopt::prelude::*;

use underpass::access_log::AccessLog;
use underpass::config::changes::{self, Change};
use underpass::config::{
    AdminAddr, AdminConfig, ClientConfig, Config, ConfigError, HttpTimes, ServerConfig,
    ServerService, nearest, show_ports,
};
use underpass::engine::far;
use underpass::explain;
use underpass::import::File;
use underpass::limits::HEAD_TIME;
use underpass::proto::noise;
use underpass::proto::route::Entry;

use crate::init_command::Asked;

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Genkey,
    Check {
        config: PathBuf,
    },
    /// What a reload of one that runs `old` would change.
    Compare {
        new: PathBuf,
        old: PathBuf,
    },
    Explain {
        config: PathBuf,
        name: String,
    },
    Import {
        files: Vec<PathBuf>,
    },
    Init(Asked),
    Demo {
        once: bool,
    },
    Status {
        config: PathBuf,
        role: Option<Role>,
        json: bool,
        watch: bool,
    },
    Run {
        config: PathBuf,
        role: Option<Role>,
    },
}

/// Given by `--server` and `--client`; without them the file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Client,
}

/// The commands, with the long options that each alone has. The help, the man page and the shells'
/// completions have all of them, and no others: tests below.
const COMMANDS: [(&str, &[&str]); 7] = [
    ("init", &["add", "dir"]),
    ("check", &["against"]),
    ("explain", &[]),
    ("import", &[]),
    ("status", &["json", "watch"]),
    ("demo", &["once"]),
    ("help", &[]),
];

/// Reads the arguments, the program's name not among them. The error is for the user.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(args);
    let (mut role, mut genkey) = (None, false);
    let (mut against, mut dir) = (None, None);
    // Of one command's options, those that are given.
    let mut given: Vec<&'static str> = Vec::new();
    let mut values: Vec<OsString> = Vec::new();
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Short('s') | Long("server") => role = one_role(role, Role::Server)?,
            Short('c') | Long("client") => role = one_role(role, Role::Client)?,
            Long("genkey") => {
                genkey = true;
                values.extend(parser.optional_value());
            }
            Long(name) => {
                let mut all = COMMANDS.iter().flat_map(|(_, options)| *options);
                let Some(name) = all.find(|known| **known == name).copied() else {
                    return Err(arg.unexpected().to_string());
                };
                given.push(name);
                match name {
                    "add" => values.extend(parser.optional_value()),
                    "against" => against = Some(value(&mut parser)?),
                    "dir" => dir = Some(value(&mut parser)?),
                    _ => {}
                }
            }
            Value(value) => values.push(value),
            other => return Err(other.unexpected().to_string()),
        }
    }
    let words: Vec<_> = values.iter().map(|value| value.to_str()).collect();
    let first = words.first().copied().flatten();
    for (command, options) in COMMANDS.iter().filter(|(command, _)| Some(*command) != first) {
        if let Some(option) = given.iter().find(|option| options.contains(option)) {
            return Err(format!("--{option} belongs to `{command}`"));
        }
    }
    let has = |option| given.contains(&option);
    match (&*words, role) {
        // rathole takes the curve too.
        ([] | [Some("x25519")], None) if genkey => Ok(Command::Genkey),
        (_, _) if genkey => Err("--genkey stands alone; X25519 is the only curve".into()),
        ([Some("help")], None) if !Path::new("help").exists() => Ok(Command::Help),
        ([Some("init"), _, ..], None) => Ok(Command::Init(Asked {
            words: values[1..].iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            dir: dir.unwrap_or_else(|| ".".into()),
            add: has("add"),
        })),
        ([Some("init")], None) => {
            Err("`init` takes the VPS and NAME=HOST for each home, such as: init vps.example.com \
                 'pi=pi.example.com,**.pi.example.com'"
                .into())
        }
        ([Some("check"), _], None) => {
            let config = PathBuf::from(values.remove(1));
            Ok(match against {
                Some(old) => Command::Compare { new: config, old },
                None => Command::Check { config },
            })
        }
        ([Some("check"), ..], None) => Err("`check` takes one file".into()),
        ([Some("explain"), _, _], None) => Ok(Command::Explain {
            name: values.remove(2).to_string_lossy().into_owned(),
            config: values.remove(1).into(),
        }),
        ([Some("explain"), ..], None) => Err("`explain` takes a file and a name".into()),
        ([Some("import"), _, ..], None) => {
            Ok(Command::Import { files: values.drain(1..).map(PathBuf::from).collect() })
        }
        ([Some("import")], None) => Err("`import` takes rathole's file".into()),
        ([Some("demo")], None) => Ok(Command::Demo { once: has("once") }),
        ([Some("status"), _], role) => Ok(Command::Status {
            config: values.remove(1).into(),
            role,
            json: has("json"),
            watch: has("watch"),
        }),
        ([Some("status"), ..], _) => Err("`status` takes one file".into()),
        ([Some(word), ..], _) if meant(word).is_some() && !Path::new(word).exists() => {
            let meant = meant(word).unwrap_or_default();
            Err(format!("{word}: no such file; did you mean `{meant}`?"))
        }
        ([_], role) => Ok(Command::Run { config: values.remove(0).into(), role }),
        ([], None) => Err(FIRST.into()),
        ([], Some(_)) => Err("a configuration file is missing".into()),
        _ => Err("one configuration file, please".into()),
    }
}

fn value(parser: &mut lexopt::Parser) -> Result<PathBuf, String> {
    Ok(parser.value().map_err(|error| error.to_string())?.into())
}

/// The command that a word may be a slip for.
fn meant(word: &str) -> Option<&'static str> {
    nearest(word, &COMMANDS.map(|(command, _)| command))
}

fn one_role(given: Option<Role>, role: Role) -> Result<Option<Role>, String> {
    match given {
        Some(other) if other != role => Err("--server or --client, not both".into()),
        _ => Ok(Some(role)),
    }
}

/// A key pair, printed as rathole prints it.
pub(crate) fn genkey() -> Result<String, String> {
    let mut private = [0; 32];
    getrandom::fill(&mut private).map_err(|error| format!("no key: {error}"))?;
    let [private, public] = [private, noise::public_key(private)].map(|key| STANDARD.encode(key));
    Ok(format!("Private Key:\n{private}\n\nPublic Key:\n{public}\n"))
}

/// Loads the file, and shows its warnings and who gets what.
pub(crate) fn check(path: &Path) -> Result<String, String> {
    let config = Config::load(path).map_err(|first| {
        let mistakes = Config::mistakes(path);
        let all: Vec<String> = mistakes.iter().map(ConfigError::to_string).collect();
        if all.is_empty() { first.to_string() } else { all.join("\nunderpass: ") }
    })?;
    let mut warnings = config.warnings;
    warnings.extend(config.hints);
    // Of the world around a file, with which nothing is wrong.
    let mut notes = Vec::new();
    let mut rows = Vec::new();
    if let Some(server) = &config.server {
        notes.extend(server.address_notes().to_vec());
        notes.extend(server.coalescing_warnings());
        server_rows(server, &mut rows);
        if let Some(log) = &server.access_log {
            AccessLog::check(log).map_err(|error| log.error(&error).to_string())?;
        }
    }
    if let Some(client) = &config.client {
        client_rows(client, &mut rows);
    }
    let tcp = config.server.as_ref().map(|server| &server.tcp);
    let tcp = tcp.into_iter().chain(config.client.as_ref().map(|client| &client.tcp));
    notes.extend(tcp.filter_map(|tcp| far::advice(&tcp.congestion)).take(1));
    let mut text = format!("{}: ok\n", path.display());
    for (what, lines) in [("warning", &warnings), ("note", &notes)] {
        for line in lines {
            let _ = writeln!(text, "{what}: {line}"); // writing to a String cannot fail
        }
    }
    text.push_str(&columns(&rows));
    Ok(text)
}

/// A line for each thing that a reload changes, of both roles.
pub(crate) fn compare(new: &Path, old: &Path) -> Result<String, String> {
    let load = |path: &Path| Config::load(path).map_err(|error| error.to_string());
    let (new_config, old_config) = (load(new)?, load(old)?);
    let mut changes = Vec::new();
    match (&old_config.server, &new_config.server) {
        (Some(old), Some(new)) => changes.extend(changes::server(old, new)),
        (None, None) => {}
        (old, _) => changes.push(Change::of_role("server", old.is_none())),
    }
    match (&old_config.client, &new_config.client) {
        (Some(old), Some(new)) => changes.extend(changes::client(old, new)),
        (None, None) => {}
        (old, _) => changes.push(Change::of_role("client", old.is_none())),
    }
    let mut text = format!("{}: ok, against {}\n", new.display(), old.display());
    if changes.is_empty() {
        text.push_str("nothing changes\n");
    }
    for change in changes {
        let _ = writeln!(text, "{change}"); // writing to a String cannot fail
    }
    Ok(text)
}

/// One file in the place of rathole's and Traefik's, printed.
pub(crate) fn import(paths: &[PathBuf]) -> Result<String, String> {
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok((name, text)),
            Err(error) => Err(format!("{name}: cannot read it: {error}")),
        }
    };
    let files = paths.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
    underpass::import::import(&files, &|name| std::env::var(name).ok())
}

/// Says which service gets a name, or a name with a path, at both entries, and by which pattern.
pub(crate) fn explain(path: &Path, asked: &str) -> Result<String, String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    let Some(server) = config.server else {
        return Err(format!("{}: has no [server], which alone routes names", path.display()));
    };
    Ok(explain::explain(&server, asked).join("\n") + "\n")
}

/// What comes in where, and the service that gets it; per entry what wins first.
fn server_rows(server: &ServerConfig, rows: &mut Vec<[String; 3]>) {
    for (entry, shown) in [(Entry::Http, "http"), (Entry::Https, "https")] {
        rows.extend(server.routes.list(entry).into_iter().map(|found| {
            let ServerService { name, redirect_https, .. } = &server.services[found.service];
            let note = match redirect_https {
                Some(_) if entry == Entry::Http => ", sends to https",
                _ => "",
            };
            [shown.into(), explain::route(&found), format!("{name}{note}")]
        }));
    }
    if let Some(ssh) = server.ssh {
        rows.push(["https".into(), "SSH".into(), server.services[ssh.service].name.clone()]);
    }
    for service in &server.services {
        let ports = show_ports(&service.bind_addrs).into_iter();
        rows.extend(ports.map(|addrs| ["port".into(), addrs, service.name.clone()]));
    }
    admin_rows(server.admin.as_ref(), rows);
    limit_rows(server, rows);
}

/// Where it can be looked at, and by whom.
fn admin_rows(admin: Option<&AdminConfig>, rows: &mut Vec<[String; 3]>) {
    let Some(admin) = admin else { return };
    let users = match admin.users.names().count() {
        0 => "no password".to_owned(),
        1 => "a password, 1 user".to_owned(),
        users => format!("a password, {users} users"),
    };
    let host = admin.host.iter().map(|host| ("http", host.to_string(), &*users));
    let addrs = admin.bind_addrs.iter().map(|addr| match addr {
        AdminAddr::Tcp(_) => ("port", addr.to_string(), &*users),
        AdminAddr::Unix(_) => ("file", addr.to_string(), "no password"),
    });
    rows.extend(
        host.chain(addrs)
            .map(|(way, at, users)| [way.into(), at, format!("{}: {users}", explain::ADMIN)]),
    );
}

/// What the file limits, each for all visitors or for those of one service.
fn limit_rows(server: &ServerConfig, rows: &mut Vec<[String; 3]>) {
    let all =
        server.visitors.show().into_iter().chain(server.http_times.show(HttpTimes::default()));
    let head = (server.head_timeout != HEAD_TIME)
        .then(|| format!("{} s for a hello or a head", server.head_timeout.as_secs()));
    let all = all.chain(head);
    rows.extend(all.map(|limit| ["limit".into(), limit, "all services".into()]));
    for service in &server.services {
        let count = service.max_visitors.map(|most| format!("{most} visitors at once"));
        let limits = service.visitors.show().into_iter().chain(count);
        let limits = limits.chain(service.http_times.show(server.http_times));
        rows.extend(limits.map(|limit| ["limit".into(), limit, service.name.clone()]));
    }
}

/// Each way in, the service, and the local program that gets it.
fn client_rows(client: &ClientConfig, rows: &mut Vec<[String; 3]>) {
    for service in &client.services {
        let entries = [
            ("http", &service.local_http_addr),
            ("https", &service.local_https_addr),
            ("port", &service.local_addr),
        ];
        // The port of a service with names is the server's choice; its target is shown already.
        let shown = match service.kind.entries() {
            [] => &entries[2..],
            [..] => &entries[..2],
        };
        for (entry, local) in shown {
            if let Some(local) = local {
                let shown = match service.local_ports {
                    1 => local.to_string(),
                    ports => format!("{local}-{}", local.port + (ports - 1)),
                };
                rows.push([(*entry).into(), service.name.clone(), shown]);
            }
        }
    }
    admin_rows(client.admin.as_ref(), rows);
}

/// The rows with their columns in line.
fn columns(rows: &[[String; 3]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    let line = |[a, b, c]: &[String; 3]| format!("{a:first$}  {b:second$}  {c}\n");
    rows.iter().map(line).collect()
}

pub(crate) const VERSION: &str = concat!("underpass ", env!("CARGO_PKG_VERSION"), "\n");

/// What to do who does not know yet.
const FIRST: &str = "\
a configuration file is missing. To begin: `underpass init vps.example.com pi=pi.example.com` makes
the files for the VPS and for each home, with keys and tokens, and says what to do with them; by
`underpass FILE` each is run. rathole's and Traefik's files are read by `underpass import`.";

pub(crate) const HELP: &str = "\
underpass: many home servers behind one VPS

underpass init VPS NAME=HOST[,HOST...]... [--dir DIR]
                                make keys and files for a server and its homes; such as
                                  init vps.example.com 'pi=pi.example.com,**.pi.example.com'
underpass init --add NAME=HOST[,HOST...] [--dir DIR]
                                make the files of one more home
underpass CONFIG                run the role that the file has
underpass --server CONFIG       run as the server, on the VPS
underpass --client CONFIG       run as the client, at home
underpass --genkey              print a new key pair
underpass check CONFIG          try a file; show its warnings and who gets what
underpass check NEW --against OLD
                                say what changes when OLD runs and NEW takes its place
underpass explain CONFIG NAME   say which service gets a name (and path), and why
underpass import FILE...        print the file that replaces rathole's, and Traefik's labels:
                                  import SERVER.toml docker-compose.yml
                                  import CLIENT.toml [SERVER.toml docker-compose.yml]
underpass status CONFIG [--json] [--watch]
                                ask the one that runs with this file how it is: services,
                                homes, line; --json as a program reads it, --watch every 2 s
underpass demo [--once]         both roles and two sites on this machine
underpass --version, --help     (or help)

`status` needs [server.admin] or [client.admin] in the file. It asks by the unix socket there, or by
the port, with UNDERPASS_ADMIN=USER:PASSWORD from the environment where there are users.

RUST_LOG=debug shows more. Exit status: 0 done, 1 failed, 2 wrong arguments; of `status` also 3: not
every service is online.
";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn read(args: &str) -> Result<Command, String> {
        parse(args.split_whitespace().map(OsString::from))
    }

    #[test]
    fn arguments_as_rathole_takes_them() {
        let run = |role| Ok(Command::Run { config: "a.toml".into(), role });
        assert_eq!(read("a.toml"), run(None));
        for args in ["--server a.toml", "a.toml --server", "-s a.toml"] {
            assert_eq!(read(args), run(Some(Role::Server)), "{args}");
        }
        for args in ["--client a.toml", "a.toml -c"] {
            assert_eq!(read(args), run(Some(Role::Client)), "{args}");
        }
        for args in ["--genkey", "--genkey x25519", "--genkey=x25519"] {
            assert_eq!(read(args), Ok(Command::Genkey), "{args}");
        }
    }

    #[test]
    fn commands() {
        assert_eq!(read("check a"), Ok(Command::Check { config: "a".into() }));
        for args in ["check a --against b", "check --against b a", "--against=b check a"] {
            let compare = Command::Compare { new: "a".into(), old: "b".into() };
            assert_eq!(read(args), Ok(compare), "{args}");
        }
        let explain = Command::Explain { config: "a".into(), name: "b".into() };
        assert_eq!(read("explain a b"), Ok(explain));
        let import = Command::Import { files: vec!["a".into(), "b".into()] };
        assert_eq!(read("import a b"), Ok(import));
        let words = vec!["vps".to_owned(), "a=b,c".to_owned()];
        let init = |words: &[String], dir: &str, add| {
            Ok(Command::Init(Asked { words: words.to_vec(), dir: dir.into(), add }))
        };
        assert_eq!(read("init vps a=b,c"), init(&words, ".", false));
        assert_eq!(read("init --dir d vps a=b,c"), init(&words, "d", false));
        for args in ["init --add a=b,c", "init a=b,c --add --dir=.", "init --add=a=b,c"] {
            assert_eq!(read(args), init(&words[1..], ".", true), "{args}");
        }
        assert_eq!(read("demo"), Ok(Command::Demo { once: false }));
        assert_eq!(read("demo --once"), Ok(Command::Demo { once: true }));
        for (args, role, json, watch) in [
            ("status a", None, false, false),
            ("status a --json", None, true, false),
            ("--watch status a --client", Some(Role::Client), false, true),
        ] {
            let status = Command::Status { config: "a".into(), role, json, watch };
            assert_eq!(read(args), Ok(status), "{args}");
        }
        assert_eq!(read("-h"), Ok(Command::Help));
        assert_eq!(read("help"), Ok(Command::Help));
        assert_eq!(read("a --version"), Ok(Command::Version));
    }

    #[test]
    fn what_is_no_command_says_why() {
        for (args, why) in [
            ("", FIRST),
            ("chek", "chek: no such file; did you mean `check`?"),
            ("chek a.toml", "chek: no such file; did you mean `check`?"),
            ("inport a b", "inport: no such file; did you mean `import`?"),
            ("--server", "a configuration file is missing"),
            ("a b", "one configuration file, please"),
            ("--server --client a", "--server or --client, not both"),
            ("--genkey x448", "--genkey stands alone; X25519 is the only curve"),
            ("--genkey a b", "--genkey stands alone; X25519 is the only curve"),
            ("check", "`check` takes one file"),
            ("check a b", "`check` takes one file"),
            ("import", "`import` takes rathole's file"),
            ("explain a", "`explain` takes a file and a name"),
            ("--once a", "--once belongs to `demo`"),
            ("status", "`status` takes one file"),
            ("status a b", "`status` takes one file"),
            ("check a --json", "--json belongs to `status`"),
            ("a --watch", "--watch belongs to `status`"),
            ("--dir a b.toml", "--dir belongs to `init`"),
            ("int vps pi=pi.test", "int: no such file; did you mean `init`?"),
            ("stauts a", "stauts: no such file; did you mean `status`?"),
            ("a --against b", "--against belongs to `check`"),
            ("check a --against", "missing argument for option '--against'"),
            ("--nonsense", "invalid option '--nonsense'"),
        ] {
            assert_eq!(read(args), Err(why.into()), "{args}");
        }
    }

    /// Of all commands, or of none.
    const GENERAL: [&str; 5] = ["server", "client", "genkey", "version", "help"];

    /// The long options that a text names, each behind `mark`.
    fn options(text: &str, mark: &str) -> BTreeSet<String> {
        let name = |rest: &str| -> String {
            rest.chars().take_while(|it| it.is_ascii_lowercase()).collect()
        };
        let found = text.split(mark).skip(1).map(name);
        found.filter(|option| !option.is_empty()).collect()
    }

    /// What a reader and a shell are told of is what there is: every command and option, no other.
    #[test]
    fn help_manual_and_completions_have_every_command_and_option() {
        let own = COMMANDS.iter().flat_map(|(_, options)| *options);
        let all: BTreeSet<String> = own.chain(&GENERAL).map(|it| (*it).to_owned()).collect();
        for option in &all {
            let said = read(&format!("--{option}")).map_err(|error| error.contains("invalid"));
            assert_ne!(said, Err(true), "--{option}");
        }
        let manual = include_str!("../docs/underpass.1").replace("\\-", "-");
        let bash = include_str!("../config/completions/underpass.bash");
        let zsh = include_str!("../config/completions/underpass.zsh");
        let fish = include_str!("../config/completions/underpass.fish");
        for (text, mark) in
            [(HELP, "--"), (&manual, "--"), (bash, "--"), (zsh, "--"), (fish, "-l ")]
        {
            assert_eq!(options(text, mark), all, "{text}");
        }
        let commands = COMMANDS.map(|(command, _)| command);
        let list = commands.join(" ");
        assert!(bash.contains(&format!("'') options='{list}\n")), "{bash}");
        assert!(fish.contains(&format!("set --local commands {list}\n")), "{fish}");
        let (_, listed) = zsh.split_once("commands=(\n").expect("the commands");
        let (listed, _) = listed.split_once(")\n").expect("their end");
        assert_eq!(listed.lines().count(), commands.len(), "{listed}");
        for command in commands {
            assert!(
                command == "help" || HELP.contains(&format!("underpass {command} ")),
                "{command}"
            );
            assert!(manual.contains(&format!("\n.TP\n.B {command}\n")), "{command}");
            assert!(zsh.contains(&format!("\n    '{command}:")), "{command}");
            assert!(fish.contains(&format!("__fish_use_subcommand -a {command} ")), "{command}");
        }
        assert!(manual.contains(concat!("\"underpass ", env!("CARGO_PKG_VERSION"), "\"")));
    }
}
