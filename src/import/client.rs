//! A client's file: the types that its services have at the server, and the header that their homes
//! wait for.

use super::Work;
use crate::config::ServiceKind;

impl Work<'_> {
    /// Gives the client's services what the server's file knows of them; without it, a guess.
    pub(super) fn client(&mut self) {
        let Some(client) = &self.source.config.client else { return };
        let mut guessed = Vec::new();
        for service in &client.services {
            let Some(local) = &service.local_addr else { continue };
            let path = ["client", "services", &service.name];
            let Some(key) = self.sheet.find(&[&path[..], &["local_addr"]].concat()) else {
                continue;
            };
            let has_type = self.sheet.find(&[&path[..], &["type"]].concat()).is_some();
            let known = self.at_server.as_ref().map(|all| all.get(&service.name).copied());
            let kind = match known {
                Some(known) => known.map_or(service.kind, |known| known.kind),
                // What the user wrote is no guess.
                None if has_type => service.kind,
                None => match (service.kind, local.port) {
                    (ServiceKind::Tcp, 80) => ServiceKind::Http,
                    (ServiceKind::Tcp, 443) => ServiceKind::Https,
                    (kind, _) => kind,
                },
            };
            let mut lines = Vec::new();
            if kind != service.kind {
                if kind == ServiceKind::Web {
                    let note = format!(
                        "service {}: it is of type web at the server: say so, with the host alone \
                         in local_addr, or with local_http_addr and local_https_addr",
                        service.name
                    );
                    self.notes.push(note);
                    continue;
                }
                if known.is_none() {
                    guessed.push(service.name.clone());
                }
                lines = self.type_line(&path, kind);
            }
            let header = known.flatten().and_then(|known| known.proxy_header);
            if let Some(version) = header
                && service.proxy_protocol.is_none()
            {
                lines.push(format!("proxy_protocol = \"v{version}\""));
            }
            if !lines.is_empty() {
                lines.push(self.sheet.show(&key));
                self.sheet.replace(&key, &lines, None);
            }
        }
        if !guessed.is_empty() {
            let note = format!(
                "the types of {} are guessed from the ports 80 and 443; name the server's files \
                 too (`import CLIENT SERVER COMPOSE`) to have them from there",
                guessed.join(", ")
            );
            self.notes.push(note);
        }
    }
}
