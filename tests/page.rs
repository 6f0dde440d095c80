//! The page of `src/admin/page`, in headless Chromium: tests/page/page.py looks at it in every case
//! of tests/page/fixtures.py, and here the cases are held against the type that they stand for.
//!
//! Chromium is Debian's; axe-core, which finds what keeps people out, is in `target/venv`. Both are
//! installed by `tests/all`.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use underpass::status::{History, Status};

fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/venv/bin/python");
    assert!(program.exists(), "{}: tests/all installs it", program.display());
    let mut command = Command::new(program);
    command.arg("-B").arg(root.join("tests/page").join(script));
    command
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("python");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{wrong}", output.status);
    output
}

/// `number` checks, and all of them passed.
fn checks(arguments: &[&str], number: usize) {
    let output = run(python("page.py").args(arguments));
    let said = String::from_utf8_lossy(&output.stdout);
    let last = format!("{number} of {number} checks passed");
    assert_eq!(said.lines().last(), Some(last.as_str()), "{said}");
}

/// By a browser of its own: it takes as long as all others.
#[test]
fn nobody_is_kept_out_of_the_page() {
    checks(&["every_case"], 1);
}

#[test]
fn the_page_shows_what_it_has_to() {
    checks(&["--but", "every_case"], 11);
}

#[test]
fn its_cases_are_snapshots() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).expect("a folder");
    run(python("fixtures.py").arg(&folder));
    let (mut statuses, mut histories) = (0, 0);
    for entry in fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a file");
        if path.to_string_lossy().contains("status-") {
            is_whole::<Status>(&path, &text);
            statuses += 1;
        } else {
            is_whole::<History>(&path, &text);
            histories += 1;
        }
    }
    assert!(statuses >= 12 && histories == 2 * statuses, "{statuses}, {histories}");
    fs::remove_dir_all(&folder).expect("the folder");
}

/// It is read, and nothing is in it that the type does not have.
fn is_whole<T: DeserializeOwned + Serialize + Debug>(path: &Path, text: &str) {
    let read: T = serde_json::from_str(text).unwrap_or_else(|error| {
        panic!("{}: {error}", path.display());
    });
    let written = serde_json::to_value(&read).expect("no maps");
    let given: Value = serde_json::from_str(text).expect("it was read");
    assert_eq!(written, given, "{}", path.display());
}
