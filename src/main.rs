//! The program: arguments, the log, and the role that the file asks for. The only place that exits.

mod cli;
#[cfg(feature = "demo")]
mod demo;
mod init_command;
mod service_manager;
mod status_command;
mod stderr_log;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use underpass::access_log::AccessLog;
use underpass::config::changes::Change;
use underpass::config::{
    AccessLogConfig, AdminAddr, AdminConfig, ClientConfig, Config, SeenFile, ServerConfig,
    ServerService, ServiceKind,
};
use underpass::engine::client::Client;
use underpass::engine::core::Flow;
use underpass::engine::mio_net::{MioNet, UNWATCHED};
use underpass::engine::passed::Passed;
use underpass::engine::server::Server;
use underpass::proto::access::Sink;

use cli::{Command, Role};
use service_manager::{Managed, ServiceManager};
use stderr_log::StderrLog;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(usage) => {
            complain(&format!("{usage}\nTry `underpass --help`."));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let done = match command {
        Command::Help => Ok(cli::HELP.to_owned()),
        Command::Version => Ok(cli::VERSION.to_owned()),
        Command::Genkey => cli::genkey(),
        Command::Check { config } => cli::check(&config),
        Command::Compare { new, old } => cli::compare(&new, &old),
        Command::Explain { config, name } => cli::explain(&config, &name),
        Command::Import { files } => cli::import(&files),
        Command::Init(asked) => init_command::run(&asked),
        #[cfg(feature = "demo")]
        Command::Demo { once } => return demo::run(once),
        #[cfg(not(feature = "demo"))]
        Command::Demo { .. } => Err("this build has no demo (feature `demo`)".to_owned()),
        Command::Status { config, role, json, watch } => {
            return status_command::run(&config, role, json, watch);
        }
        Command::Run { config, role } => return run(&config, role),
    };
    match done {
        // Whoever closed the pipe has read enough.
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// One of the two roles, until a signal or an error ends it. From where the file has been read, all
/// that is said goes through the log, which is written to its end before the program is over.
fn run(path: &Path, role: Option<Role>) -> ExitCode {
    // First, while there is one thread: it changes the environment.
    let (passed, unused) = Passed::from_env();
    let start = || {
        let mut seen = Vec::new();
        let config = Config::load_noting(path, &mut seen).map_err(|error| error.to_string())?;
        let log = StderrLog::start().map_err(|error| format!("cannot start the log: {error}"))?;
        Ok((config, seen, log))
    };
    let (config, seen, log) = match start() {
        Ok(started) => started,
        Err(error) => {
            let error: String = error;
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let (mut manager, complaint) = ServiceManager::from_env();
    for complaint in unused.into_iter().chain(complaint) {
        log::warn!("{complaint}");
    }
    let done = run_role(path, (config, seen), role, passed, (&mut manager, &log));
    manager.stopping();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(&error);
            ExitCode::FAILURE
        }
    }
}

fn run_role(
    path: &Path,
    (config, seen): (Config, Vec<SeenFile>),
    role: Option<Role>,
    passed: Passed,
    watchers: Watchers<'_>,
) -> Result<(), String> {
    let shown = path.display();
    let role = match (role, &config.server, &config.client) {
        (None, Some(_), Some(_)) => {
            return Err(format!("{shown}: has both roles: say --server or --client"));
        }
        (None, None, None) => return Err(format!("{shown}: has neither [server] nor [client]")),
        (Some(role), _, _) => role,
        (None, Some(_), None) => Role::Server,
        (None, None, Some(_)) => Role::Client,
    };
    let done = match role {
        Role::Server => run_server(path, (server_of(path, config)?, seen), passed, watchers),
        Role::Client => run_client(path, (client_of(path, config)?, seen), passed, watchers),
    };
    done.map_err(|error| error.to_string())
}

/// The server's part of a file, whose warnings are said.
fn server_of(path: &Path, config: Config) -> Result<ServerConfig, String> {
    say_warnings(&config);
    config.server.ok_or_else(|| format!("{}: has no [server]", path.display()))
}

/// The same of the client's.
fn client_of(path: &Path, config: Config) -> Result<ClientConfig, String> {
    say_warnings(&config);
    config.client.ok_or_else(|| format!("{}: has no [client]", path.display()))
}

fn say_warnings(config: &Config) {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
}

fn run_server(
    path: &Path,
    (config, seen): (ServerConfig, Vec<SeenFile>),
    passed: Passed,
    watchers: Watchers<'_>,
) -> io::Result<()> {
    let on = config.watch;
    let mut at = config.access_log.clone();
    let log = open_access_log(at.as_ref())?;
    make_folders(config.admin.as_ref());
    let mut net = MioNet::with_signals()?;
    let (tcp, udp) = addresses(&config);
    net.take_over(keep_passed(passed, &tcp, &udp));
    let mut server = Server::new(config, net)?;
    log_access(&mut server, log);
    watch(server.net(), on, seen);
    drive(path, server, on, watchers, |server, config| {
        reload_server(server, server_of(path, config)?, &mut at)
    })
}

/// Who else is told how the role is.
type Watchers<'a> = (&'a mut ServiceManager, &'a StderrLog);

/// Turns an engine until it stops. It has its files watched if they say so: `on`.
fn drive<E: Managed>(
    path: &Path,
    mut engine: E,
    mut on: bool,
    (manager, log): Watchers<'_>,
    mut reload: impl FnMut(&mut E, Config) -> Result<(Vec<Change>, bool), String>,
) -> io::Result<()> {
    engine.about().set_file(path.display().to_string());
    engine.about().add_log(log.dropped());
    manager.ready(&mut engine);
    loop {
        let flow = engine.turn()?;
        manager.attend(&mut engine);
        match flow {
            Flow::Continue => {}
            Flow::Stop => return Ok(()),
            Flow::Reload => {
                manager.reloading();
                let mut seen = Vec::new();
                let config = Config::load_again(path, &mut seen).map_err(|error| error.to_string());
                let reloaded = config.and_then(|config| reload(&mut engine, config));
                let reloaded = reloaded.map(|(changes, is_on)| {
                    on = is_on;
                    changes
                });
                let error = say_reload(reloaded);
                let now = engine.now();
                engine.about().reloaded(error.as_deref(), now);
                manager.reloaded(&engine, error);
                watch(engine.net(), on, seen);
            }
        }
    }
}

/// The folders of its sockets, which are gone after a boot (`/run`); a service manager makes them.
/// What cannot be made is said by whoever listens there.
fn make_folders(admin: Option<&AdminConfig>) {
    for addr in admin.into_iter().flat_map(|admin| &admin.bind_addrs) {
        if let AdminAddr::Unix(path) = addr
            && let Some(folder) = path.parent()
        {
            let _ = std::fs::create_dir(folder);
        }
    }
}

/// Where a server listens, by TCP and by UDP.
fn addresses(config: &ServerConfig) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let is_udp = |service: &&ServerService| service.kind == ServiceKind::Udp;
    let (udp, own): (Vec<_>, Vec<_>) = config.services.iter().partition(is_udp);
    let of = |services: Vec<&ServerService>| -> Vec<SocketAddr> {
        services.into_iter().flat_map(|service| service.bind_addrs.iter().copied()).collect()
    };
    let entries = [&config.bind_addrs, &config.http_addrs, &config.https_addrs];
    let tcp = entries.into_iter().flatten().copied().chain(of(own)).collect();
    (tcp, of(udp))
}

/// What was passed and is of use; the rest is closed before anything is opened beside it.
fn keep_passed(mut passed: Passed, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Passed {
    for complaint in passed.keep(tcp, udp) {
        log::warn!("{complaint}");
    }
    passed
}

/// Whatever can fail comes before the first change. What has changed, and whether to watch.
fn reload_server(
    server: &mut Server<MioNet>,
    config: ServerConfig,
    at: &mut Option<AccessLogConfig>,
) -> Result<(Vec<Change>, bool), String> {
    let on = config.watch;
    let wanted = config.access_log.clone();
    let which = |log: &AccessLogConfig| (log.path.clone(), log.format);
    let moves = wanted.as_ref().map(which) != at.as_ref().map(which);
    let log = match moves {
        true => open_access_log(wanted.as_ref()).map_err(|error| error.to_string())?,
        false => None,
    };
    let changes = server.reload(config).map_err(|error| error.to_string())?;
    if moves {
        log_access(server, log);
        *at = wanted;
    }
    Ok((changes, on))
}

fn log_access(server: &mut Server<MioNet>, log: Option<AccessLog>) {
    if let Some(log) = &log {
        server.about().add_log(log.dropped());
    }
    server.log_access(log.map(|log| Box::new(log) as Box<dyn Sink>));
}

fn open_access_log(config: Option<&AccessLogConfig>) -> io::Result<Option<AccessLog>> {
    let Some(config) = config else { return Ok(None) };
    let log = AccessLog::open(config).map_err(|error| io::Error::other(config.error(&error)))?;
    Ok(Some(log))
}

fn run_client(
    path: &Path,
    (config, seen): (ClientConfig, Vec<SeenFile>),
    passed: Passed,
    watchers: Watchers<'_>,
) -> io::Result<()> {
    drop(keep_passed(passed, &[], &[])); // it listens nowhere
    let on = config.watch;
    make_folders(config.admin.as_ref());
    let mut client = Client::new(config, MioNet::with_signals()?)?;
    watch(client.net(), on, seen);
    drive(path, client, on, watchers, |client, config| {
        let config = client_of(path, config)?;
        let on = config.watch;
        let changes = client.reload(config).map_err(|error| error.to_string())?;
        Ok((changes, on))
    })
}

/// The files that were read, from now on.
fn watch(net: &mut MioNet, on: bool, seen: Vec<SeenFile>) {
    let files = if on { seen } else { Vec::new() };
    if let Err(error) = net.watch(files) {
        log::warn!("{UNWATCHED}: {error}");
    }
}

/// The error, if it was not reloaded.
fn say_reload(reloaded: Result<Vec<Change>, String>) -> Option<String> {
    match reloaded {
        Ok(changes) if changes.is_empty() => log::info!("reloaded: nothing has changed"),
        Ok(changes) => {
            for change in &changes {
                log::info!("reloaded: {change}");
            }
        }
        Err(error) => {
            log::error!("not reloaded, nothing has changed: {error}");
            return Some(error);
        }
    }
    None
}

/// Without `eprintln!`, which panics where stderr is closed.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "underpass: {text}");
}

const EXIT_USAGE: u8 = 2;
