//! Certificates, private keys and revocation lists: how an end proves itself with a signature, and how the other checks
//! it. Both IKE versions use this; what is signed is theirs.

mod looked_up;
mod raw;

use crate::inquiries::{Inquiries, Need};
use config::{
    AuthMethod, Authentication, CertificateSource, Connection, KeyType, RevocationPolicy, SendCert, SignatureRule,
};
use crypto::trust::{self, Revocation, Trust, Untrusted};
use crypto::{AltName, Certificate, KeyKind, PrivateKey, PublicKey, RawKey, RevocationList, Scheme};
use looked_up::LookedUp;
use model::{CertificateProblem, FailureKind, IdKind, Identity, Instant, TrafficSelector};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{CertEncoding, HashAlgorithm};

/// How many certificates a peer may send; a path is shorter.
const MAX_SENT: usize = 16;

/// How many certificates a path of ours may have between our own and the authority.
const MAX_BETWEEN: usize = 8;

/// A revocation list that was fetched, or could not be, is not fetched again for this time.
const LIST_FRESH: Duration = Duration::from_secs(60);

/// How long the answer may take.
const LIST_PATIENCE: Duration = Duration::from_secs(30);

/// How many lists are known to have been asked for.
const MAX_LISTS: usize = 1024;

/// How many fetched lists of one authority are held, and how many in all that no authority here has signed: it may divide its
/// certificates among any number of lists (RFC 5280 section 5.2.5), and whoever is between us and it may make some up.
const MAX_FETCHED: usize = 64;

/// How many octets of fetched lists are held that no authority here has signed, besides the last one.
const MAX_UNPROVEN: usize = 16 << 20;

/// What an endpoint proves itself with, and what it trusts.
pub struct Credentials {
    keys: Vec<Arc<PrivateKey>>,
    certificates: Vec<Certificate>,
    /// Public keys of ends without a certificate, which are called by them.
    raw_keys: Vec<RawKey>,
    authorities: Vec<Certificate>,
    revocation_lists: Vec<List>,
    /// Authorities with a name: the certificate, and where what it issued is.
    places: BTreeMap<String, (Certificate, Places)>,
    /// Certificates that peers sent the place of.
    looked_up: LookedUp,
    /// Revocation lists that were asked for, by where they are.
    asked: Inquiries,
    /// The Unix time at [`Instant::ZERO`].
    epoch: Duration,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            certificates: Vec::new(),
            raw_keys: Vec::new(),
            authorities: Vec::new(),
            revocation_lists: Vec::new(),
            places: BTreeMap::new(),
            looked_up: LookedUp::default(),
            asked: Inquiries::new(LIST_FRESH, LIST_PATIENCE),
            epoch: Duration::ZERO,
        }
    }
}

/// Where what an authority issued is to be had by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Its revocation lists.
    pub lists: Vec<String>,
    /// Its certificates: each behind this, by its SHA-1 in hexadecimal (RFC 7296 section 3.6).
    pub certificates: Option<String>,
}

/// A revocation list, and where it is from.
struct List {
    list: RevocationList,
    fetched: bool,
}

/// Adds, unless it is there already.
fn add(list: &mut Vec<Certificate>, certificate: Certificate) {
    if !list.contains(&certificate) {
        list.push(certificate);
    }
}

impl Credentials {
    /// Tells what the time is: certificates are valid for a time of the calendar. `unix` is since the Unix epoch.
    pub fn set_clock(&mut self, now: Instant, unix: Duration) {
        self.epoch = unix.saturating_sub(now.since(Instant::ZERO));
    }

    /// The time of the calendar.
    pub fn unix_time(&self, now: Instant) -> Duration {
        self.epoch + now.since(Instant::ZERO)
    }

    /// Adds a private key, unless it is there.
    pub fn add_key(&mut self, key: PrivateKey) {
        if !self.has_key_for(key.public()) {
            self.keys.push(Arc::new(key));
        }
    }

    /// Forgets the private key of this public one's [`PublicKey::id`]. Returns whether there was one.
    pub fn remove_key(&mut self, id: &[u8]) -> bool {
        let before = self.keys.len();
        self.keys.retain(|key| key.public().id() != id);
        self.keys.len() != before
    }

    /// The public halves of the private keys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|key| key.public())
    }

    /// Adds an end's certificate, ours or a peer's, which is trusted as it is.
    pub fn add_certificate(&mut self, certificate: Certificate) {
        add(&mut self.certificates, certificate);
    }

    /// Adds the public key of an end without a certificate: whoever has it is trusted to be the end that is called by it.
    pub fn add_raw_key(&mut self, key: RawKey) {
        if !self.raw_keys.contains(&key) {
            self.raw_keys.push(key);
        }
    }

    /// Forgets such a key.
    pub fn remove_raw_key(&mut self, key: &RawKey) {
        self.raw_keys.retain(|known| known != key);
    }

    /// Forgets an end's certificate.
    pub fn remove_certificate(&mut self, certificate: &Certificate) {
        self.certificates.retain(|c| c != certificate);
    }

    /// Forgets an authority's certificate.
    pub fn remove_authority(&mut self, certificate: &Certificate) {
        self.authorities.retain(|c| c != certificate);
    }

    /// Adds an authority's certificate.
    pub fn add_authority(&mut self, certificate: Certificate) {
        self.revocation_lists.iter_mut().for_each(|held| held.list.prove(&certificate));
        add(&mut self.authorities, certificate);
    }

    /// Adds an authority's certificate under a name, with the places where what it issued is; replaces the one of that
    /// name.
    pub fn set_authority(&mut self, name: &str, certificate: Certificate, places: Places) {
        self.forget_authority(name);
        self.add_authority(certificate.clone());
        self.places.insert(name.to_string(), (certificate, places));
    }

    /// Forgets the places of the authority of this name; its certificate stays. Returns whether there was one.
    pub fn forget_authority(&mut self, name: &str) -> bool {
        self.places.remove(name).is_some()
    }

    /// The authorities with a name, with the places where what they issued is.
    pub fn named_authorities(&self) -> impl Iterator<Item = (&str, &Certificate, &Places)> {
        self.places.iter().map(|(name, (certificate, places))| (name.as_str(), certificate, places))
    }

    /// Whether revocation lists may be to be had of authorities whose certificates do not say where.
    pub(crate) fn knows_places(&self) -> bool {
        self.places.values().any(|(_, places)| !places.lists.is_empty())
    }

    fn list_uris(&self) -> Vec<(&[u8], &[String])> {
        self.places.values().map(|(certificate, places)| (certificate.subject(), places.lists.as_slice())).collect()
    }

    /// Adds a revocation list, or replaces the one of the same authority for the same certificates, unless that is newer, or is
    /// known to be the authority's and this one is not (RFC 5280 section 6.3.3). A delta list stays beside a complete one, and
    /// of lists of an authority that is not known a newer one beside an older one that comes later.
    pub fn add_revocation_list(&mut self, list: RevocationList) {
        self.add_list(List { list, fetched: false });
    }

    /// Adds a revocation list that came from the network.
    pub(crate) fn add_fetched_list(&mut self, list: RevocationList) {
        self.add_list(List { list, fetched: true });
    }

    fn add_list(&mut self, mut new: List) {
        self.authorities.iter().for_each(|authority| new.list.prove(authority));
        let same = |old: &List| {
            let (old, new) = (&old.list, &new.list);
            old.issuer() == new.issuer() && old.is_delta() == new.is_delta() && old.has_scope_of(new)
        };
        // Whoever gives out lists may give out an older one, or one of his own in another authority's name. Each key has its own.
        let by = new.list.signer();
        let stays = |old: &List| match old.list.signer() {
            its if its == by => by.is_some() && new.list.is_older_than(&old.list),
            its => its.is_some() && by.is_none(),
        };
        if self.revocation_lists.iter().any(|old| same(old) && stays(old)) {
            return;
        }
        // Of those that nobody here has signed the newest may be made up: an older one stays beside it, and what the operator put
        // here beside what was fetched. Which one the issuer has signed is seen when a peer shows the issuer's certificate.
        let beside = |old: &List| match old.list.signer() {
            None => by.is_none() && (new.list.is_older_than(&old.list) || (new.fetched && !old.fetched)),
            its => its != by,
        };
        self.revocation_lists.retain(|old| !same(old) || beside(old));
        if new.fetched {
            self.make_room_for(&new.list);
        }
        self.revocation_lists.push(new);
    }

    /// Forgets the oldest of the fetched lists that count together with a new one, where there are too many. Those of an
    /// authority count by themselves, so that what is not known to be anybody's pushes none of them out; and what the operator
    /// put here stays.
    fn make_room_for(&mut self, new: &RevocationList) {
        let together = |held: &List| {
            let by = held.list.signer();
            held.fetched && by == new.signer() && (by.is_none() || held.list.issuer() == new.issuer())
        };
        loop {
            let held = || self.revocation_lists.iter().enumerate().filter(|(_, held)| together(held));
            let octets: usize = held().map(|(_, held)| held.list.der().len()).sum();
            if held().count() < MAX_FETCHED && (new.signer().is_some() || octets <= MAX_UNPROVEN) {
                return;
            }
            let oldest = held().min_by_key(|(_, held)| held.list.this_update()).map(|(index, _)| index);
            let Some(oldest) = oldest else { return };
            self.revocation_lists.remove(oldest);
        }
    }

    /// Forgets the revocation lists that were fetched: they are asked for again when they are needed.
    pub fn flush_fetched_lists(&mut self) {
        self.revocation_lists.retain(|list| !list.fetched);
        self.asked = Inquiries::new(LIST_FRESH, LIST_PATIENCE);
    }

    /// Whether the list that is here has to be asked for, and notes that it is.
    pub(crate) fn need_list(&mut self, now: Instant, uri: &str) -> Need {
        if self.asked.len() >= MAX_LISTS {
            self.asked = Inquiries::new(LIST_FRESH, LIST_PATIENCE);
        }
        self.asked.need(now, uri)
    }

    /// The list that is here was fetched, or could not be.
    pub(crate) fn list_answered(&mut self, now: Instant, uri: &str) {
        self.asked.answered(now, uri);
    }

    /// The certificates of ends.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The certificates of authorities.
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// The revocation lists, for the same certificates one of each authority that is known at most.
    pub fn revocation_lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.revocation_lists.iter().map(|held| &held.list)
    }

    /// Forgets everything but the time and where lists are.
    pub fn clear(&mut self) {
        let places = std::mem::take(&mut self.places);
        *self = Self { epoch: self.epoch, places, ..Self::default() };
    }

    /// Whether we have the private key of this public one.
    pub fn has_key_for(&self, public: &PublicKey) -> bool {
        self.key_for(public).is_some()
    }

    fn key_for(&self, public: &PublicKey) -> Option<&Arc<PrivateKey>> {
        self.keys.iter().find(|key| key.public() == public)
    }

    /// The authorities whose certificates a peer of this connection may have, for CERTREQ.
    pub(crate) fn acceptable(&self, connection: &Connection) -> Vec<&Certificate> {
        let wanted = &connection.remote.cacerts;
        let named = |c: &&Certificate| wanted.is_empty() || wanted.iter().any(|w| w.der() == Some(c.der()));
        self.authorities.iter().filter(named).collect()
    }

    /// The certificates above one of ours, without the authority that issued itself.
    fn between(&self, certificate: &Certificate) -> Vec<Certificate> {
        let mut path: Vec<Certificate> = Vec::new();
        while path.len() < MAX_BETWEEN {
            let last = path.last().unwrap_or(certificate);
            let issuer = self.authorities.iter().find(|a| a.subject() == last.issuer() && !a.is_self_issued());
            match issuer {
                Some(issuer) if !path.contains(issuer) => path.push(issuer.clone()),
                _ => break,
            }
        }
        path
    }

    /// The certificate to prove `id` with, and its key. Of several, one is taken that an authority of `wanted` issued,
    /// directly or by others in between; `wanted` says which authorities it means.
    pub(crate) fn own(
        &self,
        connection: &Connection,
        id: &Identity,
        wanted: impl Fn(&Certificate) -> bool,
    ) -> Result<Own, FailureKind> {
        let missing = |candidates| FailureKind::OwnCertificateMissing { local: id.clone(), candidates };
        if !connection.local.pubkeys.is_empty() {
            return raw::own(self, connection).map_err(missing);
        }
        let named = named(&connection.local.certs);
        let mut rejected = Vec::new();
        let mut usable: Vec<Own> = Vec::new();
        let own = named.iter().chain(self.certificates.iter().filter(|_| named.is_empty()));
        for certificate in own {
            let subject = Identity::from_wire(IdKind::DistinguishedName.number(), certificate.subject());
            let confirmed = confirms(certificate, id);
            let Some(public) = certificate.public_key() else {
                rejected.push(format!("{subject}: a key of a kind that is not available"));
                continue;
            };
            match self.key_for(public) {
                Some(_) if !connection.local.signature.allows(public.kind()) => {
                    rejected.push(format!("{subject}: {}, which auth in local does not allow", public.kind()));
                }
                Some(key) if confirmed => usable.push(Own {
                    certificate: Some(certificate.clone()),
                    raw: None,
                    between: self.between(certificate),
                    key: Arc::clone(key),
                }),
                Some(_) if !named.is_empty() => {
                    rejected.push(format!("{subject}: not the identity of this certificate"))
                }
                None if confirmed || !named.is_empty() => rejected.push(format!("{subject}: no private key")),
                _ => {}
            }
        }
        let roots: Vec<&Certificate> = self.authorities.iter().filter(|a| wanted(a)).collect();
        let asked_for = |own: &Own| {
            let last = own.between.last().or(own.certificate.as_ref());
            roots.iter().any(|r| last.is_some_and(|c| r.subject() == c.issuer()) || own.between.contains(r))
        };
        let best = usable.iter().position(asked_for).unwrap_or(0);
        if usable.is_empty() { Err(missing(rejected)) } else { Ok(usable.swap_remove(best)) }
    }

    /// Checks the peer's proof: its certificate says it is `remote`, its key signed `signed`, and it is trusted and what
    /// the connection asks for. Returns what kind of key it has, and until when that holds.
    pub(crate) fn check<'a>(
        &self,
        now: Instant,
        connection: &Connection,
        remote: &Identity,
        sent: impl Iterator<Item = (CertEncoding, &'a [u8])>,
        proof: &Signature<'_>,
    ) -> Result<Checked, FailureKind> {
        if !connection.remote.pubkeys.is_empty() {
            return raw::check(connection, remote, proof).map(Checked::raw);
        }
        let sent = self.sent(sent).map_err(|place| {
            let place = Some(place).filter(|place| !place.is_empty());
            FailureKind::PeerCertificateMissing { remote: remote.clone(), place }
        })?;
        if let Some(key) = raw::known(&self.raw_keys, connection, remote).filter(|_| sent.is_empty()) {
            return raw::check_key(key, connection, remote, proof).map(Checked::raw);
        }
        let known = named(&connection.remote.certs);
        // RFC 7296 section 3.6: the first certificate has the key that signed. Without one, it is one that we know.
        let candidates: Vec<&Certificate> = match sent.first() {
            Some(first) => vec![first],
            None => known.iter().chain(&self.certificates).filter(|c| confirms(c, remote)).collect(),
        };
        let Some(first) = candidates.first() else {
            return Err(FailureKind::PeerCertificateMissing { remote: remote.clone(), place: None });
        };
        if !confirms(first, remote) {
            return Err(FailureKind::IdentityNotCertified { remote: remote.clone(), names: names(first) });
        }
        let signed_by = |c: &&&Certificate| {
            c.public_key()
                .is_some_and(|k| proof.scheme.fits(k.kind()) && k.verify(proof.scheme, proof.signed, proof.value))
        };
        let Some(certificate) = candidates.iter().find(signed_by) else {
            let method = proof.scheme.to_string();
            return Err(FailureKind::SignatureInvalid { remote: remote.clone(), method });
        };
        let trust = Trust {
            authorities: self.authorities.iter().collect(),
            known: known.iter().chain(&self.certificates).collect(),
            revocation_lists: self.revocation_lists.iter().map(|held| &held.list).collect(),
            list_uris: self.list_uris(),
        };
        let revocation = match connection.remote.revocation {
            RevocationPolicy::Relaxed => Revocation::Relaxed,
            RevocationPolicy::IfUri => Revocation::IfUri,
            RevocationPolicy::Strict => Revocation::Strict,
        };
        let untrusted = |problem, detail| {
            let name = |der: &[u8]| Identity::from_wire(IdKind::DistinguishedName.number(), der);
            let (subject, issuer) = (name(certificate.subject()), name(certificate.issuer()));
            FailureKind::CertificateUntrusted { subject, issuer, problem, detail }
        };
        let others = sent.get(1..).unwrap_or_default();
        let unix = self.unix_time(now);
        let path = trust::verify(&trust, certificate, others, revocation, unix)
            .map_err(|e| untrusted(problem(&e), self.explain(&e)))?;
        // With `relaxed` too what can be known is to be known; a list that cannot be had is no reason to refuse.
        let unasked = |uri: &String| !self.asked.is_fresh(now, uri);
        if trust::missing_lists(&trust, certificate, &path, unix).iter().any(unasked) {
            let unknown = Untrusted::RevocationUnknown;
            return Err(untrusted(problem(&unknown), self.explain(&unknown)));
        }
        let blocks = trust::address_blocks(certificate, &path).map_err(|e| untrusted(problem(&e), self.explain(&e)))?;
        let kind = allowed(&connection.remote, certificate, &path, proof.scheme)
            .map_err(|NotAllowed(why)| untrusted(CertificateProblem::NotAllowed, why))?;
        let every = |(start, end)| TrafficSelector { start, end, ..TrafficSelector::host(start) };
        let until = std::iter::once(*certificate).chain(&path).map(|c| c.not_after()).min();
        Ok(Checked { kind, addresses: blocks.map(|ranges| ranges.into_iter().map(every).collect()), until })
    }

    /// Where the revocation lists are for want of which a peer was refused; nothing where it was refused for something
    /// else.
    pub(crate) fn lists_wanted<'a>(
        &self,
        now: Instant,
        refused: &FailureKind,
        sent: impl Iterator<Item = (CertEncoding, &'a [u8])>,
    ) -> Vec<String> {
        let unknown = CertificateProblem::RevocationUnknown;
        if !matches!(refused, FailureKind::CertificateUntrusted { problem, .. } if *problem == unknown) {
            return Vec::new();
        }
        let sent = self.sent(sent).unwrap_or_default();
        let revocation_lists = self.revocation_lists.iter().map(|held| &held.list).collect();
        let trust = Trust {
            authorities: self.authorities.iter().collect(),
            revocation_lists,
            list_uris: self.list_uris(),
            ..Trust::default()
        };
        let others = sent.get(1..).unwrap_or_default();
        sent.first().map_or_else(Vec::new, |end| trust::list_uris(&trust, end, others, self.unix_time(now)))
    }

    /// The reason in words, with what we have.
    fn explain(&self, reason: &Untrusted) -> String {
        match reason {
            Untrusted::UnknownIssuer => {
                let ours: Vec<String> = self.authorities.iter().take(8).map(|a| subject(a).to_string()).collect();
                let ours = if ours.is_empty() { "none".to_string() } else { ours.join("; ") };
                format!("{reason}; ours: {ours}")
            }
            _ => reason.to_string(),
        }
    }
}

/// What is known of a peer that has proven itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// What kind of key it has.
    pub kind: KeyKind,
    /// The addresses that its certificate is for (RFC 3779); anything if it does not say.
    pub addresses: Option<Vec<TrafficSelector>>,
    /// When the first certificate on its path runs out, since the Unix epoch; `None` for a key without one.
    pub until: Option<Duration>,
}

impl Checked {
    fn raw(kind: KeyKind) -> Self {
        Self { kind, addresses: None, until: None }
    }
}

/// What we prove ourselves with.
pub(crate) struct Own {
    /// None for a raw public key.
    pub certificate: Option<Certificate>,
    /// The raw public key, if it is one.
    pub raw: Option<RawKey>,
    /// The certificates between it and its authority, to be sent along.
    pub between: Vec<Certificate>,
    pub key: Arc<PrivateKey>,
}

/// A peer's signature.
pub(crate) struct Signature<'a> {
    pub scheme: Scheme,
    pub value: &'a [u8],
    /// What is signed.
    pub signed: &'a [u8],
}

fn named(sources: &[CertificateSource]) -> Vec<Certificate> {
    sources.iter().filter_map(CertificateSource::der).filter_map(|der| Certificate::from_der(der).ok()).collect()
}

fn subject(certificate: &Certificate) -> Identity {
    Identity::from_wire(IdKind::DistinguishedName.number(), certificate.subject())
}

/// The names in a certificate, as identities: first those beside the subject, which IKE prefers (RFC 4945 section 5.1).
fn identities(certificate: &Certificate) -> impl Iterator<Item = Identity> {
    let alt_names = certificate.alt_names().iter().map(|name| match name {
        AltName::Dns(name) => Identity::from_wire(IdKind::Fqdn.number(), name.as_bytes()),
        AltName::Email(name) => Identity::from_wire(IdKind::Rfc822.number(), name.as_bytes()),
        AltName::Address(address) => Identity::from(*address),
        AltName::Directory(der) => Identity::from_wire(IdKind::DistinguishedName.number(), der),
    });
    alt_names.chain([subject(certificate)])
}

fn names(certificate: &Certificate) -> Vec<String> {
    identities(certificate).map(|id| id.to_string()).collect()
}

/// Whether a certificate says that its owner is `id`. Names in it are taken as they are: a `*` in one stands for itself.
fn confirms(certificate: &Certificate, id: &Identity) -> bool {
    match id.kind() {
        IdKind::KeyId => certificate.public_key().is_some_and(|key| key.id() == id.data()),
        // Neither is the pattern for the other, even if one looks like a pattern.
        _ => !id.is_wildcard() && identities(certificate).any(|name| !name.is_wildcard() && name.matches(id).is_some()),
    }
}

/// Who an end with these certificates is, if the configuration does not say so or says what none of them confirms: the
/// subject of the first one, as in strongSwan.
pub(crate) fn certified_identity(local: &Authentication) -> Option<Identity> {
    if let Some(key) = raw::keys(&local.pubkeys).first() {
        return local.id.is_wildcard().then(|| Identity::from_wire(IdKind::KeyId.number(), &key.id()));
    }
    let own = named(&local.certs);
    let first = own.first()?;
    let confirmed = !local.id.is_wildcard() && own.iter().any(|c| confirms(c, &local.id));
    (!confirmed).then(|| subject(first))
}

/// What is to be said of an identity of ours that none of our certificates confirms: the peer hears another one.
pub(crate) fn uncertified(connection: &Connection) -> Option<String> {
    let local = &connection.local;
    if local.method != AuthMethod::Pubkey || local.id.is_wildcard() {
        return None;
    }
    let instead = certified_identity(local)?;
    let all: Vec<String> = named(&local.certs).iter().flat_map(names).collect();
    Some(format!(
        "the identity '{}' is not in our certificate, which has {}: we say that we are '{instead}'; write one of these as id",
        local.id,
        all.join(", ")
    ))
}

/// Who we are: as configured, unless our certificate says otherwise, else our address.
pub(crate) fn own_identity(connection: &Connection, local: SocketAddr) -> Identity {
    if connection.local.method == AuthMethod::Pubkey
        && let Some(id) = certified_identity(&connection.local)
    {
        return id;
    }
    if connection.local.id.is_wildcard() { Identity::from(local.ip()) } else { connection.local.id.clone() }
}

fn problem(reason: &Untrusted) -> CertificateProblem {
    match reason {
        Untrusted::Expired { .. } => CertificateProblem::Expired,
        Untrusted::NotYetValid { .. } => CertificateProblem::NotYetValid,
        Untrusted::UnknownIssuer => CertificateProblem::IssuerUnknown,
        Untrusted::Revoked => CertificateProblem::Revoked,
        Untrusted::RevocationUnknown | Untrusted::RevocationListExpired => CertificateProblem::RevocationUnknown,
        Untrusted::BadSignature | Untrusted::SignatureUnavailable | Untrusted::Invalid(_) => {
            CertificateProblem::Invalid
        }
    }
}

/// What a certificate that is trusted is, instead of what the connection asks for.
struct NotAllowed(String);

/// Whether a certificate that is trusted is also what the connection asks for.
fn allowed(
    remote: &Authentication,
    certificate: &Certificate,
    path: &[Certificate],
    scheme: Scheme,
) -> Result<KeyKind, NotAllowed> {
    let among = |list: &[CertificateSource], c: &Certificate| list.iter().any(|w| w.der() == Some(c.der()));
    if !remote.certs.is_empty() && !among(&remote.certs, certificate) {
        return Err(NotAllowed("it is none of those that certs names".into()));
    }
    if !remote.cacerts.is_empty() && !path.iter().any(|c| among(&remote.cacerts, c)) {
        return Err(NotAllowed("no authority that cacerts names is on its path".into()));
    }
    let issued = |id: &Identity| path.iter().any(|c| id.matches(&subject(c)).is_some());
    if let Some(id) = remote.ca_id.as_ref().filter(|id| !issued(id)) {
        return Err(NotAllowed(format!("no authority '{id}' is on its path, which ca_id asks for")));
    }
    if let Some(policy) = remote.cert_policies.iter().find(|policy| !issued_under(policy, certificate, path)) {
        return Err(NotAllowed(format!("it was not issued under the policy {policy}, which cert_policy asks for")));
    }
    let rule = &remote.signature;
    let Some(kind) = certificate.public_key().map(PublicKey::kind) else {
        return Err(NotAllowed("its key is of no known kind".into()));
    };
    if !rule.allows(kind) {
        return Err(NotAllowed(format!("its key is {kind}, which auth does not allow")));
    }
    if !rule.allows_scheme(scheme, kind) {
        return Err(NotAllowed(format!("IKE was signed with {scheme}, which auth does not allow")));
    }
    if rule.only_ike {
        return Ok(kind);
    }
    for c in std::iter::once(certificate).chain(path).filter(|c| !c.is_self_issued()) {
        let hash = c.signature().and_then(Scheme::hash);
        if !rule.hashes.is_empty() && !hash.is_some_and(|h| rule.hashes.contains(&h)) {
            let how = c.signature().map_or("in an unknown way".to_string(), |s| format!("with {s}"));
            return Err(NotAllowed(format!("'{}' is signed {how}, which auth does not allow", subject(c))));
        }
    }
    for c in path {
        let bits = c.public_key().map_or(0, |key| key.kind().bits());
        if bits < rule.bits && matches!(c.public_key().map(PublicKey::kind), Some(KeyKind::Rsa(_)) | None) {
            return Err(NotAllowed(format!(
                "the key of '{}' has {bits} bits, and auth wants {}",
                subject(c),
                rule.bits
            )));
        }
    }
    Ok(kind)
}

/// Whether a certificate was issued under a policy, and the authorities between it and the last one may issue under that: they
/// have it themselves, or anyPolicy (RFC 5280 sections 4.2.1.4 and 6.1). Names of policies are not mapped.
fn issued_under(policy: &str, certificate: &Certificate, path: &[Certificate]) -> bool {
    const ANY_POLICY: &str = "2.5.29.32.0";
    let has = |c: &Certificate, policy: &str| c.policies().iter().any(|p| p == policy);
    let between = path.split_last().map_or(&[][..], |(_, between)| between);
    has(certificate, policy) && between.iter().all(|c| has(c, policy) || has(c, ANY_POLICY))
}

/// What `auth` says of keys and schemes.
pub(crate) trait Rule {
    /// Whether keys of this kind may be used.
    fn allows(&self, kind: KeyKind) -> bool;
    /// Whether signatures of this scheme are accepted from a key of this kind.
    fn allows_scheme(&self, scheme: Scheme, kind: KeyKind) -> bool;
}

impl Rule for SignatureRule {
    fn allows(&self, kind: KeyKind) -> bool {
        let same = match self.key {
            None => true,
            Some(KeyType::Rsa) => matches!(kind, KeyKind::Rsa(_)),
            Some(KeyType::Ed25519) => kind == KeyKind::Ed25519,
            Some(KeyType::Ecdsa) => matches!(kind, KeyKind::EcdsaP256 | KeyKind::EcdsaP384 | KeyKind::EcdsaP521),
        };
        same && kind.bits() >= self.bits
    }

    fn allows_scheme(&self, scheme: Scheme, kind: KeyKind) -> bool {
        let hash = match scheme {
            Scheme::EcdsaFixed | Scheme::EcdsaDigest => Some(kind.hash()),
            // IKEv1: the hash is that of the ISAKMP SA, which the proposals choose.
            Scheme::RsaRaw => return !self.pss,
            scheme => scheme.hash(),
        };
        let hash_allowed = self.hashes.is_empty() || hash.is_some_and(|h| self.hashes.contains(&h));
        hash_allowed && (!self.pss || !matches!(scheme, Scheme::RsaPkcs1(_)))
    }
}

/// The scheme for a signature of ours in IKEv2. `peer` are the hashes of the peer's SIGNATURE_HASH_ALGORITHMS (RFC 7427
/// section 4), none if it sent no such notification; `prefer_pss` takes PSS where the rule says nothing. `None`: the peer cannot check any that our key can make.
pub(crate) fn scheme_for(
    key: &PublicKey,
    rule: &SignatureRule,
    peer: &[HashAlgorithm],
    prefer_pss: bool,
) -> Option<Scheme> {
    let kind = key.kind();
    let preferred = [kind.hash(), HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512];
    let ours = if rule.hashes.is_empty() { &preferred[..] } else { &rule.hashes[..] };
    let common = ours.iter().copied().find(|hash| peer.contains(hash));
    match kind {
        KeyKind::Rsa(_) => match common {
            Some(hash) if rule.pss || prefer_pss => Some(Scheme::RsaPss(hash)),
            Some(hash) => Some(Scheme::RsaPkcs1(hash)),
            // RFC 7296 section 3.8: without further agreement the older method means SHA-1.
            None => peer.is_empty().then_some(Scheme::RsaPkcs1(HashAlgorithm::SHA1)),
        },
        KeyKind::Ed25519 => peer.contains(&HashAlgorithm::IDENTITY).then_some(Scheme::Ed25519),
        _ if peer.contains(&kind.hash()) => Some(Scheme::Ecdsa(kind.hash())),
        _ => Some(Scheme::EcdsaFixed),
    }
}

/// How peers authenticate with keys of this kind, in tmsh's words.
pub(crate) fn method_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Rsa(_) => "rsa-signature",
        KeyKind::EcdsaP256 => "ecdsa-256",
        KeyKind::EcdsaP384 => "ecdsa-384",
        KeyKind::EcdsaP521 => "ecdsa-521",
        KeyKind::Ed25519 => "ed25519",
    }
}

/// What the peer of a connection is to prove itself with, as long as it has not.
pub(crate) fn configured_method(connection: Option<&Connection>) -> &'static str {
    match connection.map(|c| c.remote.method) {
        Some(AuthMethod::Pubkey) => "signature",
        _ => "pre-shared-key",
    }
}

/// Whether to send our certificate to a peer that asked for one or did not.
pub(crate) fn sends_certificate(connection: &Connection, asked: bool) -> bool {
    match connection.send_cert {
        SendCert::Always => true,
        SendCert::IfAsked => asked,
        SendCert::Never => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! fake {
        ($name:literal) => {
            include_bytes!(concat!("../../sim/fake-pki/", $name))
        };
    }

    fn certificate(pem: &[u8]) -> Certificate {
        Certificate::parse(pem).unwrap()
    }

    fn connection() -> Connection {
        let text = "connections { gw { } }";
        let tree = config::parse("gw.conf", &config::MemoryFiles::one("gw.conf", text)).unwrap();
        (*config::load(&tree).unwrap().connections[0]).clone()
    }

    fn id(text: &str) -> Identity {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_of_someone_else_proves_nothing() {
        let mut trusting = Credentials::default();
        trusting.set_clock(Instant::ZERO, Duration::from_secs(1_811_808_000));
        trusting.add_authority(certificate(fake!("root.pem")));
        let venus = certificate(fake!("venus.pem"));
        let key = PrivateKey::parse(fake!("venus.key.pem"), None).unwrap();
        let scheme = Scheme::Ecdsa(HashAlgorithm::SHA2_384);
        let value = key.sign(scheme, b"signed octets").unwrap();
        let proof = Signature { scheme, value: &value, signed: b"signed octets" };
        let check = |remote: &str, proof: &Signature<'_>| {
            let sent = [(CertEncoding::X509_SIGNATURE, venus.der())].into_iter();
            trusting.check(Instant::ZERO, &connection(), &id(remote), sent, proof).map(|checked| checked.kind)
        };
        assert_eq!(check("venus.example", &proof), Ok(KeyKind::EcdsaP384));
        assert_eq!(check("C=CH, O=Fake, CN=venus.example", &proof), Ok(KeyKind::EcdsaP384));
        let Err(FailureKind::IdentityNotCertified { names, .. }) = check("sun.example", &proof) else { panic!() };
        assert_eq!(names, ["venus.example", "C=CH, O=Fake, CN=venus.example"]);
        for other in ["*.example", "C=CH, O=Fake, CN=*", "192.0.2.1"] {
            assert!(matches!(check(other, &proof), Err(FailureKind::IdentityNotCertified { .. })), "{other}");
        }
        let another = Signature { signed: b"other octets", ..proof };
        assert!(matches!(check("venus.example", &another), Err(FailureKind::SignatureInvalid { .. })));
    }

    #[test]
    fn ours_is_the_one_that_the_peer_can_check() {
        let mut own = Credentials::default();
        for (pem, key) in [(&fake!("eve.pem")[..], &fake!("eve.key.pem")[..]), (fake!("sun.pem"), fake!("sun.key.pem"))]
        {
            own.add_certificate(certificate(pem));
            own.add_key(PrivateKey::parse(key, None).unwrap());
        }
        own.add_authority(certificate(fake!("root.pem")));
        own.add_authority(certificate(fake!("other.pem")));
        let root = certificate(fake!("root.pem")).key_info_hash();
        let by_root = own.own(&connection(), &id("sun.example"), |a| a.key_info_hash() == root).unwrap();
        assert_eq!(by_root.certificate, Some(certificate(fake!("sun.pem"))));
        let any = own.own(&connection(), &id("sun.example"), |_| false).unwrap();
        assert_eq!(any.certificate, Some(certificate(fake!("eve.pem"))), "the first one");
        assert!(own.own(&connection(), &id("moon.example"), |_| true).is_err());
        own.remove_key(&by_root.key.public().id());
        let mut named = connection();
        named.local.certs.push(CertificateSource::Der(certificate(fake!("sun.pem")).der().to_vec()));
        let Err(FailureKind::OwnCertificateMissing { candidates, .. }) = own.own(&named, &id("sun.example"), |_| true)
        else {
            panic!()
        };
        assert_eq!(candidates, ["C=CH, O=Fake, CN=sun.example: no private key"]);
    }

    #[test]
    fn an_identity_that_our_certificate_does_not_have_is_told_when_the_connection_is_loaded() {
        let with = |local: &str| {
            let mut connection = connection();
            connection.local.id = id(local);
            connection.local.certs.push(CertificateSource::Der(certificate(fake!("sun.pem")).der().to_vec()));
            connection
        };
        assert_eq!(uncertified(&with("sun.example")), None);
        assert_eq!(uncertified(&with("%any")), None);
        assert_eq!(uncertified(&connection()), None);
        let text = uncertified(&with("moon.example")).unwrap();
        for part in ["'moon.example'", "sun.example", "'C=CH, O=Fake, CN=sun.example'"] {
            assert!(text.contains(part), "{text}");
        }
        let mut endpoint = crate::Endpoint::new(crate::Settings::default(), Box::new(crypto::SystemRandom));
        for (local, said) in [("sun.example", false), ("moon.example", true)] {
            endpoint.load_connection(Arc::new(with(local)));
            let outputs: Vec<_> = std::iter::from_fn(|| endpoint.poll_output()).collect();
            let tells = |output: &crate::Output| matches!(output, crate::Output::Event(event) if event.log().2 == text && event.log().1 == 0);
            assert_eq!(outputs.iter().any(tells), said);
        }
    }

    #[test]
    fn policies_are_those_of_the_whole_path() {
        // CertificatePolicies with one PolicyInformation: 2.5.29.32.0, 1.2.3 and 1.2.4.
        let (any, three, four): (&[u8], &[u8], &[u8]) = (&[0x55, 0x1d, 0x20, 0], &[0x2a, 3], &[0x2a, 4]);
        let made = |arc: Option<&[u8]>| {
            let mut params = rcgen::CertificateParams::default();
            if let Some(arc) = arc {
                let length = arc.len() as u8;
                let content = [&[0x30, length + 4, 0x30, length + 2, 6, length], arc].concat();
                let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 32], content);
                params.custom_extensions.push(extension);
            }
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            Certificate::from_der(made.der()).unwrap()
        };
        let (end, root) = (made(Some(three)), made(None));
        assert_eq!(end.policies(), ["1.2.3"]);
        let issued = |between: Option<&[u8]>| issued_under("1.2.3", &end, &[made(between), root.clone()]);
        assert!(issued(Some(any)) && issued(Some(three)));
        assert!(!issued(Some(four)) && !issued(None));
        assert!(issued_under("1.2.3", &end, std::slice::from_ref(&root)) && issued_under("1.2.3", &end, &[]));
        assert!(!issued_under("1.2.4", &end, &[]) && !issued_under("1.2.3", &made(Some(any)), &[]));
    }
}
