//! The time model: trapezoid speed profiles with look-ahead, corners by junction deviation.
//!
//! It follows what Marlin 2 and Klipper do: each move has a highest speed and acceleration, each
//! corner a highest speed from its angle, and the head must always be able to stop at the end of
//! what is planned. Classic jerk is taken as the speed of a square corner.

use std::collections::VecDeque;

use super::arc::turned;
use super::limits::MotionLimits;

/// Moves planned together, and how many of them are settled at a time: what is behind those is what a printer's own
/// look-ahead sees.
const AHEAD: usize = 128;
const SETTLE: usize = AHEAD - 32;

/// Values used until the file sets its own: an ordinary printer of today.
const ACCEL: f32 = 1250.0;
const CORNER_SPEED: f32 = 8.0;
const AXIS_SPEED: [f32; 4] = [500.0, 500.0, 12.0, 60.0];
const AXIS_ACCEL: [f32; 4] = [5000.0, 5000.0, 200.0, 5000.0];

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    length: f32,
    accel: f32,
    /// Square of the cruising speed.
    cruise2: f32,
    /// Highest square of the speed at its beginning.
    junction2: f32,
}

/// The blocks being planned, a row for each of their values: so that several are reckoned in one instruction.
#[derive(Clone, Debug)]
struct Rows {
    length: [f32; AHEAD],
    accel: [f32; AHEAD],
    cruise2: [f32; AHEAD],
    junction2: [f32; AHEAD],
    /// What the square of the speed can change by along the block.
    energy: [f32; AHEAD],
    count: usize,
}

impl Rows {
    const EMPTY: Rows = Rows {
        length: [0.0; AHEAD],
        accel: [1.0; AHEAD],
        cruise2: [0.0; AHEAD],
        junction2: [0.0; AHEAD],
        energy: [0.0; AHEAD],
        count: 0,
    };

    #[inline]
    fn push(&mut self, block: Block) {
        let at = self.count;
        for (row, value) in [
            (&mut self.length, block.length),
            (&mut self.accel, block.accel),
            (&mut self.cruise2, block.cruise2),
            (&mut self.junction2, block.junction2),
            (&mut self.energy, 2.0 * block.accel * block.length),
        ] {
            if let Some(place) = row.get_mut(at) {
                *place = value;
            }
        }
        self.count += 1;
    }

    fn drop_first(&mut self, n: usize) {
        for row in [
            &mut self.length,
            &mut self.accel,
            &mut self.cruise2,
            &mut self.junction2,
            &mut self.energy,
        ] {
            row.copy_within(n..self.count, 0);
        }
        self.count -= n;
    }

    /// Squares of the speeds at the ends of the first `n` blocks, with a stop behind the last of all; `speed2` begins
    /// with that at the beginning of the first.
    fn speeds(&self, n: usize, speed2: &mut [f32; AHEAD + 1]) {
        let mut reach = [0.0f32; AHEAD];
        let mut next = 0.0f32;
        let junctions = self.junction2.iter().zip(&self.energy).take(self.count);
        for (reach, (junction2, energy)) in reach.iter_mut().zip(junctions).rev() {
            *reach = next;
            next = junction2.min(next + energy);
        }
        let [first, rest @ ..] = speed2;
        let mut entry2 = *first;
        for ((exit2, reach), energy) in rest.iter_mut().zip(&reach).zip(&self.energy).take(n) {
            entry2 = reach.min(entry2 + energy);
            *exit2 = entry2;
        }
    }

    /// Seconds that each of the first `n` blocks takes.
    fn times(&self, n: usize, speed2: &[f32; AHEAD + 1], seconds: &mut [f32; AHEAD]) {
        let mut speed = [0.0f32; AHEAD + 1];
        for (speed, speed2) in speed.iter_mut().zip(speed2).take(n + 1) {
            *speed = speed2.sqrt();
        }
        let [_, exits2 @ ..] = speed2;
        let [_, exits @ ..] = &speed;
        let squares = speed2.iter().zip(exits2);
        let ends = speed.iter().zip(exits);
        let facts = self
            .length
            .iter()
            .zip(&self.accel)
            .zip(self.cruise2.iter().zip(&self.energy));
        for (seconds, ((squares, ends), facts)) in
            seconds.iter_mut().zip(squares.zip(ends).zip(facts)).take(n)
        {
            let ((entry2, exit2), (entry, exit)) = (squares, ends);
            let ((length, accel), (cruise2, energy)) = facts;
            let inverse = 1.0 / accel;
            // Either it reaches its speed and keeps it for a while, or the ramps meet below it.
            let top2 = cruise2.min(0.5 * (entry2 + exit2 + energy));
            let top = top2.sqrt();
            let ramps = (2.0 * top2 - entry2 - exit2) * 0.5 * inverse;
            *seconds = ((2.0 * top - entry - exit) * inverse + (length - ramps).max(0.0) / top).max(0.0);
        }
    }
}

/// Derived from [`MotionLimits`].
#[derive(Clone, Copy, Debug)]
struct Limits {
    changes: u32,
    print_accel: f32,
    travel_accel: f32,
    retract_accel: f32,
    speed: [f32; 4],
    accel: [f32; 4],
    /// Square of the speed of a square corner; or, with `deviation`, unused.
    corner2: f32,
    deviation: Option<f32>,
}

impl Limits {
    fn of(seen: &MotionLimits) -> Self {
        let print_accel = seen.print_accel.unwrap_or(ACCEL).max(1.0);
        let or = |seen: [Option<f32>; 4], default: [f32; 4]| {
            let mut all = default;
            for (place, value) in all.iter_mut().zip(seen) {
                *place = value.unwrap_or(*place).max(0.01);
            }
            all
        };
        let [jerk_x, jerk_y, ..] = seen.jerk;
        let jerk = jerk_x.zip(jerk_y).map(|(x, y)| x.min(y)).or(jerk_x);
        let corner = seen.corner_speed.or(jerk).unwrap_or(CORNER_SPEED);
        let mut speed = or(seen.axis_speed, AXIS_SPEED);
        if let Some(highest) = seen.speed {
            let [x, y, _, _] = &mut speed;
            (*x, *y) = (x.min(highest), y.min(highest));
        }
        Limits {
            changes: seen.changes,
            print_accel,
            travel_accel: seen.travel_accel.unwrap_or(print_accel).max(1.0),
            retract_accel: seen.retract_accel.unwrap_or(print_accel).max(1.0),
            speed,
            accel: or(seen.axis_accel, AXIS_ACCEL),
            corner2: corner * corner,
            deviation: seen.junction_deviation,
        }
    }
}

/// One move for the planner: extents in mm, speed in mm/s.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leg {
    /// X, Y, Z.
    pub d: [f32; 3],
    /// Length of the path (longer than `d` for arcs).
    pub length: f32,
    /// Filament.
    pub e: f32,
    /// Speed asked for.
    pub speed: f32,
}

/// Adds up the time of moves.
#[derive(Clone, Debug)]
pub struct Planner {
    limits: Limits,
    rows: Rows,
    /// Direction and cruising speed of the last move.
    last: [f32; 3],
    last_cruise2: f32,
    /// Square of the speed at the beginning of the first block.
    entry2: f32,
    total_s: f64,
    pushed: u64,
    settled: u64,
    marks: VecDeque<(u64, usize)>,
    resolved: Vec<(usize, f64)>,
}

impl Default for Planner {
    fn default() -> Self {
        Planner {
            limits: Limits::of(&MotionLimits::default()),
            rows: Rows::EMPTY,
            last: [0.0; 3],
            last_cruise2: 0.0,
            entry2: 0.0,
            total_s: 0.0,
            pushed: 0,
            settled: 0,
            marks: VecDeque::new(),
            resolved: Vec::new(),
        }
    }
}

impl Planner {
    /// Takes the limits that the file sets from here on.
    #[inline]
    pub fn limits(&mut self, seen: &MotionLimits) {
        if seen.changes != self.limits.changes {
            self.limits = Limits::of(seen);
        }
    }

    /// Takes a move along X, Y, Z.
    #[inline]
    pub fn travel(&mut self, leg: &Leg) {
        if leg.length > 0.0 {
            let block = self.block_of(leg);
            self.add(block);
        }
    }

    /// The block of a move behind the last one; the direction and speed of the last move are its own then.
    #[inline]
    fn block_of(&mut self, leg: &Leg) -> Block {
        let [dx, dy, dz] = leg.d;
        let length = leg.length;
        let inverse = 1.0 / length;
        let unit = [dx * inverse, dy * inverse, dz * inverse];
        let limits = &self.limits;
        let mut speed = leg.speed;
        let mut accel = self.accel_of(leg);
        let [ux, uy, uz] = unit.map(f32::abs);
        let ([sx, sy, sz, _], [ax, ay, az, _]) = (limits.speed, limits.accel);
        if speed * ux > sx || speed * uy > sy || accel * ux > ax || accel * uy > ay || uz > 0.0 {
            for (u, s, a) in [(ux, sx, ax), (uy, sy, ay), (uz, sz, az)] {
                if speed * u > s {
                    speed = s / u;
                }
                if accel * u > a {
                    accel = a / u;
                }
            }
        }
        let cruise2 = speed * speed;
        let [lx, ly, lz] = self.last;
        let [ux, uy, uz] = unit;
        let cos = ux * lx + uy * ly + uz * lz;
        let junction2 = self.corner(cos, accel).min(cruise2).min(self.last_cruise2);
        self.last = unit;
        self.last_cruise2 = cruise2;
        Block {
            length,
            accel,
            cruise2,
            junction2,
        }
    }

    /// Takes an arc as so many pieces: `leg` is the first, each further one is turned by an angle of this sine
    /// and cosine in the plane of X and Y.
    #[inline]
    pub fn travel_round(&mut self, leg: &Leg, step: [f64; 2], pieces: u32) {
        if pieces < 2 || leg.length <= 0.0 {
            return self.travel(leg);
        }
        let ([sx, sy, ..], [ax, ay, ..]) = (self.limits.speed, self.limits.accel);
        let accel = self.accel_of(leg);
        let [dx, dy, dz] = leg.d;
        let mut d = [f64::from(dx), f64::from(dy)];
        if dz != 0.0 || leg.speed > sx.min(sy) || accel > ax.min(ay) {
            self.travel(leg);
            for _ in 1..pieces {
                d = turned(d, step);
                let [x, y] = d.map(|v| v as f32);
                self.travel(&Leg {
                    d: [x, y, dz],
                    ..*leg
                });
            }
            return;
        }
        // No axis holds any piece back: they are all alike, and so are the corners between them.
        let mut block = self.block_of(leg);
        let ([ux, uy, _], [_, cos]) = (self.last, step);
        let corner2 = self.corner((ux * ux + uy * uy) * cos as f32, accel);
        if corner2 >= block.cruise2 {
            // Corners that slow nothing down are none.
            block.length *= pieces as f32;
            self.add(block);
        } else {
            self.add(block);
            block.junction2 = corner2;
            for _ in 1..pieces {
                self.add(block);
            }
        }
        let mut unit = [f64::from(ux), f64::from(uy)];
        for _ in 1..pieces {
            unit = turned(unit, step);
        }
        let [x, y] = unit.map(|v| v as f32);
        self.last = [x, y, 0.0];
    }

    #[inline]
    fn accel_of(&self, leg: &Leg) -> f32 {
        if leg.e > 0.0 {
            self.limits.print_accel
        } else {
            self.limits.travel_accel
        }
    }

    /// Takes a move of the filament alone; the head stands still before and after.
    pub fn extrude(&mut self, e: f32, speed: f32) {
        let [.., highest] = self.limits.speed;
        let [.., accel] = self.limits.accel;
        let speed = speed.min(highest);
        let accel = self.limits.retract_accel.min(accel);
        self.last = [0.0; 3];
        self.last_cruise2 = 0.0;
        self.add(Block {
            length: e.abs(),
            accel,
            cruise2: speed * speed,
            junction2: 0.0,
        });
    }

    /// Standing still for a while, with everything before it done.
    pub fn dwell(&mut self, seconds: f64) {
        self.drain();
        self.total_s += seconds;
    }

    /// Remembers this place under a number; its time comes out of [`Planner::resolved`].
    pub fn mark(&mut self, number: usize) {
        if self.settled == self.pushed {
            self.resolved.push((number, self.total_s));
        } else {
            self.marks.push_back((self.pushed, number));
        }
    }

    /// The places whose times are known by now.
    pub fn resolved(&mut self) -> std::vec::Drain<'_, (usize, f64)> {
        self.resolved.drain(..)
    }

    /// Settles everything and gives the sum, seconds.
    pub fn finish(&mut self) -> f64 {
        self.drain();
        self.total_s
    }

    /// Square of the highest speed through a corner with this cosine between its directions.
    #[inline]
    fn corner(&self, cos: f32, accel: f32) -> f32 {
        // Straight on, or nearly.
        if cos > 0.999_999 {
            return f32::MAX;
        }
        let sin_half = ((1.0 + cos) * 0.5).max(0.0).sqrt();
        let ratio = sin_half / (1.0 - sin_half);
        match self.limits.deviation {
            Some(deviation) => accel * deviation * ratio,
            // Klipper: deviation = corner² · (√2 − 1) / accel, so that a square corner takes `corner`.
            None => self.limits.corner2 * (std::f32::consts::SQRT_2 - 1.0) * ratio,
        }
    }

    #[inline]
    fn add(&mut self, block: Block) {
        self.rows.push(block);
        self.pushed += 1;
        if self.rows.count == AHEAD {
            self.settle(SETTLE);
        }
    }

    fn drain(&mut self) {
        self.settle(self.rows.count);
        self.last = [0.0; 3];
        self.last_cruise2 = 0.0;
        self.entry2 = 0.0;
    }

    /// Plans all blocks, ending at a stop, and takes out the first `n`.
    fn settle(&mut self, n: usize) {
        let mut speed2 = [0.0; AHEAD + 1];
        let [entry2, ..] = &mut speed2;
        *entry2 = self.entry2;
        self.rows.speeds(n, &mut speed2);
        let mut seconds = [0.0; AHEAD];
        self.rows.times(n, &speed2, &mut seconds);
        let seconds = seconds.get(..n).unwrap_or_default();
        let ends = self.settled + n as u64;
        let mut sum = 0.0f64;
        if self.marks.front().is_some_and(|(at, _)| *at <= ends) {
            for seconds in seconds {
                sum += f64::from(*seconds);
                self.settled += 1;
                while let Some(&(at, number)) = self.marks.front()
                    && at <= self.settled
                {
                    self.resolved.push((number, self.total_s + sum));
                    self.marks.pop_front();
                }
            }
        } else {
            sum = seconds.iter().map(|s| f64::from(*s)).sum();
        }
        self.settled = ends;
        self.total_s += sum;
        self.entry2 = speed2.get(n).copied().unwrap_or_default();
        self.rows.drop_first(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leg(x: f32, y: f32, speed: f32) -> Leg {
        Leg {
            d: [x, y, 0.0],
            length: x.hypot(y),
            e: 1.0,
            speed,
        }
    }

    #[test]
    fn one_move_is_a_trapezoid() {
        let mut planner = Planner::default();
        planner.limits(&MotionLimits {
            print_accel: Some(1000.0),
            changes: 1,
            ..MotionLimits::default()
        });
        planner.travel(&leg(100.0, 0.0, 100.0));
        // 0.1 s up, 0.1 s down (5 mm each), 90 mm at 100 mm/s.
        assert!((planner.finish() - 1.1).abs() < 1e-5);
        // Too short to reach its speed: t = 2 √(l/a).
        let mut planner = Planner::default();
        planner.limits(&MotionLimits {
            print_accel: Some(1000.0),
            changes: 1,
            ..MotionLimits::default()
        });
        planner.travel(&leg(1.0, 0.0, 100.0));
        assert!((planner.finish() - 2.0 * (0.001f64).sqrt()).abs() < 1e-5);
    }

    #[test]
    fn a_line_in_many_pieces_takes_as_long_as_in_one() {
        let (mut one, mut many) = (Planner::default(), Planner::default());
        one.travel(&leg(100.0, 0.0, 50.0));
        for _ in 0..50 {
            many.travel(&leg(2.0, 0.0, 50.0));
        }
        assert!((one.finish() - many.finish()).abs() < 1e-3);
    }

    #[test]
    fn a_turn_back_stops_and_a_square_corner_slows_down() {
        let (mut straight, mut corner, mut back) =
            (Planner::default(), Planner::default(), Planner::default());
        for (planner, second) in [
            (&mut straight, leg(20.0, 0.0, 50.0)),
            (&mut corner, leg(0.0, 20.0, 50.0)),
            (&mut back, leg(-20.0, 0.0, 50.0)),
        ] {
            planner.travel(&leg(20.0, 0.0, 50.0));
            planner.travel(&second);
        }
        let (a, b, c) = (straight.finish(), corner.finish(), back.finish());
        assert!(a < b && b < c, "{a} {b} {c}");
        let mut twice = Planner::default();
        twice.travel(&leg(20.0, 0.0, 50.0));
        let once = twice.finish();
        assert!((c - 2.0 * once).abs() < 1e-4);
    }

    proptest! {
        #[test]
        fn an_arc_in_one_call_takes_as_long_as_its_pieces(
            angle in 0.0..6.3f64,
            step in -0.6..0.6f64,
            pieces in 1u32..20,
            length in 0.2..3.0f32,
            speed in 5.0..700.0f32,
            accel in 300.0..6000.0f32,
        ) {
            let (mut one, mut many) = (Planner::default(), Planner::default());
            let limits = MotionLimits { print_accel: Some(accel), changes: 1, ..MotionLimits::default() };
            let sin_cos = [step.sin(), step.cos()];
            let mut d = [angle.cos(), angle.sin()].map(|v| v * f64::from(length));
            let leg = |d: [f64; 2]| Leg { d: [d[0] as f32, d[1] as f32, 0.0], length: length * 1.01, e: 1.0, speed };
            one.limits(&limits);
            many.limits(&limits);
            one.travel_round(&leg(d), sin_cos, pieces);
            for _ in 0..pieces {
                many.travel(&leg(d));
                d = turned(d, sin_cos);
            }
            // What comes behind meets it in the same direction.
            one.travel(&leg(d));
            many.travel(&leg(d));
            let (one, many) = (one.finish(), many.finish());
            prop_assert!((one - many).abs() < 1e-4 * many, "{one} {many}");
        }
    }

    #[test]
    fn marks_get_their_times() {
        let mut planner = Planner::default();
        planner.mark(0);
        for i in 1..200 {
            planner.travel(&leg(1.0, (i % 2) as f32, 30.0));
            planner.mark(i);
        }
        let total = planner.finish();
        let times: Vec<_> = planner.resolved().collect();
        assert_eq!(times.len(), 200);
        assert!(times.windows(2).all(|w| w[0].1 <= w[1].1));
        assert!((times[199].1 - total).abs() < 1e-9);
    }
}
