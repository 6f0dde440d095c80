//! A folder of a test's own, for files that lie beside a configuration.

use std::fs;
use std::path::PathBuf;

use underpass::config::{Config, ConfigError};

/// It goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("underpass-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    /// Writes a file.
    pub(crate) fn with(&self, name: &str, text: impl AsRef<[u8]>) -> &Folder {
        fs::write(self.path(name), text).expect("written");
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Parses `text` as `f.toml`.
    pub(crate) fn parse(
        &self,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        Config::parse(self.path("f.toml").to_str().expect("UTF-8"), text, env)
    }

    /// An error, without the folder.
    pub(crate) fn shown(&self, error: &ConfigError) -> String {
        error.to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
