//! A listener in the file system: its permissions say who may come.

use std::fs::{self, Permissions};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Owner and group.
const MODE: u32 = 0o660;

/// The listener; its file goes with it.
pub struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixDoor {
    /// Listens at `path`, where what a process has left behind that is no more is taken away.
    pub(super) fn open(path: &Path) -> io::Result<UnixDoor> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "is there, no socket"));
            }
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    fs::remove_file(path)?;
                }
                _ => return Err(io::ErrorKind::AddrInUse.into()),
            },
        }
        let listener = UnixListener::bind(path)?;
        let door = UnixDoor { listener, path: path.to_owned() };
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        door.listener.set_nonblocking(true)?;
        Ok(door)
    }

    /// The next connection, non-blocking. To whoever reads, writes and closes, it is one like any
    /// other.
    pub(super) fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from(OwnedFd::from(stream)))
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        // Nobody is served there any more; the next one to listen takes it away if need be.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_file_that_is_left_behind_is_taken_and_one_in_use_is_not() {
        let folder = std::env::temp_dir().join(format!("underpass-door-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder of our own");
        let path = folder.join("admin.sock");
        drop(UnixListener::bind(&path).expect("nobody has it"));
        assert!(path.exists(), "std leaves it behind");
        let door = UnixDoor::open(&path).expect("nobody listens there");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let again = UnixDoor::open(&path).map(|_| ()).expect_err("somebody listens there");
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        let mut there = UnixStream::connect(&path).expect("it listens");
        let until = Instant::now() + Duration::from_secs(10);
        // Asking whether somebody listens was a connection too.
        let mut here: Vec<TcpStream> = Vec::new();
        while here.len() < 2 {
            assert!(Instant::now() < until, "accepts {}", here.len());
            here.extend(door.accept());
        }
        there.write_all(b"x").expect("it is open");
        let mut byte = [0];
        while here[1].read(&mut byte).is_err() {
            assert!(Instant::now() < until, "nothing comes");
        }
        assert_eq!(byte, *b"x");
        drop(door);
        assert!(!path.exists());
        fs::write(&path, "mine").expect("a folder of our own");
        assert!(UnixDoor::open(&path).is_err());
        fs::remove_dir_all(&folder).expect("a folder of our own");
    }
}
