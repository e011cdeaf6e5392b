//! `[snippets]`, `[gcode]` and `gcode = { … }` of a printer: lines of the owner's own at moments of a print.

use std::sync::Arc;

use toml::de::DeTable;

use super::diagnose::{Diagnostics, Plain};
use super::section::Section;
use super::template::{self, Moment, Snippets, Template};

/// Longest text.
const TEXT_MAX: usize = 16 << 10;
/// Most snippets.
const SNIPPETS_MAX: usize = 200;

/// The lines of one printer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Before the first line of a file.
    pub start: Template,
    /// After its last.
    pub end: Template,
    /// Instead of parking.
    pub pause: Template,
    /// When everything is warm again.
    pub resume: Template,
    /// Instead of moving away from the part.
    pub cancel: Template,
    /// `[snippets]`: what a person may send by name.
    pub snippets: Arc<Snippets>,
}

impl Lifecycle {
    /// The lines of a moment; `None` for those that are not of a print.
    pub fn at(&self, moment: Moment) -> Option<&Template> {
        match moment {
            Moment::Start => Some(&self.start),
            Moment::End => Some(&self.end),
            Moment::Pause => Some(&self.pause),
            Moment::Resume => Some(&self.resume),
            Moment::Cancel => Some(&self.cancel),
            Moment::Done | Moment::Clear => None,
        }
    }

    fn of(&mut self, moment: Moment) -> Option<&mut Template> {
        match moment {
            Moment::Start => Some(&mut self.start),
            Moment::End => Some(&mut self.end),
            Moment::Pause => Some(&mut self.pause),
            Moment::Resume => Some(&mut self.resume),
            Moment::Cancel => Some(&mut self.cancel),
            Moment::Done | Moment::Clear => None,
        }
    }
}

/// The moments of a printer's `gcode`.
pub const MOMENTS: &[Moment] = &[
    Moment::Start,
    Moment::End,
    Moment::Pause,
    Moment::Resume,
    Moment::Cancel,
];

/// What all printers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// `[snippets]`.
    pub snippets: Snippets,
    /// `[gcode]`.
    pub defaults: Lifecycle,
}

/// Reads `[snippets]`. Names are free, so there is no unknown key.
pub fn read_snippets(table: &DeTable<'_>, out: &mut Diagnostics) -> Snippets {
    let mut snippets = Snippets::new();
    for (key, value) in table {
        let name: &str = key.get_ref();
        let Some(text) = value.get_ref().as_str() else {
            out.at(value.span(), format!("`{name}` must be a text of G-code lines."));
            continue;
        };
        if text.len() > TEXT_MAX || snippets.len() >= SNIPPETS_MAX {
            out.at(
                key.span(),
                format!("`{name}` is too much: at most {SNIPPETS_MAX} snippets of 16 KiB."),
            );
            continue;
        }
        out.vouch(value.span(), Plain::Whole);
        snippets.insert(name.to_owned(), text.to_owned());
    }
    for (key, value) in table {
        let name: &str = key.get_ref();
        let text = snippets.get(name).map_or("", String::as_str);
        for mistake in template::check(name, &snippets) {
            let at = out.within(value.span(), text, mistake.at);
            out.at(at, format!("snippet `{name}`: {}", mistake.text));
        }
    }
    snippets
}

/// One text of a table.
pub fn read_text(section: &mut Section<'_>, moment: Moment, snippets: &Snippets) -> Option<Template> {
    let text = section.string(moment.key())?;
    if text.len() > TEXT_MAX {
        section.mistake(moment.key(), format!("`{}` is longer than 16 KiB.", moment.key()));
        return None;
    }
    match template::parse(&text, snippets, moment) {
        Ok(template) => Some(template),
        Err(mistakes) => {
            for mistake in mistakes {
                let words = format!("`{}`: {}", moment.key(), mistake.text);
                section.mistake_within(moment.key(), &text, mistake.at, words);
            }
            None
        }
    }
}

/// `[gcode]`, or `gcode = { … }` of a printer over it; an empty text switches a default off.
pub fn read(section: &mut Section<'_>, snippets: &Snippets, defaults: &Lifecycle) -> Lifecycle {
    let mut lifecycle = defaults.clone();
    for moment in MOMENTS {
        if let (Some(template), Some(slot)) = (read_text(section, *moment, snippets), lifecycle.of(*moment)) {
            *slot = template;
        }
    }
    lifecycle
}
