//! `underpass demo`: the whole thing on one machine, in a second.
//!
//! A server, two homes with a client and a site each (HTTP and HTTPS), all on free loopback ports;
//! visits to both by several names; a table of who answered; and the commands to try it by hand.

mod site;
mod tunnel;
mod visit;

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use site::Site;
use tunnel::{Home, Secrets, Tunnel};
use visit::{Answer, Visitor};

/// The homes: name, and the domain whose names are its own, with all below it.
const HOMES: [(&str, &str); 2] = [("pi", "pi.example.test"), ("local", "local.example.test")];

/// The way a visitor comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Who is to answer to which name; `None` as the name: a visitor who sends none; as the home:
/// nobody, the server refuses.
const VISITS: [(Scheme, Option<&str>, Option<&str>); 12] = [
    (Scheme::Https, Some("pi.example.test"), Some("pi")),
    (Scheme::Https, Some("www.pi.example.test"), Some("pi")),
    (Scheme::Https, Some("x.pi.example.test"), Some("pi")),
    (Scheme::Https, Some("PI.EXAMPLE.TEST"), Some("pi")),
    (Scheme::Https, Some("local.example.test"), Some("local")),
    (Scheme::Https, Some("www.local.example.test"), Some("local")),
    (Scheme::Http, Some("pi.example.test"), Some("pi")),
    (Scheme::Http, Some("x.pi.example.test"), Some("pi")),
    (Scheme::Http, Some("local.example.test"), Some("local")),
    (Scheme::Http, Some("nobody.example.test"), None),
    (Scheme::Https, Some("nobody.example.test"), None),
    (Scheme::Https, None, None),
];

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn visit(self, visitor: &Visitor, tunnel: &Tunnel, name: Option<&str>) -> Answer {
        match self {
            Scheme::Http => visitor.visit_http(tunnel.http, name),
            Scheme::Https => visitor.visit(tunnel.https, name),
        }
    }

    /// What the server says for a name that nobody has.
    fn refusal(self) -> Answer {
        match self {
            Scheme::Http => Answer::NotFound,
            Scheme::Https => Answer::Unrecognized,
        }
    }
}

/// For the clients to dial in and register; it takes milliseconds.
const REGISTRATION_TIME: Duration = Duration::from_secs(10);

/// Runs the demo. With `once` it ends after the visits, else with SIGINT or SIGTERM. Successful
/// if every answer was right.
pub(crate) fn run(once: bool) -> ExitCode {
    // The sessions' own lines would stand between the table's.
    let quiet = env_logger::Env::default().default_filter_or("warn");
    let _ = env_logger::Builder::from_env(quiet).try_init();
    match show(once, &mut io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "underpass demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(once: bool, out: &mut impl Write) -> io::Result<bool> {
    // Before anything that is to be cleaned up.
    let goodbye = if once { None } else { Some(Goodbye::new()?) };
    let sites = HOMES.map(|(home, domain)| Site::start(home, domain));
    let sites = sites.into_iter().collect::<io::Result<Vec<Site>>>()?;
    let homes = sites.iter().zip(HOMES).map(|(site, (name, domain))| Home {
        name,
        domain,
        https: site.https,
        http: site.http,
    });
    let homes: Vec<Home> = homes.collect();
    let tunnel = Tunnel::start(&homes, &Secrets::new(homes.len())?)?;
    print_stage(out, &tunnel, &homes)?;

    let visitor = Visitor::new(&sites)?;
    wait_for_homes(&visitor, &tunnel);
    let answers = VISITS.map(|(scheme, name, _)| scheme.visit(&visitor, &tunnel, name));
    let all_right = print_answers(out, &answers)?;

    if let Some(goodbye) = goodbye {
        let authorities = AuthorityFiles::write(&sites)?;
        print_commands(out, &tunnel, &authorities)?;
        goodbye.wait()?;
    }
    Ok(all_right)
}

/// Until each home has answered once, or had its time: the table then says what is wrong.
fn wait_for_homes(visitor: &Visitor, tunnel: &Tunnel) {
    let end = Instant::now() + REGISTRATION_TIME;
    for (home, domain) in HOMES {
        while visitor.visit(tunnel.https, Some(domain)) != Answer::Home(home)
            && Instant::now() < end
        {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn print_stage(out: &mut impl Write, tunnel: &Tunnel, homes: &[Home]) -> io::Result<()> {
    writeln!(out, "A server with two homes behind it, all on this machine:\n")?;
    let Tunnel { http, https, clients_dial, .. } = tunnel;
    writeln!(out, "  server  http {http}, https {https}, tunnels {clients_dial}")?;
    for Home { name, domain, https, http } in homes {
        writeln!(out, "  {name:6}  its site on {http} and {https}, for {domain} and names below")?;
    }
    Ok(())
}

/// The table; true if every answer is right.
fn print_answers(out: &mut impl Write, answers: &[Answer; VISITS.len()]) -> io::Result<bool> {
    writeln!(out, "\n  {:32} answered by", "asked for")?;
    let mut wrong = 0;
    for ((scheme, name, home), answer) in VISITS.into_iter().zip(answers) {
        let expected = home.map_or_else(|| scheme.refusal(), Answer::Home);
        let verdict = if *answer == expected { "right" } else { "WRONG" };
        wrong += usize::from(*answer != expected);
        let asked = format!("{}://{}", scheme.name(), name.unwrap_or("(no name)"));
        writeln!(out, "  {asked:32} {:28} {verdict}", answer.to_string())?;
    }
    match wrong {
        0 => writeln!(out, "\nAll {} answers are right, certificates too.", answers.len())?,
        _ => writeln!(out, "\n{wrong} of {} answers are wrong.", answers.len())?,
    }
    Ok(wrong == 0)
}

fn print_commands(
    out: &mut impl Write,
    tunnel: &Tunnel,
    authorities: &AuthorityFiles,
) -> io::Result<()> {
    writeln!(out, "\nTry it:\n")?;
    for (scheme, name, home) in VISITS {
        // curl writes names in lower case itself.
        let Some(name) = name.filter(|name| !name.contains(char::is_uppercase)) else {
            continue;
        };
        let (port, trust) = match scheme {
            Scheme::Http => (tunnel.http.port(), String::new()),
            Scheme::Https => {
                let file = authorities.path(home.unwrap_or(HOMES[0].0));
                (tunnel.https.port(), format!("--cacert '{}' ", file.display()))
            }
        };
        let url = format!("{}://{name}:{port}/", scheme.name());
        writeln!(out, "curl --resolve {name}:{port}:127.0.0.1 {trust}{url}")?;
    }
    writeln!(out, "\nThose for nobody are refused. Ctrl-C ends the demo.")?;
    out.flush()
}

/// The homes' authorities as files for curl; they go away with this value.
struct AuthorityFiles {
    folder: PathBuf,
}

impl AuthorityFiles {
    fn write(sites: &[Site]) -> io::Result<AuthorityFiles> {
        let name = format!("underpass-demo-{:016x}", u64::from_ne_bytes(random()?));
        let files = AuthorityFiles { folder: std::env::temp_dir().join(name) };
        // Not `create_dir_all`: a folder that someone else has laid there is not ours.
        fs::create_dir(&files.folder)?;
        for site in sites {
            fs::write(files.path(site.home), &site.authority.pem)?;
        }
        Ok(files)
    }

    fn path(&self, home: &str) -> PathBuf {
        self.folder.join(format!("{home}.pem"))
    }
}

impl Drop for AuthorityFiles {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// SIGINT and SIGTERM, from its making on.
struct Goodbye {
    signalled: UnixStream,
}

impl Goodbye {
    fn new() -> io::Result<Goodbye> {
        let (signalled, signals) = UnixStream::pair()?;
        signal_hook::low_level::pipe::register(SIGINT, signals.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGTERM, signals)?;
        Ok(Goodbye { signalled })
    }

    fn wait(mut self) -> io::Result<()> {
        self.signalled.read_exact(&mut [0])
    }
}

/// Fit for keys and for names that nobody guesses.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}
