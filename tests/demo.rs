//! The demo, as a newcomer runs it: the table, then the printed curl commands, then Ctrl-C.
#![cfg(feature = "demo")]

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// For everything the demo does; it needs a second.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn once_every_answer_is_right() {
    let mut demo = Demo::start(&["--once"]);
    let lines = demo.lines_until(|_| false);
    assert!(demo.wait().success(), "{lines:#?}");
    let right = lines.iter().filter(|line| line.ends_with(" right")).count();
    assert_eq!(right, 12, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("WRONG")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.starts_with("curl")), "{lines:#?}");
}

#[test]
fn the_printed_commands_work_until_ctrl_c() {
    let mut demo = Demo::start(&[]);
    let lines = demo.lines_until(|line| line.contains("Ctrl-C"));
    let commands: Vec<&String> = lines.iter().filter(|line| line.starts_with("curl ")).collect();
    assert!(commands.len() >= 5, "{lines:#?}");
    for command in &commands {
        let output = run(command);
        let page = String::from_utf8_lossy(&output.stdout);
        let error = String::from_utf8_lossy(&output.stderr);
        if command.contains("http://nobody.") {
            assert!(
                output.status.success() && page.starts_with("404 "),
                "{command}: {page}{error}"
            );
        } else if command.contains("https://nobody.") {
            assert_eq!(output.status.code(), Some(35), "{command}: {page}{error}");
            assert!(error.contains("unrecognized name"), "{command}: {error}");
        } else {
            let home = if command.contains("pi.example.test") { "pi" } else { "local" };
            let says = format!("This is {home}, at home.");
            assert!(output.status.success() && page.starts_with(&says), "{command}: {page}{error}");
        }
    }
    let files: Vec<&str> = commands.iter().filter_map(|line| line.split('\'').nth(1)).collect();
    assert!(files.iter().all(|file| Path::new(file).exists()), "{files:?}");

    demo.interrupt();
    let status = demo.wait();
    assert_eq!(status.code(), Some(0), "after SIGINT: {status}");
    let folders = files.iter().filter_map(|file| Path::new(file).parent());
    for folder in folders {
        assert!(!folder.exists(), "{} was left behind", folder.display());
    }
}

/// A demo that does not outlive its test.
struct Demo {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let mut child = Command::new(env!("CARGO_BIN_EXE_underpass"))
            .arg("demo")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(io::Result::ok) {
                let _ = sender.send(line);
            }
        });
        Demo { child, lines }
    }

    /// Its lines up to the one that is `last`, or to the end of its output.
    fn lines_until(&self, last: impl Fn(&str) -> bool) -> Vec<String> {
        let end = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = last(&line);
                    lines.push(line);
                    if found {
                        return lines;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return lines,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("too slow after {lines:#?}"),
            }
        }
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), Signal::INT).expect("it runs");
    }

    /// How it ended.
    fn wait(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < end, "the demo does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As a newcomer would: the line, in a shell, quieter than curl is by itself.
fn run(command: &str) -> Output {
    let line = command.replacen("curl ", "curl --silent --show-error --max-time 10 ", 1);
    let output = Command::new("sh").args(["-c", &line]).output().expect("there is a shell");
    assert_ne!(output.status.code(), Some(127), "curl is not installed");
    output
}
