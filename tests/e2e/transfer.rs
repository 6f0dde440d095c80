//! Much at once: a gigabyte each way, and five hundred visitors.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use crate::harness::{PATIENCE, alone, run_ok, wait_until};
use crate::home::digest;
use crate::house::{Pair, returns_to, settled};

#[test]
fn a_gigabyte_each_way_with_the_same_hash() {
    const SIZE: u64 = 1 << 30;
    let _alone = alone();
    let pair = Pair::start();
    let before = settled(&pair.processes());
    let file = pair.pi.www().join("big");
    let expected = write_noise(&file, SIZE);

    let start = Instant::now();
    let seen = download(&pair, "https://pi.example.com/files/big");
    assert_eq!(seen, (SIZE, expected.clone()), "download");
    eprintln!("download: {:?}", start.elapsed());

    let start = Instant::now();
    let answer = pair.curl("local").upload(&file).get("https://local.example.com/up");
    assert_eq!(answer.body, format!("{SIZE} {expected}\n"), "upload: {answer:?}");
    eprintln!("upload: {:?}", start.elapsed());

    // Both at once, through one client; less of it.
    let part = pair.pi.www().join("part");
    let expected = write_noise(&part, SIZE / 8);
    thread::scope(|scope| {
        scope.spawn(|| {
            let answer = pair.curl("pi").upload(&part).get("https://www.pi.example.com/up");
            assert!(answer.body.contains(&expected), "upload beside a download: {answer:?}");
        });
        let seen = download(&pair, "https://pi.example.com/files/part");
        assert_eq!(seen, (SIZE / 8, expected.clone()), "download beside an upload");
    });
    returns_to(&before, &pair.processes());
}

/// Small enough for a client whose processor is emulated.
#[test]
fn a_file_each_way() {
    const SIZE: u64 = 8 << 20;
    let pair = Pair::start();
    let file = pair.pi.www().join("file");
    let expected = write_noise(&file, SIZE);
    let seen = download(&pair, "https://pi.example.com/files/file");
    assert_eq!(seen, (SIZE, expected.clone()), "download");
    let answer = pair.curl("local").upload(&file).get("https://local.example.com/up");
    assert_eq!(answer.body, format!("{SIZE} {expected}\n"), "upload: {answer:?}");
}

/// Length and hash of what curl gets from pi's site.
fn download(pair: &Pair, url: &str) -> (u64, String) {
    let mut curl = pair.curl("pi").command(url);
    let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
    let seen = digest(child.stdout.as_mut().unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    seen
}

/// Fills `path` with bytes that do not compress or repeat, and gives their hash.
pub(crate) fn write_noise(path: &Path, size: u64) -> String {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..size / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes()).unwrap();
    }
    file.into_inner().unwrap();
    digest(&mut File::open(path).unwrap()).unwrap().1
}

#[test]
fn five_hundred_visitors_at_once() {
    const EACH: usize = 125;
    let _alone = alone();
    let pair = Pair::start();
    let before = settled(&pair.processes());
    // At 32 KB a second each takes some seconds: all five hundred are there at the same time.
    let text: String = (0..20_000).map(|i| format!("{i:07}\n")).collect();
    for site in [&pair.pi, &pair.local] {
        fs::write(site.www().join("page"), &text).unwrap();
    }
    let connections = |name: &str| -> usize {
        let status = pair.curl(name).get(&format!("https://{name}.example.com/status")).body;
        let first = status.lines().next().unwrap_or_default();
        first.trim_start_matches("Active connections:").trim().parse().unwrap_or(0)
    };
    thread::scope(|scope| {
        let mut waiting = Vec::new();
        for (group, name) in ["pi", "pi", "local", "local"].into_iter().enumerate() {
            let pair = &pair;
            let out = pair.vps.dir.path(&format!("group{group}"));
            let url = format!("https://w[1-{EACH}].{name}.example.com/slow/page");
            fs::create_dir(&out).unwrap();
            let curl = pair.curl(name).args(&[
                "--http1.1",
                "--parallel",
                "--parallel-immediate",
                "--parallel-max",
                "300",
                // A network of its own for each group.
                "--interface",
                &format!("127.90.{group}.1"),
                "-o",
                &out.join("#1").display().to_string(),
            ]);
            waiting.push((out, scope.spawn(move || run_ok(&mut curl.command(&url)))));
        }
        wait_until(PATIENCE, "500 visitors at the same time", || {
            // Each look is a visitor too.
            connections("pi") > 2 * EACH && connections("local") > 2 * EACH
        });
        for (out, thread) in waiting {
            thread.join().unwrap();
            for number in 1..=EACH {
                let got = fs::read_to_string(out.join(number.to_string())).unwrap();
                assert!(got == text, "{} {number}: {} bytes", out.display(), got.len());
            }
        }
    });
    returns_to(&before, &pair.processes());
}
