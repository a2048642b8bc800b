//! What `cargo metadata` says about this workspace, and where its neighbours are.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The packages of the workspace and its directories.
pub struct Workspace {
    /// The directory of the root `Cargo.toml`.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// The members.
    pub packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// As in its `Cargo.toml`, e.g. `shrike-wire`.
    pub name: String,
    /// The directory of its `Cargo.toml`.
    pub directory: PathBuf,
    /// Everything it depends on, of the workspace or not.
    pub dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// The package's own name, whatever the crate is called in this `Cargo.toml`.
    pub package: String,
    /// From `[dev-dependencies]`.
    pub development: bool,
}

/// Why the workspace could not be read.
#[derive(Debug)]
pub enum Error {
    /// cargo could not be started.
    Cargo(std::io::Error),
    /// cargo ended with an error; its message.
    Metadata(String),
    /// The metadata is no JSON.
    Json(serde_json::Error),
    /// The metadata lacks this field.
    Field(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Cargo(error) => write!(f, "cannot run cargo: {error}"),
            Error::Metadata(message) => write!(f, "cargo metadata failed: {message}"),
            Error::Json(error) => write!(f, "cargo metadata printed no JSON: {error}"),
            Error::Field(name) => write!(f, "cargo metadata has no field {name}"),
        }
    }
}

impl Workspace {
    /// Asks cargo, in the directory that holds this program's source.
    pub fn load() -> Result<Workspace, Error> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(here)
            .output()
            .map_err(Error::Cargo)?;
        if !output.status.success() {
            return Err(Error::Metadata(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Workspace::parse(&serde_json::from_slice(&output.stdout).map_err(Error::Json)?)
    }

    fn parse(metadata: &Value) -> Result<Workspace, Error> {
        let packages = metadata.get("packages").and_then(Value::as_array).ok_or(Error::Field("packages"))?;
        Ok(Workspace {
            root: text(metadata, "workspace_root")?.into(),
            target: text(metadata, "target_directory")?.into(),
            packages: packages.iter().map(package).collect::<Result<_, _>>()?,
        })
    }

    /// The member of this name.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// A cargo command in the root, without an input.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root).stdin(std::process::Stdio::null());
        command
    }

    /// The program that interop and the suite run: `$SHRIKE`, else the release build.
    pub fn program(&self) -> PathBuf {
        std::env::var_os("SHRIKE").map_or_else(|| self.target.join("release").join("shrike"), PathBuf::from)
    }

    /// The directory beside the project with the suite and the guest kernels, if it is there.
    pub fn shared(&self) -> Option<PathBuf> {
        self.root.parent().map(|parent| parent.join("shared")).filter(|shared| shared.is_dir())
    }
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn text<'a>(value: &'a Value, field: &'static str) -> Result<&'a str, Error> {
    value.get(field).and_then(Value::as_str).ok_or(Error::Field(field))
}

fn package(value: &Value) -> Result<Package, Error> {
    let dependencies = value.get("dependencies").and_then(Value::as_array).ok_or(Error::Field("dependencies"))?;
    let manifest = Path::new(text(value, "manifest_path")?);
    Ok(Package {
        name: text(value, "name")?.to_owned(),
        directory: manifest.parent().unwrap_or(manifest).to_owned(),
        dependencies: dependencies
            .iter()
            .map(|dependency| {
                let development = dependency.get("kind").and_then(Value::as_str) == Some("dev");
                Ok(Dependency { package: text(dependency, "name")?.to_owned(), development })
            })
            .collect::<Result<_, Error>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_packages_with_their_dependencies() {
        let metadata = serde_json::json!({
            "workspace_root": "/w", "target_directory": "/t",
            "packages": [{
                "name": "shrike-proto", "manifest_path": "/w/crates/proto/Cargo.toml",
                "dependencies": [
                    {"name": "shrike-wire", "rename": "wire", "kind": null},
                    {"name": "shrike-sim", "rename": "sim", "kind": "dev"},
                ],
            }],
        });
        let workspace = Workspace::parse(&metadata).expect("complete metadata");
        let proto = workspace.package("shrike-proto").expect("the only package");
        assert_eq!(proto.directory, Path::new("/w/crates/proto"));
        assert_eq!(
            proto.dependencies,
            [
                Dependency { package: "shrike-wire".to_owned(), development: false },
                Dependency { package: "shrike-sim".to_owned(), development: true },
            ]
        );
        assert_eq!(workspace.target, Path::new("/t"));
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = Workspace::parse(&serde_json::json!({"packages": []})).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("cargo metadata has no field workspace_root"));
    }
}
