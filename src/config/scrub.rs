//! Takes secrets out of texts for others' eyes: logs, raw traffic, states. Pure.
//!
//! Two ways at once. What is known to be a secret (from the configuration, the files that it names and the
//! database) is found wherever it stands, also as it is written within JSON and addresses. What nobody has
//! told us is found by where it stands: the login of an address, a parameter, a member called `token`, a
//! line of G-code with a radio's password.

use super::secrets::Secret;
use crate::sorted;

/// What stands for a secret.
const STARS: &str = "***";

/// Shorter secrets are replaced only where they stand alone: else every "123" of a log would go.
const ALONE_BELOW: usize = 4;

/// Raw traffic is cut at a length, and a secret at the cut with it; so long a line may be a cut one.
const CUT_FROM: usize = 500;

/// Most of the line's end that can be the beginning of a secret.
const CUT_MAX: usize = 256;

/// Members, headers and parameters whose values are not shown: those whose name, without `-` and `_`, ends so.
const NAMES: &[&str] = &[
    "accesscode",
    "accesskey",
    "apikey",
    "authkey",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "devcode",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "psk",
    "pwd",
    "secret",
    "secretkey",
    "signature",
    "token",
    "ttcode",
];

/// What gives a radio or a network module its password in a line of G-code or of an ESP's firmware.
const NETWORK_WORDS: &[&str] = &["M551", "M586", "M587", "M588", "M589", "[ESP"];

/// What begins a key of the local API.
const OWN_KEY: &str = "lyd_";

/// Secrets that are known, and the search for others.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    /// Longest first, so that no part of a secret is left of a longer one.
    known: Vec<Secret>,
}

impl Scrub {
    /// Learns a secret, in every form in which it may stand somewhere.
    pub fn learn(&mut self, secret: &Secret) {
        let text = secret.reveal().trim();
        if text.is_empty() {
            return;
        }
        let json = serde_json::to_string(text).unwrap_or_default();
        let json = json.trim_matches('"').to_owned();
        let mut forms = vec![
            text.to_owned(),
            percent_encoded(text),
            text.escape_debug().to_string(),
            json.escape_debug().to_string(),
            json,
        ];
        forms.sort();
        forms.dedup();
        self.known.extend(forms.into_iter().map(Secret::new));
        sorted::by_key(&mut self.known, |s| std::cmp::Reverse(s.reveal().len()));
        self.known.dedup();
    }

    /// How many forms of secrets are looked for.
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.known {
            clean = without(&clean, secret.reveal());
        }
        let mut out = String::with_capacity(clean.len());
        let mut in_key = false;
        for line in clean.split_inclusive('\n') {
            // A key in PEM: from its first line to its last.
            let (begins, ends) = (line.contains("PRIVATE KEY-----"), line.contains("-----END "));
            if in_key || begins {
                in_key = !ends;
                out.push_str(STARS);
                out.extend(line.ends_with('\n').then_some('\n'));
                continue;
            }
            out.push_str(&self.line(line));
        }
        out
    }

    fn line(&self, line: &str) -> String {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        let body = without_network_words(body);
        let body = without_logins(&body);
        let body = without_named(&body);
        let mut body = without_words_after(&body);
        if body.len() >= CUT_FROM {
            let cut = self.cut_secret(&body);
            body.truncate(body.len() - cut);
            if cut > 0 {
                body.push_str(STARS);
            }
        }
        body.push_str(end);
        body
    }

    /// How many bytes at the end of a line are the beginning of a secret.
    fn cut_secret(&self, line: &str) -> usize {
        let longest = |secret: &str| {
            let most = secret.len().min(CUT_MAX);
            let ends = |n: &usize| secret.get(..*n).is_some_and(|head| line.ends_with(head));
            (ALONE_BELOW..most).rev().find(ends)
        };
        let found = self.known.iter().filter_map(|s| longest(s.reveal()));
        found.max().unwrap_or(0)
    }
}

fn without(text: &str, secret: &str) -> String {
    if secret.len() >= ALONE_BELOW {
        return text.replace(secret, STARS);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let wordy = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    while let Some((before, behind)) = rest.split_once(secret) {
        out.push_str(before);
        let alone = !wordy(out.chars().next_back()) && !wordy(behind.chars().next());
        out.push_str(if alone { STARS } else { secret });
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The secrets of an address: the password of its login, and where even the path may be one the address
/// from there on.
pub fn in_address(text: &str, path_too: bool) -> Vec<Secret> {
    let Some((_, rest)) = text.split_once("://") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if let Some((login, _)) = authority.rsplit_once('@') {
        found.push(Secret::new(login));
        let password = login.split_once(':').map_or("", |(_, password)| password);
        found.extend((!password.is_empty()).then(|| Secret::new(password)));
    }
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    found.extend(
        values
            .filter(|(_, v)| v.len() >= 6)
            .map(|(_, value)| Secret::new(value)),
    );
    if path_too {
        // Short paths and parts are usual ones ("/snapshot"), and no secrets.
        let way = path.split(['?', '#']).next().unwrap_or_default();
        let parts = way.split('/').filter(|part| part.len() >= 12);
        found.extend(
            parts
                .chain([way, path].into_iter().filter(|p| p.len() >= 16))
                .map(Secret::new),
        );
    }
    found
}

/// Of an address in quotes: `"http://host:80/***"`.
pub(super) fn host_only(quoted: &str) -> String {
    let quote = quoted
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\''))
        .unwrap_or('"');
    let text = quoted.trim_matches(quote);
    let Some((scheme, rest)) = text.split_once("://") else {
        return format!("{quote}{STARS}{quote}");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, host) = match authority.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", authority),
    };
    let path = if rest.len() > authority.len() { "/***" } else { "" };
    format!("{quote}{scheme}://{login}{host}{path}{quote}")
}

/// `M587 S"shop" P"…"`: nothing behind the word.
fn without_network_words(line: &str) -> String {
    let before_ok = |at: usize| {
        let before = line.get(..at).and_then(|t| t.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric())
    };
    let behind_ok = |at: usize, word: &str| {
        let behind = line.get(at + word.len()..).and_then(|t| t.chars().next());
        word.starts_with('[') || behind.is_some_and(|c| !c.is_ascii_digit())
    };
    let upper = line.to_ascii_uppercase();
    let found = NETWORK_WORDS.iter().filter_map(|word| {
        let mut places = upper.match_indices(word).map(|(at, _)| at);
        let at = places.find(|at| before_ok(*at) && behind_ok(*at, word))?;
        Some(at + word.len())
    });
    match found.min().and_then(|at| line.get(..at)) {
        Some(kept) => format!("{kept} {STARS}"),
        None => line.to_owned(),
    }
}

/// `http://user:password@host/path?key=…`: login and parameters.
fn without_logins(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\' | '`');
        let end = behind.find(ends).unwrap_or(behind.len());
        let (address, next) = behind.split_at(end);
        let host_end = address.find(['/', '?', '#']).unwrap_or(address.len());
        let (authority, path) = address.split_at(host_end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str(STARS);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        match path.find(['?', '#']) {
            Some(at) => {
                out.push_str(path.get(..=at).unwrap_or_default());
                out.push_str(STARS);
            }
            None => out.push_str(path),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

/// `"access_code":"…"`, `token=…`, `X-Api-Key: …`: the value behind the name.
fn without_named(line: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    loop {
        let Some(start) = rest.find(word) else {
            out.push_str(rest);
            return out;
        };
        let (before, tail) = rest.split_at(start);
        let (name, behind) = tail.split_at(tail.find(|c| !word(c)).unwrap_or(tail.len()));
        out.push_str(before);
        out.push_str(name);
        rest = behind;
        if !is_secret_name(name) {
            continue;
        }
        let mark = behind.trim_start_matches(['"', '\'', '\\']).trim_start();
        let Some(value) = mark.strip_prefix([':', '=']).map(str::trim_start) else {
            continue;
        };
        let between = behind.len() - value.len();
        out.push_str(behind.get(..between).unwrap_or_default());
        rest = skip_value(value, &mut out);
    }
}

fn is_secret_name(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .map(|c| c.to_ascii_lowercase())
        .collect();
    NAMES.iter().any(|secret| plain.ends_with(secret))
}

/// Writes stars for a value and returns what follows it.
fn skip_value<'a>(value: &'a str, out: &mut String) -> &'a str {
    // Nothing is hidden where nothing is.
    for word in ["null", "true", "false", "***"] {
        if let Some(rest) = value.strip_prefix(word) {
            out.push_str(word);
            return rest;
        }
    }
    let opening = value.len() - value.trim_start_matches('\\').len();
    let after = value.get(opening..).unwrap_or_default();
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '&' | '}' | ')' | ']' | '"');
        let mut end = value.find(ends).unwrap_or(value.len());
        // `Authorization: Bearer …`
        let scheme = value.get(..end).unwrap_or_default();
        if matches!(scheme, "Bearer" | "Basic" | "Digest") {
            let behind = value.get(end + 1..).unwrap_or_default();
            end = value.len() - behind.len() + behind.find(ends).unwrap_or(behind.len());
        }
        if end > 0 {
            out.push_str(STARS);
        }
        return value.get(end..).unwrap_or_default();
    };
    // The closing quote is written as the opening one: `\"` within a text that is a text of another.
    let closing: String = value
        .get(..opening)
        .unwrap_or_default()
        .chars()
        .chain([quote])
        .collect();
    let inner = after.get(1..).unwrap_or_default();
    let end = closing_at(inner, &closing, opening);
    out.push_str(&closing);
    out.push_str(STARS);
    match end {
        Some(end) => {
            out.push_str(&closing);
            inner.get(end + closing.len()..).unwrap_or_default()
        }
        // Cut off: nothing of it is kept.
        None => "",
    }
}

/// Where a text ends: at its first closing quote that is not itself escaped.
fn closing_at(inner: &str, closing: &str, opening: usize) -> Option<usize> {
    inner.match_indices(closing).map(|(at, _)| at).find(|at| {
        let before = inner.get(..*at).unwrap_or_default();
        let slashes = before.len() - before.trim_end_matches('\\').len();
        opening > 0 && slashes == 0 || opening == 0 && slashes % 2 == 0
    })
}

/// `Bearer …` wherever it stands, and keys of the local API.
fn without_words_after(line: &str) -> String {
    let mut out = line.to_owned();
    for mark in ["Bearer ", "Basic ", OWN_KEY] {
        let mut clean = String::with_capacity(out.len());
        let mut rest = out.as_str();
        while let Some((before, behind)) = rest.split_once(mark) {
            clean.push_str(before);
            clean.push_str(mark);
            let token =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '/' | '=');
            let end = behind.find(|c| !token(c)).unwrap_or(behind.len());
            let (secret, next) = behind.split_at(end);
            clean.push_str(if secret.len() >= 8 { STARS } else { secret });
            rest = next;
        }
        clean.push_str(rest);
        out = clean;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scrub(secrets: &[&str]) -> Scrub {
        let mut scrub = Scrub::default();
        secrets.iter().for_each(|s| scrub.learn(&Secret::new(*s)));
        scrub
    }

    #[test]
    fn what_is_known_goes_in_every_form() {
        let scrub = scrub(&["pä\"ss/w&rd", "12345678", "abc"]);
        for (line, clean) in [
            ("code 12345678!", "code ***!"),
            ("x=p%C3%A4%22ss%2Fw%26rd", "x=***"),
            (r#"{"a":"pä\"ss/w&rd"}"#, r#"{"a":"***"}"#),
            (r#"> {\"a\":\"pä\\\"ss/w&rd\"}"#, r#"> {\"a\":\"***\"}"#),
            ("abc abcd (abc)", "*** abcd (***)"),
        ] {
            assert_eq!(scrub.text(line), clean);
        }
    }

    #[test]
    fn what_nobody_told_goes_by_where_it_stands() {
        let scrub = Scrub::default();
        for (line, clean) in [
            (
                "GET http://joe:hush@cam/x?k=v now",
                "GET http://***@cam/x?*** now",
            ),
            (
                r#"{"access_code":"87654321","b":1}"#,
                r#"{"access_code":"***","b":1}"#,
            ),
            (
                r#"< {\"token\":\"a\\\\b\",\"n\":2}"#,
                r#"< {\"token\":\"***\",\"n\":2}"#,
            ),
            (
                r#"{"api_key": 12, "token": null}"#,
                r#"{"api_key": ***, "token": null}"#,
            ),
            ("X-Api-Key: 0123, more", "X-Api-Key: ***, more"),
            ("Authorization: Bearer abc.def-1 end", "Authorization: *** end"),
            ("sent Bearer abcdefgh1 end", "sent Bearer *** end"),
            ("key lyd_AbCdEfGh0123456789 made", "key lyd_*** made"),
            (r#"N5 M587 S"shop" P"radio"*33"#, "N5 M587 ***"),
            ("> [ESP101]P=radio", "> [ESP ***"),
            (r#"{"password":"cut off he"#, r#"{"password":"***"#),
            ("M5870 X1 ok T:20.0 tokens 3", "M5870 X1 ok T:20.0 tokens 3"),
        ] {
            assert_eq!(scrub.text(line), clean);
        }
        let pem = "a\n-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nb\n";
        assert_eq!(scrub.text(pem), "a\n***\n***\n***\nb\n");
    }

    #[test]
    fn a_secret_at_the_cut_of_a_line_goes_too() {
        let line = format!("{}code 12345", "x".repeat(600));
        let clean = scrub(&["12345678"]).text(&line);
        assert!(clean.ends_with("code ***"), "{clean}");
    }

    proptest! {
        #[test]
        fn no_known_secret_is_left_and_lines_stay(
            before in "\\PC{0,40}", secret in "[!-)+-~]{4,20}", behind in "(\\PC|\n){0,60}"
        ) {
            let text = format!("{before}{secret}{behind}");
            let clean = scrub(&[&secret]).text(&text);
            prop_assert!(!clean.contains(&secret), "{clean}");
            prop_assert_eq!(clean.matches('\n').count(), text.matches('\n').count());
        }
    }
}
