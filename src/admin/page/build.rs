//! Compresses the page for the program to hold, and to send as it is: a fifth of the bytes, also
//! over a phone's line.

use std::io::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

const PARTS: [&str; 3] = ["index.html", "page.css", "page.js"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=src/admin/page/build.rs");
    for part in PARTS {
        let path = format!("src/admin/page/{part}");
        println!("cargo::rerun-if-changed={path}");
        let plain = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // No name and no time stand in it, so that two builds give the same bytes.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let packed = encoder.write_all(&plain).and_then(|()| encoder.finish());
        let packed = packed.expect("a vector takes everything");
        let at = out.join(format!("{part}.gz"));
        fs::write(&at, packed).unwrap_or_else(|error| panic!("{}: {error}", at.display()));
    }
}
