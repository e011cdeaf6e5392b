//! The part of the pass that reads arcs.

use crate::gcode::arc::{Arc, turned};
use crate::gcode::fast;
use crate::gcode::modal::{Move, to_mm};
use crate::gcode::planner::Leg;

use super::pass::Pass;
use super::warn::Code as Warn;

/// Most pieces of an arc in the time model.
const MAX_PIECES: u32 = 500;

impl Pass {
    /// An arc without a centre: its end counts.
    #[cold]
    pub(super) fn bad_arc(&mut self, moved: &Move) {
        self.warn(Warn::BadArc, None);
        self.linear(moved, fast::E | fast::F);
    }

    /// An arc or a helix.
    pub(super) fn curve(&mut self, moved: &Move, arc: &Arc) {
        self.arcs = true;
        let extrudes = moved.e > 0;
        if extrudes {
            let [x, y, _] = moved.to;
            self.extrusion(moved, [to_mm(x), to_mm(y)]);
        } else {
            self.run.open = false;
            self.travel.grow_axes(moved.to, self.modal.placed);
        }
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
        if self.modal.feed != self.speed_of {
            self.new_speed();
        }
        self.time_curve(moved, arc, extrudes);
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
        if pieces > 1 && self.objects.current().is_some() && !self.objects.knows(arc, moved) {
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

    /// Marlin and Klipper cut arcs into pieces of about a millimetre; so does the time model.
    #[inline]
    fn time_curve(&mut self, moved: &Move, arc: &Arc, extrudes: bool) {
        let speed = self.speed;
        let Some(planner) = &mut self.planner else { return };
        let length = arc.length_mm();
        let whole = length as u32;
        let pieces = (whole + u32::from(f64::from(whole) < length)).clamp(1, MAX_PIECES);
        let mut leg = Leg {
            d: [0.0; 3],
            length: (length / f64::from(pieces)) as f32,
            e: if extrudes { 1.0 } else { 0.0 },
            speed,
        };
        let mut step = [0.0, 1.0];
        let [dx, dy] = if pieces == 1 && arc.axes == [0, 1, 2] {
            let ([x0, y0, _], [x1, y1, _]) = (moved.from, moved.to);
            [to_mm(x1 - x0), to_mm(y1 - y0)]
        } else {
            step = arc.step(pieces);
            let ([x0, y0], [x1, y1]) = (arc.from, turned(arc.from, step));
            [x1 - x0, y1 - y0]
        };
        leg.d = [dx as f32, dy as f32, 0.0];
        planner.travel_round(&leg, step, pieces);
    }
}
