//! The program: arguments, the log, and the role that the file asks for. The only place that exits.

mod cli;
#[cfg(feature = "demo")]
mod demo;
mod stderr_log;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use underpass::access_log::AccessLog;
use underpass::config::{ClientConfig, Config, ServerConfig};
use underpass::engine::client::Client;
use underpass::engine::core::Flow;
use underpass::engine::mio_net::MioNet;
use underpass::engine::server::Server;

use cli::{Command, Role};
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
        Command::Explain { config, name } => cli::explain(&config, &name),
        Command::Import { files } => cli::import(&files),
        #[cfg(feature = "demo")]
        Command::Demo { once } => return demo::run(once),
        #[cfg(not(feature = "demo"))]
        Command::Demo { .. } => Err("this build has no demo (feature `demo`)".to_owned()),
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
    let start = || {
        let config = Config::load(path).map_err(|error| error.to_string())?;
        let log = StderrLog::start().map_err(|error| format!("cannot start the log: {error}"))?;
        Ok((config, log))
    };
    let (config, log) = match start() {
        Ok(started) => started,
        Err(error) => {
            let error: String = error;
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    match run_role(path, config, role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(&error);
            ExitCode::FAILURE
        }
    }
}

fn run_role(path: &Path, config: Config, role: Option<Role>) -> Result<(), String> {
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let path = path.display();
    let done = match (role, config.server, config.client) {
        (None, Some(_), Some(_)) => {
            return Err(format!("{path}: has both roles: say --server or --client"));
        }
        (None | Some(Role::Server), Some(server), _) => run_server(server),
        (None | Some(Role::Client), _, Some(client)) => run_client(client),
        (Some(Role::Server), None, _) => return Err(format!("{path}: has no [server]")),
        (Some(Role::Client), _, None) => return Err(format!("{path}: has no [client]")),
        (None, None, None) => return Err(format!("{path}: has neither [server] nor [client]")),
    };
    done.map_err(|error| error.to_string())
}

fn run_server(config: ServerConfig) -> io::Result<()> {
    let mut net = MioNet::with_signals()?;
    net.set_keepalive(config.tcp.keepalive);
    let access_log = config
        .access_log
        .as_ref()
        .map(|log| AccessLog::open(log).map_err(|error| io::Error::other(log.error(&error))));
    let access_log = access_log.transpose()?;
    let mut server = Server::new(config, net)?;
    if let Some(access_log) = access_log {
        server.log_access(Box::new(access_log));
    }
    while server.turn()? == Flow::Continue {}
    Ok(())
}

fn run_client(config: ClientConfig) -> io::Result<()> {
    let mut net = MioNet::with_signals()?;
    net.set_keepalive(config.tcp.keepalive);
    let mut client = Client::new(config, net)?;
    while client.turn()? == Flow::Continue {}
    Ok(())
}

/// Without `eprintln!`, which panics where stderr is closed.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "underpass: {text}");
}

const EXIT_USAGE: u8 = 2;
