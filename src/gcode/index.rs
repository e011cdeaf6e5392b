//! The index of a file: byte → layer, time, object, and states to start or resume from. Small, and
//! kept on disk beside the file.

use std::sync::Arc;

use super::codec::{put, put_modal, put_signed, take, take_bytes, take_modal, take_signed};
use super::lex::{Micro, UNIT};
use super::modal::{Modal, to_mm};

/// Most checkpoints; when there are more, every other one goes.
const MAX_POINTS: usize = 16_384;
/// Most points of the slicer's own time map.
const MAX_SLICER: usize = 4_096;
/// Most changes of object, in encoded bytes.
const MAX_SPANS: usize = 2 << 20;
/// Distance of checkpoints where layers do not give them, bytes.
const STRIDE: u64 = 64 * 1024;

const MAGIC: &[u8] = b"layerd-index 1\n";

/// A place in a file with everything in force there.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// File offset: the beginning of a line.
    pub byte: u64,
    /// Lines before it.
    pub line: u64,
    /// Layer it lies in, from 1; 0 before the first.
    pub layer: u32,
    /// It is the beginning of that layer.
    pub layer_start: bool,
    /// Seconds from the start by our model, if it ran.
    pub time_s: Option<f64>,
    /// The modal state.
    pub modal: Modal,
}

#[derive(Clone, Debug, PartialEq)]
struct Point {
    seq: u64,
    byte: u64,
    line: u64,
    layer: u32,
    layer_start: bool,
    /// Milliseconds; [`u64::MAX`] until known.
    ms: u64,
    /// Filament until here, millionths of a millimetre.
    extruded: Micro,
    modal: Box<[u8]>,
}

/// Byte → everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    size: u64,
    total_ms: Option<u64>,
    extruded: Micro,
    points: Vec<Point>,
    /// `(byte, milliseconds from the start)` as the slicer says.
    slicer: Vec<(u64, u64)>,
    spans: Vec<u8>,
    span_count: u64,
}

/// A file that is no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no index of ours, or a damaged one; analyze the file again")]
pub struct BadIndex;

/// Collects an [`Index`] during the pass.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    on: bool,
    seq: u64,
    points: Vec<Point>,
    scratch: Vec<u8>,
    /// Where the next checkpoint between layers is due.
    pub due: u64,
    stride: u64,
    keep_every: u32,
    elapsed: Vec<(u64, u64)>,
    left: Vec<(u64, u64)>,
    spans: Vec<u8>,
    span_count: u64,
    last_span: u64,
}

impl IndexBuilder {
    /// One that collects, or does nothing.
    pub fn new(on: bool) -> Self {
        IndexBuilder {
            on,
            seq: 0,
            points: Vec::new(),
            scratch: Vec::new(),
            due: if on { STRIDE } else { u64::MAX },
            stride: STRIDE,
            keep_every: 1,
            elapsed: Vec::new(),
            left: Vec::new(),
            spans: Vec::new(),
            span_count: 0,
            last_span: 0,
        }
    }

    /// A layer begins at this byte; gives the number under which its time is to be told.
    pub fn layer(&mut self, byte: u64, line: u64, layer: u32, modal: &Modal) -> Option<usize> {
        if !self.on || !layer.is_multiple_of(self.keep_every) {
            return None;
        }
        self.point(byte, line, layer, true, modal)
    }

    /// A checkpoint between layers.
    #[cold]
    pub fn between(&mut self, byte: u64, line: u64, layer: u32, modal: &Modal) -> Option<usize> {
        self.due = byte + self.stride;
        self.point(byte, line, layer, false, modal)
    }

    fn point(&mut self, byte: u64, line: u64, layer: u32, layer_start: bool, modal: &Modal) -> Option<usize> {
        if self.points.len() >= MAX_POINTS {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
            self.keep_every *= 2;
        }
        self.scratch.clear();
        put_modal(&mut self.scratch, modal);
        self.seq += 1;
        self.points.push(Point {
            seq: self.seq,
            byte,
            line,
            layer,
            layer_start,
            ms: u64::MAX,
            extruded: extruded(modal),
            modal: self.scratch.as_slice().into(),
        });
        self.due = byte + self.stride;
        usize::try_from(self.seq).ok()
    }

    /// Times that became known.
    pub fn times(&mut self, resolved: impl Iterator<Item = (usize, f64)>) {
        for (seq, seconds) in resolved {
            if let Ok(at) = self.points.binary_search_by_key(&(seq as u64), |p| p.seq)
                && let Some(point) = self.points.get_mut(at)
            {
                point.ms = (seconds * 1000.0).round().max(0.0) as u64;
            }
        }
    }

    /// The slicer says that so much time (s, in millionths) has passed here.
    pub fn slicer_elapsed(&mut self, byte: u64, elapsed: Micro) {
        push_capped(&mut self.elapsed, self.on, byte, elapsed);
    }

    /// The slicer says that so much time is left here.
    pub fn slicer_left(&mut self, byte: u64, left: Micro) {
        push_capped(&mut self.left, self.on, byte, left);
    }

    /// From this byte on another object is printed.
    pub fn object(&mut self, byte: u64, object: Option<u32>) {
        let byte = byte.max(self.last_span);
        if self.on && self.spans.len() < MAX_SPANS {
            put(&mut self.spans, byte.saturating_sub(self.last_span));
            put(&mut self.spans, object.map_or(0, |o| u64::from(o) + 1));
            self.last_span = byte;
            self.span_count += 1;
        }
    }

    /// The file is over.
    pub fn finish(&mut self, size: u64, total_s: Option<f64>, modal: &Modal) -> Index {
        let slicer = if self.elapsed.len() > 1 {
            std::mem::take(&mut self.elapsed)
        } else {
            let left = std::mem::take(&mut self.left);
            let total = left.iter().map(|(_, left)| *left).max().unwrap_or(0);
            left.into_iter()
                .map(|(byte, left)| (byte, total - left))
                .collect()
        };
        Index {
            size,
            total_ms: total_s.map(|s| (s * 1000.0).round() as u64),
            extruded: extruded(modal),
            points: std::mem::take(&mut self.points),
            slicer,
            spans: std::mem::take(&mut self.spans),
            span_count: self.span_count,
        }
    }
}

fn push_capped(list: &mut Vec<(u64, u64)>, on: bool, byte: u64, time: Micro) {
    if !on || time < 0 {
        return;
    }
    if list.len() >= MAX_SLICER {
        let mut keep = false;
        list.retain(|_| {
            keep = !keep;
            keep
        });
    }
    list.push((byte, u64::try_from(time / (UNIT / 1000)).unwrap_or(0)));
}

fn extruded(modal: &Modal) -> Micro {
    modal.fed.iter().fold(0, |sum, fed| sum.saturating_add(fed.peak))
}

/// Which object a byte belongs to, asked in ascending order. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    changes: Arc<[u8]>,
    /// How much of `changes` was read.
    read: usize,
    current: Option<u32>,
    /// The next change and where the one after it counts from.
    next: Option<(u64, Option<u32>)>,
}

impl Spans {
    fn new(changes: &[u8]) -> Self {
        let mut spans = Spans {
            changes: changes.into(),
            ..Spans::default()
        };
        spans.advance(0);
        spans
    }

    fn advance(&mut self, from: u64) {
        let mut rest = self.changes.get(self.read..).unwrap_or_default();
        let before = rest.len();
        self.next = take(&mut rest).zip(take(&mut rest)).map(|(step, object)| {
            let object = object.checked_sub(1).and_then(|o| u32::try_from(o).ok());
            (from.saturating_add(step), object)
        });
        self.read += before - rest.len();
    }

    /// Object (by index, as in the analysis) of a byte not before the last one asked for.
    pub fn object_at(&mut self, byte: u64) -> Option<u32> {
        while let Some((start, object)) = self.next.filter(|(start, _)| *start <= byte) {
            self.current = object;
            self.advance(start);
        }
        self.current
    }
}

impl Index {
    /// Which object each byte belongs to, from the beginning on; `None` where the file changes objects
    /// more often than is kept.
    pub fn object_spans(&self) -> Option<Spans> {
        (self.spans.len() < MAX_SPANS).then(|| Spans::new(&self.spans))
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many checkpoints there are.
    pub fn checkpoints(&self) -> usize {
        self.points.len()
    }

    /// Layer that a byte lies in, from 1; 0 before the first.
    pub fn layer_at(&self, byte: u64) -> u32 {
        self.before(byte).map_or(0, |p| p.layer)
    }

    /// Where a layer begins, or the nearest known place before it.
    pub fn layer_start(&self, layer: u32) -> Option<Checkpoint> {
        let at = self
            .points
            .partition_point(|p| (p.layer, !p.layer_start) <= (layer, false));
        self.points.get(at.checked_sub(1)?).and_then(Point::checkpoint)
    }

    /// The last checkpoint at or before a byte.
    pub fn checkpoint_before(&self, byte: u64) -> Option<Checkpoint> {
        self.before(byte).and_then(Point::checkpoint)
    }

    /// Object (by index, as in the analysis) that a byte lies in.
    pub fn object_at(&self, byte: u64) -> Option<u32> {
        let mut current = None;
        for (start, object) in self.spans() {
            if start > byte {
                break;
            }
            current = object;
        }
        current
    }

    /// The changes of object: from this byte on this one, or none.
    pub fn spans(&self) -> impl Iterator<Item = (u64, Option<u32>)> + '_ {
        let (mut rest, mut byte) = (self.spans.as_slice(), 0u64);
        std::iter::from_fn(move || {
            byte = byte.saturating_add(take(&mut rest)?);
            let object = take(&mut rest)?;
            Some((byte, object.checked_sub(1).and_then(|o| u32::try_from(o).ok())))
        })
    }

    /// Seconds from the start to a byte: the slicer's map, else our model.
    pub fn time_at(&self, byte: u64) -> Option<f64> {
        let (times, total) = self.times()?;
        Some(interpolate(&times, (self.size, total), byte) / 1000.0)
    }

    /// Share done at a byte, 0–1: by time, else by filament, else by bytes.
    pub fn progress_at(&self, byte: u64) -> f64 {
        if self.size == 0 {
            return 0.0;
        }
        if let Some((times, total)) = self.times()
            && total > 0.0
        {
            return (interpolate(&times, (self.size, total), byte) / total).clamp(0.0, 1.0);
        }
        if self.extruded > 0 && !self.points.is_empty() {
            let lengths: Vec<_> = self.points.iter().map(|p| (p.byte, to_mm(p.extruded))).collect();
            let total = to_mm(self.extruded);
            return (interpolate(&lengths, (self.size, total), byte) / total).clamp(0.0, 1.0);
        }
        (byte as f64 / self.size as f64).clamp(0.0, 1.0)
    }

    /// `(byte, ms)` and the total, ms.
    fn times(&self) -> Option<(Vec<(u64, f64)>, f64)> {
        if self.slicer.len() > 2 {
            let times: Vec<_> = self.slicer.iter().map(|(byte, ms)| (*byte, *ms as f64)).collect();
            let total = times.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
            return Some((times, total));
        }
        let total = self.total_ms? as f64;
        let known = self.points.iter().filter(|p| p.ms != u64::MAX);
        Some((known.map(|p| (p.byte, p.ms as f64)).collect(), total))
    }

    fn before(&self, byte: u64) -> Option<&Point> {
        let at = self.points.partition_point(|p| p.byte <= byte);
        self.points.get(at.checked_sub(1)?)
    }

    /// As bytes, for the disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put(&mut out, self.size);
        put(&mut out, self.total_ms.map_or(0, |ms| ms + 1));
        put_signed(&mut out, self.extruded);
        put(&mut out, self.points.len() as u64);
        let (mut byte, mut line) = (0, 0);
        for point in &self.points {
            put(&mut out, point.byte - byte);
            put(&mut out, point.line.saturating_sub(line));
            (byte, line) = (point.byte, point.line);
            put(
                &mut out,
                u64::from(point.layer) << 1 | u64::from(point.layer_start),
            );
            put(&mut out, point.ms.wrapping_add(1));
            put_signed(&mut out, point.extruded);
            put(&mut out, point.modal.len() as u64);
            out.extend_from_slice(&point.modal);
        }
        put(&mut out, self.slicer.len() as u64);
        for (byte, ms) in &self.slicer {
            put(&mut out, *byte);
            put(&mut out, *ms);
        }
        put(&mut out, self.span_count);
        put(&mut out, self.spans.len() as u64);
        out.extend_from_slice(&self.spans);
        out
    }

    /// Reads what [`Index::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Index, BadIndex> {
        decode(bytes).ok_or(BadIndex)
    }
}

fn decode(bytes: &[u8]) -> Option<Index> {
    let input = &mut bytes.strip_prefix(MAGIC)?;
    let mut index = Index {
        size: take(input)?,
        ..Index::default()
    };
    index.total_ms = take(input)?.checked_sub(1);
    index.extruded = take_signed(input)?;
    let count = usize::try_from(take(input)?).ok().filter(|n| *n <= MAX_POINTS)?;
    let (mut byte, mut line) = (0u64, 0u64);
    for seq in 0..count {
        byte = byte.checked_add(take(input)?)?;
        line = line.checked_add(take(input)?)?;
        let layer = take(input)?;
        let ms = take(input)?.wrapping_sub(1);
        let extruded = take_signed(input)?;
        let len = take(input).filter(|n| *n < 4096)?;
        let modal = take_bytes(input, len)?.into();
        index.points.push(Point {
            seq: seq as u64,
            byte,
            line,
            layer: u32::try_from(layer >> 1).ok()?,
            layer_start: layer & 1 == 1,
            ms,
            extruded,
            modal,
        });
    }
    let count = usize::try_from(take(input)?).ok().filter(|n| *n <= MAX_SLICER)?;
    for _ in 0..count {
        index.slicer.push((take(input)?, take(input)?));
    }
    index.span_count = take(input)?;
    let len = take(input)?;
    index.spans = take_bytes(input, len)?.to_vec();
    input.is_empty().then_some(index)
}

impl Point {
    fn checkpoint(&self) -> Option<Checkpoint> {
        Some(Checkpoint {
            byte: self.byte,
            line: self.line,
            layer: self.layer,
            layer_start: self.layer_start,
            time_s: (self.ms != u64::MAX).then(|| self.ms as f64 / 1000.0),
            modal: take_modal(&mut &*self.modal)?,
        })
    }
}

/// Between the known places, from (0, 0) to the end.
fn interpolate(known: &[(u64, f64)], end: (u64, f64), byte: u64) -> f64 {
    let at = known.partition_point(|(place, _)| *place <= byte);
    let (from, from_value) = at
        .checked_sub(1)
        .and_then(|i| known.get(i))
        .copied()
        .unwrap_or((0, 0.0));
    let (to, to_value) = known.get(at).copied().unwrap_or(end);
    if to <= from {
        return to_value;
    }
    let share = (byte.min(to).saturating_sub(from)) as f64 / (to - from) as f64;
    from_value + (to_value - from_value).max(0.0) * share
}
