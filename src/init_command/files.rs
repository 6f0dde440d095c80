//! New files, all of them or none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// One that is to be written.
pub(super) struct NewFile {
    path: PathBuf,
    text: String,
    mode: u32,
}

impl NewFile {
    /// One that everybody may read.
    pub(super) fn open(path: PathBuf, text: String) -> NewFile {
        NewFile { path, text, mode: 0o644 }
    }

    /// One that its owner alone may read.
    pub(super) fn secret(path: PathBuf, text: String) -> NewFile {
        NewFile { path, text, mode: 0o600 }
    }
}

/// Writes them into `dir` and the folders right below it, which are made where they are missing. If
/// one of them is there already, or cannot be written, there are none afterwards.
pub(super) fn write(dir: &Path, files: &[NewFile]) -> Result<(), String> {
    for NewFile { path, .. } in files {
        match fs::symlink_metadata(path) {
            Ok(_) => return Err(format!("{} is there already{NOTHING}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(path, &error)),
        }
    }
    let mut made = Made::default();
    fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    for NewFile { path, text, mode } in files {
        let done = made.folder_of(path).and_then(|()| made.file(path, text, *mode));
        if let Err(error) = done {
            made.undo();
            return Err(failed(path, &error));
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot write it: {error}{NOTHING}", path.display())
}

const NOTHING: &str = " (nothing is written)";

/// What there is so far.
#[derive(Default)]
struct Made {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Made {
    fn folder_of(&mut self, path: &Path) -> io::Result<()> {
        let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return Ok(());
        };
        match fs::create_dir(folder) {
            Ok(()) => self.folders.push(folder.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A file that has come meanwhile stays what it is.
    fn file(&mut self, path: &Path, text: &str, mode: u32) -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        self.files.push(path.to_owned());
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn undo(self) {
        for file in self.files {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}
