//! `underpass import`: one underpass file in the place of rathole's and of Traefik's configuration.
//!
//! Through the printed file, a visitor reaches only what it reached through Traefik, by the same
//! entry, name, path and address; whatever is not carried over is a comment. So the import does not
//! translate labels one by one. It builds what Traefik builds from them, asks who is served for
//! what, and says that in our words, as far as they go:
//!
//! ```text
//! yaml, settings, variables     the files as trees of names, whatever they are written in
//! compose, ports                containers, and where their ports are reached from outside
//! static_config                 Traefik's entry points, and whose labels it reads
//! dynamic, schema, middleware   its routers, services and middlewares
//! rule, hosts, matching, region a rule as the visitors that it takes
//! dashboard                     what becomes the admin page
//! routing, settle               who is served at each entry, and whether our file says just that
//! rathole, server, client       the user's file, edited where it stands
//! ```
//!
//! Names, tokens and keys of rathole's file stay, so that the clients at home go on unchanged.
//! Before anything is given out, it has gone through our own parser.

mod client;
mod compose;
mod dashboard;
mod dynamic;
mod hosts;
mod inputs;
mod matching;
mod middleware;
mod ports;
mod rathole;
mod region;
mod routing;
mod rule;
mod schema;
mod server;
mod settings;
mod settle;
mod static_config;
mod variables;
mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use self::inputs::{Inputs, Source, parse};
use self::rathole::Sheet;
use self::server::{Culprit, Model};
use crate::config::ServiceKind;

/// A file by its name and what is in it.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// The new file's text, or what is wrong, which quotes no value.
///
/// Of the files one is the rathole file that is wanted as an underpass file, of either role. A
/// client's may come with the server's, which knows the types of services. The others are
/// docker-compose files, as many as Compose is given, and Traefik's static and dynamic ones; what
/// each is is told by what is in it.
pub fn import(files: &[File<'_>], env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let inputs = Inputs::sort(files, env)?;
    match &inputs.rathole[..] {
        [one] if one.config.server.is_some() => import_server(one, &inputs, env),
        [one] if inputs.is_rathole_alone() => Work::new(one)?.finish_client(&inputs, env),
        [_] => Err("the labels belong to the server: name its file too".into()),
        [one, other] => {
            let (client, server) = match (&one.config.client, &other.config.server) {
                (Some(_), Some(_)) => (one, other),
                _ => (other, one),
            };
            if client.config.client.is_none() || server.config.server.is_none() {
                return Err("two files are a client's and its server's".into());
            }
            let model = Model::read(&inputs, server, env);
            let mut known = Work::new(server)?;
            known.server(&model, &[]);
            let work = Work { at_server: known.at_server, ..Work::new(client)? };
            work.finish_client(&inputs, env)
        }
        _ => Err("a rathole file of either role, please, and perhaps the other".into()),
    }
}

/// The server's file. What our own parser does not take of it is left out, one by one.
fn import_server(
    source: &Source<'_>,
    inputs: &Inputs<'_>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let model = Model::read(inputs, source, env);
    let mut closed = Vec::new();
    loop {
        let mut work = Work::new(source)?;
        work.server(&model, &closed);
        work.client();
        let error = match work.finish(inputs, env) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let server = source.config.server.as_ref();
        let culprits = server.map(|server| model.blame(&error, server)).unwrap_or_default();
        let is_new = |culprit: &Culprit| closed.iter().all(|(known, _)| known != culprit);
        match culprits.into_iter().find(is_new) {
            Some(culprit) => closed.push((culprit, error.reason)),
            None => return Err(format!("{error} (nothing is printed)")),
        }
    }
}

/// What the server's file says of a service.
#[derive(Debug, Clone, Copy)]
struct AtServer {
    kind: ServiceKind,
    /// The version of the PROXY header that the home waits for.
    proxy_header: Option<u8>,
}

/// A file on its way.
struct Work<'a> {
    source: &'a Source<'a>,
    sheet: Sheet<'a>,
    /// `None`: there is no server's file.
    at_server: Option<BTreeMap<String, AtServer>>,
    /// For the new file's head.
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(source: &'a Source<'a>) -> Result<Work<'a>, String> {
        let sheet = Sheet::read(source.file.text);
        let sheet = sheet.ok_or_else(|| format!("{}: not TOML", source.file.name))?;
        let notes = source.config.warnings.clone();
        Ok(Work { source, sheet, at_server: None, notes })
    }

    /// The line of a service's type, unless it has one, which is then another.
    fn type_line(&mut self, service: &[&str], kind: ServiceKind) -> Vec<String> {
        let value = rathole::quote(kind.as_str());
        match self.sheet.find(&[service, &["type"]].concat()) {
            Some(key) => {
                self.sheet.set(&key, value);
                Vec::new()
            }
            None => vec![format!("type = {value}")],
        }
    }

    fn finish_client(
        mut self,
        inputs: &Inputs<'_>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, String> {
        self.client();
        self.finish(inputs, env).map_err(|error| format!("{error} (nothing is printed)"))
    }

    /// The head and the file, tried. What is wrong with it stands in the user's own file, as far as
    /// its line is known.
    fn finish(
        self,
        inputs: &Inputs<'_>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, crate::config::ConfigError> {
        let Work { source, sheet, notes, .. } = self;
        let mut text = String::new();
        let mut say = |line: &str| {
            // A name in the files may hold a line feed; a comment must not end there.
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(text, "# {line}"); // writing to a String cannot fail
        };
        say(&format!("Imported by underpass from {}.", inputs.names(source).join(" and ")));
        if source.config.server.is_some() && !inputs.is_rathole_alone() {
            say("Type and hosts of a service are from Traefik's routers; a bind_addr that only");
            say("Traefik came to is behind a `#`. `*` is one whole label, `_` in it allowed.");
            say("rathole's clients can go on as they are.");
        }
        if source.config.client.is_some() {
            say("It speaks underpass's own protocol; protocol = \"rathole\" in [client] dials a");
            say("rathole server. Each service has the type that it has at the server.");
        }
        if !notes.is_empty() {
            say("What differs, or is not carried over:");
            notes.iter().for_each(|note| say(&format!("- {note}")));
        }
        let text = text + "\n" + &sheet.finish();
        let file = File { name: source.file.name, text: &text };
        match parse(file, env) {
            Ok(_) => Ok(text),
            Err(error) => Err(source.place_in_it(error)),
        }
    }
}

/// What the fuzz target checks.
#[doc(hidden)]
pub mod fuzz {
    use super::{File, import};

    /// A rathole file, a zero byte, a docker-compose file, and perhaps another zero byte and
    /// Traefik's file. Panics if the import does, or if an error shows what a variable holds.
    pub fn check(bytes: &[u8]) {
        const MARKER: &str = "mark (er) 0123456789";
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if text.contains("mark") {
            return; // names are quoted, and this one would look like the variable
        }
        let mut texts = text.splitn(3, '\0');
        let mut next = |name| File { name, text: texts.next().unwrap_or_default() };
        let (rathole, compose, traefik) = (next("r.toml"), next("c.yml"), next("t.yml"));
        for files in [&[rathole][..], &[rathole, compose], &[rathole, compose, traefik]] {
            if let Err(error) = import(files, &|_| Some(MARKER.to_owned())) {
                assert!(!error.contains(MARKER), "{error}");
            }
            // Without variables, the names can be names.
            let _ = import(files, &|_| None);
        }
    }
}
