//! The part of the pass that reads comments: features, layers, objects, pictures, facts.

use crate::analysis::{ObjectSource, Thumbnail};
use crate::knowledge::features::{self, Role};
use crate::layers;
use crate::lex::{number_of, trim};
use crate::lines::RawLine;

use super::pass::Pass;
use super::warn::Code as Warn;

/// Most pictures that are listed.
const MAX_THUMBNAILS: usize = 32;

impl Pass {
    /// A comment line: the text behind `;`.
    pub fn comment(&mut self, comment: &[u8], raw: &RawLine<'_>) {
        let text = trim(comment);
        if self.thumbnail.is_some() {
            self.in_thumbnail(text, raw);
            return;
        }
        let Some(first) = text.first() else { return };
        // What fills the body of a file, by its first letter; everything else is a fact or nothing.
        match first {
            b'W' if text.starts_with(b"WIDTH:") || text.starts_with(b"WIPE_") => return,
            b'L' if text.starts_with(b"LINE_WIDTH:") => return,
            b'Z' if text.starts_with(b"Z:") || text.starts_with(b"Z_HEIGHT:") => return,
            b'H' if text.starts_with(b"HEIGHT:") => {
                self.height(text.get(7..).unwrap_or_default());
                return;
            }
            b'L' if text.starts_with(b"LAYER_HEIGHT: ") => {
                self.height(text.get(14..).unwrap_or_default());
                return;
            }
            b'F' if text == b"FLUSH_START" || text == b"FLUSH_END" => {
                self.settle();
                self.flushing = text == b"FLUSH_START";
                return;
            }
            b'T' if text.starts_with(b"TIME_ELAPSED:") => {
                if let Some(elapsed) = number_of(text.get(13..).unwrap_or_default()) {
                    self.meta.elapsed = self.meta.elapsed.max(elapsed);
                    self.index.slicer_elapsed(raw.start, elapsed);
                }
                // Cura's end of a layer: each layer names its meshes anew, and behind the last one comes
                // what ends the print.
                if self.objects.is_of(ObjectSource::CuraMesh) {
                    self.enter(None, raw);
                }
                return;
            }
            _ => {}
        }
        if let Some(name) = features::mark_in(text) {
            let role = features::role_of(name);
            if role != self.role {
                self.settle();
                self.role = role;
            }
            return;
        }
        if let Some(style) = layers::mark_in(comment) {
            self.layer_mark(style, raw);
            return;
        }
        if !self.object_comment(text, raw) {
            self.other_comment(text, raw);
        }
    }

    fn height(&mut self, text: &[u8]) {
        // Of the first layer, and of the first after it.
        let place = match (self.layers.layer(), &mut self.height_marks) {
            (0 | 1, [first, _]) => first,
            (_, [_, other]) => other,
        };
        if place.is_none() {
            *place = number_of(text);
        }
    }

    /// A layer begins.
    pub fn layer_mark(&mut self, style: layers::LayerStyle, raw: &RawLine<'_>) {
        if self.layers.layer() == 0 {
            self.settle();
        }
        if self.layers.mark(style) {
            if let Some(planner) = &mut self.planner {
                self.index.times(planner.resolved());
            }
            let mark = self.index.layer(
                raw.start,
                self.lines.saturating_sub(1),
                self.layers.layer(),
                &self.modal,
            );
            if let (Some(mark), Some(planner)) = (mark, &mut self.planner) {
                planner.limits(&self.modal.limits);
                planner.mark(mark);
            }
        }
    }

    /// Enters or leaves an object.
    pub fn enter(&mut self, object: Option<u32>, raw: &RawLine<'_>) {
        if object != self.objects.current() {
            self.settle();
            self.objects.enter(object, raw.start);
            self.index.object(raw.start, object);
        }
    }

    fn object_comment(&mut self, text: &[u8], raw: &RawLine<'_>) -> bool {
        match text.first() {
            Some(b'p') => match text.strip_prefix(b"printing object ") {
                Some(name) => self.enter_named(ObjectSource::Comment, name, raw),
                None => match text.strip_prefix(b"process ") {
                    Some(name) => self.enter_named(ObjectSource::Simplify3d, name, raw),
                    None => return false,
                },
            },
            Some(b's') => {
                let stop = text.strip_prefix(b"stop printing object");
                let label = |t: &[u8]| t.strip_prefix(b", unique label id:").map(<[u8]>::to_vec);
                if let Some(rest) = stop {
                    let source = if label(rest).is_some() {
                        ObjectSource::Bambu
                    } else {
                        ObjectSource::Comment
                    };
                    if self.objects.accepts(source) {
                        self.enter(None, raw);
                    }
                } else if let Some(id) = text.strip_prefix(b"start printing object").and_then(label) {
                    if self.objects.accepts(ObjectSource::Bambu)
                        && let Some(id) = number_of(&id).and_then(|n| u32::try_from(n / 1_000_000).ok())
                    {
                        let index = self.objects.numbered(ObjectSource::Bambu, id);
                        self.enter(index, raw);
                    }
                } else {
                    return false;
                }
            }
            Some(b'M') => match text.strip_prefix(b"MESH:") {
                Some(b"NONMESH") => {
                    if self.objects.accepts(ObjectSource::CuraMesh) {
                        self.enter(None, raw);
                    }
                }
                Some(name) => self.enter_named(ObjectSource::CuraMesh, name, raw),
                None => return false,
            },
            Some(b'P') => {
                if let Some(name) = text.strip_prefix(b"PRINTING:") {
                    self.meta.pending_name = trim(name)
                        .get(..trim(name).len().min(256))
                        .unwrap_or_default()
                        .to_vec();
                } else if let Some(id) = text.strip_prefix(b"PRINTING_ID:") {
                    if self.objects.accepts(ObjectSource::Ideamaker) {
                        let id = number_of(id).and_then(|n| u32::try_from(n / 1_000_000).ok());
                        let index = id.and_then(|id| self.objects.numbered(ObjectSource::Ideamaker, id));
                        if let Some(index) = index {
                            let name = std::mem::take(&mut self.meta.pending_name);
                            self.objects.name(index, &name);
                        }
                        self.enter(index, raw);
                    }
                } else {
                    return false;
                }
            }
            _ => return false,
        }
        true
    }

    fn enter_named(&mut self, source: ObjectSource, name: &[u8], raw: &RawLine<'_>) {
        if self.objects.accepts(source) {
            let index = self.objects.named(source, name);
            self.enter(index, raw);
        }
    }

    fn other_comment(&mut self, text: &[u8], raw: &RawLine<'_>) {
        if self.begin_thumbnail(text, raw) {
            return;
        }
        match text.first() {
            Some(b'C') if text.starts_with(b"COLOR_CHANGE") => self.pause("color_change", raw),
            Some(b'P') if text.starts_with(b"PAUSE_PRINT") => self.pause("pause", raw),
            Some(b'R') if text.starts_with(b"REMAINING_TIME:") => {
                if let Some(left) = number_of(text.get(15..).unwrap_or_default()) {
                    self.index.slicer_left(raw.start, left);
                }
            }
            _ => {}
        }
        if self.meta.is_tail(text) {
            self.meta.tail = true;
        }
        self.meta.comment(text, raw.start);
        if self.meta.says_ultigcode() {
            // Ultimaker 2: filament of 2.85 mm.
            self.set_volumetric(2_850_000);
        }
    }

    /// The beginning of a picture, or a picture in one line.
    fn begin_thumbnail(&mut self, text: &[u8], raw: &RawLine<'_>) -> bool {
        if self.thumbnails.len() >= MAX_THUMBNAILS {
            return false;
        }
        if let Some(data) = text.strip_prefix(b"thumbnail: data:image/") {
            // Luban: the whole picture in one line.
            let format = data.split(|b| *b == b';').next().unwrap_or_default();
            let head = raw
                .bytes
                .len()
                .min(raw.bytes.iter().position(|b| *b == b',').map_or(0, |at| at + 1));
            self.thumbnails.push(Thumbnail {
                format: String::from_utf8_lossy(format.get(..format.len().min(8)).unwrap_or_default())
                    .into_owned(),
                bytes: raw.end.saturating_sub(raw.start).saturating_sub(head as u64 + 1),
                offset: raw.start + head as u64,
                ..Thumbnail::default()
            });
            return true;
        }
        if text.starts_with(b"gimage:") || text.starts_with(b"simage:") {
            self.thumbnails.push(Thumbnail {
                format: "colpic".to_owned(),
                bytes: raw.end.saturating_sub(raw.start),
                offset: raw.start,
                ..Thumbnail::default()
            });
            return true;
        }
        let (tag, rest) = match text.iter().position(|b| *b == b' ') {
            Some(at) => text.split_at(at),
            None => return false,
        };
        let format = match tag {
            b"thumbnail" | b"thumbnail_PNG" | b"png" => "png",
            b"thumbnail_JPG" | b"jpg" | b"jpeg" => "jpg",
            b"thumbnail_QOI" => "qoi",
            _ => return false,
        };
        let Some(numbers) = rest.strip_prefix(b" begin ") else {
            return false;
        };
        let mut numbers = numbers
            .split(|b| !b.is_ascii_digit())
            .filter(|t| !t.is_empty())
            .filter_map(|t| std::str::from_utf8(t).ok()?.parse::<u32>().ok());
        let (Some(width), Some(height)) = (numbers.next(), numbers.next()) else {
            return false;
        };
        self.thumbnail = Some(Thumbnail {
            format: format.to_owned(),
            width,
            height,
            bytes: 0,
            offset: raw.end,
            entry: None,
        });
        true
    }

    fn in_thumbnail(&mut self, text: &[u8], raw: &RawLine<'_>) {
        let ends = text.ends_with(b" end");
        if let Some(picture) = &mut self.thumbnail {
            if ends {
                picture.bytes = raw.start.saturating_sub(picture.offset);
            }
            if ends && let Some(picture) = self.thumbnail.take() {
                self.thumbnails.push(picture);
            }
        }
    }

    /// What is no command at all.
    pub fn other(&mut self, text: &[u8]) {
        let odd = text.iter().filter(|b| **b >= 0x80 || **b < b' ').count();
        if odd * 4 > text.len() {
            self.warn(Warn::Garbage, None);
        } else if text.first().is_some_and(|b| b.is_ascii_alphabetic()) {
            let word = text.get(..text.len().min(40)).unwrap_or_default();
            self.warn(
                Warn::UnknownCommand,
                Some(String::from_utf8_lossy(word).into_owned()),
            );
        }
        self.e_guess.undecided &= self.role == Role::Part;
    }
}
