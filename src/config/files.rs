//! The files that a configuration is made of, and what was in them: so that a change is seen.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use ring::digest::{self, SHA256};

/// A file that was read, or could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFile {
    /// As it was opened.
    pub path: PathBuf,
    /// Of what was read; `None`: there was no file, or it could not be read.
    digest: Option<[u8; 32]>,
    /// No more bytes than these are looked at, and one.
    most: usize,
}

impl SeenFile {
    /// It holds something else now.
    pub fn has_changed(&self) -> bool {
        digest(&read(&self.path, self.most)) != self.digest
    }
}

/// Reads files beside a configuration, and remembers which.
pub(super) struct Files<'a> {
    /// The configuration's.
    folder: &'a Path,
    seen: RefCell<&'a mut Vec<SeenFile>>,
}

impl<'a> Files<'a> {
    pub(super) fn beside(configuration: &'a Path, seen: &'a mut Vec<SeenFile>) -> Files<'a> {
        let folder = configuration.parent().unwrap_or(Path::new(""));
        Files { folder, seen: RefCell::new(seen) }
    }

    /// The file of that name, in the configuration's own folder if the name is relative.
    pub(super) fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let path = self.folder.join(name);
        let bytes = read(&path, most);
        self.seen.borrow_mut().push(SeenFile { path, digest: digest(&bytes), most });
        bytes
    }
}

/// The configuration itself. `pipes`: a pipe is read too, which can be done once.
pub(super) fn read_configuration(
    path: &Path,
    pipes: bool,
    seen: &mut Vec<SeenFile>,
) -> io::Result<Vec<u8>> {
    let bytes = read(path, CONFIGURATION_BYTES);
    seen.push(SeenFile {
        path: path.to_owned(),
        digest: digest(&bytes),
        most: CONFIGURATION_BYTES,
    });
    let bytes = match bytes {
        Err(error) if error.kind() == ErrorKind::InvalidInput && pipes => {
            take(path, CONFIGURATION_BYTES)
        }
        bytes => bytes,
    }?;
    match bytes.len() > CONFIGURATION_BYTES {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, "it is too long")),
        false => Ok(bytes),
    }
}

/// No more than it takes to see that it is too long.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Opening a pipe waits for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    take(path, most)
}

fn take(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(bytes: &io::Result<Vec<u8>>) -> Option<[u8; 32]> {
    let bytes = bytes.as_ref().ok()?;
    digest::digest(&SHA256, bytes).as_ref().first_chunk().copied()
}

/// A hundred thousand services.
const CONFIGURATION_BYTES: usize = 16 * 1024 * 1024;
