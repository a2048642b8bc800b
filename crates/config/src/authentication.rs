//! How the two ends prove who they are.

use model::Identity;

/// How an end proves its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// Pre-shared key (RFC 7296 section 2.15, RFC 2409 section 5.4).
    Psk,
    /// XAuth: user name and password after phase 1 (IKEv1).
    Xauth,
}

/// One round of one end's authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Identity: ours, or the one expected of the peer, which may be a wildcard. [`Identity::ANY`] when unset.
    pub id: Identity,
    /// Method.
    pub method: AuthMethod,
    /// Ours, with [`AuthMethod::Xauth`]: the user name, if it is not the identity of this or the first round.
    pub xauth_id: Option<String>,
}

impl Authentication {
    /// A round with nothing but a method and an identity.
    pub fn new(method: AuthMethod, id: Identity) -> Self {
        Self { id, method, xauth_id: None }
    }
}
