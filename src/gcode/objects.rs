//! The objects of a plate: who they are, where their extrusion lies, and how much of it there is.

use std::collections::HashMap;

use super::analysis::{Object, ObjectSource};
use super::area::Area;
use super::hull::{Hull, Inner};
use super::lex::{Micro, trim};
use super::modal::to_mm;

/// Objects that are told apart; a file with more gets a warning.
pub const MAX_OBJECTS: usize = 10_000;
/// Longest name kept, bytes.
const MAX_NAME: usize = 256;
/// Most corners of a declared outline that are kept.
const MAX_CORNERS: usize = 512;
/// Points looked at together.
const BUFFER: usize = 64;

#[derive(Clone, Debug)]
struct Track {
    id: u32,
    name: Vec<u8>,
    source: ObjectSource,
    declared_center: Option<[f64; 2]>,
    declared: Vec<[f64; 2]>,
    area: Area,
    hull: Option<Box<Hull>>,
    extruded: Micro,
    first_byte: Option<u64>,
    last_byte: Option<u64>,
    segments: u32,
}

/// Which object is being printed, and what is known of all of them.
#[derive(Clone, Debug)]
pub struct Objects {
    tracks: Vec<Track>,
    by_name: HashMap<Vec<u8>, u32>,
    current: Option<u32>,
    source: Option<ObjectSource>,
    points: Vec<[f32; 2]>,
    inner: Inner,
    extruded_any: bool,
    /// Objects that could not be told apart any more.
    pub overflow: bool,
    /// Ids of `; model label id:` (Bambu).
    pub labels: Vec<u32>,
}

impl Default for Objects {
    fn default() -> Self {
        Objects {
            tracks: Vec::new(),
            by_name: HashMap::new(),
            current: None,
            source: None,
            points: Vec::with_capacity(BUFFER),
            inner: Inner::NOWHERE,
            extruded_any: false,
            overflow: false,
            labels: Vec::new(),
        }
    }
}

/// The most telling way of marking comes first.
fn rank(source: ObjectSource) -> u8 {
    match source {
        ObjectSource::ExcludeObject => 0,
        ObjectSource::M486 => 1,
        ObjectSource::Bambu => 2,
        ObjectSource::Comment => 3,
        ObjectSource::Ideamaker => 4,
        ObjectSource::CuraMesh => 5,
        ObjectSource::Simplify3d => 6,
    }
}

impl Objects {
    /// Index of the object being printed.
    #[inline]
    pub fn current(&self) -> Option<u32> {
        self.current
    }

    /// Whether this way of marking counts in this file. The first one does, unless a more telling
    /// one comes before anything was extruded.
    pub fn accepts(&mut self, source: ObjectSource) -> bool {
        match self.source {
            Some(known) if known == source => true,
            Some(known) if rank(known) < rank(source) || self.extruded_any => false,
            _ => {
                self.source = Some(source);
                self.tracks.clear();
                self.by_name.clear();
                self.current = None;
                true
            }
        }
    }

    /// Whether its objects are marked in this way.
    pub fn is_of(&self, source: ObjectSource) -> bool {
        self.source == Some(source)
    }

    /// Declares an object by name; gives its index.
    pub fn named(&mut self, source: ObjectSource, name: &[u8]) -> Option<u32> {
        let name = trim(name);
        let key = name.get(..name.len().min(MAX_NAME)).unwrap_or_default();
        if let Some(index) = self.by_name.get(key) {
            return Some(*index);
        }
        let index = self.add(u32::try_from(self.tracks.len()).ok()?, source, key)?;
        self.by_name.insert(key.to_vec(), index);
        Some(index)
    }

    /// Declares an object by its native number; gives its index.
    pub fn numbered(&mut self, source: ObjectSource, id: u32) -> Option<u32> {
        let key = id.to_le_bytes().to_vec();
        if let Some(index) = self.by_name.get(&key) {
            return Some(*index);
        }
        let index = self.add(id, source, b"")?;
        self.by_name.insert(key, index);
        Some(index)
    }

    fn add(&mut self, id: u32, source: ObjectSource, name: &[u8]) -> Option<u32> {
        if self.tracks.len() >= MAX_OBJECTS {
            self.overflow = true;
            return None;
        }
        self.tracks.push(Track {
            id,
            name: name.to_vec(),
            source,
            declared_center: None,
            declared: Vec::new(),
            area: Area::default(),
            hull: None,
            extruded: 0,
            first_byte: None,
            last_byte: None,
            segments: 0,
        });
        u32::try_from(self.tracks.len() - 1).ok()
    }

    /// The outline and centre that the file declares.
    pub fn declare(&mut self, index: u32, center: Option<[f64; 2]>, polygon: Option<&[u8]>) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        track.declared_center = center;
        if let Some(polygon) = polygon {
            track.declared = corners_of(polygon);
        }
    }

    /// Names an object that has a number.
    pub fn name(&mut self, index: u32, name: &[u8]) {
        if let Some(track) = self.tracks.get_mut(index as usize) {
            track.name = name.get(..name.len().min(MAX_NAME)).unwrap_or_default().to_vec();
        }
    }

    /// Names the object being printed, or the one announced last.
    pub fn name_current(&mut self, name: &[u8]) {
        if let Some(index) = self.current {
            self.name(index, name);
        }
    }

    /// From this byte on another object is printed, or none. The caller has settled the run before.
    pub fn enter(&mut self, index: Option<u32>, byte: u64) {
        self.flush();
        self.current = index;
        self.inner = Inner::NOWHERE;
        if let Some(track) = index.and_then(|i| self.tracks.get_mut(i as usize)) {
            track.first_byte.get_or_insert(byte);
            track.segments = track.segments.saturating_add(1);
            if let Some(hull) = &track.hull {
                self.inner = hull.inner;
            }
        }
    }

    /// A point of the extrusion of the object being printed, mm.
    #[inline]
    pub fn point(&mut self, x: f32, y: f32) {
        if self.inner.holds([x, y], [x, y]) {
            return;
        }
        self.points.push([x, y]);
        if self.points.len() >= BUFFER {
            self.flush();
        }
    }

    /// Whether points of such a box change nothing, mm.
    #[inline]
    pub fn knows(&self, low: [f64; 2], high: [f64; 2]) -> bool {
        self.current.is_none() || self.inner.holds(low.map(|v| v as f32), high.map(|v| v as f32))
    }

    /// Where the object being printed lies so far; `None`: there is none.
    pub fn current_area(&self) -> Option<&Area> {
        let track = self.current.and_then(|i| self.tracks.get(i as usize));
        track.map(|track| &track.area)
    }

    fn flush(&mut self) {
        if let Some(track) = self.current.and_then(|i| self.tracks.get_mut(i as usize))
            && !self.points.is_empty()
        {
            let hull = track.hull.get_or_insert_default();
            hull.take(&self.points);
            self.inner = hull.inner;
        }
        self.points.clear();
    }

    /// Settles a run of extrusion of the object being printed.
    pub fn settle(&mut self, area: &Area, extruded: Micro, last_byte: u64) {
        self.extruded_any |= extruded > 0;
        if let Some(track) = self.current.and_then(|i| self.tracks.get_mut(i as usize)) {
            track.area.join(area);
            track.extruded = track.extruded.saturating_add(extruded);
            track.last_byte = Some(last_byte);
        }
    }

    /// Whether anything is marked at all.
    pub fn any(&self) -> bool {
        !self.tracks.is_empty()
    }

    /// What was found.
    pub fn finish(&mut self) -> Vec<Object> {
        self.flush();
        let tracks = std::mem::take(&mut self.tracks);
        tracks.into_iter().map(Track::into_object).collect()
    }
}

impl Track {
    fn into_object(self) -> Object {
        let area = self.area.to_box();
        let bbox = area.filter(|_| !self.area.is_empty()).map(|b| {
            let ([x0, y0, _], [x1, y1, _]) = (b.min, b.max);
            [x0, y0, x1, y1]
        });
        let hull = self.hull.map(|h| h.corners()).unwrap_or_default();
        let polygon = if self.declared.len() > 2 && fits(&self.declared, bbox) {
            self.declared
        } else {
            hull.iter()
                .map(|[x, y]| [round3(f64::from(*x)), round3(f64::from(*y))])
                .collect()
        };
        let middle = bbox.map(|[x0, y0, x1, y1]| [(x0 + x1) / 2.0, (y0 + y1) / 2.0]);
        // Orca may write `CENTER=0,0` for everything; a centre outside its own box is no centre.
        let within = |c: &[f64; 2]| {
            let [x, y] = *c;
            bbox.is_none_or(|[x0, y0, x1, y1]| x >= x0 && x <= x1 && y >= y0 && y <= y1)
        };
        let key = String::from_utf8_lossy(&self.name).into_owned();
        Object {
            id: self.id,
            name: display_name(&key).to_owned(),
            key,
            center: self
                .declared_center
                .filter(within)
                .or(middle.map(|c| c.map(round3))),
            polygon,
            bbox,
            source: self.source,
            extrusion_mm: to_mm(self.extruded),
            first_byte: self.first_byte,
            last_byte: self.last_byte,
            z_mm: area.map(|b| {
                let ([.., low], [.., high]) = (b.min, b.max);
                [low, high]
            }),
            segments: self.segments,
        }
    }
}

/// Whether a declared outline lies about where the extrusion is (some are relative to something).
fn fits(polygon: &[[f64; 2]], bbox: Option<[f64; 4]>) -> bool {
    let Some([x0, y0, x1, y1]) = bbox else { return true };
    let (mut low, mut high) = ([f64::MAX; 2], [f64::MIN; 2]);
    for [x, y] in polygon.iter().copied() {
        let ([lx, ly], [hx, hy]) = (low, high);
        low = [lx.min(x), ly.min(y)];
        high = [hx.max(x), hy.max(y)];
    }
    let ([lx, ly], [hx, hy]) = (low, high);
    let slack = 2.0 + 0.1 * (x1 - x0).max(y1 - y0);
    (lx - x0).abs() < slack && (ly - y0).abs() < slack && (hx - x1).abs() < slack && (hy - y1).abs() < slack
}

/// `cube.stl id:0 copy 1` → `cube.stl`: what people call it.
fn display_name(key: &str) -> &str {
    let Some((name, suffix)) = key.rsplit_once(" id:") else {
        return key;
    };
    let mut words = suffix.split(' ');
    let number =
        |word: Option<&str>| word.is_some_and(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit()));
    let copy = number(words.next()) && words.next() == Some("copy") && number(words.next());
    if copy && words.next().is_none() && !name.is_empty() {
        name
    } else {
        key
    }
}

fn round3(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The pairs of numbers in `[[x,y],[x,y]…]`; at most [`MAX_CORNERS`].
fn corners_of(text: &[u8]) -> Vec<[f64; 2]> {
    let mut numbers = text
        .split(|b| matches!(b, b'[' | b']' | b',' | b' '))
        .filter(|t| !t.is_empty())
        .filter_map(super::lex::number_of)
        .map(to_mm);
    let mut corners = Vec::new();
    while let (Some(x), Some(y)) = (numbers.next(), numbers.next()) {
        if corners.len() >= MAX_CORNERS {
            break;
        }
        corners.push([x, y]);
    }
    corners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hull_of_a_square_is_the_square() {
        let mut objects = Objects::default();
        objects.accepts(ObjectSource::Comment);
        let index = objects.named(ObjectSource::Comment, b" a ");
        objects.enter(index, 10);
        let mut area = Area::default();
        for i in 0..=100i64 {
            let t = i as f32 / 10.0;
            for (x, y) in [(t, 0.0), (t, 10.0), (0.0, t), (10.0, t), (t, t)] {
                objects.point(x, y);
                area.grow([(x * 1e6) as i64, (y * 1e6) as i64, 200_000]);
            }
        }
        objects.settle(&area, 5_000_000, 99);
        let all = objects.finish();
        assert_eq!(
            all[0].polygon,
            [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]]
        );
        assert_eq!(
            (all[0].bbox, all[0].center),
            (Some([0.0, 0.0, 10.0, 10.0]), Some([5.0, 5.0]))
        );
        assert_eq!((all[0].name.as_str(), all[0].extrusion_mm), ("a", 5.0));
    }

    #[test]
    fn declared_outlines_are_read() {
        assert_eq!(
            corners_of(b"[[1,2],[3.5,-4],[5,6]]"),
            [[1.0, 2.0], [3.5, -4.0], [5.0, 6.0]]
        );
        assert!(corners_of(b"[[[[,,]]").is_empty());
    }

    #[test]
    fn a_hundred_thousand_objects_are_bounded() {
        let mut objects = Objects::default();
        for i in 0..100_000u32 {
            let index = objects.numbered(ObjectSource::M486, i);
            objects.enter(index, u64::from(i));
        }
        assert!(objects.overflow);
        assert_eq!(objects.finish().len(), MAX_OBJECTS);
    }
}
