//! What `check` says of tokens: too short ones, and ones that more than one home would have.
//!
//! Whoever has a service's token gets the service, and of two the one that dialled last. So a token
//! is one home's: a second home that has it can take the first one's visitors.

use super::Secret;
use super::error::ConfigError;
use super::raw::{Place, Section};

/// The tokens of one role's services.
pub(super) struct Tokens {
    holder: Holder,
    /// `default_token`, each with its place.
    default: Vec<(Secret, Place)>,
    /// In the order of the file.
    uses: Vec<TokenUse>,
}

/// Who has the tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// Takes a client that proves any of several.
    Server,
    /// Proves the one that it has.
    Client,
}

/// A service, as far as its token is of interest.
struct TokenUse {
    /// Its place in [`Tokens::uses`].
    number: usize,
    service: String,
    /// Patterns, as in the file.
    hosts: Vec<String>,
    token: Secret,
    /// The token's key: the service's own, or the default.
    place: Place,
    is_default: bool,
}

impl Tokens {
    /// `default_token` of `[server]` or `[client]`.
    pub(super) fn read(section: &Section<'_>, holder: Holder) -> Result<Tokens, ConfigError> {
        let default = read_tokens(section, "default_token", holder)?;
        Ok(Tokens { holder, default, uses: Vec::new() })
    }

    /// `default_token` of one of the client's servers.
    pub(super) fn of_server(
        &mut self,
        name: &str,
        section: &Section<'_>,
    ) -> Result<Option<Secret>, ConfigError> {
        let own = read_tokens(section, "default_token", self.holder)?;
        for (token, place) in &own {
            self.add(name, Vec::new(), token, place, true);
        }
        Ok(own.into_iter().next().map(|(token, _)| token))
    }

    /// Each server has a default of its own: services may do without one in `[client]`.
    pub(super) fn fall_back_on(&mut self, token: Option<Secret>, place: Place) {
        if let (true, Some(token)) = (self.default.is_empty(), token) {
            self.default.push((token, place));
        }
    }

    /// A service's own tokens, or the default ones; a client's is one.
    pub(super) fn of_service(
        &mut self,
        name: &str,
        section: &Section<'_>,
    ) -> Result<Vec<Secret>, ConfigError> {
        let own = read_tokens(section, "token", self.holder)?;
        let is_default = own.is_empty();
        let tokens = if is_default { self.default.clone() } else { own };
        if tokens.is_empty() {
            let reason = "missing: a secret that server and client share; or set `default_token`";
            return Err(section.place_of("token").error(reason));
        }
        let hosts = section.texts("hosts")?.into_iter().map(|text| text.value);
        let hosts: Vec<String> = hosts.collect();
        for (token, place) in &tokens {
            self.add(name, hosts.clone(), token, place, is_default);
        }
        Ok(tokens.into_iter().map(|(token, _)| token).collect())
    }

    fn add(
        &mut self,
        service: &str,
        hosts: Vec<String>,
        token: &Secret,
        place: &Place,
        is_default: bool,
    ) {
        self.uses.push(TokenUse {
            number: self.uses.len(),
            service: service.to_owned(),
            hosts,
            token: token.clone(),
            place: place.clone(),
            is_default,
        });
    }

    /// One hint for each token that can be guessed.
    pub(super) fn short(&self) -> Vec<String> {
        let firsts = groups(&self.uses).into_iter().map(|group| group[0]);
        let short = firsts.filter(|first| first.token.expose().len() < LEAST_BYTES);
        let hint = |first: &TokenUse| {
            let reason = format!(
                "a token of under {LEAST_BYTES} characters can be guessed; `openssl rand -hex 32` \
                 makes one that cannot"
            );
            first.place.warning(reason)
        };
        short.map(hint).collect()
    }

    /// One warning for each token that ends a line, as a file's last line does that became a
    /// variable: the other side's is another one.
    pub(super) fn line_ends(&self) -> Vec<String> {
        let firsts = groups(&self.uses).into_iter().map(|group| group[0]);
        let ends = firsts.filter(|first| first.token.expose().ends_with(b"\n"));
        let reason = "the token ends in a line end, which belongs to it: is it meant?";
        ends.map(|first| first.place.warning(reason)).collect()
    }

    /// One hint for each token whose services look like those of more than one home. For the
    /// server's file: a client's is one home's.
    pub(super) fn shared(&self) -> Vec<String> {
        groups(&self.uses).into_iter().filter_map(|group| shared(&group)).collect()
    }
}

/// None if the key is absent. One that comes twice, as where two variables hold the same, is one.
fn read_tokens(
    section: &Section<'_>,
    key: &str,
    holder: Holder,
) -> Result<Vec<(Secret, Place)>, ConfigError> {
    let wrong = |reason: String| Err(section.place_of(key).error(reason));
    if holder == Holder::Client && section.has_list(key) {
        return wrong("must be one token: a list of those to take is for the server's file".into());
    }
    let texts = section.texts(key)?;
    if texts.is_empty() && section.has(key) {
        return wrong("names no token: `[\"new\", \"old\"]` takes both".into());
    }
    if texts.len() > MOST_TOKENS {
        return wrong(format!("too many: {MOST_TOKENS} at most, each is tried on every proof"));
    }
    let mut tokens: Vec<(Secret, Place)> = Vec::new();
    for text in texts {
        if text.value.is_empty() {
            return Err(text.place.error(
                "must not be empty: write the same secret here and in the other side's file, such \
                 as what `openssl rand -hex 16` prints",
            ));
        }
        let token = Secret::new(text.value.into_bytes());
        if tokens.iter().all(|(other, _)| *other != token) {
            tokens.push((token, text.place));
        }
    }
    Ok(tokens)
}

fn shared(group: &[&TokenUse]) -> Option<String> {
    let homes = homes(group);
    let [first, second, ..] = &homes[..] else { return None };
    // Where the second home's comes from is the line to change.
    let at = second.iter().find(|one| !one.is_default).unwrap_or(&second[0]);
    let show =
        |home: &Vec<&TokenUse>| home.iter().map(|one| &*one.service).collect::<Vec<_>>().join(", ");
    let shown: Vec<String> = homes.iter().map(show).collect();
    let place = match first.iter().find(|one| !one.is_default) {
        Some(one) if !at.is_default => format!(", as {}", one.place.mention()),
        _ => String::new(),
    };
    Some(at.place.warning(format!(
        "one token for services {}{place}: a client that has it can take all of them, and of two \
         clients the one that dialled last has them; if they are at different homes, give the \
         services of each home a `token` of their own",
        shown.join(" and "),
    )))
}

/// The services that have the same token, for each token; in the order of the file.
fn groups(uses: &[TokenUse]) -> Vec<Vec<&TokenUse>> {
    gather(uses.iter().collect(), |one, other| one.token == other.token)
}

/// Services that look like one home's, by their names: `pi-http` and `pi-https`, or hosts of which
/// one is below the other.
fn homes<'a>(group: &[&'a TokenUse]) -> Vec<Vec<&'a TokenUse>> {
    gather(group.to_vec(), |one, other| {
        let stem = |service: &str| {
            let stem = service.split(|c: char| !c.is_alphanumeric()).next();
            stem.unwrap_or_default().to_lowercase()
        };
        let related = |host: &String| other.hosts.iter().any(|other| are_related(host, other));
        stem(&one.service) == stem(&other.service) || one.hosts.iter().any(related)
    })
}

/// Puts together whatever is alike, also by way of a third one.
fn gather(
    uses: Vec<&TokenUse>,
    alike: impl Fn(&TokenUse, &TokenUse) -> bool,
) -> Vec<Vec<&TokenUse>> {
    let mut groups: Vec<Vec<&TokenUse>> = Vec::new();
    for one in uses {
        let joins = |group: &Vec<&TokenUse>| group.iter().any(|other| alike(one, other));
        let (joined, apart): (Vec<_>, _) = groups.into_iter().partition(joins);
        groups = apart;
        groups.push([joined.concat(), vec![one]].concat());
        groups.sort_by_key(|group| group[0].number);
    }
    groups
}

/// The same name, or one below the other. A regex and `**` are like nothing.
fn are_related(one: &str, other: &str) -> bool {
    fn fixed(host: &str) -> Option<String> {
        let fixed = host.trim_start_matches("**.").trim_start_matches("*.");
        let is_name = !fixed.is_empty() && !fixed.contains(['*', '/']);
        is_name.then(|| fixed.trim_end_matches('.').to_lowercase())
    }
    let (Some(one), Some(other)) = (fixed(one), fixed(other)) else { return false };
    let below = |name: &str, top: &str| {
        name.strip_suffix(top).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    below(&one, &other) || below(&other, &one)
}

/// A change needs two; more are for those who change often.
const MOST_TOKENS: usize = 8;
/// As many as no dictionary's guess has by chance.
const LEAST_BYTES: usize = 16;
