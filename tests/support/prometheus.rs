//! A real Prometheus that scrapes an address, and what it has got.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// It starts within a second and scrapes each second.
const PATIENCE: Duration = Duration::from_secs(40);

/// Ends with its owner.
pub(crate) struct Prometheus {
    child: Child,
    folder: PathBuf,
    /// Of its own API.
    address: String,
}

impl Prometheus {
    /// Scrapes `targets`, each `HOST:PORT`, as the job `underpass`, as a user with a password if
    /// there is one. Its files lie in `folder`, which is made and goes with it.
    pub(crate) fn start(
        folder: &Path,
        targets: &[String],
        login: Option<(&str, &str)>,
    ) -> Prometheus {
        fs::create_dir_all(folder).expect("a folder");
        let login = login.map_or(String::new(), |(user, password)| {
            format!("    basic_auth: {{ username: '{user}', password: '{password}' }}\n")
        });
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  \
             - job_name: underpass\n    static_configs: [{{ targets: {targets:?} }}]\n{login}"
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).expect("a file");
        let data = folder.join("data");
        // It dies with the thread that has started it, also when the test is killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "prometheus"])
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (found, address) = mpsc::channel();
        // To its end, so that it never waits for a reader.
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let listening = line.contains("Listening on");
                let port = line.split("address=").nth(1).filter(|_| listening);
                if let Some(port) = port.and_then(|rest| rest.split_whitespace().next()) {
                    let _ = found.send(port.to_owned());
                }
            }
        });
        let address = address.recv_timeout(PATIENCE).expect("prometheus listens");
        Prometheus { child, folder: folder.to_owned(), address }
    }

    /// The value of an expression that has one series, as soon as there is one.
    #[track_caller]
    pub(crate) fn value(&self, expression: &str) -> f64 {
        let start = Instant::now();
        loop {
            let answer = self.query(expression);
            if let [series] = answer.as_slice() {
                let text = series["value"][1].as_str().expect("a number is a text");
                return text.parse().expect("a number");
            }
            assert!(start.elapsed() < PATIENCE, "{expression}: {answer:?}; {:?}", self.errors());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The series of an expression, now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// What was wrong with the last scrapes.
    pub(crate) fn errors(&self) -> Vec<String> {
        let targets = self.get("/api/v1/targets");
        let targets = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let error = |target: &Value| target["lastError"].as_str().map(str::to_owned);
        targets.iter().filter_map(error).filter(|error| !error.is_empty()).collect()
    }

    /// Null while it is not ready.
    fn get(&self, target: &str) -> Value {
        let ask = || {
            let mut stream = TcpStream::connect(&self.address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // Without chunks.
            write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = ask().unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
