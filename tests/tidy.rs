//! Style that a machine can check: widths, headers, who may import whom, and what no file may hold.
//! Every finding is listed, not the first alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of code and scripts. Prose breaks where it likes, and TOML has tables on one line.
const COLUMNS: usize = 100;

/// Of a Rust file: a longer one has more than one subject.
const LINES: usize = 650;

/// A module's folder or file below `src/`, and what its code may not name. `wire` is pure bytes,
/// `proto` decides without sockets or a clock; nothing points up.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("wire/", &["crate::proto", "crate::config", "crate::engine", "std::io", "std::time", "log::"]),
    ("proto/", &["crate::engine", "std::io", "Instant", "SystemTime", "std::thread"]),
    ("config/", &["crate::engine", "std::thread"]),
    ("limits.rs", &["crate::"]),
    ("engine/", &["crate::demo", "crate::cli", "crate::import", "crate::access_log"]),
    ("import/", &["crate::engine", "std::io", "std::fs"]),
    ("import.rs", &["crate::engine", "std::io", "std::fs"]),
    ("access_log", &["crate::engine"]),
];

/// What only some files below `src/` may name.
const RESERVED: &[(&str, &[&str])] = &[
    // One seam to the operating system.
    ("mio::", &["engine/mio_net.rs"]),
    ("signal_hook_mio::", &["engine/mio_net.rs"]),
    // Time is an argument.
    ("Instant::now", &["engine/mio_net.rs", "access_log.rs", "demo", "status_command"]),
    ("SystemTime::now", &["engine/mio_net.rs", "access_log.rs", "demo"]),
    ("process::exit", &["main.rs"]),
];

#[test]
fn sources_are_tidy() {
    let mut findings = Vec::new();
    let files = text_files();
    let sources = files.iter().filter(|(path, _)| path.starts_with("src")).count();
    assert!(sources > 10, "only {sources} files below src: looked in the wrong place?");
    for (path, text) in &files {
        let mut find = |line: usize, what: &str| {
            findings.push(format!("{}:{line}: {what}", path.display()));
        };
        layout(path, text, &mut find);
        secrets_of_the_machine(text, &mut find);
        if path.extension().is_some_and(|extension| extension == "rs") {
            let header = text.lines().take_while(|line| !line.starts_with("use ")).take(8);
            if !header.into_iter().any(|line| line.starts_with("//! ")) {
                find(1, "a file says first what it is for (`//!`)");
            }
        }
        if let Ok(below_src) = path.strip_prefix("src") {
            source(&below_src.to_string_lossy(), text, &mut find);
        }
    }
    assert!(findings.is_empty(), "{}\n{} findings", findings.join("\n"), findings.len());
}

/// Line ends, widths, white space.
fn layout(path: &Path, text: &str, find: &mut impl FnMut(usize, &str)) {
    let last = text.lines().count();
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        find(last, "a text file ends with one line feed");
    }
    let kind = path.extension().and_then(|extension| extension.to_str());
    if kind == Some("rs") && last > LINES {
        find(last, &format!("more than {LINES} lines"));
    }
    // Nor do we break what others have published.
    let given = path.starts_with("tests/article") || path.starts_with("tests/import-cases");
    let prose = matches!(kind, Some("md" | "toml")) || given;
    for (number, line) in numbered(text) {
        if line.ends_with([' ', '\t', '\r']) {
            find(number, "white space at the end");
        }
        if !prose && line.chars().count() > COLUMNS {
            find(number, &format!("more than {COLUMNS} columns"));
        }
        if kind == Some("rs") && line.contains('\t') {
            find(number, "a tab");
        }
    }
}

/// Paths and hosts of the machine that a file was written on. In pieces, so that this file passes.
fn secrets_of_the_machine(text: &str, find: &mut impl FnMut(usize, &str)) {
    const FOREIGN: &[&str] = &[
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("registry+spa", "rse"),
    ];
    for (number, line) in numbered(text) {
        for foreign in FOREIGN.iter().filter(|foreign| line.contains(**foreign)) {
            find(number, &format!("{foreign}: a path or host of one machine"));
        }
    }
}

/// Imports and calls of one file below `src/`; its tests, which stand last, may do as they like.
fn source(path: &str, text: &str, find: &mut impl FnMut(usize, &str)) {
    if is_tests(path) {
        return;
    }
    for (number, line) in numbered(text) {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for (folder, words) in FORBIDDEN {
            for word in words.iter().filter(|word| path.starts_with(folder) && names(code, word)) {
                find(number, &format!("{word} in {folder}"));
            }
        }
        for (word, allowed) in RESERVED {
            if names(code, word) && !allowed.iter().any(|place| path.starts_with(place)) {
                find(number, &format!("{word} outside of {}", allowed.join(" and ")));
            }
        }
        if code.contains(".unwrap()") {
            find(number, "an unwrap without a proof");
        }
    }
}

/// A file of tests below `src/`.
fn is_tests(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("tests/")
}

/// Whether `code` holds `word`, not as the end of a longer one.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.split_terminator('\n'))
}

/// All text files of the repository, by their path in it. No git is needed: a release's archive is
/// checked like a clone.
fn text_files() -> Vec<(PathBuf, String)> {
    const SKIPPED: &[&str] = &[".git", "target", "artifacts", "corpus"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable entry");
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().expect("a file type");
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| name == *skipped) {
                folders.push(path);
            } else if kind.is_file() && is_text(&path) {
                let text = fs::read_to_string(&path).expect("UTF-8 in a text file");
                let below = path.strip_prefix(root).expect("below the root");
                found.push((below.to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Known kinds, and scripts, which have no extension.
fn is_text(path: &Path) -> bool {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(kind) => ["rs", "toml", "md", "sh", "py", "service", "yml"].contains(&kind),
        None => fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"#!")),
    }
}

/// Modules that import each other, each circle by one of its files, with the reason.
const CIRCLES: &[(&str, &str)] = &[
    ("engine/server.rs", "one type, the server, whose methods lie in a file for each subject"),
    ("engine/client.rs", "one type, the client, likewise"),
    ("config/mod.rs", "the file is read into the types of what it sets, which know their limits"),
    ("wire/http/rewrite.rs", "heads are read and written by one grammar, in a file for each part"),
    ("import/inputs.rs", "a file's place is in each error, and errors are what reading gives"),
    ("import/ports.rs", "a container has its ports, and where they lead depends on the container"),
];

#[test]
fn no_circle_is_without_a_reason() {
    let imports = imports();
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 200, "too few were read");
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for start in imports.keys() {
        let (mut seen, mut rest) = (BTreeSet::new(), vec![start.as_str()]);
        while let Some(from) = rest.pop() {
            rest.extend(imports[from].iter().map(String::as_str).filter(|to| seen.insert(*to)));
        }
        reached.insert(start, seen);
    }
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        let circle: Vec<&str> =
            others.iter().copied().filter(|other| reached[other].contains(file)).collect();
        let known = |(member, _): &(&str, &str)| circle.contains(member);
        if circle.len() > 1 && !CIRCLES.iter().any(known) {
            circles.insert(circle);
        }
    }
    assert!(circles.is_empty(), "modules that import each other:\n{circles:#?}");
}

/// For each file below `src/`, those that it imports, tests left out.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let below_src = |(path, text): (PathBuf, String)| {
        let path = path.strip_prefix("src").ok()?.to_str()?.to_owned();
        (path.ends_with(".rs") && !is_tests(&path)).then_some((path, text))
    };
    let files: BTreeMap<String, String> = text_files().into_iter().filter_map(below_src).collect();
    let module = |path: &[&str]| {
        // The longest part of it that is a file: what follows are its items.
        (1..=path.len()).rev().find_map(|length| {
            let stem = path[..length].join("/");
            [format!("{stem}.rs"), format!("{stem}/mod.rs")]
                .into_iter()
                .find(|it| files.contains_key(it))
        })
    };
    let of = |(path, text): (&String, &String)| {
        let own = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let own: Vec<&str> = own.split('/').collect();
        let named = uses(text).into_iter().filter_map(|used| {
            let mut words: Vec<&str> = used.split("::").collect();
            let mut from = own.clone();
            match words.remove(0) {
                "crate" => from.clear(),
                "self" => {}
                "super" => {
                    from.pop();
                    while words.first() == Some(&"super") {
                        words.remove(0);
                        from.pop();
                    }
                }
                _ => return None,
            }
            from.extend(words);
            module(&from).filter(|to| to != path)
        });
        (path.clone(), named.collect())
    };
    files.iter().map(of).collect()
}

/// What the `use` lines before a file's tests name, one path each.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let statements = code.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
    let mut paths = Vec::new();
    for statement in statements {
        let flat: String = statement.split_whitespace().collect();
        expand("", &flat, &mut paths);
    }
    paths
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((stem, rest)) = tree.split_once('{') else {
        return paths.push(format!("{prefix}{tree}"));
    };
    let prefix = format!("{prefix}{stem}");
    let (mut depth, mut begin) = (0, 0);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' | b'}' if depth == 0 => {
                if at > begin {
                    expand(&prefix, &rest[begin..at], paths);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

#[test]
fn findings_are_found() {
    let count = |path: &str, text: &str| {
        let mut found = 0;
        layout(Path::new(path), text, &mut |_, _| found += 1);
        secrets_of_the_machine(text, &mut |_, _| found += 1);
        source(path, text, &mut |_, _| found += 1);
        found
    };
    for (path, text, findings) in [
        ("wire/a.rs", "use crate::limits::X;\n", 0),
        ("wire/a.rs", "use crate::engine::X;\n", 1),
        ("wire/a.rs", "// crate::engine\n", 0),
        ("proto/a.rs", "use std::time::Instant;\n", 1),
        ("engine/core.rs", "use mio::Poll;\n", 1),
        ("engine/mio_net.rs", "use mio::Poll;\n", 0),
        ("engine/core.rs", "use tokio_mio::Poll;\n", 0),
        ("a.rs", "x.unwrap();\n", 1),
        ("a.rs", "#[cfg(test)]\nx.unwrap();\n", 0),
        ("a.rs", "no end", 1),
        ("a.rs", "two ends\n\n", 1),
        ("a.rs", "space \n\ttab\n", 2),
        ("a.toml", concat!("x = \"/wo", "rk/hub\"\n"), 1),
    ] {
        assert_eq!(count(path, text), findings, "{path}: {text:?}");
    }
    let long = "x".repeat(COLUMNS + 1) + "\n";
    assert_eq!((count("a.rs", &long), count("a.md", &long)), (1, 0));
    let many = "x\n".repeat(LINES + 1);
    assert_eq!((count("a.rs", &many), count("a.md", &many)), (1, 0));
}
