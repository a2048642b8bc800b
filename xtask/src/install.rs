//! `cargo xtask install` and `uninstall`: the program and what belongs to it, in the places of a Unix.
//!
//! Everything that is installed is written to a list, which lies beside the rest; nothing is replaced or removed that is not
//! on the list of an earlier installation.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::workspace::Workspace;

/// Where to.
#[derive(Args, Debug, Clone)]
pub struct Place {
    /// Below what the program will run
    #[arg(long, value_name = "DIRECTORY", default_value = "/usr/local")]
    pub prefix: PathBuf,
    /// A directory that stands for the root, for packages
    #[arg(long, value_name = "DIRECTORY")]
    pub destdir: Option<PathBuf>,
}

/// What `install` takes.
#[derive(Args, Debug, Clone)]
pub struct Options {
    #[command(flatten)]
    pub place: Place,
    /// The program to install, instead of a release build
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Have the link racoonctl replace another program of that name
    #[arg(long)]
    pub force_links: bool,
}

/// Why nothing was installed or removed.
#[derive(Debug)]
pub enum Error {
    /// There is no program, and it could not be built or asked for its man page.
    Program(PathBuf, String),
    /// Something lies in the way that no earlier installation made.
    Taken(PathBuf),
    /// The same, where the link to be should lie.
    LinkTaken(PathBuf),
    /// The prefix does not begin at the root, and a unit needs a whole path.
    Relative(PathBuf),
    /// Nothing was installed here.
    NotInstalled(PathBuf),
    /// A file could not be read, written or removed.
    File(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Program(path, why) => write!(f, "{}: {why}; name another with --program", path.display()),
            Error::Taken(path) => write!(
                f,
                "{} is there already and is not of an installation of Shrike: move it away, or choose another --prefix",
                path.display()
            ),
            Error::LinkTaken(path) => write!(
                f,
                "{} is another program: remove it (Debian: apt-get remove racoon), choose another --prefix, or replace it \
                 with --force-links",
                path.display()
            ),
            Error::Relative(prefix) => {
                write!(f, "--prefix {} does not begin with '/': what is relative is --destdir", prefix.display())
            }
            Error::NotInstalled(list) => write!(
                f,
                "{} is not there, so nothing was installed with this --prefix and --destdir: give the same ones as to install",
                list.display()
            ),
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

/// What lies where: the path on the machine, and where it is written.
struct Layout {
    prefix: PathBuf,
    destdir: PathBuf,
}

/// What an installed file is made of.
enum Content {
    File(Vec<u8>, u32),
    Link(&'static str),
}

impl Layout {
    fn of(place: &Place) -> Layout {
        Layout { prefix: place.prefix.clone(), destdir: place.destdir.clone().unwrap_or_else(|| "/".into()) }
    }

    /// Where a path of the machine is written.
    fn real(&self, path: &Path) -> PathBuf {
        self.destdir.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The list of what is installed, with paths of the machine.
    fn list(&self) -> PathBuf {
        self.real(&self.prefix.join("share/shrike/installed"))
    }

    /// Units of a package are the system's own, others the administrator's.
    fn units(&self) -> PathBuf {
        if self.prefix == Path::new("/usr") { "/usr/lib/systemd/system".into() } else { "/etc/systemd/system".into() }
    }

    /// What an earlier installation left.
    fn installed(&self) -> Result<BTreeSet<PathBuf>, Error> {
        match fs::read_to_string(self.list()) {
            Ok(text) => Ok(text.lines().map(PathBuf::from).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(Error::File(self.list(), error)),
        }
    }
}

/// Builds the program where none is named, installs it, and says what lies where now.
pub fn install(workspace: &Workspace, options: &Options) -> Result<Vec<PathBuf>, Error> {
    if !options.place.prefix.is_absolute() {
        return Err(Error::Relative(options.place.prefix.clone()));
    }
    let program = match &options.program {
        Some(program) => program.clone(),
        None => {
            let program = workspace.target.join("release").join("shrike");
            let built = workspace.cargo(&["build", "--release", "-p", "shrike"]).status();
            if !built.is_ok_and(|status| status.success()) {
                return Err(Error::Program(program, "it cannot be built".to_owned()));
            }
            program
        }
    };
    let layout = Layout::of(&options.place);
    let files = files(workspace, &layout, &program)?;
    let before = layout.installed()?;
    // First look, then write: an installation that is refused leaves everything as it was.
    for (path, content) in &files {
        let real = layout.real(path);
        let ours = before.contains(path) || fs::symlink_metadata(&real).is_err();
        match content {
            _ if ours => {}
            Content::Link(_) if options.force_links => {}
            Content::Link(_) => return Err(Error::LinkTaken(real)),
            Content::File(..) => return Err(Error::Taken(real)),
        }
    }
    let list: String = files.iter().map(|(path, _)| format!("{}\n", path.display())).collect();
    write(&layout.list(), &Content::File(list.into_bytes(), 0o644))?;
    for (path, content) in &files {
        write(&layout.real(path), content)?;
    }
    // What an earlier version had and this one has not.
    let now: BTreeSet<&PathBuf> = files.iter().map(|(path, _)| path).collect();
    for gone in before.iter().filter(|path| !now.contains(path)) {
        remove(&layout.real(gone))?;
    }
    Ok(files.into_iter().map(|(path, _)| layout.real(&path)).collect())
}

/// Removes what was installed; the configuration and the history stay.
pub fn uninstall(place: &Place) -> Result<Vec<PathBuf>, Error> {
    let layout = Layout::of(place);
    let installed = layout.installed()?;
    if installed.is_empty() {
        return Err(Error::NotInstalled(layout.list()));
    }
    let real: Vec<PathBuf> = installed.iter().map(|path| layout.real(path)).collect();
    real.iter().try_for_each(|path| remove(path))?;
    remove(&layout.list())?;
    // The directories that are ours alone, if nobody has put something there.
    for directory in ["share/doc/shrike/examples", "share/doc/shrike", "share/shrike"] {
        let _ = fs::remove_dir(layout.real(&layout.prefix.join(directory)));
    }
    Ok(real)
}

fn files(workspace: &Workspace, layout: &Layout, program: &Path) -> Result<Vec<(PathBuf, Content)>, Error> {
    let read = |path: &Path| fs::read(path).map_err(|error| Error::File(path.to_owned(), error));
    let told = |arguments: &[&str]| {
        let failed = |why: String| Error::Program(program.to_owned(), why);
        let output = Command::new(program).arg("generate").args(arguments).output();
        let output = output.map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(failed("'generate' fails: is it Shrike?".to_owned()))
        }
    };
    let sbin = layout.prefix.join("sbin");
    let unit = String::from_utf8_lossy(&read(&workspace.root.join("packaging/shrike.service"))?)
        .replace("/usr/sbin/shrike", &sbin.join("shrike").to_string_lossy());
    let share = layout.prefix.join("share");
    let mut files = vec![
        (sbin.join("shrike"), Content::File(read(program)?, 0o755)),
        (sbin.join("racoonctl"), Content::Link("shrike")),
        (layout.units().join("shrike.service"), Content::File(unit.into_bytes(), 0o644)),
        (share.join("man/man1/shrike.1"), Content::File(told(&["man"])?, 0o644)),
    ];
    for (shell, path) in [
        ("bash", "bash-completion/completions/shrike"),
        ("zsh", "zsh/site-functions/_shrike"),
        ("fish", "fish/vendor_completions.d/shrike.fish"),
    ] {
        files.push((share.join(path), Content::File(told(&["completions", shell])?, 0o644)));
    }
    let examples = workspace.root.join("examples");
    let listed = fs::read_dir(&examples).map_err(|error| Error::File(examples.clone(), error))?;
    let mut names: Vec<_> = listed.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect();
    names.sort();
    for name in names {
        let text = read(&examples.join(&name).join("swanctl.conf"))?;
        let installed = share.join("doc/shrike/examples").join(name).with_extension("conf");
        files.push((installed, Content::File(text, 0o644)));
    }
    Ok(files)
}

fn write(path: &Path, content: &Content) -> Result<(), Error> {
    let failed = |error| Error::File(path.to_owned(), error);
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    // Beside its place and then into it: a daemon may run from the old one, and nobody sees half a file.
    let beside = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let _ = fs::remove_file(&beside);
    match content {
        Content::File(octets, mode) => {
            fs::write(&beside, octets).map_err(failed)?;
            fs::set_permissions(&beside, fs::Permissions::from_mode(*mode)).map_err(failed)?;
        }
        Content::Link(to) => symlink(to, &beside).map_err(failed)?,
    }
    fs::rename(&beside, path).map_err(failed)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::File(path.to_owned(), error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destination of its own, gone with the test.
    struct Destination(PathBuf);

    impl Destination {
        fn new(name: &str) -> Destination {
            let path = std::env::temp_dir().join(format!("shrike-install-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).expect("a directory for the test");
            Destination(path)
        }

        /// Stands for the program, and says by which name it was called.
        fn options(&self, version: &str) -> Options {
            let program = self.0.join("program");
            let script = format!(
                "#!/bin/sh\n[ \"$1\" = generate ] && echo \"$2 $3\" || echo \"$(basename \"$0\") {version} $1\"\n"
            );
            fs::write(&program, script).expect("the program");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the program's mode");
            let place = Place { prefix: "/usr".into(), destdir: Some(self.0.join("root")) };
            Options { place, program: Some(program), force_links: false }
        }

        fn root(&self, path: &str) -> PathBuf {
            self.0.join("root").join(path)
        }

        fn run(&self, path: &str, argument: &str) -> String {
            let output = Command::new(self.root(path)).arg(argument).output().expect("it runs");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }

        /// Every file below the root.
        fn left(&self) -> Vec<PathBuf> {
            fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
                for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.is_dir() && !path.is_symlink() { walk(&path, found) } else { found.push(path) }
                }
            }
            let mut found = Vec::new();
            walk(&self.root(""), &mut found);
            found
        }
    }

    impl Drop for Destination {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn workspace() -> Workspace {
        Workspace::load().expect("this workspace")
    }

    #[test]
    fn what_is_installed_runs_by_both_names_and_goes_again() {
        let there = Destination::new("both");
        let installed = install(&workspace(), &there.options("1")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(there.run("usr/sbin/shrike", "-V"), "shrike 1 -V");
        assert_eq!(there.run("usr/sbin/racoonctl", "--help"), "racoonctl 1 --help");
        let text = |path: &str| fs::read_to_string(there.root(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(text("usr/lib/systemd/system/shrike.service").contains("ExecStart=/usr/sbin/shrike run"));
        assert!(text("usr/share/man/man1/shrike.1").starts_with("man"));
        assert!(text("usr/share/bash-completion/completions/shrike").starts_with("completions bash"));
        assert!(text("usr/share/doc/shrike/examples/gateway-a.conf").contains("connections"));
        // A newer one takes its place.
        install(&workspace(), &there.options("2")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(there.run("usr/sbin/racoonctl", "-V"), "racoonctl 2 -V");
        let own = there.root("usr/share/doc/shrike/notes");
        fs::write(&own, "the operator's own").expect("a file beside");
        let removed = uninstall(&there.options("2").place).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(removed.len(), installed.len());
        assert_eq!(there.left(), [own], "what is not ours stays");
        let again = uninstall(&there.options("2").place).err().map(|error| error.to_string());
        assert!(again.is_some_and(|error| error.contains("share/shrike/installed is not there")));
    }

    #[test]
    fn another_prefix_is_in_the_unit() {
        let there = Destination::new("prefix");
        let mut options = there.options("1");
        options.place.prefix = "/opt/shrike".into();
        install(&workspace(), &options).unwrap_or_else(|error| panic!("{error}"));
        let unit = fs::read_to_string(there.root("etc/systemd/system/shrike.service")).expect("the unit");
        options.place.prefix = "here".into();
        let relative = install(&workspace(), &options).err().map(|error| error.to_string());
        assert!(relative.is_some_and(|error| error.contains("--prefix here does not begin with '/'")));
        assert!(
            unit.contains("ExecStart=/opt/shrike/sbin/shrike run")
                && unit.contains("ExecReload=/opt/shrike/sbin/shrike load")
        );
    }

    #[test]
    fn other_programs_are_left_alone() {
        let there = Destination::new("racoon");
        let taken = there.root("usr/sbin/racoonctl");
        fs::create_dir_all(there.root("usr/sbin")).expect("sbin");
        fs::write(&taken, "racoon's").expect("racoon's own");
        let mut options = there.options("1");
        let refused = install(&workspace(), &options).err().map(|error| error.to_string());
        assert!(
            refused
                .is_some_and(|error| error.contains("racoonctl is another program") && error.contains("--force-links"))
        );
        assert_eq!(there.left(), std::slice::from_ref(&taken), "nothing was written");
        options.force_links = true;
        install(&workspace(), &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(there.run("usr/sbin/racoonctl", "-V"), "racoonctl 1 -V");

        let there = Destination::new("program");
        fs::create_dir_all(there.root("usr/sbin")).expect("sbin");
        fs::write(there.root("usr/sbin/shrike"), "another").expect("another program of this name");
        let options = Options { force_links: true, ..there.options("1") };
        let refused = install(&workspace(), &options).err().map(|error| error.to_string());
        assert!(refused.is_some_and(|error| error.contains("not of an installation of Shrike")));
    }
}
