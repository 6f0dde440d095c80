//! Certificates made on the spot by the `openssl` program: each home has its own authority.

use std::path::PathBuf;
use std::process::Command;

use crate::harness::{Scratch, run_ok};

/// A certificate and its key, in PEM files.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key: PathBuf,
}

/// One home's authority and what it has signed.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    name: String,
    pub(crate) own: Certificate,
}

impl Authority {
    pub(crate) fn new(dir: &Scratch, name: &str) -> Authority {
        let own = files(dir, &format!("{name}-ca"));
        let subject = format!("/CN={name} authority");
        run_ok(request(&own, &subject).args(["-addext", "basicConstraints=critical,CA:TRUE"]));
        Authority { name: name.into(), own }
    }

    /// A site's certificate for the DNS names `hosts`; the first is its subject too.
    pub(crate) fn site(&self, dir: &Scratch, hosts: &[&str]) -> Certificate {
        let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        self.sign(dir, "site", hosts[0], &names)
    }

    /// A visitor's certificate, for mTLS.
    pub(crate) fn visitor(&self, dir: &Scratch, name: &str) -> Certificate {
        self.sign(dir, "visitor", name, "extendedKeyUsage=clientAuth")
    }

    fn sign(&self, dir: &Scratch, role: &str, subject: &str, extension: &str) -> Certificate {
        let made = files(dir, &format!("{}-{role}", self.name));
        run_ok(
            request(&made, &format!("/CN={subject}"))
                .arg("-CA")
                .arg(&self.own.file)
                .arg("-CAkey")
                .arg(&self.own.key)
                .args(["-addext", "basicConstraints=critical,CA:FALSE"])
                .args(["-addext", extension]),
        );
        made
    }
}

fn files(dir: &Scratch, stem: &str) -> Certificate {
    Certificate { file: dir.path(&format!("{stem}.pem")), key: dir.path(&format!("{stem}.key")) }
}

fn request(made: &Certificate, subject: &str) -> Command {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
        .args(["-nodes", "-days", "2", "-subj", subject, "-keyout"])
        .arg(&made.key)
        .arg("-out")
        .arg(&made.file);
    command
}
