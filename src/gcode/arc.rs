//! Arcs: centre, sweep and true bounds of `G2`/`G3` in all planes.
//!
//! A file may be made of little else, so the common arc (a small part of a circle, level) takes no angle
//! functions: its ends are kept as spokes from the centre, and what is asked of it is answered by products of
//! them.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use super::lex::{Micro, UNIT};
use super::modal::{Move, Plane};

/// Most full turns that a `P` word may ask for; more is nonsense.
const MAX_TURNS: Micro = 1000;
/// Ends closer than this are the same point: a full circle, mm.
const CLOSED: f64 = 1e-6;
/// Arcs that bulge no more than this are drawn by their ends and their middle: off by a quarter of it, which is a
/// tenth of the width of a line of plastic.
const ONE_POINT_MM: f64 = 0.2;
/// So far may an outline be off.
const OUTLINE_OFF_MM: f64 = ONE_POINT_MM / 4.0;
/// What an outline needs: pieces of at most a sixteenth of a half turn.
const OUTLINE_STEP: f64 = FRAC_PI_2 / 8.0;

/// A readable arc or helix, machine coordinates, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arc {
    /// First and second axis of the plane, and the one across it, as indices into X, Y, Z.
    pub axes: [usize; 3],
    /// Centre in the plane.
    pub centre: [f64; 2],
    /// Radius.
    pub radius: f64,
    /// From the centre to the start.
    pub from: [f64; 2],
    /// From the centre to the end.
    pub to: [f64; 2],
    /// Signed sweep, radians; counter-clockwise is positive.
    pub sweep: f64,
    /// Travel across the plane.
    pub rise: f64,
}

impl Arc {
    /// From the words of a `G2`/`G3`. `None` without a centre: no I, J, K and no R, or a centre on
    /// the start.
    pub fn new(
        moved: &Move,
        plane: Plane,
        clockwise: bool,
        offset: [Option<Micro>; 3],
        radius: Option<Micro>,
        turns: Micro,
    ) -> Option<Arc> {
        // RS-274 orders the axes of G18 as (Z, X), and Marlin follows it; Klipper's code takes (X, Z).
        let axes = match plane {
            Plane::Xy => [0, 1, 2],
            Plane::Xz => [2, 0, 1],
            Plane::Yz => [1, 2, 0],
        };
        let pick = |v: [Micro; 3]| axes.map(|a| mm(v.get(a).copied().unwrap_or(0)));
        let (start, end) = (pick(moved.from), pick(moved.to));
        let offset = match radius {
            Some(radius) => offset_of(start, end, clockwise, mm(radius))?,
            None => {
                let [a, b, _] = pick(offset.map(|o| o.unwrap_or(0)));
                [a, b]
            }
        };
        Self::around(axes, start, end, offset, clockwise, turns)
    }

    /// A level arc in the plane of X and Y, around a point given from its start.
    #[inline]
    pub fn level(moved: &Move, clockwise: bool, offset: [Micro; 2]) -> Option<Arc> {
        let (start, end) = (moved.from.map(mm), moved.to.map(mm));
        Self::around([0, 1, 2], start, end, offset.map(mm), clockwise, 0)
    }

    /// A box that holds a level arc in the plane of X and Y, found without angles and roots; of more than half a
    /// turn, and of one whose ends are not equally far from its centre, there is none.
    #[inline]
    pub fn rough_box(moved: &Move, clockwise: bool, offset: [Micro; 2]) -> Option<[[Micro; 2]; 2]> {
        let ([x0, y0, _], [x1, y1, _]) = (moved.from, moved.to);
        let d = [(x1 - x0) as f64, (y1 - y0) as f64];
        let centre = offset.map(|v| v as f64);
        let (chord2, radius2) = (dot(d, d), dot(centre, centre));
        let across = cross(d, centre);
        let half = if clockwise { -across } else { across } >= 0.0;
        // Square of the end's distance from the centre less that of the start.
        let skew2 = chord2 - 2.0 * dot(d, centre);
        // The end is off the circle by at most an eighth of the chord, and an arc of half a turn lies within half
        // a chord beside it: together less than three quarters of the sum of its sides. One of 60° lies within a
        // fourteenth: together less than a quarter.
        if !half || chord2 < 4.0 || 64.0 * skew2 * skew2 > radius2 * chord2 {
            return None;
        }
        let sum = (x1 - x0).abs() + (y1 - y0).abs();
        let quarter = sum >> 2;
        let beside = if chord2 <= radius2 { quarter } else { sum - quarter } + 1;
        Some([
            [x0.min(x1) - beside, y0.min(y1) - beside],
            [x0.max(x1) + beside, y0.max(y1) + beside],
        ])
    }

    /// The point half way on an arc that has a [`Arc::rough_box`], mm, without angles; `None` if it bulges so far that
    /// an outline needs more points.
    #[inline]
    pub fn middle(moved: &Move, clockwise: bool, offset: [Micro; 2]) -> Option<[f64; 2]> {
        let ([x0, y0, _], [x1, y1, _]) = (moved.from, moved.to);
        let [dx, dy] = [mm(x1 - x0), mm(y1 - y0)];
        let centre = offset.map(mm);
        let chord2 = dx * dx + dy * dy;
        // Chord by radius is twice the sine of half the angle; height by chord half the tangent of its quarter.
        let ratio2 = chord2 / dot(centre, centre);
        let height = ratio2.sqrt() / (4.0 + 4.0 * (1.0 - 0.25 * ratio2).max(0.0).sqrt());
        let height = if clockwise { -height } else { height };
        let middle = [mm(x0 + x1) * 0.5 + dy * height, mm(y0 + y1) * 0.5 - dx * height];
        (height * height * chord2 <= ONE_POINT_MM * ONE_POINT_MM).then_some(middle)
    }

    /// Whether the ends of an arc that [`Arc::turns_little`] are outline enough.
    #[inline]
    pub fn is_flat(moved: &Move, offset: [Micro; 2]) -> bool {
        let ([x0, y0, _], [x1, y1, _]) = (moved.from, moved.to);
        let (d, centre) = ([mm(x1 - x0), mm(y1 - y0)], offset.map(mm));
        let chord2 = dot(d, d);
        // Bulge = chord² / (4 · radius · (1 + cos of half the angle)), and that cosine is over 0.86.
        chord2 * chord2 <= dot(centre, centre) * (7.44 * OUTLINE_OFF_MM) * (7.44 * OUTLINE_OFF_MM)
    }

    /// Whether a level arc that has a [`Arc::rough_box`] goes round by at most 60°, so that it has a
    /// [`Arc::rough_length`].
    #[inline]
    pub fn turns_little(moved: &Move, offset: [Micro; 2]) -> bool {
        let ([x0, y0, z0], [x1, y1, z1]) = (moved.from, moved.to);
        let (d, centre) = ([(x1 - x0) as f64, (y1 - y0) as f64], offset.map(|v| v as f64));
        z0 == z1 && dot(d, d) <= dot(centre, centre)
    }

    /// Length and angle of an arc that [`Arc::turns_little`], mm and radians, by a series.
    #[inline]
    pub fn rough_length(moved: &Move, offset: [Micro; 2]) -> (f64, f64) {
        let ([x0, y0, _], [x1, y1, _]) = (moved.from, moved.to);
        let (d, centre) = ([mm(x1 - x0), mm(y1 - y0)], offset.map(mm));
        let chord2 = dot(d, d);
        let ratio2 = chord2 / dot(centre, centre);
        // 2 · asin(k / 2) / k, to a millionth.
        const TERMS: [f64; 6] = [
            1.0 / 24.0,
            3.0 / 640.0,
            5.0 / 7168.0,
            35.0 / 294_912.0,
            63.0 / 2_883_584.0,
            231.0 / 54_525_952.0,
        ];
        let sum = TERMS.iter().rev().fold(0.0, |sum, term| (sum + term) * ratio2);
        (chord2.sqrt() * (1.0 + sum), ratio2.sqrt() * (1.0 + sum))
    }

    #[inline]
    fn around(
        axes: [usize; 3],
        start: [f64; 3],
        end: [f64; 3],
        offset: [f64; 2],
        clockwise: bool,
        turns: Micro,
    ) -> Option<Arc> {
        let ([x, y, z], [to_x, to_y, to_z], [a, b]) = (start, end, offset);
        if a == 0.0 && b == 0.0 {
            return None;
        }
        let (cx, cy) = (x + a, y + b);
        let (from, to) = ([x - cx, y - cy], [to_x - cx, to_y - cy]);
        let (dx, dy) = (to_x - x, to_y - y);
        let closed = dx * dx + dy * dy < CLOSED * CLOSED;
        let full = TAU * turns.clamp(0, MAX_TURNS) as f64;
        let sweep = if closed {
            full.max(TAU)
        } else {
            // Which way round changes from arc to arc: better chosen than branched on.
            let across = cross(from, to);
            full + turn(dot(from, to), if clockwise { -across } else { across })
        };
        Some(Arc {
            axes,
            centre: [cx, cy],
            radius: dot(from, from).sqrt(),
            from,
            to,
            sweep: if clockwise { -sweep } else { sweep },
            rise: to_z - z,
        })
    }

    /// Length of the path.
    #[inline]
    pub fn length_mm(&self) -> f64 {
        let level = self.radius * self.sweep.abs();
        if self.rise == 0.0 {
            level
        } else {
            level.hypot(self.rise)
        }
    }

    /// Points where the arc reaches farthest along the axes of its plane, without its ends.
    #[inline]
    pub fn extremes(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        // Counter-clockwise between its ends.
        let (first, last) = if self.sweep < 0.0 {
            (quadrant(self.to), quadrant(self.from))
        } else {
            (quadrant(self.from), quadrant(self.to))
        };
        let long = self.sweep.abs();
        let count = match (last + 4 - first) % 4 {
            _ if long >= TAU => 4,
            0 if long > PI => 4,
            crossed => crossed,
        };
        (1..=count).map(move |i| match (first + i) % 4 {
            0 => [self.centre[0] + self.radius, self.centre[1]],
            1 => [self.centre[0], self.centre[1] + self.radius],
            2 => [self.centre[0] - self.radius, self.centre[1]],
            _ => [self.centre[0], self.centre[1] - self.radius],
        })
    }

    /// The first `count` of so many points, evenly along the arc in its plane; the last of all is its end.
    #[inline]
    pub fn points(&self, count: u32, of: u32) -> impl Iterator<Item = [f64; 2]> + use<> {
        let ([cx, cy], step) = (self.centre, step_of(self.sweep, of));
        let mut spoke = self.from;
        // Turning one spoke again and again takes no angle functions; over 500 turns the error stays
        // below a millionth of the radius.
        (0..count).map(move |_| {
            spoke = turned(spoke, step);
            [cx + spoke[0], cy + spoke[1]]
        })
    }

    /// How many pieces an outline needs: 1 where the ends are enough.
    #[inline]
    pub fn outline_pieces(&self) -> u32 {
        let long = self.sweep.abs();
        if long <= OUTLINE_STEP {
            return 1;
        }
        ((long / OUTLINE_STEP) as u32 + 1).min(32)
    }

    /// Largest distance from the origin of the plane, if it is not at an end.
    #[inline]
    pub fn farthest_mm(&self) -> Option<f64> {
        let outward = self.centre;
        let (first, last) = if self.sweep < 0.0 {
            (self.to, self.from)
        } else {
            (self.from, self.to)
        };
        let within = if self.sweep.abs() <= PI {
            cross(first, outward) > 0.0 && cross(outward, last) > 0.0
        } else {
            self.sweep.abs() >= TAU || cross(last, outward) <= 0.0 || cross(outward, first) <= 0.0
        };
        within.then(|| dot(outward, outward).sqrt() + self.radius)
    }

    /// A point of the plane in X, Y, Z; `rest` gives the third.
    pub fn lift(&self, point: [f64; 2], rest: [Micro; 3]) -> [Micro; 3] {
        let mut xyz = rest;
        for (axis, value) in self.axes.iter().zip(point) {
            if let Some(place) = xyz.get_mut(*axis) {
                *place = (value * UNIT as f64).round() as Micro;
            }
        }
        xyz
    }
}

/// Millimetres; by a product, which is quicker than the quotient and may differ from it in the last bit.
#[inline]
fn mm(value: Micro) -> f64 {
    value as f64 * 1e-6
}

/// The centre from the start, for an arc that is given by its radius; a negative one asks for the long way.
fn offset_of(start: [f64; 3], end: [f64; 3], clockwise: bool, radius: f64) -> Option<[f64; 2]> {
    let ([x, y, _], [to_x, to_y, _]) = (start, end);
    let (dx, dy) = (to_x - x, to_y - y);
    let distance = dx.hypot(dy);
    if distance < CLOSED || radius == 0.0 {
        return None;
    }
    let height = (radius * radius - distance * distance / 4.0).max(0.0).sqrt();
    let e = if clockwise != (radius < 0.0) { -1.0 } else { 1.0 };
    let across = e * height / distance;
    Some([dx / 2.0 - across * dy, dy / 2.0 + across * dx])
}

#[inline]
fn dot([ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    ax * bx + ay * by
}

#[inline]
fn cross([ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    ax * by - ay * bx
}

/// Sine and cosine of the angle between points when a sweep is cut into so many pieces.
#[inline]
pub fn step_of(sweep: f64, pieces: u32) -> [f64; 2] {
    let (sin, cos) = sin_cos(sweep / f64::from(pieces.max(1)));
    [sin, cos]
}

/// A spoke turned by an angle of this sine and cosine.
#[inline]
pub fn turned([x, y]: [f64; 2], [sin, cos]: [f64; 2]) -> [f64; 2] {
    [x * cos - y * sin, x * sin + y * cos]
}

/// Which quarter a spoke points to, counter-clockwise from 0; an axis belongs to the quarter that it begins.
#[inline]
fn quadrant([x, y]: [f64; 2]) -> u8 {
    if y >= 0.0 && x > 0.0 {
        0
    } else if x <= 0.0 && y > 0.0 {
        1
    } else if x < 0.0 {
        2
    } else {
        3
    }
}

/// Tangents up to which the angle before is taken off; the tangents of these angles, and the angles.
const BELOW: [f64; 3] = [0.25, 0.85, 2.5];
const TANGENTS: [f64; 3] = [0.0, 0.5, 1.4];
const ANGLES: [f64; 3] = [0.0, 0.463_647_609_000_806_1, 0.950_546_840_812_075_1];

/// The angle counter-clockwise, 0 to a full turn, of so much along and across.
#[inline]
fn turn(along: f64, across: f64) -> f64 {
    let [first, second, third] = BELOW.map(|tangent| across >= along * tangent);
    if along > 0.0 && across >= 0.0 && !third {
        // tan(a − b) = (tan a − tan b) / (1 + tan a · tan b): taking off a known angle leaves a small one.
        // How big angles are changes from arc to arc: chosen, not branched on.
        let pick = |of: [f64; 3]| {
            let [none, some, much] = of;
            let low = if first { some } else { none };
            if second { much } else { low }
        };
        let (tangent, angle) = (pick(TANGENTS), pick(ANGLES));
        return angle + small_atan((across - tangent * along) / (along + tangent * across));
    }
    let angle = across.atan2(along);
    if angle < 0.0 { angle + TAU } else { angle }
}

/// The angle of a tangent of at most 0.25 either way, by its series; exact to 1e-11.
#[inline]
fn small_atan(t: f64) -> f64 {
    let q = t * t;
    let tail = 1.0 / 9.0 - q * (1.0 / 11.0 - q * (1.0 / 13.0 - q * (1.0 / 15.0)));
    t * (1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q * tail))))
}

/// Sine and cosine; by their series, exact to 1e-13, where the angle is at most 0.5.
#[inline]
fn sin_cos(angle: f64) -> (f64, f64) {
    // 1 / 3!, 1 / 5! … and 1 / 2!, 1 / 4! …
    const S: [f64; 5] = [
        1.0 / 6.0,
        1.0 / 120.0,
        1.0 / 5040.0,
        1.0 / 362_880.0,
        1.0 / 39_916_800.0,
    ];
    const C: [f64; 5] = [
        1.0 / 2.0,
        1.0 / 24.0,
        1.0 / 720.0,
        1.0 / 40_320.0,
        1.0 / 3_628_800.0,
    ];
    if angle.abs() > 0.5 {
        return angle.sin_cos();
    }
    let q = angle * angle;
    let sin = 1.0 - q * (S[0] - q * (S[1] - q * (S[2] - q * (S[3] - q * S[4]))));
    let cos = 1.0 - q * (C[0] - q * (C[1] - q * (C[2] - q * (C[3] - q * C[4]))));
    (angle * sin, cos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arc(from: [f64; 3], to: [f64; 3], plane: Plane, cw: bool, ijk: [f64; 3], r: Option<f64>) -> Arc {
        let micro = |v: [f64; 3]| v.map(|x| (x * 1e6).round() as Micro);
        let moved = Move {
            from: micro(from),
            to: micro(to),
            e: 0,
            placed: 7,
        };
        let offset = ijk.map(|x| Some((x * 1e6) as Micro));
        Arc::new(&moved, plane, cw, offset, r.map(|r| (r * 1e6) as Micro), 0).unwrap()
    }

    #[test]
    fn a_quarter_stays_between_its_ends_and_the_long_way_round_does_not() {
        let short = arc(
            [10.0, 0.0, 0.0],
            [0.0, 10.0, 0.0],
            Plane::Xy,
            false,
            [-10.0, 0.0, 0.0],
            None,
        );
        assert!((short.sweep - FRAC_PI_2).abs() < 1e-9);
        assert!(short.extremes().all(|p| p[0] > -1e-9 && p[1] > -1e-9));
        let long = arc(
            [10.0, 0.0, 0.0],
            [0.0, 10.0, 0.0],
            Plane::Xy,
            true,
            [-10.0, 0.0, 0.0],
            None,
        );
        assert!((long.length_mm() - 10.0 * 1.5 * std::f64::consts::PI).abs() < 1e-6);
        assert!(long.extremes().any(|p| (p[0] + 10.0).abs() < 1e-9));
        assert!(long.extremes().any(|p| (p[1] + 10.0).abs() < 1e-9));
    }

    #[test]
    fn the_radius_form_follows_the_sign_rule() {
        let by_r = arc(
            [10.0, 0.0, 0.0],
            [0.0, 10.0, 0.0],
            Plane::Xy,
            false,
            [0.0; 3],
            Some(10.0),
        );
        assert!(by_r.centre[0].abs() < 1e-9 && by_r.centre[1].abs() < 1e-9);
        let far = arc(
            [10.0, 0.0, 0.0],
            [0.0, 10.0, 0.0],
            Plane::Xy,
            false,
            [0.0; 3],
            Some(-10.0),
        );
        assert!((far.sweep - 1.5 * std::f64::consts::PI).abs() < 1e-9);
    }

    #[test]
    fn a_spiral_lift_is_a_full_turn_about_an_offset_point() {
        let lift = arc(
            [100.0, 50.0, 0.2],
            [100.0, 50.0, 0.6],
            Plane::Xy,
            false,
            [1.217, 0.0, 0.0],
            None,
        );
        let right = lift.extremes().map(|p| p[0]).fold(f64::MIN, f64::max);
        assert!((right - 102.434).abs() < 1e-9);
        assert!((lift.rise - 0.4).abs() < 1e-9);
    }

    #[test]
    fn other_planes_turn_as_rs274_says() {
        // G18 G2 X10 Z0 I5 K0 from the origin: over the positive side of Z.
        let xz = arc(
            [0.0; 3],
            [10.0, 0.0, 0.0],
            Plane::Xz,
            false,
            [5.0, 0.0, 0.0],
            None,
        );
        let low = xz.extremes().map(|p| p[0]).fold(f64::MAX, f64::min);
        let high = xz.extremes().map(|p| p[0]).fold(f64::MIN, f64::max);
        assert!((high - 5.0).abs() < 1e-9 || (low + 5.0).abs() < 1e-9);
        assert_eq!(xz.axes, [2, 0, 1]);
    }

    /// The same arc by angles.
    struct Slow {
        start: f64,
        sweep: f64,
    }

    impl Slow {
        fn of(arc: &Arc, clockwise: bool) -> Slow {
            let (start, end) = (arc.from[1].atan2(arc.from[0]), arc.to[1].atan2(arc.to[0]));
            let sweep = if clockwise { start - end } else { end - start }.rem_euclid(TAU);
            Slow {
                start,
                sweep: if clockwise { -sweep } else { sweep },
            }
        }

        /// Points along the arc, many.
        fn points<'a>(&'a self, arc: &'a Arc) -> impl Iterator<Item = [f64; 2]> + 'a {
            (0..=20_000).map(|i| {
                let (sin, cos) = (self.start + self.sweep * f64::from(i) / 20_000.0).sin_cos();
                [arc.centre[0] + arc.radius * cos, arc.centre[1] + arc.radius * sin]
            })
        }
    }

    proptest! {
        #[test]
        fn what_products_say_of_an_arc_is_what_angles_say(
            from in (-50.0..50.0f64, -50.0..50.0f64),
            offset in (-20.0..20.0f64, -20.0..20.0f64),
            by in prop_oneof![-0.3..0.3f64, -6.2..6.2f64],
            clockwise: bool,
        ) {
            // The end lies on the circle, as far as a millionth of a millimetre allows.
            let radius = offset.0.hypot(offset.1);
            let at = (-offset.1).atan2(-offset.0) + by;
            let end = [from.0 + offset.0 + radius * at.cos(), from.1 + offset.1 + radius * at.sin(), 1.0];
            prop_assume!(radius > 0.1 && by.abs() * radius > 1e-3 && (TAU - by.abs()) * radius > 1e-3);
            let arc = arc([from.0, from.1, 1.0], end, Plane::Xy, clockwise, [offset.0, offset.1, 0.0], None);
            let slow = Slow::of(&arc, clockwise);
            prop_assert!((arc.sweep - slow.sweep).abs() < 1e-9, "{} {}", arc.sweep, slow.sweep);
            let (mut low, mut high, mut far) = ([f64::MAX; 2], [f64::MIN; 2], 0.0f64);
            for p in slow.points(&arc) {
                low = [low[0].min(p[0]), low[1].min(p[1])];
                high = [high[0].max(p[0]), high[1].max(p[1])];
                far = far.max(p[0].hypot(p[1]));
            }
            let ends = [arc.from, arc.to].map(|s| [arc.centre[0] + s[0], arc.centre[1] + s[1]]);
            let mut own_far = arc.farthest_mm().unwrap_or(0.0);
            let (mut own_low, mut own_high) = ([f64::MAX; 2], [f64::MIN; 2]);
            for p in ends.into_iter().chain(arc.extremes()) {
                own_low = [own_low[0].min(p[0]), own_low[1].min(p[1])];
                own_high = [own_high[0].max(p[0]), own_high[1].max(p[1])];
            }
            for p in ends {
                own_far = own_far.max(p[0].hypot(p[1]));
            }
            for (a, b) in [(low, own_low), (high, own_high)] {
                prop_assert!((a[0] - b[0]).abs() < 1e-4 && (a[1] - b[1]).abs() < 1e-4, "{a:?} {b:?}");
            }
            prop_assert!((far - own_far).abs() < 1e-4, "{far} {own_far}");
            let last = arc.points(7, 7).last().unwrap();
            prop_assert!((last[0] - ends[1][0]).hypot(last[1] - ends[1][1]) < 1e-4);
        }

        #[test]
        fn the_rough_box_holds_the_arc(
            from in -200_000i64..200_000, by in (-9_000i64..9_000, -9_000i64..9_000),
            centre in (-9_000i64..9_000, -9_000i64..9_000), on in 0.0..6.3f64, off in -0.02..0.02f64, clockwise: bool,
        ) {
            // Half of the ends lie on the circle, or nearly.
            let ((cx, cy), (dx, dy)) = (centre, by);
            let radius = (cx as f64).hypot(cy as f64) * (1.0 + off);
            let end = if dx & 1 == 0 {
                [cx + (radius * on.cos()) as i64, cy + (radius * on.sin()) as i64]
            } else {
                [dx, dy]
            };
            let micro = |v: i64| v * 1_000;
            let moved = Move {
                from: [micro(from), micro(-from), 0],
                to: [micro(from + end[0]), micro(end[1] - from), 0],
                e: 0,
                placed: 7,
            };
            let offset = [micro(cx), micro(cy)];
            if let Some([low, high]) = Arc::rough_box(&moved, clockwise, offset) {
                let arc = Arc::level(&moved, clockwise, offset).unwrap();
                prop_assert!(arc.sweep.abs() < std::f64::consts::PI + 1e-4);
                if Arc::turns_little(&moved, offset) {
                    let (length, angle) = Arc::rough_length(&moved, offset);
                    // As far as its ends are equally far from its centre.
                    let skew = (arc.to[0].hypot(arc.to[1]) - arc.radius).abs();
                    prop_assert!((length - arc.length_mm()).abs() < 1e-5 + 2.0 * skew, "{length} {arc:?}");
                    prop_assert!((angle - arc.sweep.abs()).abs() < 1e-5 + 2.0 * skew / arc.radius);
                    if Arc::is_flat(&moved, offset) {
                        let bulge = arc.radius * (1.0 - (arc.sweep * 0.5).cos());
                        prop_assert!(bulge < OUTLINE_OFF_MM + skew, "{bulge}");
                    }
                }
                if let Some([x, y]) = Arc::middle(&moved, clockwise, offset) {
                    let [on_x, on_y] = arc.points(1, 2).next().unwrap();
                    let skew = (arc.to[0].hypot(arc.to[1]) - arc.radius).abs();
                    prop_assert!((x - on_x).hypot(y - on_y) < 1e-6 + 2.0 * skew, "{x} {y} {on_x} {on_y}");
                }
                for point in arc.points(32, 32).chain(arc.extremes()) {
                    for (value, (low, high)) in point.into_iter().zip(low.into_iter().zip(high)) {
                        prop_assert!(value >= mm(low) && value <= mm(high), "{value} {low} {high}");
                    }
                }
            }
        }

        #[test]
        fn the_series_are_the_functions(t in -0.25..0.25f64, wide in 0.0..10.0f64, angle in -0.5..0.5f64) {
            prop_assert!((small_atan(t) - t.atan()).abs() < 1e-11);
            prop_assert!((turn(2.0, 2.0 * wide) - wide.atan()).abs() < 1e-11);
            let (sin, cos) = sin_cos(angle);
            prop_assert!((sin - angle.sin()).abs() < 1e-12 && (cos - angle.cos()).abs() < 1e-12);
        }
    }
}
