//! Access to `tests/corpus`: what real and broken clients say first, with what is to come of it.

#![allow(dead_code, reason = "every test crate has its own copy and uses a part of it")]

pub(crate) mod http;
pub(crate) mod http_rows;
pub(crate) mod prometheus;
pub(crate) mod statuses;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// One case of `manifest.json`; `tests/corpus/README.md` explains the fields.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expect: Value,
}

impl Case {
    pub(crate) fn verdict(&self) -> &str {
        self.text("verdict").expect("every case has a verdict")
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.expect[field].as_str()
    }

    pub(crate) fn number(&self, field: &str) -> Option<usize> {
        self.expect[field].as_u64().map(|n| n as usize)
    }
}

/// The cases for one parser: `tls` or `http`, one file each.
pub(crate) fn cases(parser: &str) -> Vec<Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let manifest = fs::read(folder.join("manifest.json")).expect("tests/corpus/manifest.json");
    let manifest: Value = serde_json::from_slice(&manifest).expect("a JSON manifest");
    let all = manifest["cases"].as_array().expect("an array of cases");
    let wanted = all.iter().filter(|case| case["parser"] == parser);
    wanted
        .map(|case| {
            let file = case["files"][0].as_str().expect("a file for every case");
            Case {
                name: case["name"].as_str().expect("a name for every case").to_owned(),
                bytes: fs::read(folder.join(file)).expect(file),
                expect: case["expect"].clone(),
            }
        })
        .collect()
}

/// The value of the first head's only Host field, without the white space around it.
pub(crate) fn host_value(request: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    for line in request.split(|&byte| byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        if line[..colon].eq_ignore_ascii_case(b"host") {
            assert!(found.is_none(), "two Host fields");
            found = Some(line[colon + 1..].trim_ascii());
        }
    }
    found
}
