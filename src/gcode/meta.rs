//! Facts that a file states about itself in comments, collected while it streams by.

use super::knowledge::keys::{self, FACTS, Fact};
use super::knowledge::slicers::{self, Found};
use super::knowledge::values;
use super::lex::{Micro, UNIT};

/// Longest value kept, bytes.
const MAX_VALUE: usize = 4096;

/// How far into a file a slicer's name is looked for.
const NAME_WITHIN: u64 = 256 * 1024;

/// Facts of a file.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Who sliced it.
    pub slicer: Option<Found>,
    facts: Vec<Option<(u8, String)>>,
    numbered: Vec<(Fact, usize, String)>,
    /// A name whose number comes in the next line (ideaMaker).
    pub pending_name: Vec<u8>,
    /// Something that the slicer always writes at the end was seen.
    pub tail: bool,
    /// The slicer's clock where it was read last, seconds in millionths (`;TIME_ELAPSED:`).
    pub elapsed: Micro,
}

impl Meta {
    /// Takes a comment, blanks at both ends taken off.
    pub fn comment(&mut self, text: &[u8], offset: u64) {
        if self.slicer.is_none() && offset < NAME_WITHIN {
            self.slicer = std::str::from_utf8(text).ok().and_then(slicers::find);
        }
        if let Some(found) = &mut self.slicer
            && found.version.is_none()
            && text.starts_with(b"version ")
        {
            found.version = std::str::from_utf8(text).ok().and_then(slicers::version_line);
        }
        let simplify = self.slicer.as_ref().is_some_and(|s| s.name == "Simplify3D");
        let separator = |b: &u8| matches!(b, b'=' | b':') || (simplify && *b == b',');
        let Some(at) = text.iter().take(keys::MAX_KEY + 8).position(separator) else {
            return;
        };
        let (key, value) = text.split_at(at);
        self.pair(key, value.get(1..).unwrap_or_default());
        // Bambu puts two facts in a line: `model printing time: 15m 23s; total estimated time: 20m`.
        if let Some(more) = memchr::memmem::find(value, b"; total estimated time:") {
            let second = value.get(more + 1..).unwrap_or_default();
            if let Some(colon) = memchr::memchr(b':', second) {
                let (key, value) = second.split_at(colon);
                self.pair(key, value.get(1..).unwrap_or_default());
            }
        }
    }

    /// Takes a key and its value.
    pub fn pair(&mut self, key: &[u8], value: &[u8]) {
        let key = super::lex::trim(key);
        let key = key.strip_prefix(b"--- ").unwrap_or(key);
        let mut lower = [0u8; keys::MAX_KEY];
        let Some(place) = lower.get_mut(..key.len()) else {
            return;
        };
        place.copy_from_slice(key);
        place.make_ascii_lowercase();
        let Ok(key) = std::str::from_utf8(place) else {
            return;
        };
        if let Some((fact, rank)) = keys::fact_of(key) {
            let text = text_of(value);
            if !text.is_empty() && !is_placeholder(fact, &text) {
                self.put(fact, rank, text);
            }
        } else if key.contains(['#', '.'])
            && let Some((fact, tool)) = keys::numbered(key)
        {
            let known = self.numbered.iter().any(|(f, t, _)| (*f, *t) == (fact, tool));
            if !known && self.numbered.len() < 256 {
                self.numbered.push((fact, tool, text_of(value)));
            }
        }
    }

    fn put(&mut self, fact: Fact, rank: u8, text: String) {
        if self.facts.is_empty() {
            self.facts.resize(FACTS, None);
        }
        let Some(slot) = self.facts.get_mut(fact as usize) else {
            return;
        };
        // Slic3r writes one line per tool: `620.4mm (1.5cm3)`.
        let repeats = fact == Fact::FilamentLength && text.contains("mm (");
        match slot {
            Some((known, old)) if *known == rank && repeats => {
                if old.len() + text.len() < MAX_VALUE {
                    old.push_str(", ");
                    old.push_str(without_volume(&text));
                }
            }
            Some((known, _)) if *known <= rank => {}
            _ if repeats => *slot = Some((rank, without_volume(&text).to_owned())),
            _ => *slot = Some((rank, text)),
        }
    }

    /// A fact as text.
    pub fn text(&self, fact: Fact) -> Option<&str> {
        self.facts
            .get(fact as usize)?
            .as_ref()
            .map(|(_, text)| text.as_str())
    }

    /// A fact as one number.
    pub fn number(&self, fact: Fact) -> Option<f64> {
        match self.text(fact) {
            Some(text) => values::plain(text),
            None => self.numbers(fact).first().copied().flatten(),
        }
    }

    /// A fact as numbers per tool.
    pub fn numbers(&self, fact: Fact) -> Vec<Option<f64>> {
        match self.text(fact) {
            Some(text) if fact == Fact::FilamentLength => values::lengths_mm(text),
            Some(text) => values::list(text),
            None => {
                let mut all = Vec::new();
                for (_, tool, text) in self.numbered.iter().filter(|(f, ..)| *f == fact) {
                    if all.len() <= *tool {
                        all.resize(tool + 1, None);
                    }
                    if let Some(place) = all.get_mut(*tool) {
                        *place = values::plain(text);
                    }
                }
                all
            }
        }
    }

    /// A fact as texts per tool.
    pub fn texts(&self, fact: Fact) -> Vec<String> {
        match self.text(fact) {
            Some(text) => values::texts(text),
            None => self
                .numbered
                .iter()
                .filter(|(f, ..)| *f == fact)
                .map(|(.., text)| text.trim().to_owned())
                .collect(),
        }
    }

    /// Takes the slicer's name as a container gives it: `PrusaSlicer 2.8.1`.
    pub fn producer(&mut self, text: &str) {
        self.slicer = slicers::find(&format!("generated by {} on 2", text.trim()));
    }

    /// Whether a comment is one that its slicer writes only at the end.
    pub fn is_tail(&self, text: &[u8]) -> bool {
        const TAILS: &[&[u8]] = &[
            b"prusaslicer_config = end",
            b"CONFIG_BLOCK_END",
            b"End of Gcode",
            b"EXECUTABLE_BLOCK_END",
        ];
        TAILS.contains(&text) || text.starts_with(b"filament used [mm]") || text.starts_with(b"SETTING_3 ")
    }

    /// Whether the flavour is UltiGCode: E in mm³, temperatures from the printer's menu.
    pub fn says_ultigcode(&self) -> bool {
        self.text(Fact::Flavor) == Some("UltiGCode")
    }

    /// Whether the printer homes by itself before it prints (Ultimaker 2 and later).
    pub fn homes_itself(&self) -> bool {
        matches!(self.text(Fact::Flavor), Some("UltiGCode" | "Griffin"))
    }

    /// The estimate, seconds; the slicer's clock at the end of the print where its header leaves it open.
    pub fn estimate_s(&self) -> Option<f64> {
        self.text(Fact::Estimate)
            .and_then(values::duration_s)
            .or(Some(self.elapsed as f64 / UNIT as f64))
            .filter(|s| *s > 0.0)
    }
}

/// Whether this slicer always ends its files with something that [`Meta::is_tail`] knows.
pub fn always_has_tail(slicer: &str) -> bool {
    matches!(
        slicer,
        "PrusaSlicer" | "OrcaSlicer" | "BambuStudio" | "Cura" | "ElegooSlicer" | "QIDISlicer"
    )
}

fn without_volume(text: &str) -> &str {
    text.split('(').next().unwrap_or_default().trim()
}

fn text_of(value: &[u8]) -> String {
    let value = super::lex::trim(value);
    let value = value.strip_suffix(b" ---").unwrap_or(value);
    String::from_utf8_lossy(value.get(..value.len().min(MAX_VALUE)).unwrap_or_default()).into_owned()
}

/// What CuraEngine and old Curas write before the real value is known.
fn is_placeholder(fact: Fact, text: &str) -> bool {
    match fact {
        Fact::Estimate | Fact::FilamentVolume => text == "6666" || text.starts_with('#'),
        Fact::FilamentLength => text == "0m",
        Fact::LayerCount | Fact::Nozzle | Fact::LayerHeight => values::plain(text).is_none_or(|v| v <= 0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(lines: &[&str]) -> Meta {
        let mut meta = Meta::default();
        for line in lines {
            meta.comment(line.as_bytes(), 0);
        }
        meta
    }

    #[test]
    fn each_slicer_s_way_is_read() {
        let m = meta(&[
            "generated by PrusaSlicer 2.8.1 on 2024-10-21 at 06:38:01 UTC",
            "filament used [mm] = 12.5, 3.25",
            "estimated printing time (normal mode) = 1h 2m 3s",
            "total layers count = 9",
            "filament_type = PLA;PETG",
        ]);
        assert_eq!(m.numbers(Fact::FilamentLength), [Some(12.5), Some(3.25)]);
        assert_eq!(
            (m.estimate_s(), m.number(Fact::LayerCount)),
            (Some(3723.0), Some(9.0))
        );
        assert_eq!(m.texts(Fact::Material), ["PLA", "PETG"]);

        let m = meta(&[
            "Generated with Cura_SteamEngine 5.7.0",
            "TIME:2588",
            "Filament used: 1.50857m, 0.02m",
            "Layer height: 0.2",
        ]);
        assert_eq!(m.numbers(Fact::FilamentLength), [Some(1508.57), Some(20.0)]);
        assert_eq!(m.estimate_s(), Some(2588.0));

        let m = meta(&["TIME:6666", "Filament used: 0m", "MATERIAL:6666"]);
        assert_eq!(
            (
                m.estimate_s(),
                m.text(Fact::FilamentLength),
                m.number(Fact::FilamentVolume)
            ),
            (None, None, None)
        );

        let m = meta(&[
            "BambuStudio 02.08.02.61",
            "model printing time: 15m 23s; total estimated time: 20m 50s",
            "total layer number: 37",
            "total filament weight [g] : 1.5,2.5",
            "filament: 1,2",
        ]);
        assert_eq!(
            (m.estimate_s(), m.number(Fact::LayerCount)),
            (Some(1250.0), Some(37.0))
        );
        assert_eq!(m.numbers(Fact::FilamentSlots), [Some(1.0), Some(2.0)]);

        let m = meta(&[
            "G-Code generated by Simplify3D(R) Version 4.1.2",
            "layerHeight,0.2",
            "Build time: 1 hours 42 minutes",
            "Filament length: 4523.4 mm (4.52 m)",
        ]);
        assert_eq!(
            (m.number(Fact::LayerHeight), m.estimate_s()),
            (Some(0.2), Some(6120.0))
        );
        assert_eq!(m.numbers(Fact::FilamentLength), [Some(4523.4)]);

        let m = meta(&[
            "filament used = 620.4mm (1.5cm3)",
            "filament used = 20.5mm (0.1cm3)",
        ]);
        assert_eq!(m.numbers(Fact::FilamentLength), [Some(620.4), Some(20.5)]);

        let m = meta(&[
            "Material#1 Used: 422.7",
            "Print Time: 744",
            "Sliced by ideaMaker 4.2.0.5250, x",
        ]);
        assert_eq!(
            (m.numbers(Fact::FilamentLength), m.estimate_s()),
            (vec![Some(422.7)], Some(744.0))
        );

        let m = meta(&["--- print time: 806s ---", "--- filament used: 225.03 mm ---"]);
        assert_eq!(
            (m.numbers(Fact::FilamentLength), m.estimate_s()),
            (vec![Some(225.03)], Some(806.0))
        );
    }

    #[test]
    fn the_header_beats_the_footer() {
        let m = meta(&["total layer number: 173", "total layers count = 175"]);
        assert_eq!(m.number(Fact::LayerCount), Some(173.0));
        let m = meta(&["total layers count = 175", "total layer number: 173"]);
        assert_eq!(m.number(Fact::LayerCount), Some(173.0));
    }
}
