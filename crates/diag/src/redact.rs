//! Keys, passwords and pre-shared keys are taken out of what others hand in, before anything looks at it.
//!
//! Dumps of SAs print their keys, logs at high levels the key material, and people paste their configuration beside a
//! log. What might be a secret is replaced: to lose a word of evidence costs less than to print a key.

use std::borrow::Cow;

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// Words behind which a secret follows when there is `=`, `:` or a quotation mark between.
const NAMES: [&str; 20] = [
    "psk",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "psksecret",
    "pre-shared-key",
    "preshared-key",
    "preshared-key-encrypted",
    "presharedkey",
    "pre_shared_key",
    "shared-secret",
    "shared_secret",
    "shared-key",
    "key",
    "auth-key",
    "encrypt-key",
    "pin",
];
/// Of these also where only blanks are between, for that is how configurations say it.
const STATEMENTS: [&str; 11] = [
    "secret",
    "password",
    "passphrase",
    "psksecret",
    "pre-shared-key",
    "preshared-key",
    "preshared-key-encrypted",
    "shared-secret",
    "auth-key",
    "encrypt-key",
    "psk",
];
/// Ends of names.
const SUFFIXES: [&str; 5] = ["secret", "password", "passwd", "passphrase", "psk"];
/// Behind these a quoted text is a secret (`ipsec.secrets`).
const QUOTED: [&str; 7] = ["psk", "eap", "xauth", "rsa", "ecdsa", "ntlm", "p12"];
/// A hexadecimal number that long is a key: an SPI has 16 digits, the shortest key 24.
const KEY_DIGITS: usize = 24;

/// A line without the secrets in it.
pub fn redact(line: &str) -> Cow<'_, str> {
    let mut secrets = Vec::new();
    named(line, &mut secrets);
    dumped(line, &mut secrets);
    if secrets.is_empty() {
        return Cow::Borrowed(line);
    }
    secrets.sort_unstable();
    let (mut out, mut at) = (String::with_capacity(line.len()), 0);
    for (start, end) in secrets {
        if end <= at {
            continue;
        }
        out.push_str(line.get(at..start.max(at)).unwrap_or_default());
        if start >= at {
            out.push_str(REDACTED);
        }
        at = end;
    }
    out.push_str(line.get(at..).unwrap_or_default());
    Cow::Owned(out)
}

/// Which octets are of a kind.
const fn table(kind: kinds::Kind) -> [bool; 256] {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = kinds::holds(kind, octet as u8);
        octet += 1;
    }
    table
}

/// Kinds of octets, as tables: what is looked at once for each octet of a log should not be computed.
mod kinds {
    #[derive(Clone, Copy)]
    pub enum Kind {
        /// Letters, digits, `-` and `_`.
        Word,
        /// What the names of secrets begin with.
        First,
        /// What they end with.
        Last,
        /// What keys are written with in one piece.
        Key,
        /// What dumps are made of: digits, and what is between their groups.
        Dump,
    }

    pub const fn holds(kind: Kind, b: u8) -> bool {
        let small = b.to_ascii_lowercase();
        match kind {
            Kind::Word => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'),
            Kind::First => matches!(small, b'p' | b's' | b'k' | b'a' | b'e' | b'x' | b'r' | b'n'),
            Kind::Last => {
                matches!(small, b't' | b'd' | b'e' | b'k' | b's' | b'y' | b'n' | b'p' | b'h' | b'a' | b'm' | b'2')
            }
            Kind::Key => b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='),
            Kind::Dump => b.is_ascii_hexdigit() || matches!(b, b' ' | b'\t' | b':' | b','),
        }
    }
}

static WORD: [bool; 256] = table(kinds::Kind::Word);
static FIRST: [bool; 256] = table(kinds::Kind::First);
static LAST: [bool; 256] = table(kinds::Kind::Last);
static KEY: [bool; 256] = table(kinds::Kind::Key);
static DUMP: [bool; 256] = table(kinds::Kind::Dump);

fn is(table: &[bool; 256], octet: u8) -> bool {
    table.get(usize::from(octet)).is_some_and(|is| *is)
}

/// Words as octets, for a look at all of them.
fn plain_words(line: &str) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|b| !is(&WORD, *b)).filter(|word| word.len() >= 3)
}

/// Whether a word may be the name of a secret by its first and last letters; most are not.
fn looks_like_name(word: &[u8]) -> bool {
    let ends = word.last().is_some_and(|last| is(&LAST, *last));
    ends && (word.first().is_some_and(|first| is(&FIRST, *first)) || word.iter().any(|b| matches!(b, b'-' | b'_')))
}

/// Whether so many octets of a kind stand side by side. It looks at every `length`th octet, and where that is of the kind
/// at those before it.
fn has_run(octets: &[u8], kind: &[bool; 256], length: usize) -> bool {
    let mut start = 0;
    while let Some(window) = octets.get(start..start + length) {
        match window.iter().rposition(|b| !is(kind, *b)) {
            Some(at) => start += at + 1,
            None => return true,
        }
    }
    false
}

/// Words with their places: runs of letters, digits, `-` and `_`.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    line.split(move |c| !in_word(c))
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - line.as_ptr() as usize, word))
}

/// Whether a word of several parts is the name of a secret by its last one: `User-Password`.
fn ends_as_name(word: &str) -> bool {
    SUFFIXES.iter().any(|suffix| {
        let at = word.len().checked_sub(suffix.len()).filter(|at| *at > 0);
        let joined = at.and_then(|at| word.as_bytes().get(at - 1)).is_some_and(|b| matches!(b, b'-' | b'_'));
        joined && at.and_then(|at| word.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    })
}

/// Whether a word may be the name of a secret, or the last of several words that are.
fn may_name(word: &str) -> bool {
    let begins = word.as_bytes().first().is_some_and(|b| b"pskaexrnPSKAEXRN".contains(b));
    let is = |name: &&str| name.eq_ignore_ascii_case(word);
    ends_as_name(word) || begins && (NAMES.iter().any(is) || QUOTED.iter().any(is))
}

/// Secrets behind a name.
fn named(line: &str, secrets: &mut Vec<(usize, usize)>) {
    // Nearly all lines of a log have no such word: they are not looked at any further.
    if !plain_words(line).any(|word| looks_like_name(word) && std::str::from_utf8(word).is_ok_and(may_name)) {
        return;
    }
    let mut first = true;
    let mut previous = "";
    for (at, word) in words(line) {
        // What is in a value that is taken out already is no name.
        if secrets.last().is_some_and(|(_, end)| at < *end) {
            continue;
        }
        let small = word.to_ascii_lowercase();
        let end = at + word.len();
        let rest = line.get(end..).unwrap_or_default();
        let blanks = rest.len() - rest.trim_start().len();
        let value = rest.trim_start();
        // `"secret": "value"`: the quotation mark is the name's.
        let behind_mark = value.strip_prefix(['"', '\'']).filter(|rest| rest.trim_start().starts_with([':', '=']));
        // `"road-psk" #1: `, a connection of pluto's: the mark behind the word is the one that ends it, and no value begins.
        let opened = blanks == 0 && line.get(..at).is_some_and(|before| before.ends_with('"'));
        let ended = value.strip_prefix('"').or_else(|| value.strip_prefix(ESCAPED)).filter(|_| opened);
        let value = behind_mark.or(ended).unwrap_or(value).trim_start();
        let name = NAMES.contains(&small.as_str()) || ends_as_name(&small);
        let assigned = value.strip_prefix(['=', ':']).filter(|_| name);
        let statement = STATEMENTS.contains(&small.as_str());
        let from = |text: &str| line.len() - text.trim_start().len();
        if let Some(value) = assigned.filter(|value| !value.trim().is_empty() && !value.starts_with(':')) {
            // A line that begins with the name is a configuration's: the rest of it is the value, blanks and all.
            let whole = first && statement;
            secrets.push((from(value), value_end(line, from(value), whole)));
        } else if let Some(value) = value.strip_prefix('>').filter(|_| name) {
            // `<pre-shared-key>value</pre-shared-key>`
            let end = value.find('<').unwrap_or(value.len());
            secrets.push((line.len() - value.len(), line.len() - value.len() + end));
        } else if quoted(value) && (name || QUOTED.contains(&small.as_str())) {
            secrets.push((from(value), value_end(line, from(value), false)));
        } else if blanks > 0 && (small == "psksecret" || statement && previous == "set") {
            secrets.push((from(value), line.len()));
        } else if statement && blanks > 0 && (first || value.starts_with("0x")) {
            secrets.push((from(value), value_end(line, from(value), first)));
        } else if small == "key" && matches!(previous, "isakmp" | "hex" | "ascii-text" | "enc" | "auth") {
            secrets.push((from(value), line.find(" address ").unwrap_or(line.len())));
        } else if blanks > 0 && small.ends_with("pre-shared-key") && previous == "ikev1"
            || previous == "pre-shared-key"
                && matches!(small.as_str(), "local" | "remote" | "hex" | "hexadecimal" | "ascii-text")
        {
            secrets.push((from(value), line.len()));
        }
        first = false;
        previous = word;
    }
    secrets.retain(|(start, end)| start < end);
}

fn quoted(value: &str) -> bool {
    value.starts_with('"') || value.starts_with(ESCAPED)
}

/// A quotation mark within a string of JSON.
const ESCAPED: &str = "\\\"";

/// How long a text is up to the quotation mark that ends it, with the mark; one that is escaped does not.
fn closing(text: &str, mark: char) -> Option<usize> {
    let mut escaped = false;
    let ends = |c: char| {
        let end = c == mark && !escaped;
        escaped = c == '\\' && !escaped;
        end
    };
    text.find(ends).map(|at| at + mark.len_utf8())
}

/// Where the value ends that begins at `start`.
fn value_end(line: &str, start: usize, whole: bool) -> usize {
    let value = line.get(start..).unwrap_or_default();
    let mark = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let length = match mark {
        _ if value.starts_with(ESCAPED) => {
            let behind = value.get(ESCAPED.len()..).and_then(|rest| rest.find(ESCAPED));
            behind.map_or(value.len(), |at| at + 2 * ESCAPED.len())
        }
        Some(mark) => value.get(1..).and_then(|rest| closing(rest, mark)).map_or(value.len(), |length| length + 1),
        None if whole => value.len(),
        None => value.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '}')).unwrap_or(value.len()),
    };
    start + length
}

/// Whether there may be something of [`dumped`]: a long word, or two groups of eight digits or eight of two side by side.
fn may_be_dumped(line: &str) -> bool {
    const TWO_OF_EIGHT: usize = 17;
    has_run(line.as_bytes(), &DUMP, TWO_OF_EIGHT) || has_run(line.as_bytes(), &KEY, KEY_DIGITS)
}

/// Secrets by their looks: long hexadecimal numbers, dumps in groups, and lines of Base64.
fn dumped(line: &str, secrets: &mut Vec<(usize, usize)>) {
    // Nearly no line of a log has: it is not looked at any further.
    if may_be_dumped(line) {
        looked_through(line, secrets);
    }
}

fn looked_through(line: &str, secrets: &mut Vec<(usize, usize)>) {
    let (mut groups, mut started, mut ended) = (0, 0, 0);
    let mut flush = |groups: usize, started: usize, ended: usize, width: usize| {
        // Keys in groups of eight digits, or in octets: `d56bba6c 3e061e8f ...`, `3C 27 A6 25 ...`.
        if (width == 8 && groups >= 2) || (width == 2 && groups >= 8) {
            secrets.push((started, ended));
        }
    };
    let mut width = 0;
    for token in line.split([' ', '\t', ':', ',']) {
        let at = token.as_ptr() as usize - line.as_ptr() as usize;
        let digits = token.strip_prefix("0x").unwrap_or(token);
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if hexadecimal && token.len() == digits.len() && (digits.len() == 8 || digits.len() == 2) {
            if groups > 0 && width != digits.len() {
                flush(groups, started, ended, width);
                groups = 0;
            }
            if groups == 0 {
                started = at;
            }
            (groups, width, ended) = (groups + 1, digits.len(), at + token.len());
        } else if !token.is_empty() {
            flush(groups, started, ended, width);
            groups = 0;
        }
    }
    flush(groups, started, ended, width);
    for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))) {
        if word.len() < KEY_DIGITS {
            continue;
        }
        let at = word.as_ptr() as usize - line.as_ptr() as usize;
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let number = digits.len() >= KEY_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let has = |test: fn(&u8) -> bool| word.bytes().any(|b| test(&b));
        let base64 =
            word.len() >= 40 && has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
        if number || base64 {
            secrets.push((at, at + word.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_secret_stays() {
        for line in [
            "authentication of '10.9.0.2' with pre-shared key successful",
            "authentication failed: no PSK found for '@west'",
            "initiator established IKE SA; authenticated peer using authby=secret and FQDN '@east'",
            "tried 1 shared key for 'a' - 'b', but MAC mismatched",
            "\"l2tp-psk\"[3] 192.0.2.1 #3: responding to Main Mode, \"psk\" before it",
            "{\"log\":\"\\\"road-psk\\\" #1: sent Main Mode request\\n\"}",
            "couldn't find the pskey for 10.9.0.2.",
            "mismatch of preshared secrets",
            "10.9.0.2.500 f38828adbdd17381:139d61795d86fc5a  9 R 10 M 2026-11-24 00:50:20      0",
            "Spi(local): 0xdf5601249fd324ec Spi(Remote): 0x74c405a807c5226b",
            "  Encryption: aes256 Authentication: pre-shared-key",
            "\tesp mode=tunnel spi=173267602(0x0a53da92) reqid=0(0x00000000)",
            "v2: #1, ESTABLISHED, IKEv2, fc78f6427b088606_i* bcfe99736e5a3ba6_r",
            "CHILD_SA v2c{1} established with SPIs ca23ef69_i c056f948_o and TS 10.8.1.0/24 === 10.8.2.0/24",
        ] {
            assert_eq!(redact(line), line);
        }
    }

    /// Lines with a secret in the place of `@`.
    const PLACES: [&str; 32] = [
        ": PSK \"@\"",
        "@west @east : PSK \"@\" # comment",
        "echo ': PSK \"@\"' >> /etc/ipsec.secrets",
        "    secret = @ and more",
        "{\"log\":\"psk=\\\"correct @ battery\\\"\\n\"}",
        "secret = \"correct \\\" @\"",
        "secret=@",
        "  secret = \"@\"",
        "user : EAP \"@\"",
        "user : XAUTH \"@\"",
        "preshared-key @",
        "    preshared-key-encrypted @",
        "crypto isakmp key @ address 192.0.2.1",
        "crypto isakmp key 6 @ address 192.0.2.1",
        " pre-shared-key local @",
        " ikev1 pre-shared-key @",
        "set psksecret ENC @",
        "ikev2 \"v2\" passive esp from 10.8.2.0/24 to 10.8.1.0/24 lifetime 3600 psk \"@\"",
        "XAUTH: password='@' for user",
        "login with password: @",
        "13[CFG] password = @",
        "racoon: DEBUG: psk: @",
        "my_secret: @",
        "vpn passphrase=@;",
        "{\"secret\": \"@\", \"id\": 1}",
        "{'psk': '@'}",
        "  <pre-shared-key>@</pre-shared-key>",
        "set security ike policy a pre-shared-key ascii-text \"@\"",
        "pre-shared-key hexadecimal @",
        "User-Password = @",
        "13[CFG] loaded radius_secret: @",
        "\"psk\" \"@\"",
    ];

    #[test]
    fn no_name_is_passed_over() {
        let joined = SUFFIXES.iter().flat_map(|suffix| [format!("x_{suffix}"), format!("9-{suffix}")]);
        let names = NAMES.iter().chain(&STATEMENTS).chain(&QUOTED).map(|name| name.to_string()).chain(joined);
        for name in names.flat_map(|name| [name.to_uppercase(), name]) {
            assert!(may_name(&name) && looks_like_name(name.as_bytes()), "{name}");
            assert!(plain_words(&format!(" {name}=")).any(|word| word == name.as_bytes()), "{name}");
        }
    }

    proptest! {
        /// Where the quick look sees nothing there is nothing.
        #[test]
        fn no_dump_is_passed_over(line in "([0-9a-f]{2}|[0-9a-f]{8}|[0-9a-f]{23,26}|[a-zA-Z0-9+/=]{20,50}|x|ä|[ :,.\\t]){0,24}") {
            let mut found = Vec::new();
            looked_through(&line, &mut found);
            prop_assert!(found.is_empty() || may_be_dumped(&line), "{line}");
        }

        #[test]
        fn a_secret_is_gone(place in 0..PLACES.len(), secret in "[A-Za-z0-9+/!%&]{8,40}") {
            let line = PLACES[place].replacen('@', "", usize::from(place == 1) * 2).replace('@', &secret);
            let clean = redact(&line);
            prop_assert!(!clean.contains(&secret), "{line} -> {clean}");
            prop_assert!(clean.contains(REDACTED));
        }

        /// Key material as setkey, `ip xfrm`, racoon and charon print it.
        #[test]
        fn keys_are_gone(key in proptest::collection::vec(any::<u8>(), 16..40)) {
            let hexadecimal: String = key.iter().map(|b| format!("{b:02x}")).collect();
            let words: Vec<String> = key.chunks(4).filter(|c| c.len() == 4)
                .map(|c| c.iter().map(|b| format!("{b:02x}")).collect()).collect();
            let octets: Vec<String> = key.iter().map(|b| format!("{b:02X}")).collect();
            for line in [
                format!("\tE: aes-cbc  {}", words.join(" ")),
                format!("        auth-trunc hmac(sha256) 0x{hexadecimal} 128"),
                format!("   0: {}  <'.%", octets.join(" ")),
                format!("SK_d secret: {}", words.join(" ")),
                format!("psk 0x{hexadecimal}"),
            ] {
                let clean = redact(&line);
                prop_assert!(!clean.contains(&words[1]) && !clean.contains(&octets[3..7].join(" ")), "{line} -> {clean}");
                prop_assert!(!clean.contains(&hexadecimal[4..]), "{line} -> {clean}");
            }
        }

        #[test]
        fn anything_can_be_redacted(line in ".{0,300}") {
            let clean = redact(&line);
            prop_assert_eq!(redact(&clean).is_empty(), clean.is_empty());
        }
    }
}
