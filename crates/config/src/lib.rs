//! The configuration: the grammar of `swanctl.conf` and `strongswan.conf` with the place of every value, and the typed
//! connections, secrets and settings made of it.
//!
//! 1. [`parse`] reads a file with what it includes into a tree of [`Section`]s. Clients of the control protocol build the
//!    same tree from a message.
//! 2. [`load`], [`connection`] and [`secret`] turn the tree into typed values. A key that is not implemented is refused
//!    with its place and the reason, never ignored; all errors are reported, not only the first.
//! 3. [`daemon_settings`] reads the part of `strongswan.conf` that concerns the daemon. That file also configures other
//!    programs, so what is not understood there is a [`Warning`].
//!
//! Nothing here does I/O: the program lends its files through [`Files`].

mod action;
mod address;
mod authentication;
mod authorities;
mod binding;
mod build;
mod connection;
mod error;
mod ikev1;
mod lexer;
pub mod names;
mod one_pair;
mod pools;
mod reader;
mod secrets;
mod settings;
mod shunt;
mod sources;
mod syntax;
mod values;

pub use action::StartAction;
pub use address::{AddressPattern, SelectorPattern};
pub use authentication::{
    AuthMethod, Authentication, CertificateSource, KeyType, RevocationPolicy, SendCert, SignatureRule,
};
pub use authorities::{Authority, authority};
pub use binding::{OwnNumber, UniqueNumbers};
pub use connection::{
    Child, Childless, Config, Connection, Fragmentation, IkeVersion, Unique, connection, load, readable_connection,
};
pub use error::{ConfigError, ErrorKind, excerpt};
pub use names::suggestion;
pub use one_pair::OnePairOnly;
pub use pools::{Pool, PoolAttribute, pool};
pub use secrets::{
    InvalidSecret, KeyPassphrase, SecretKind, SharedSecret, best_psk, decode_secret, passphrase, secret, xauth_secrets,
};
pub use settings::{CRASH_SECRET, DaemonSettings, Warning, WarningKind, daemon_settings};
pub use shunt::Shunt;
pub use sources::Sources;
pub use syntax::{Entry, FileError, Files, MemoryFiles, Place, Section, is_valid_name, parse};
