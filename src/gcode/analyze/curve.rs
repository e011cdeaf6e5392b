//! The part of the pass that reads arcs.

use crate::arc::{Arc, step_of, turned};
use crate::fast;
use crate::lex::Micro;
use crate::modal::{Move, to_mm};
use crate::planner::Leg;

use super::pass::Pass;
use super::warn::Code as Warn;

/// Most pieces of an arc in the time model.
const MAX_PIECES: u32 = 500;

/// What a simple arc brings between its ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Between {
    /// Nothing new.
    Nothing,
    /// A point of the outline, mm.
    Middle([f64; 2]),
}

impl Pass {
    /// An arc without a centre: its end counts.
    #[cold]
    pub(super) fn bad_arc(&mut self, moved: &Move) {
        self.warn(Warn::BadArc, None);
        self.linear(moved, fast::E | fast::F);
    }

    /// An arc around a point given from its start, level in the plane of X and Y.
    #[inline]
    pub(super) fn round(&mut self, moved: &Move, clockwise: bool, centre: [Micro; 2]) {
        if Arc::turns_little(moved, centre)
            && let Some(between) = self.between(moved, clockwise, centre)
        {
            self.curve_end(moved);
            if let Between::Middle([x, y]) = between {
                self.objects.point(x as f32, y as f32);
            }
            if self.planner.is_some() {
                let (length, angle) = Arc::rough_length(moved, centre);
                let spoke = centre.map(|v| v as f64 * -1e-6);
                self.time_curve(moved, length, if clockwise { -angle } else { angle }, spoke);
            }
            return;
        }
        match Arc::level(moved, clockwise, centre) {
            Some(arc) => self.curve(moved, &arc),
            None => self.bad_arc(moved),
        }
    }

    /// What an arc brings between its ends, if that can be told without angles: nearly all change neither bounds nor
    /// the greatest distance from the origin, and the outline of the object at most by their middle.
    #[inline]
    fn between(&mut self, moved: &Move, clockwise: bool, centre: [Micro; 2]) -> Option<Between> {
        let [low, high] = Arc::rough_box(moved, clockwise, centre).filter(|_| moved.placed & 3 == 3)?;
        if moved.e <= 0 {
            return self.travel.holds(low, high).then_some(Between::Nothing);
        }
        let ([x0, y0], [x1, y1]) = (low.map(|v| v as f64 * 1e-6), high.map(|v| v as f64 * 1e-6));
        let (far_x, far_y) = (x1.max(-x0), y1.max(-y0));
        let known = match self.run.known {
            Some(known) => known,
            None => self.known(),
        };
        let inside = self.run.area.holds(low, high) || known.area.holds(low, high);
        if !inside || far_x * far_x + far_y * far_y > known.radius2.max(self.run.radius2) {
            None
        } else if self.objects.knows([x0, y0], [x1, y1]) || Arc::is_flat(moved, centre) {
            Some(Between::Nothing)
        } else {
            Arc::middle(moved, clockwise, centre).map(Between::Middle)
        }
    }

    /// An arc or a helix.
    pub(super) fn curve(&mut self, moved: &Move, arc: &Arc) {
        self.curve_end(moved);
        let extrudes = moved.e > 0;
        if moved.placed & 3 == 3 {
            for point in arc.extremes() {
                let xyz = arc.lift(point, moved.to);
                if extrudes {
                    self.run.area.grow_axes(xyz, self.modal.placed);
                    self.grew(xyz);
                } else {
                    self.travel.grow_axes(xyz, self.modal.placed);
                }
            }
            if extrudes {
                self.reach(moved, arc);
            }
        }
        self.time_curve(moved, arc.length_mm(), arc.sweep, arc.from);
    }

    /// What every arc brings, whatever lies between its ends.
    #[inline]
    fn curve_end(&mut self, moved: &Move) {
        self.arcs = true;
        if moved.e > 0 {
            let [x, y, _] = moved.to;
            self.extrusion(moved, [to_mm(x), to_mm(y)]);
        } else {
            self.run.open = false;
            self.travel.grow_axes(moved.to, self.modal.placed);
        }
        if self.modal.feed != self.speed_of {
            self.new_speed();
        }
    }

    /// What an arc that extrudes covers between its ends: distance from the origin, outline of the object.
    #[inline]
    fn reach(&mut self, moved: &Move, arc: &Arc) {
        if arc.axes == [0, 1, 2]
            && let Some(far) = arc.farthest_mm()
        {
            self.run.radius2 = self.run.radius2.max(far * far);
        }
        // The end is counted like that of a straight move.
        let pieces = arc.outline_pieces();
        if pieces > 1 && self.objects.current().is_some() {
            for point in arc.points(pieces - 1, pieces) {
                let [x, y] = if arc.axes == [0, 1, 2] {
                    point
                } else {
                    let [x, y, _] = arc.lift(point, moved.to);
                    [to_mm(x), to_mm(y)]
                };
                self.objects.point(x as f32, y as f32);
            }
        }
    }

    /// Marlin and Klipper cut arcs into pieces of about a millimetre; so does the time model. `spoke`: from the
    /// centre to the start.
    #[inline]
    fn time_curve(&mut self, moved: &Move, length: f64, sweep: f64, spoke: [f64; 2]) {
        let speed = self.speed;
        let Some(planner) = &mut self.planner else { return };
        let whole = length as u32;
        let pieces = (whole + u32::from(f64::from(whole) < length)).clamp(1, MAX_PIECES);
        let mut leg = Leg {
            d: [0.0; 3],
            length: (length / f64::from(pieces)) as f32,
            e: if moved.e > 0 { 1.0 } else { 0.0 },
            speed,
        };
        let mut step = [0.0, 1.0];
        let ([x0, y0, _], [x1, y1, _]) = (moved.from, moved.to);
        let whole = [to_mm(x1 - x0), to_mm(y1 - y0)];
        let ([dx, dy], end) = if pieces == 1 {
            (whole, whole)
        } else {
            step = step_of(sweep, pieces);
            let ([sin, cos], [x0, y0], [dx, dy]) = (step, spoke, whole);
            let ([x1, y1], [x2, y2]) = (turned(spoke, step), [x0 + dx, y0 + dy]);
            let [x3, y3] = turned([x2, y2], [-sin, cos]);
            ([x1 - x0, y1 - y0], [x2 - x3, y2 - y3])
        };
        leg.d = [dx as f32, dy as f32, 0.0];
        planner.travel_round(&leg, step, pieces, end);
    }
}
