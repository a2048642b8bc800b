//! The secret of quick crash detection (RFC 6290 section 5.1): 32 random octets that survive a restart, in a file that
//! nobody else may read.

use crypto::Random as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use wire::Secret;

/// Octets of the secret.
const LEN: usize = 32;
/// Who may read and write the file.
const MODE: u32 = 0o600;

/// Reads the secret, or makes one if there is no file.
///
/// # Errors
/// Why there is none, in one sentence that says what to do. It never says anything of the secret.
pub fn secret(path: &Path) -> Result<Secret, String> {
    match read(path) {
        Ok(secret) => Ok(secret),
        Err(Problem::Missing) => make(path).and_then(|()| read(path).map_err(|p| p.text(path))),
        Err(problem) => Err(problem.text(path)),
    }
}

enum Problem {
    Missing,
    NoFile,
    Readable(u32),
    Length(usize),
    Io(io::Error),
}

impl Problem {
    fn text(self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Missing => format!("{path} is gone again: is another program removing it?"),
            Self::NoFile => format!("{path} is no regular file: remove it, and a new one is made"),
            Self::Readable(mode) => format!(
                "{path} has mode {mode:04o}, and whoever can read it can end all IKE SAs: remove it, and a new one is made"
            ),
            Self::Length(length) => {
                format!("{path} has {length} octets and not {LEN}: remove it, and a new one is made")
            }
            Self::Io(error) => format!("{path}: {error}"),
        }
    }
}

fn read(path: &Path) -> Result<Secret, Problem> {
    let found = fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        _ => Problem::Io(error),
    })?;
    if !found.is_file() {
        return Err(Problem::NoFile);
    }
    match found.mode() & 0o7777 {
        mode if mode & 0o077 != 0 => return Err(Problem::Readable(mode)),
        _ => {}
    }
    if found.len() != LEN as u64 {
        return Err(Problem::Length(usize::try_from(found.len()).unwrap_or(usize::MAX)));
    }
    let octets = Secret::new(fs::read(path).map_err(Problem::Io)?);
    if octets.len() == LEN { Ok(octets) } else { Err(Problem::Length(octets.len())) }
}

/// Makes the file, whole or not at all. Of two daemons that do so at once the first one's stays.
fn make(path: &Path) -> Result<(), String> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let mut octets = vec![0; LEN];
    crypto::SystemRandom.fill(&mut octets);
    let octets = Secret::new(octets);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
        file.write_all(octets.expose())?;
        file.sync_all()?;
        fs::hard_link(&new, path)
    })();
    let _ = fs::remove_file(&new);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_secret_is_made_once_and_read_again() {
        let directory = std::env::temp_dir().join(format!("shrike-qcd-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("qcd.secret");
        let first = secret(&path).unwrap();
        assert_eq!((first.len(), fs::metadata(&path).unwrap().mode() & 0o7777), (LEN, MODE));
        assert_eq!(secret(&path).unwrap().expose(), first.expose(), "the same after a restart");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing else is left");
        fs::remove_file(&path).unwrap();
        assert_ne!(secret(&path).unwrap().expose(), first.expose());

        // What others can read, or is cut off, or is something else, is not used and not overwritten.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(secret(&path).unwrap_err().contains("mode 0640"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [7; 5]).unwrap();
        let error = secret(&path).unwrap_err();
        assert!(error.contains("5 octets") && error.contains("remove it"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), [7; 5]);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(secret(&path).unwrap_err().contains("no regular file"));
        fs::remove_dir_all(&directory).unwrap();
        assert!(secret(&path).is_err(), "without its directory there is none");
    }
}
