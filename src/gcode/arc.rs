//! Arcs: centre, sweep and true bounds of `G2`/`G3` in all planes.

use std::f64::consts::{FRAC_PI_2, TAU};

use super::lex::{Micro, UNIT};
use super::modal::{Move, Plane, to_mm};

/// Most full turns that a `P` word may ask for; more is nonsense.
const MAX_TURNS: Micro = 1000;

/// A readable arc or helix, machine coordinates, mm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arc {
    /// First and second axis of the plane, and the one across it, as indices into X, Y, Z.
    pub axes: [usize; 3],
    /// Centre in the plane.
    pub centre: [f64; 2],
    /// Radius.
    pub radius: f64,
    /// Angle of the start, radians.
    pub start: f64,
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
        let pick = |v: [Micro; 3]| axes.map(|a| to_mm(v.get(a).copied().unwrap_or(0)));
        let ([x, y, z], [to_x, to_y, to_z]) = (pick(moved.from), pick(moved.to));
        let (dx, dy) = (to_x - x, to_y - y);
        let closed = dx.hypot(dy) < 1e-6;
        let centre = match radius {
            Some(r) => {
                let distance = dx.hypot(dy);
                if closed || r == 0 {
                    return None;
                }
                let r = to_mm(r);
                let height = (r * r - distance * distance / 4.0).max(0.0).sqrt();
                let e = if clockwise != (r < 0.0) { -1.0 } else { 1.0 };
                [
                    (x + to_x) / 2.0 - e * height * dy / distance,
                    (y + to_y) / 2.0 + e * height * dx / distance,
                ]
            }
            None => {
                let [a, b, _] = pick(offset.map(|o| o.unwrap_or(0)));
                if a == 0.0 && b == 0.0 {
                    return None;
                }
                [x + a, y + b]
            }
        };
        let [cx, cy]: [f64; 2] = centre;
        let start = (y - cy).atan2(x - cx);
        let end = (to_y - cy).atan2(to_x - cx);
        let mut sweep = if clockwise {
            (start - end).rem_euclid(TAU)
        } else {
            (end - start).rem_euclid(TAU)
        };
        let turns = turns.clamp(0, MAX_TURNS) as f64;
        if closed {
            sweep = TAU * turns.max(1.0);
        } else {
            sweep += TAU * turns;
        }
        Some(Arc {
            axes,
            centre,
            radius: (x - cx).hypot(y - cy),
            start,
            sweep: if clockwise { -sweep } else { sweep },
            rise: to_z - z,
        })
    }

    /// Length of the path.
    pub fn length_mm(&self) -> f64 {
        (self.radius * self.sweep.abs()).hypot(self.rise)
    }

    /// Points where the arc reaches farthest along the axes of its plane, without its ends.
    pub fn extremes(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        let (low, high) = if self.sweep < 0.0 {
            (self.start + self.sweep, self.start)
        } else {
            (self.start, self.start + self.sweep)
        };
        let first = (low / FRAC_PI_2).ceil();
        let last = (high / FRAC_PI_2).floor();
        let count = (last - first + 1.0).clamp(0.0, 4.0) as u8;
        (0..count).map(move |i| match (first as i64 + i64::from(i)).rem_euclid(4) {
            0 => [self.centre[0] + self.radius, self.centre[1]],
            1 => [self.centre[0], self.centre[1] + self.radius],
            2 => [self.centre[0] - self.radius, self.centre[1]],
            _ => [self.centre[0], self.centre[1] - self.radius],
        })
    }

    /// So many points, evenly along the arc in its plane; the last is its end.
    pub fn points(&self, count: u32) -> impl Iterator<Item = [f64; 2]> + use<> {
        let [cx, cy] = self.centre;
        let (sin, cos) = (self.sweep / f64::from(count.max(1))).sin_cos();
        let (y, x) = self.start.sin_cos();
        let mut spoke = [self.radius * x, self.radius * y];
        // Turning one spoke again and again takes no angle functions; over 500 turns the error stays
        // below a millionth of the radius.
        (0..count).map(move |_| {
            let [x, y] = spoke;
            spoke = [x * cos - y * sin, x * sin + y * cos];
            [cx + spoke[0], cy + spoke[1]]
        })
    }

    /// Where the arc begins, in the plane.
    pub fn begin(&self) -> [f64; 2] {
        let (y, x) = self.start.sin_cos();
        [self.centre[0] + self.radius * x, self.centre[1] + self.radius * y]
    }

    /// Pieces of at most a sixteenth of a half turn: what an outline needs.
    pub fn outline_pieces(&self) -> u32 {
        ((self.sweep.abs() / (FRAC_PI_2 / 8.0)).ceil() as u32).clamp(1, 32)
    }

    /// The point that lies farthest from the origin of the plane, if it is not an end.
    pub fn farthest(&self) -> Option<[f64; 2]> {
        let angle = self.centre[1].atan2(self.centre[0]);
        let turned = if self.sweep < 0.0 {
            self.start - angle
        } else {
            angle - self.start
        };
        (turned.rem_euclid(TAU) <= self.sweep.abs()).then(|| {
            [
                self.centre[0] + self.radius * angle.cos(),
                self.centre[1] + self.radius * angle.sin(),
            ]
        })
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
