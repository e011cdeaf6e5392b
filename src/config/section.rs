//! Reading one table, key by key. Every mistake is noted with its place, and reading goes on.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnose::{Diagnostics, Plain};
use super::secrets::Secret;

/// One table of the configuration while it is read.
///
/// Each key is *taken* by whoever owns it; [`Section::finish`] reports those that nobody took.
#[derive(Debug)]
pub struct Section<'a> {
    name: String,
    span: Range<usize>,
    entries: Vec<Entry<'a>>,
    asked: Vec<&'static str>,
    secret: bool,
    out: &'a mut Diagnostics,
}

#[derive(Debug)]
struct Entry<'a> {
    key: String,
    key_span: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
    taken: bool,
}

impl<'a> Section<'a> {
    /// A cursor over a table. `name`: how people call it, `[printer.ender3]`.
    pub fn new(name: &str, span: Range<usize>, table: &'a DeTable<'a>, out: &'a mut Diagnostics) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_span: key.span(),
                value,
                taken: false,
            })
            .collect();
        Section {
            name: name.to_owned(),
            span,
            entries,
            asked: Vec::new(),
            secret: false,
            out,
        }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Notes a mistake at a key's value, or at the table when the key is absent.
    pub fn mistake(&mut self, key: &str, text: impl Into<String>) {
        let span = self
            .entries
            .iter()
            .find(|e| e.key == key)
            .map_or_else(|| self.span.clone(), |e| e.value.span());
        self.out.at(span, text);
    }

    /// Notes a mistake in a part of a key's text.
    pub fn mistake_within(&mut self, key: &str, text: &str, part: Range<usize>, words: impl Into<String>) {
        let Some(value) = self.entries.iter().find(|e| e.key == key).map(|e| e.value.span()) else {
            return self.mistake(key, words);
        };
        let span = self.out.within(value, text, part);
        self.out.at(span, words);
    }

    /// A text.
    pub fn string(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, "a text in quotes", |v| v.as_str().map(str::to_owned))
    }

    /// A text that must be there.
    pub fn required_string(&mut self, key: &'static str, example: &str) -> Option<String> {
        if !self.has(key) {
            self.asked.push(key);
            let text = format!(
                "`{key}` is missing in [{}]. Add for example: {key} = {example}",
                self.name
            );
            self.out.at(self.span.clone(), text);
            return None;
        }
        self.string(key)
    }

    /// A text that must not be shown.
    pub fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let secret = self.typed(key, "a text in quotes", |v| v.as_str().map(Secret::new));
        self.secret |= secret.is_some();
        self.conceal(key);
        secret
    }

    /// What stands there is not for others' eyes, though it is no secret by its kind.
    pub fn conceal(&mut self, key: &str) {
        if let Some(entry) = self.entries.iter().find(|e| e.key == key) {
            self.out.conceal(entry.value.span());
        }
    }

    /// Of the address that stands there others may see only where it leads.
    pub fn conceal_path(&mut self, key: &str) {
        if let Some(entry) = self.entries.iter().find(|e| e.key == key) {
            self.out.conceal(entry.value.span());
            self.out.vouch(entry.value.span(), Plain::Host);
        }
    }

    /// Whether a secret stood in this table itself: then nobody else may read the file.
    pub fn gave_secret(&self) -> bool {
        self.secret
    }

    /// A file or directory name.
    pub fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.string(key).map(PathBuf::from)
    }

    /// true or false.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", |v| v.as_bool())
    }

    /// A whole number in a range.
    pub fn integer(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.typed(key, "a whole number", integer_of)?;
        if range.contains(&value) {
            return Some(value);
        }
        self.mistake(
            key,
            format!(
                "`{key}` is {value}; it must be from {} to {}.",
                range.start(),
                range.end()
            ),
        );
        None
    }

    /// A number in a range.
    pub fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.typed(key, "a number", number_of)?;
        if range.contains(&value) {
            return Some(value);
        }
        self.mistake(
            key,
            format!(
                "`{key}` is {value}; it must be from {} to {}.",
                range.start(),
                range.end()
            ),
        );
        None
    }

    /// A list of exactly `N` numbers in a range.
    pub fn numbers<const N: usize>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<[f64; N]> {
        let what = format!("a list of {N} numbers");
        let values: Vec<f64> = self.typed(key, &what, |v| {
            v.as_array()?.iter().map(|x| number_of(x.get_ref())).collect()
        })?;
        let Ok(values) = <[f64; N]>::try_from(values) else {
            self.mistake(key, format!("`{key}` must be {what}."));
            return None;
        };
        match values.iter().find(|v| !range.contains(v)) {
            None => Some(values),
            Some(bad) => {
                let text = format!(
                    "`{key}` holds {bad}; each number must be from {} to {}.",
                    range.start(),
                    range.end()
                );
                self.mistake(key, text);
                None
            }
        }
    }

    /// A list of texts.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.typed(key, "a list of texts", |v| {
            v.as_array()?
                .iter()
                .map(|x| x.get_ref().as_str().map(str::to_owned))
                .collect()
        })
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let all: Vec<String> = words.iter().map(|(w, _)| format!("\"{w}\"")).collect();
        self.mistake(
            key,
            format!(
                "`{key}` must be {}.{}",
                all.join(" or "),
                did_you_mean(&text, words.iter().map(|w| w.0))
            ),
        );
        None
    }

    /// A text or a whole number in a range, for keys like `baud = "auto"` or 115200.
    pub fn word_or_integer(
        &mut self,
        key: &'static str,
        words: &[&'static str],
        range: RangeInclusive<i64>,
    ) -> Option<WordOrInteger> {
        let all: Vec<String> = words.iter().map(|w| format!("\"{w}\"")).collect();
        let what = format!(
            "{} or a number from {} to {}",
            all.join(", "),
            range.start(),
            range.end()
        );
        self.typed(key, &what, |v| match v {
            DeValue::String(text) => words
                .iter()
                .find(|w| **w == &**text)
                .map(|w| WordOrInteger::Word(w)),
            _ => integer_of(v)
                .filter(|n| range.contains(n))
                .map(WordOrInteger::Integer),
        })
    }

    /// Reads a table inside this one.
    pub fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Option<T>,
    ) -> Option<T> {
        self.asked.push(key);
        let entry = self.entries.iter_mut().find(|e| e.key == key)?;
        entry.taken = true;
        let (value, span) = (entry.value, entry.value.span());
        let Some(table) = value.get_ref().as_table() else {
            self.out
                .at(span, format!("`{key}` must be a table: {key} = {{ … }}."));
            return None;
        };
        let mut section = Section::new(&format!("{}.{key}", self.name), span, table, self.out);
        let result = read(&mut section);
        section.finish();
        result
    }

    /// Takes every key unseen, where nobody can know which ones there may be.
    pub fn take_all(&mut self) {
        self.entries.iter_mut().for_each(|e| e.taken = true);
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|e| e.key == key)
    }

    /// Reports keys that nobody knows.
    pub fn finish(self) {
        for entry in self.entries.iter().filter(|e| !e.taken) {
            let hint = did_you_mean(&entry.key, self.asked.iter().copied());
            let hint = if hint.is_empty() {
                " Remove it.".to_owned()
            } else {
                hint
            };
            self.out.at(
                entry.key_span.clone(),
                format!("`{}` is not a key of [{}].{hint}", entry.key, self.name),
            );
        }
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Option<T> {
        self.asked.push(key);
        let entry = self.entries.iter_mut().find(|e| e.key == key)?;
        entry.taken = true;
        let value = read(entry.value.get_ref());
        match value {
            Some(_) => self.out.vouch(entry.value.span(), Plain::Whole),
            None => self
                .out
                .at(entry.value.span(), format!("`{key}` must be {what}.")),
        }
        value
    }
}

/// Value of [`Section::word_or_integer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordOrInteger {
    /// One of the words.
    Word(&'static str),
    /// A number.
    Integer(i64),
}

fn integer_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
}

fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse().ok(),
        _ => integer_of(value).map(|n| n as f64),
    };
    number.filter(|n: &f64| n.is_finite())
}

/// ` Did you mean "x"?`, or nothing.
pub(super) fn did_you_mean<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> String {
    let best = words
        .map(|w| (strsim::jaro_winkler(text, w), w))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, word)) if likeness > 0.75 => format!(" Did you mean `{word}`?"),
        _ => String::new(),
    }
}
