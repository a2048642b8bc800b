//! What racoonctl has the daemon begin and end.

use super::line::{Begin, Line, Which};
use super::meant;
use crate::client::Control;
use crypto::{AltName, Certificate};
use model::{Identity, SaId, SaSnapshot, TrafficSelector};
use std::io::{BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use vici::Message;
use zeroize::Zeroizing;

/// A password is no longer than this.
const MAX_PASSWORD: u64 = 1000;

pub fn terminate(control: &mut Control, key: &str, id: SaId) -> Result<(), String> {
    let mut message = Message::new();
    message.set(key, id.0.to_string()).set("timeout", "10000");
    control.command("terminate", message, |_| {}).map(drop)
}

/// Ends the ISAKMP SAs between two ends, or all with one.
pub fn delete(line: &Line, control: &mut Control, source: Option<IpAddr>, destination: IpAddr) -> Result<(), String> {
    let fits = |sa: &&SaSnapshot| sa.remote.ip() == destination && source.is_none_or(|s| sa.local.ip() == s);
    let chosen: Vec<SaId> = meant(line, control)?.iter().filter(fits).map(|sa| sa.id).collect();
    if chosen.is_empty() {
        return Err(format!("no ISAKMP SA with {destination}"));
    }
    chosen.into_iter().try_for_each(|id| terminate(control, "ike-id", id))
}

/// Ends the pairs of IPsec SAs that carry exactly this.
pub fn delete_child(
    line: &Line,
    control: &mut Control,
    source: &TrafficSelector,
    destination: &TrafficSelector,
) -> Result<(), String> {
    let sas = meant(line, control)?;
    let carries = |list: &[TrafficSelector], wanted: &TrafficSelector| list.contains(wanted);
    let all = sas.iter().flat_map(|sa| &sa.children);
    let chosen: Vec<SaId> =
        all.filter(|c| carries(&c.local_ts, source) && carries(&c.remote_ts, destination)).map(|c| c.id).collect();
    if chosen.is_empty() {
        let what = format!("no IPsec SA between {source} and {destination}");
        return Err(format!("{what}: 'shrike show' lists what there is"));
    }
    chosen.into_iter().try_for_each(|id| terminate(control, "child-id", id))
}

/// Ends the SAs of a user whom XAuth proved.
pub fn log_out(line: &Line, control: &mut Control, user: &str) -> Result<(), String> {
    let name: Identity = user.parse().map_err(|error| format!("'{user}' is no name of a user: {error}"))?;
    let sas = meant(line, control)?;
    let chosen: Vec<SaId> =
        sas.iter().filter(|sa| sa.remote_xauth_id.as_ref() == Some(&name)).map(|sa| sa.id).collect();
    if chosen.is_empty() {
        return Err(format!("no user '{user}' is logged in ('shrike show' lists the users)"));
    }
    chosen.into_iter().try_for_each(|id| terminate(control, "ike-id", id))
}

/// The peer's certificate in DER, if the daemon has it: it keeps none that came with a negotiation.
pub fn certificate(line: &Line, control: &mut Control, source: IpAddr, destination: IpAddr) -> Result<Vec<u8>, String> {
    let sas = meant(line, control)?;
    let with = |sa: &&SaSnapshot| sa.local.ip() == source && sa.remote.ip() == destination && sa.established.is_some();
    let sa = sas.iter().find(with).ok_or_else(|| format!("no ISAKMP SA with {destination} that is up"))?;
    let peer = sa.remote_id.clone().unwrap_or(Identity::ANY);
    if matches!(sa.authentication, "pre-shared-key" | "unknown") {
        return Err(format!("{destination} did not show a certificate: it authenticated by {}", sa.authentication));
    }
    let named =
        |c: &Certificate| peer == Identity::from_wire(9, c.subject()) || c.alt_names().iter().any(|n| names(n, &peer));
    let all = control.certificates()?;
    all.into_iter().find(|der| Certificate::from_der(der).is_ok_and(|c| named(&c))).ok_or_else(|| {
        format!(
            "the daemon does not keep the certificates that peers send, and has none of '{peer}' by itself: put it in \
             /etc/swanctl/x509, or ask the peer's operator"
        )
    })
}

/// Whether a certificate's name is this identity.
fn names(name: &AltName, id: &Identity) -> bool {
    match name {
        AltName::Dns(text) | AltName::Email(text) => text.parse::<Identity>().is_ok_and(|named| named == *id),
        AltName::Address(address) => Identity::from(*address) == *id,
        AltName::Directory(der) => Identity::from_wire(9, der) == *id,
    }
}

/// What is to be brought up.
pub enum Wanted {
    /// Phase 1 between these ends, and nothing over it. In IKEv2 an IKE SA is made with a Child SA: the first one comes too.
    Isakmp { source: IpAddr, destination: IpAddr },
    /// The child that carries this.
    Esp { source: TrafficSelector, destination: TrafficSelector },
    /// What there is with this gateway.
    Gateway(IpAddr),
}

/// A child of a connection that is loaded.
struct Chosen {
    connection: String,
    /// None for phase 1 alone.
    child: Option<String>,
    /// Names of users in its own rounds with XAuth.
    users: Vec<Option<String>>,
    gateway: String,
}

impl Wanted {
    pub fn of(which: Which) -> Self {
        match which {
            Which::Isakmp { source, destination } => Self::Isakmp { source, destination },
            Which::Esp { source, destination } => Self::Esp { source, destination },
        }
    }

    /// The child to begin with.
    fn choose(&self, line: &Line, named: Option<&str>, all: &[(String, Message)]) -> Result<Chosen, String> {
        let fits = |(name, connection): &&(String, Message)| {
            let version = !line.strict || connection.get_str("version") != Some("IKEv2");
            version && named.map_or_else(|| self.ends_fit(connection), |named| named == name)
        };
        // One that names the peer's address goes before those for anybody.
        let exact = |c: &&(String, Message)| {
            self.gateway().is_some_and(|a| c.1.texts("remote_addrs").any(|t| t == a.to_string()))
        };
        let of_ends: Vec<&(String, Message)> = all.iter().filter(fits).collect();
        let ordered = of_ends.iter().filter(|c| exact(c)).chain(of_ends.iter().filter(|c| !exact(c)));
        let found = ordered.copied().find_map(|(name, connection)| Some((name, connection, self.child(connection)?)));
        let (connection, m, child) = found.ok_or_else(|| self.nothing(named, all))?;
        let rounds =
            m.sections().filter(|(key, round)| key.starts_with("local") && round.get_str("class") == Some("XAuth"));
        let alone = matches!(self, Self::Isakmp { .. }) && m.get_str("version") == Some("IKEv1");
        Ok(Chosen {
            connection: connection.clone(),
            child: (!alone).then_some(child),
            users: rounds
                .map(|(_, round)| round.get_str("xauth_id").or(round.get_str("id")).map(str::to_string))
                .collect(),
            gateway: m.texts("remote_addrs").next().unwrap_or_default().to_string(),
        })
    }

    fn gateway(&self) -> Option<IpAddr> {
        match self {
            Self::Isakmp { destination, .. } => Some(*destination),
            Self::Gateway(address) => Some(*address),
            Self::Esp { .. } => None,
        }
    }

    fn ends_fit(&self, connection: &Message) -> bool {
        // Any address is what most are written for; a named one is meant for others.
        let has = |key: &str, address: IpAddr| {
            let mut texts = connection.texts(key).peekable();
            let text = address.to_string();
            texts.peek().is_none() || texts.any(|other| other == text || other == "%any")
        };
        let source = if let Self::Isakmp { source, .. } = self { Some(*source) } else { None };
        self.gateway().is_none_or(|to| has("remote_addrs", to)) && source.is_none_or(|from| has("local_addrs", from))
    }

    /// The first child of a connection that is wanted.
    fn child(&self, connection: &Message) -> Option<String> {
        let mut children = connection.get_section("children")?.sections().filter(negotiated);
        let child = match self {
            Self::Esp { source, destination } => {
                children.find(|(_, m)| carries(m, "local-ts", source) && carries(m, "remote-ts", destination))
            }
            _ => children.next(),
        };
        child.map(|(name, _)| name.to_string())
    }

    /// What is said when there is no such child.
    fn nothing(&self, named: Option<&str>, all: &[(String, Message)]) -> String {
        match (self, named) {
            (Self::Esp { source, destination }, _) => {
                let text = |m: &Message, key| m.texts(key).collect::<Vec<_>>().join(" ");
                let children = all.iter().filter(|(name, _)| named.is_none_or(|named| named == name));
                let children = children.flat_map(|(_, m)| m.get_section("children")).flat_map(Message::sections);
                let loaded: Vec<String> = children
                    .filter(negotiated)
                    .map(|(name, m)| format!("{name} ({} and {})", text(m, "local-ts"), text(m, "remote-ts")))
                    .collect();
                let loaded = if loaded.is_empty() { "none".to_string() } else { loaded.join(", ") };
                format!("no child between {source} and {destination} is loaded; loaded children: {loaded}")
            }
            (_, Some(named)) => format!("no connection '{named}' with a child is loaded"),
            (Self::Isakmp { destination: to, .. } | Self::Gateway(to), None) => {
                format!("no connection with {to} is loaded: set its remote_addrs")
            }
        }
    }
}

/// Whether a child is one to be negotiated.
fn negotiated((_, child): &(&str, &Message)) -> bool {
    !matches!(child.get_str("mode"), Some("PASS" | "DROP"))
}

/// Whether a child's selectors have this one; `dynamic` is the host itself.
fn carries(child: &Message, key: &str, wanted: &TrafficSelector) -> bool {
    child.texts(key).any(|text| {
        let text = text.to_ascii_lowercase();
        text.parse::<TrafficSelector>().is_ok_and(|ts| ts == *wanted)
            || (text == "dynamic" && wanted.start == wanted.end)
    })
}

impl Wanted {
    /// Whether this SA is what was wanted, and up.
    pub fn is(&self, sa: &SaSnapshot) -> bool {
        let up = sa.established.is_some() && self.gateway().is_none_or(|address| sa.remote.ip() == address);
        up && match self {
            Self::Isakmp { source, .. } => sa.local.ip() == *source,
            Self::Esp { source, destination } => {
                sa.children.iter().any(|c| c.local_ts.contains(source) && c.remote_ts.contains(destination))
            }
            Self::Gateway(_) => true,
        }
    }
}

/// Brings it up.
pub fn connect(line: &Line, control: &mut Control, wanted: &Wanted, begin: &Begin<'_>) -> Result<(), String> {
    let chosen = wanted.choose(line, begin.named, &control.connections()?)?;
    let gateway = wanted.gateway().map_or_else(|| chosen.gateway.clone(), |address| address.to_string());
    if let Some(user) = begin.user {
        let password = for_user(&chosen, user).and_then(|()| password())?;
        let mut message = Message::new();
        message.set("id", secret_name(&gateway)).set("type", "XAuth").octets("data", password.as_bytes());
        message.list("owners", [user]);
        control.command("load-shared", message, |_| {})?;
    }
    let mut message = Message::new();
    message.set("ike", &chosen.connection).maybe("child", chosen.child.as_deref());
    message.set("timeout", if begin.wait { "60000" } else { "-1" });
    let done = control.command("initiate", message, |_| {}).map(drop);
    if done.is_err() && begin.user.is_some() {
        forget_password(control, &gateway); // a wrong one must not stand in the way of what is configured
    }
    done
}

/// The daemon takes the user's name from the connection: `-u` brings the password.
fn for_user(chosen: &Chosen, user: &str) -> Result<(), String> {
    let connection = &chosen.connection;
    match chosen.users.first() {
        None => Err(format!("'{connection}' has no user: option -u is for connections with local {{ auth = xauth }}")),
        Some(None) => {
            Err(format!("set xauth_id = {user} in the section local of '{connection}' that has auth = xauth"))
        }
        Some(Some(other)) if other != user => {
            Err(format!("'{connection}' is for user '{other}': say -u {other}, or change its xauth_id to '{user}'"))
        }
        Some(Some(_)) => Ok(()),
    }
}

/// The daemon's name of a password that was typed for this gateway.
fn secret_name(gateway: &str) -> String {
    format!("racoonctl-{gateway}")
}

/// Has the daemon forget the password that was typed for a gateway, if there is one.
pub fn forget_password(control: &mut Control, gateway: &str) {
    let mut message = Message::new();
    message.set("id", secret_name(gateway));
    // Most connections have none, and then there is nothing to forget.
    let _ = control.command("unload-shared", message, |_| {});
}

/// Asks for the password as racoonctl does; a program may write it to standard input.
fn password() -> Result<Zeroizing<String>, String> {
    let stdin = std::io::stdin();
    let hidden = stdin.is_terminal().then(Hidden::begin).transpose()?;
    let mut text = Zeroizing::new(String::new());
    let read = std::io::Read::take(stdin.lock(), MAX_PASSWORD).read_line(&mut text);
    drop(hidden);
    read.map_err(|error| format!("cannot read the password: {error}"))?;
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    // The terminal sends no signal meanwhile, so Control-C comes as it is.
    if text.is_empty() || text.contains('\u{3}') { Err("no password was given".into()) } else { Ok(text) }
}

/// A terminal that does not show what is typed, until it goes.
struct Hidden {
    before: String,
}

impl Hidden {
    fn begin() -> Result<Self, String> {
        let failed = |error: &str| format!("cannot hide what is typed ({error}): write the password to standard input");
        let saved =
            Command::new("stty").arg("-g").stdin(Stdio::inherit()).output().map_err(|e| failed(&e.to_string()))?;
        let before = String::from_utf8_lossy(&saved.stdout).trim().to_string();
        let hidden = Command::new("stty").args(["-echo", "-isig"]).stdin(Stdio::inherit()).status();
        if !saved.status.success() || !hidden.is_ok_and(|status| status.success()) {
            return Err(failed("stty does not work"));
        }
        let _ = write!(std::io::stderr(), "Password: ");
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = Command::new("stty").arg(&self.before).stdin(Stdio::inherit()).status();
        let _ = writeln!(std::io::stderr());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vici::schema::{AuthInfo, ChildInfo, ConnectionInfo, list_conn};

    fn line(strict: bool) -> Line {
        let words = Vec::new();
        Line { level: 0, socket: None, dialect: show::racoonctl::Dialect::Racoon07, strict, words }
    }

    /// What the daemon tells of its connections.
    fn loaded() -> Vec<(String, Message)> {
        let child = |name: &str, mode: &str, own: &str, peers: &str| ChildInfo {
            name: name.into(),
            mode: mode.into(),
            local_ts: vec![own.into()],
            remote_ts: vec![peers.into()],
            ..ChildInfo::default()
        };
        let connection = |name: &str, version: &str, remote: &str, children: Vec<ChildInfo>| ConnectionInfo {
            name: name.into(),
            version: version.into(),
            remote_addrs: vec![remote.into()],
            children,
            ..ConnectionInfo::default()
        };
        let lan = child("lan", "PASS", "10.1.0.0/16", "10.1.0.0/16");
        let mut anybody =
            connection("anybody", "IKEv1", "%any", vec![child("first", "TUNNEL", "10.9.0.0/16", "10.8.0.0/16")]);
        let xauth = AuthInfo { class: "XAuth".into(), id: None, xauth_id: Some("carol".into()) };
        anybody.local = vec![AuthInfo { class: "pre-shared key".into(), ..AuthInfo::default() }, xauth];
        let nets = vec![
            lan,
            child("net", "TUNNEL", "10.1.0.0/16", "10.2.0.0/16"),
            child("web", "TUNNEL", "10.1.0.0/16", "10.2.0.7/32[tcp/http]"),
        ];
        let host = vec![child("host", "TRANSPORT", "dynamic", "dynamic")];
        let all =
            [anybody, connection("gw", "IKEv1", "192.0.2.2", nets), connection("new", "IKEv2", "192.0.2.3", host)];
        all.iter().map(|c| (c.name.clone(), list_conn(c).get_section(&c.name).unwrap().clone())).collect()
    }

    fn esp(source: &str, destination: &str) -> Wanted {
        Wanted::Esp { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn chosen(wanted: &Wanted, named: Option<&str>, strict: bool) -> Result<String, String> {
        wanted
            .choose(&line(strict), named, &loaded())
            .map(|c| format!("{}/{}", c.connection, c.child.as_deref().unwrap_or("phase 1 alone")))
    }

    #[test]
    fn the_child_is_found_by_its_gateway_or_by_what_it_carries() {
        let to = |address: &str| Wanted::Gateway(address.parse().unwrap());
        assert_eq!(chosen(&to("192.0.2.2"), None, false).unwrap(), "gw/net", "not the one for anybody, and no shunt");
        assert_eq!(chosen(&to("192.0.2.9"), None, false).unwrap(), "anybody/first");
        assert_eq!(chosen(&to("192.0.2.3"), None, false).unwrap(), "new/host");
        assert_eq!(chosen(&to("192.0.2.3"), None, true).unwrap(), "anybody/first", "IKEv2 is not racoon's");
        assert_eq!(chosen(&to("192.0.2.9"), Some("gw"), false).unwrap(), "gw/net");
        let phase1 = |address: &str| Wanted::Isakmp {
            source: "192.0.2.1".parse().unwrap(),
            destination: address.parse().unwrap(),
        };
        assert_eq!(chosen(&phase1("192.0.2.2"), None, false).unwrap(), "gw/phase 1 alone");
        assert_eq!(chosen(&phase1("192.0.2.3"), None, false).unwrap(), "new/host", "an IKE SA has a Child SA");
        assert_eq!(chosen(&esp("10.1.0.0/16", "10.2.0.0/16"), None, false).unwrap(), "gw/net");
        assert_eq!(chosen(&esp("10.1.0.0/16", "10.2.0.7/32[tcp/80]"), None, false).unwrap(), "gw/web");
        assert_eq!(chosen(&esp("192.0.2.1/32", "192.0.2.3/32"), None, false).unwrap(), "new/host");
        let error = chosen(&esp("10.1.0.0/16", "10.7.0.0/16"), Some("gw"), false).unwrap_err();
        let listed = "net (10.1.0.0/16 and 10.2.0.0/16), web (10.1.0.0/16 and 10.2.0.7/32[tcp/http])";
        assert_eq!(error, format!("no child between 10.1.0.0/16 and 10.7.0.0/16 is loaded; loaded children: {listed}"));
        assert_eq!(chosen(&to("192.0.2.9"), Some("x"), false).unwrap_err(), "no connection 'x' with a child is loaded");
    }

    #[test]
    fn a_user_is_the_connections() {
        let of = |name: &str, user: &str| {
            let chosen = Wanted::Gateway("192.0.2.9".parse().unwrap()).choose(&line(false), Some(name), &loaded());
            for_user(&chosen.unwrap(), user)
        };
        assert_eq!(of("anybody", "carol"), Ok(()));
        assert!(of("anybody", "dave").unwrap_err().starts_with("'anybody' is for user 'carol': say -u carol"));
        assert!(of("gw", "carol").unwrap_err().starts_with("'gw' has no user: option -u is for"));
    }

    #[test]
    fn names_of_a_certificate() {
        let is = |name: AltName, id: &str| names(&name, &id.parse().unwrap());
        assert!(is(AltName::Dns("sun.example".into()), "sun.example"));
        assert!(!is(AltName::Dns("sun.example".into()), "moon.example"));
        assert!(is(AltName::Email("carol@sun.example".into()), "carol@sun.example"));
        assert!(is(AltName::Address("192.0.2.2".parse().unwrap()), "192.0.2.2"));
    }
}
