//! Key material that forgets itself.

use zeroize::Zeroizing;

/// Octets that must never be shown: keys, pre-shared keys, shared secrets.
///
/// Zeroised on drop, printed as `Secret(<n> octets)`, and deliberately without `PartialEq`, so that nobody compares two
/// of them in variable time by accident.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets themselves. Each caller is a place where a key could leak: keep them few.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in octets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no octets at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Secret {
    fn from(octets: &[u8]) -> Self {
        Self::new(octets.to_vec())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_octets() {
        assert_eq!(format!("{:?}", Secret::from(&b"hunter2"[..])), "Secret(7 octets)");
    }
}
