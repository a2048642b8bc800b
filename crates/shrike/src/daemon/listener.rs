//! The control socket's place in the file system.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The control socket's file, which goes with the daemon.
pub struct SocketFile(pub PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // somebody else took it away
    }
}

/// Opens the control socket, owner and group only. A socket that nobody serves is replaced; anything else is left alone.
///
/// # Errors
/// Why not, and what to do.
pub fn listen(path: &Path) -> Result<mio::net::UnixListener, String> {
    let shown = path.display();
    match UnixStream::connect(path).map_err(|e| e.kind()) {
        Ok(_) => {
            return Err(format!("another daemon serves {shown}: stop it, or choose another socket with --vici"));
        }
        Err(ErrorKind::PermissionDenied) => {
            return Err(format!(
                "not permitted to use the control socket {shown}: run as root, or choose another with --vici"
            ));
        }
        Err(_) => {}
    }
    match std::fs::symlink_metadata(path).map(|m| m.file_type()) {
        Ok(kind) if kind.is_socket() => std::fs::remove_file(path).map_err(|e| {
            format!("cannot remove the control socket {shown} that a killed daemon left: {e}; run as root, or choose another with --vici")
        })?,
        Ok(_) => {
            return Err(format!("{shown} is no socket: choose another place for the control socket with --vici unix:///PATH"));
        }
        Err(_) => {}
    }
    if let Some(directory) = path.parent() {
        let _ = std::fs::create_dir_all(directory); // what is wrong with it, bind says
    }
    let listener = mio::net::UnixListener::bind(path).map_err(|e| match e.kind() {
        ErrorKind::PermissionDenied => {
            format!("not permitted to open the control socket {shown}: run as root, or choose another with --vici unix:///PATH")
        }
        _ => format!("cannot open the control socket {shown}: {e}; choose another with --vici unix:///PATH"),
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o770))
        .map_err(|e| format!("cannot restrict {shown}: {e}"))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("shrike-listener-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_socket_that_is_served_is_not_taken_over_and_a_stale_one_is() {
        let path = place("socket");
        let first = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o770);
        let error = listen(&path).unwrap_err();
        assert!(error.contains("another daemon serves"), "{error}");
        drop(first);
        let second = listen(&path).unwrap();
        drop(second);
        drop(SocketFile(path.clone()));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let path = place("file");
        std::fs::write(&path, "precious").unwrap();
        let error = listen(&path).unwrap_err();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
    }
}
