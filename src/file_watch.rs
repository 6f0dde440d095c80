//! Watches files for changes by inotify, on the folders that they lie in: so a rename over one is
//! seen, and so is a link that is swapped, as Kubernetes and Docker do it. Never waits: whoever
//! owns it polls its descriptor, and says what time it is.
//!
//! Calls: [`FileWatch::set`] after each look at the files; [`FileWatch::handle_events`] when the
//! descriptor is readable; [`FileWatch::poll_changed`] when [`FileWatch::deadline`] has come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::config::SeenFile;
use crate::proto::time::Time;

/// The files of one configuration, under watch.
pub struct FileWatch {
    inotify: OwnedFd,
    files: Vec<SeenFile>,
    /// By inotify's number: the names in a folder that matter.
    watches: HashMap<i32, BTreeSet<OsString>>,
    /// When nothing more has happened for a while.
    quiet: Option<Time>,
}

impl FileWatch {
    /// Of no files yet. Fails where the user has too many instances.
    pub fn new() -> io::Result<FileWatch> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let inotify = inotify.map_err(explain)?;
        Ok(FileWatch { inotify, files: Vec::new(), watches: HashMap::new(), quiet: None })
    }

    /// Readable when there are events.
    pub fn descriptor(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }

    /// Watches these from now on, and no others. A change since they were read counts.
    /// An error says that some changes will not be seen.
    pub fn set(&mut self, files: Vec<SeenFile>, now: Time) -> io::Result<()> {
        self.files = files;
        let watched = self.watch();
        self.quiet = self.has_changed().then_some(now + QUIET);
        watched
    }

    /// Takes in what has happened.
    pub fn handle_events(&mut self, now: Time) {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        // An error is that there are no more events.
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let counts = self.watches.get(&event.wd()).is_some_and(|names| match name {
                Some(name) => names.contains(name),
                None => true, // the folder or the file itself
            });
            if lost || counts {
                self.quiet = Some(now + QUIET);
            }
        }
    }

    /// When to call [`FileWatch::poll_changed`].
    pub fn deadline(&self) -> Option<Time> {
        self.quiet
    }

    /// Whether the files hold something else than when they were read, now that it is quiet. Their
    /// folders may be others by now, and are watched in the place of the old ones.
    pub fn poll_changed(&mut self, now: Time) -> io::Result<bool> {
        if self.quiet.is_none_or(|quiet| quiet > now) {
            return Ok(false);
        }
        self.quiet = None;
        let watched = self.watch();
        let changed = self.has_changed();
        watched.map(|()| changed).or_else(|error| if changed { Ok(true) } else { Err(error) })
    }

    fn has_changed(&self) -> bool {
        self.files.iter().any(SeenFile::has_changed)
    }

    /// Watches every folder on the way to each file. If the way changes meanwhile, once more.
    fn watch(&mut self) -> io::Result<()> {
        let mut watched = Ok(());
        let mut before = BTreeMap::new();
        for _ in 0..ROUNDS {
            let wanted = self.wanted()?;
            if wanted == before {
                break;
            }
            watched = self.add_all(&wanted);
            before = wanted;
        }
        watched
    }

    /// What to watch: folders with the names that matter there, and files.
    fn wanted(&self) -> io::Result<BTreeMap<PathBuf, BTreeSet<OsString>>> {
        let mut wanted = BTreeMap::new();
        for file in &self.files {
            follow(&std::path::absolute(&file.path)?, &mut wanted);
        }
        Ok(wanted)
    }

    fn add_all(&mut self, wanted: &BTreeMap<PathBuf, BTreeSet<OsString>>) -> io::Result<()> {
        let mut watches: HashMap<i32, BTreeSet<OsString>> = HashMap::new();
        let mut watched = Ok(());
        for (path, names) in wanted {
            // The end of a way has no names: a file, whose writers may come by another way, as into
            // a container.
            let flags = if names.is_empty() { OF_FILES } else { OF_FOLDERS };
            match inotify::add_watch(&self.inotify, path, flags | WatchFlags::MASK_ADD) {
                Ok(number) => watches.entry(number).or_default().extend(names.iter().cloned()),
                // It is gone, or none of ours to read: the folder above tells when it is.
                Err(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => watched = Err(explain(error)),
            }
        }
        for gone in self.watches.keys().filter(|number| !watches.contains_key(number)) {
            let _ = inotify::remove_watch(&self.inotify, *gone); // the kernel may have done it
        }
        self.watches = watches;
        watched
    }
}

/// Walks an absolute path as the kernel does, and adds each folder on the way with the name that is
/// looked up there, then what it ends at. A link leads on from where it points to.
fn follow(path: &Path, wanted: &mut BTreeMap<PathBuf, BTreeSet<OsString>>) {
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        wanted.entry(at.clone()).or_default().insert(name);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                left.extend(names(&target));
            }
            Ok(_) => return,
            Err(_) => at = next,
        }
    }
    wanted.entry(at).or_default();
}

/// The kernel's own words for a limit of inotify's are about a disk, or about this process.
fn explain(error: Errno) -> io::Error {
    let limit = match error {
        Errno::NOSPC => "fs.inotify.max_user_watches",
        Errno::MFILE => "fs.inotify.max_user_instances",
        _ => return error.into(),
    };
    io::Error::other(format!("the limit {limit} has been reached"))
}

/// A path's names, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// An editor writes a file in several steps; this is longer than between any two.
const QUIET: Duration = Duration::from_millis(300);
/// As many as the kernel follows.
const LINKS: usize = 40;
/// A way that changes each time is changing still, and there will be events.
const ROUNDS: usize = 4;
/// Some dozen events.
const EVENT_BYTES: usize = 4096;
/// A file is whole when its writer closes it: a write by itself says nothing.
const OF_FILES: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::ATTRIB);
/// Not what is written there: that may be a log.
const OF_FOLDERS: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_watched_where_it_lies() {
        let top = std::env::temp_dir().canonicalize().expect("a folder");
        let top = top.join(format!("underpass-follow-{}", std::process::id()));
        fs::create_dir_all(top.join("mount/..v1")).expect("a folder");
        fs::write(top.join("mount/..v1/a.toml"), "").expect("a file");
        // As Kubernetes mounts a ConfigMap.
        symlink("..v1", top.join("mount/..data")).expect("a link");
        symlink("..data/a.toml", top.join("mount/a.toml")).expect("a link");
        symlink(top.join("mount/a.toml"), top.join("b.toml")).expect("a link");
        let mut wanted = BTreeMap::new();
        follow(&top.join("mount/../b.toml"), &mut wanted);
        let names = |path: &Path| -> Vec<String> {
            let names = wanted.get(path).unwrap_or_else(|| panic!("{path:?} in {wanted:?}"));
            names.iter().map(|name| name.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(&top), ["b.toml", "mount"]);
        assert_eq!(names(&top.join("mount")), ["..data", "..v1", "a.toml"]);
        assert_eq!(names(&top.join("mount/..v1")), ["a.toml"]);
        assert_eq!(names(&top.join("mount/..v1/a.toml")), [""; 0]);
        assert!(wanted.contains_key(Path::new("/")));
        // What is missing is waited for where it should be; and a circle has an end.
        symlink("loop", top.join("loop")).expect("a link");
        follow(&top.join("loop/c.toml"), &mut wanted);
        follow(&top.join("none/c.toml"), &mut wanted);
        assert!(wanted[&top].contains(OsStr::new("none")));
        fs::remove_dir_all(&top).expect("removed");
    }
}
