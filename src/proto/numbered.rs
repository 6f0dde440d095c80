//! The client's services, each under the number that stands for it on every session of the client.
//!
//! A service that a new file has again, with the same type, keeps its number. That of one that is
//! gone comes again only when all others have been used: a visitor of the old one may be on its
//! way.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::ClientService;

/// A service's number.
pub type Number = u16;

/// The services.
#[derive(Debug, Default)]
pub struct Numbered {
    known: BTreeMap<Number, Arc<ClientService>>,
    /// In the order of the file.
    order: Vec<Number>,
    next: Number,
}

/// What another file changes for the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// To be released.
    pub gone: Vec<Number>,
    /// To be registered.
    pub new: Vec<Number>,
    /// To be registered once more: what REGISTER says of them is something else now.
    pub again: Vec<Number>,
}

impl Numbered {
    /// Those of the first file; their numbers are their places in it.
    pub fn new(file: &[ClientService]) -> Numbered {
        let mut services = Numbered::default();
        services.reload(file);
        services
    }

    /// What the file says of a service.
    pub fn get(&self, number: Number) -> Option<&Arc<ClientService>> {
        self.known.get(&number)
    }

    /// Its name; nothing, if the file has it no more.
    pub fn name(&self, number: Number) -> &str {
        self.get(number).map_or("", |service| &service.name)
    }

    /// All, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (Number, &ClientService)> {
        self.order.iter().filter_map(|number| Some((*number, &**self.known.get(number)?)))
    }

    /// Takes those of another file.
    pub fn reload(&mut self, file: &[ClientService]) -> News {
        let mut news = News::default();
        let mut former = std::mem::take(&mut self.known);
        self.order.clear();
        // Those that stay have their numbers before new ones are given.
        let mut numbers: Vec<Option<Number>> = Vec::new();
        for service in file {
            let same = former
                .iter()
                .find(|(_, known)| known.name == service.name && known.kind == service.kind);
            let number = same.map(|(number, _)| *number);
            if let Some(number) = number
                && let Some(known) = former.remove(&number)
            {
                let proof = |it: &ClientService| (it.token.clone(), it.has_own_token);
                let said = |it: &ClientService| (it.local_ports, it.weight, it.backup);
                if proof(&known) != proof(service) || said(&known) != said(service) {
                    news.again.push(number);
                }
                self.known.insert(number, Arc::new(service.clone()));
            }
            numbers.push(number);
        }
        for (service, number) in file.iter().zip(numbers) {
            if number.is_none() && self.known.len() > usize::from(Number::MAX) {
                continue; // more than the protocol can name
            }
            self.order.push(number.unwrap_or_else(|| {
                while self.known.contains_key(&self.next) {
                    self.next = self.next.wrapping_add(1);
                }
                let number = self.next;
                self.next = self.next.wrapping_add(1);
                self.known.insert(number, Arc::new(service.clone()));
                news.new.push(number);
                number
            }));
        }
        news.gone = former.into_keys().collect();
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn file(services: &[(&str, &str, &str)]) -> Vec<ClientService> {
        let mut text = "[client]\nremote_addr = 'a:1'\n".to_owned();
        for (name, kind, rest) in services {
            text += &format!("[client.services.{name}]\ntype = '{kind}'\n{rest}\n");
        }
        let config = Config::parse("f.toml", &text, &|_| None);
        config.unwrap_or_else(|error| panic!("{error}")).client.expect("[client]").services
    }

    const LOCAL: &str = "token = 'a'\nlocal_addr = '127.0.0.1:80'";

    #[test]
    fn numbers_stay_with_name_and_type_and_do_not_come_again_soon() {
        let mut services = Numbered::new(&file(&[("a", "tcp", LOCAL), ("b", "tcp", LOCAL)]));
        assert_eq!(services.iter().map(|(number, _)| number).collect::<Vec<_>>(), [0, 1]);
        let news = services.reload(&file(&[("c", "tcp", LOCAL), ("b", "tcp", LOCAL)]));
        assert_eq!(news, News { gone: vec![0], new: vec![2], again: vec![] });
        assert_eq!((services.name(2), services.name(1), services.name(0)), ("c", "b", ""));
        assert_eq!(services.iter().map(|(number, _)| number).collect::<Vec<_>>(), [2, 1]);
        let moved = "token = 'a'\nlocal_addr = '127.0.0.1:81'";
        let news = services.reload(&file(&[("c", "udp", LOCAL), ("b", "tcp", moved)]));
        assert_eq!(news, News { gone: vec![2], new: vec![3], again: vec![] }, "another type");
        assert_eq!(services.get(1).and_then(|b| b.local_addr.as_ref()).map(|at| at.port), Some(81));
        let other = ["token = 'b'\nlocal_addr = 'h:80'", "token = 'a'\nlocal_addr = 'h:80-81'"];
        let news = services.reload(&file(&[("c", "udp", other[1]), ("b", "tcp", other[0])]));
        assert_eq!(news, News { gone: vec![], new: vec![], again: vec![3, 1] });
        services.next = u16::MAX;
        let all = [("d", "tcp", LOCAL), ("b", "tcp", LOCAL), ("e", "tcp", LOCAL)];
        assert_eq!(services.reload(&file(&all)).new, [u16::MAX, 0]);
    }
}
