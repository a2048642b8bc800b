//! The file system, for the configuration parser.

use config::{FileError, Files};

/// Configuration files of this host.
pub struct SystemFiles;

impl Files for SystemFiles {
    fn read(&self, path: &str) -> Result<String, FileError> {
        std::fs::read_to_string(path).map_err(|e| FileError::from(e.kind()))
    }

    fn glob(&self, pattern: &str) -> Vec<String> {
        let Ok(paths) = glob::glob(pattern) else { return Vec::new() };
        // glob returns alphabetical order, in which strongSwan reads them too.
        paths.filter_map(Result::ok).filter_map(|p| p.into_os_string().into_string().ok()).collect()
    }
}
