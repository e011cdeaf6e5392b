//! Layer marks: the comments (and one macro) by which slicers say "a new layer begins".
//!
//! A file often carries several kinds side by side. The first kind seen is the one that counts;
//! within one kind each mark is one layer, whatever number it names (rafts count from −2, Cura
//! from 0, Bambu from 1).

use super::lex::{Extended, trim};

/// How a file marks its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LayerStyle {
    /// `;LAYER_CHANGE` (PrusaSlicer family) or `; CHANGE_LAYER` (Bambu).
    Change = 1,
    /// `;LAYER:3` (Cura, ideaMaker), `;layer:0.2` (FlashPrint).
    Number = 2,
    /// `; layer 1, Z = 0.2` (Simplify3D).
    LayerZ = 3,
    /// `; BEGIN_LAYER_OBJECT z=0.26` (KISSlicer).
    BeginObject = 4,
    /// `;; --- layer 3 (0.2 @ 0.65) ---` (Kiri:Moto).
    Dashes = 5,
    /// `; <layer>` (IceSL).
    Angle = 6,
    /// `SET_PRINT_STATS_INFO CURRENT_LAYER=3` (Klipper).
    PrintStats = 7,
}

/// The layer mark in a comment (the text behind `;`), if there is one.
pub fn mark_in(comment: &[u8]) -> Option<LayerStyle> {
    // Most comments are settings, features and pictures: look at one byte before anything else.
    let text = trim(comment);
    match text.first()? {
        b'L' if text == b"LAYER_CHANGE" => Some(LayerStyle::Change),
        b'L' if text.starts_with(b"LAYER:") => Some(LayerStyle::Number),
        b'C' if text == b"CHANGE_LAYER" => Some(LayerStyle::Change),
        b'l' if text.starts_with(b"layer:") => Some(LayerStyle::Number),
        b'l' if text.starts_with(b"layer ") && memchr::memmem::find(text, b", Z = ").is_some() => {
            Some(LayerStyle::LayerZ)
        }
        b'B' if text.starts_with(b"BEGIN_LAYER_OBJECT") => Some(LayerStyle::BeginObject),
        b';' if trim(text.get(1..)?).starts_with(b"--- layer ") => Some(LayerStyle::Dashes),
        b'<' if text.starts_with(b"<layer>") => Some(LayerStyle::Angle),
        _ => None,
    }
}

/// Whether a named command marks a layer: `SET_PRINT_STATS_INFO CURRENT_LAYER=3`.
pub fn is_print_stats_mark(named: &Extended<'_>) -> bool {
    named.is("SET_PRINT_STATS_INFO") && named.number("CURRENT_LAYER").is_some_and(|n| n > 0)
}

/// Counts layers by their marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerCount {
    style: Option<LayerStyle>,
    layer: u32,
    started: u32,
}

impl LayerCount {
    /// Goes on behind this layer (0 = from the beginning).
    pub fn at(layer: u32) -> Self {
        LayerCount {
            style: None,
            layer,
            started: layer,
        }
    }

    /// Layer now, from 1; 0 before the first mark.
    pub fn layer(&self) -> u32 {
        self.layer
    }

    /// The kind of marks that count here.
    pub fn style(&self) -> Option<LayerStyle> {
        self.style
    }

    /// A mark was read; says whether it began a new layer.
    pub fn mark(&mut self, style: LayerStyle) -> bool {
        // A comment of the slicer itself is trusted before the macro that a profile adds to it.
        match self.style {
            None => self.style = Some(style),
            Some(LayerStyle::PrintStats) if style != LayerStyle::PrintStats => {
                self.style = Some(style);
                self.layer = self.started;
            }
            Some(known) if known != style => return false,
            Some(_) => {}
        }
        self.layer = self.layer.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slicer_s_mark_is_known() {
        for (text, style) in [
            ("LAYER_CHANGE", LayerStyle::Change),
            (" CHANGE_LAYER", LayerStyle::Change),
            ("LAYER:-2", LayerStyle::Number),
            (" layer 12, Z = 2.40", LayerStyle::LayerZ),
            (
                " BEGIN_LAYER_OBJECT z=0.263 z_thickness=0.2",
                LayerStyle::BeginObject,
            ),
            ("; --- layer 3 (0.2 @ 0.65) ---", LayerStyle::Dashes),
            (" <layer>", LayerStyle::Angle),
        ] {
            assert_eq!(mark_in(text.as_bytes()), Some(style), "{text}");
        }
        for text in [
            "LAYER_COUNT:3",
            " layer_height = 0.2",
            "AFTER_LAYER_CHANGE",
            "",
            " layer num/total: 1/9",
        ] {
            assert_eq!(mark_in(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_first_kind_counts_and_a_comment_beats_a_macro() {
        let mut count = LayerCount::default();
        assert!(count.mark(LayerStyle::PrintStats));
        assert!(count.mark(LayerStyle::Change));
        assert!(!count.mark(LayerStyle::PrintStats));
        assert!(count.mark(LayerStyle::Change));
        assert_eq!(count.layer(), 2);
    }
}
