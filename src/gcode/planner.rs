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
const AHEAD: usize = 256;
const SETTLE: usize = AHEAD - 32;

/// Values used until the file sets its own: an ordinary printer of today.
const ACCEL: f32 = 1250.0;
const CORNER_SPEED: f32 = 8.0;
const AXIS_SPEED: [f32; 4] = [500.0, 500.0, 12.0, 60.0];
const AXIS_ACCEL: [f32; 4] = [5000.0, 5000.0, 200.0, 5000.0];

/// One value of each of the moves being planned.
type Row = [f32; AHEAD];

/// The moves being planned, a row for each of their values: so that several are reckoned in one instruction.
///
/// They come as the program has them; [`Rows::prepare`] makes of them what the planning needs.
#[derive(Clone, Debug)]
struct Rows {
    /// Way at the begin of the move, on each axis; as long as `length` where the move is straight.
    d: [Row; 3],
    length: Row,
    speed: Row,
    accel: Row,
    /// 1; 0 where the head stands still before and after.
    rolls: Row,
    /// Moves whose end has another direction than their begin: which, and their way as it would be at the end.
    bends: Vec<(usize, [f32; 2])>,
    count: usize,

    /// Square of the cruising speed.
    cruise2: Row,
    /// Highest square of the speed at the begin.
    junction2: Row,
    /// What the square of the speed can change by along the move.
    energy: Row,
    /// So many are prepared.
    prepared: usize,
    /// Direction of the end of the last one that is prepared, and the square of its speed.
    last: [f32; 3],
    last2: f32,
}

/// A move as it comes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    d: [f32; 3],
    length: f32,
    speed: f32,
    accel: f32,
    rolls: f32,
}

/// The smaller one of two numbers; one instruction, since it need not care for NaN.
#[inline]
fn less(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The greater one of two numbers; `b` where `a` is NaN.
#[inline]
fn more(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Rows {
    const EMPTY: Rows = Rows {
        d: [[0.0; AHEAD]; 3],
        length: [1.0; AHEAD],
        speed: [0.0; AHEAD],
        accel: [1.0; AHEAD],
        rolls: [0.0; AHEAD],
        bends: Vec::new(),
        count: 0,
        cruise2: [0.0; AHEAD],
        junction2: [0.0; AHEAD],
        energy: [0.0; AHEAD],
        prepared: 0,
        last: [0.0; 3],
        last2: 0.0,
    };

    #[inline]
    fn push(&mut self, entry: Entry) {
        let at = self.count;
        if at >= AHEAD {
            return;
        }
        let ([dx, dy, dz], [x, y, z]) = (&mut self.d, entry.d);
        for (row, value) in [
            (dx, x),
            (dy, y),
            (dz, z),
            (&mut self.length, entry.length),
            (&mut self.speed, entry.speed),
            (&mut self.accel, entry.accel),
            (&mut self.rolls, entry.rolls),
        ] {
            if let Some(place) = row.get_mut(at) {
                *place = value;
            }
        }
        self.count = at + 1;
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
        self.prepared = self.count;
    }

    /// What comes next begins at a stop.
    fn stop(&mut self) {
        self.last = [0.0; 3];
        self.last2 = 0.0;
    }

    /// Speeds, accelerations and corners of the moves that came since the last time.
    fn prepare(&mut self, limits: &Limits) {
        let (from, to) = (self.prepared, self.count);
        if from == to {
            return;
        }
        self.prepared = to;
        let n = to - from;
        let tail = |row: &Row| -> Row {
            let mut tail = [0.0; AHEAD];
            tail.iter_mut()
                .zip(row.iter().skip(from))
                .for_each(|(to, from)| *to = *from);
            tail
        };
        let Some(length) = self.length.get(from..to) else {
            return;
        };
        let mut inverse = [0.0; AHEAD];
        for (inverse, length) in inverse.iter_mut().zip(length) {
            *inverse = 1.0 / length;
        }
        // Directions: of each move, and of the end of the one before it.
        let mut units = [[0.0; AHEAD]; 3];
        let mut before = [[0.0; AHEAD + 1]; 3];
        for (((unit, before), d), last) in units.iter_mut().zip(&mut before).zip(&self.d).zip(self.last) {
            for ((unit, d), inverse) in unit.iter_mut().zip(d.iter().skip(from)).zip(&inverse).take(n) {
                *unit = d * inverse;
            }
            let [first, rest @ ..] = before;
            *first = last;
            *rest = *unit;
        }
        let [before_x, before_y, before_z] = &mut before;
        for (at, [x, y]) in self.bends.drain(..) {
            let behind = at + 1 - from;
            if let (Some(bx), Some(by), Some(inverse)) = (
                before_x.get_mut(behind),
                before_y.get_mut(behind),
                inverse.get(at - from),
            ) {
                (*bx, *by) = (x * inverse, y * inverse);
            }
        }
        let [ux, uy, uz] = &units;
        // What the axes can do.
        let [sx, sy, sz, _] = limits.speed.map(|s| 1.0 / s);
        let [ax, ay, az, _] = limits.accel.map(|a| 1.0 / a);
        let mut accel = tail(&self.accel);
        let mut rolling2 = [0.0; AHEAD + 1];
        {
            let [first, rolling2 @ ..] = &mut rolling2;
            *first = self.last2;
            let mut cruise2 = [0.0; AHEAD];
            let wishes = self.speed.iter().zip(&self.rolls).skip(from);
            let axes = ux.iter().zip(uy).zip(uz);
            for (((cruise2, rolling2), accel), ((speed, rolls), ((ux, uy), uz))) in cruise2
                .iter_mut()
                .zip(rolling2)
                .zip(&mut accel)
                .zip(wishes.zip(axes))
                .take(n)
            {
                let (x, y, z) = (ux.abs(), uy.abs(), uz.abs());
                let speed = less(*speed, 1.0 / more(more(x * sx, y * sy), z * sz));
                *accel = less(*accel, 1.0 / more(more(x * ax, y * ay), z * az));
                *cruise2 = speed * speed;
                *rolling2 = *cruise2 * rolls;
            }
            self.cruise2
                .iter_mut()
                .skip(from)
                .zip(&cruise2)
                .for_each(|(to, from)| *to = *from);
        }
        // What the corners let through.
        let (by_accel, fixed) = limits.corner_factors();
        let [_, rolling2_own @ ..] = &rolling2;
        let own = ux.iter().zip(uy).zip(uz);
        let befores = before_x.iter().zip(&*before_y).zip(&*before_z);
        let rolling = rolling2.iter().zip(rolling2_own).zip(&accel);
        for (((((ux, uy), uz), ((bx, by), bz)), ((before2, own2), accel)), junction2) in own
            .zip(befores)
            .zip(rolling)
            .zip(self.junction2.iter_mut().skip(from))
            .take(n)
        {
            let cos = ux * bx + uy * by + uz * bz;
            let corner2 = corner(cos, accel * by_accel + fixed);
            *junction2 = less(less(corner2, *own2), *before2);
        }
        let lengths = self.length.iter().skip(from);
        let energies = self.energy.iter_mut().skip(from);
        for ((energy, accel), length) in energies.zip(&accel).zip(lengths).take(n) {
            *energy = 2.0 * accel * length;
        }
        self.accel
            .iter_mut()
            .skip(from)
            .zip(&accel)
            .take(n)
            .for_each(|(to, from)| *to = *from);
        let at = |row: &[f32]| row.get(n).copied().unwrap_or_default();
        self.last = [at(before_x), at(before_y), at(before_z)];
        self.last2 = at(&rolling2);
    }

    /// Squares of the speeds at the ends of the first `n` moves, with a stop behind the last of all; `speed2` begins
    /// with that at the beginning of the first.
    fn speeds(&self, n: usize, speed2: &mut [f32; AHEAD + 1]) {
        let mut reach = [0.0f32; AHEAD];
        let mut next = 0.0f32;
        let junctions = self.junction2.iter().zip(&self.energy).take(self.count);
        for (reach, (junction2, energy)) in reach.iter_mut().zip(junctions).rev() {
            *reach = next;
            next = less(*junction2, next + energy);
        }
        let [first, rest @ ..] = speed2;
        let mut entry2 = *first;
        for ((exit2, reach), energy) in rest.iter_mut().zip(&reach).zip(&self.energy).take(n) {
            entry2 = less(*reach, entry2 + energy);
            *exit2 = entry2;
        }
    }

    /// Seconds that each of the first `n` moves takes.
    fn times(&self, n: usize, speed2: &[f32; AHEAD + 1], seconds: &mut Row) {
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
            let top2 = less(*cruise2, 0.5 * (entry2 + exit2 + energy));
            let top = top2.sqrt();
            let ramps = (2.0 * top2 - entry2 - exit2) * 0.5 * inverse;
            let whole = (2.0 * top - entry - exit) * inverse + more(length - ramps, 0.0) / top;
            *seconds = more(whole, 0.0);
        }
    }
}

/// Square of the highest speed through a corner with this cosine between its directions; `factor`: see
/// [`Limits::corner_factors`].
#[inline]
fn corner(cos: f32, factor: f32) -> f32 {
    let sin_half = more((1.0 + cos) * 0.5, 0.0).sqrt();
    let through = factor * (sin_half / (1.0 - sin_half));
    // Straight on, or nearly.
    if cos > 0.999_999 { f32::MAX } else { through }
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

    /// What the tangent of a corner is taken times: so much of the acceleration, and so much in any case.
    #[inline]
    fn corner_factors(&self) -> (f32, f32) {
        match self.deviation {
            Some(deviation) => (deviation, 0.0),
            // Klipper: deviation = corner² · (√2 − 1) / accel, so that a square corner takes `corner`.
            None => (0.0, self.corner2 * (std::f32::consts::SQRT_2 - 1.0)),
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
    /// Speed and acceleration of the last arc, and the cosine above which a corner does not slow it down.
    smooth: [f32; 3],
    /// Square of the speed at the beginning of the first move.
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
            smooth: [f32::NAN; 3],
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
            self.rows.prepare(&self.limits);
            self.limits = Limits::of(seen);
            self.smooth = [f32::NAN; 3];
        }
    }

    /// Takes a move along X, Y, Z.
    #[inline]
    pub fn travel(&mut self, leg: &Leg) {
        if leg.length > 0.0 {
            self.add(self.entry(leg));
        }
    }

    #[inline]
    fn entry(&self, leg: &Leg) -> Entry {
        Entry {
            d: leg.d,
            length: leg.length,
            speed: leg.speed,
            accel: self.accel_of(leg),
            rolls: 1.0,
        }
    }

    /// Takes an arc as so many pieces: `leg` is the first, each further one is turned by an angle of this sine
    /// and cosine in the plane of X and Y; `end` is the way of the last one.
    #[inline]
    pub fn travel_round(&mut self, leg: &Leg, step: [f64; 2], pieces: u32, end: [f64; 2]) {
        if pieces < 2 || leg.length <= 0.0 {
            return self.travel(leg);
        }
        let ([sx, sy, ..], [ax, ay, ..]) = (self.limits.speed, self.limits.accel);
        let accel = self.accel_of(leg);
        let ([dx, dy, dz], [_, cos]) = (leg.d, step);
        if dz == 0.0
            && leg.speed <= sx.min(sy)
            && accel <= ax.min(ay)
            && (dx * dx + dy * dy) * cos as f32
                >= self.least_cosine(leg.speed, accel) * leg.length * leg.length
        {
            // No axis holds any piece back, and corners that slow nothing down are none.
            let times = pieces as f32;
            let mut entry = self.entry(leg);
            entry.d = entry.d.map(|v| v * times);
            entry.length *= times;
            self.rows
                .bends
                .push((self.rows.count, end.map(|v| v as f32 * times)));
            return self.add(entry);
        }
        self.travel(leg);
        let mut d = [f64::from(dx), f64::from(dy)];
        for _ in 1..pieces {
            d = turned(d, step);
            let [x, y] = d.map(|v| v as f32);
            self.travel(&Leg {
                d: [x, y, dz],
                ..*leg
            });
        }
    }

    /// Cosine between its directions above which a corner lets this speed through: [`corner`] the other way round.
    #[inline]
    fn least_cosine(&mut self, speed: f32, accel: f32) -> f32 {
        let [of_speed, of_accel, known] = self.smooth;
        if of_speed == speed && of_accel == accel {
            return known;
        }
        let (by_accel, fixed) = self.limits.corner_factors();
        let ratio = speed * speed / (accel * by_accel + fixed);
        let sin_half = ratio / (1.0 + ratio);
        // NaN where nothing goes round corners.
        let cos = less(2.0 * sin_half * sin_half - 1.0, 0.999_999);
        self.smooth = [speed, accel, cos];
        cos
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
        self.add(Entry {
            d: [0.0; 3],
            length: e.abs().max(1e-6),
            speed,
            accel,
            rolls: 0.0,
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

    #[inline]
    fn add(&mut self, entry: Entry) {
        self.rows.push(entry);
        self.pushed += 1;
        if self.rows.count == AHEAD {
            self.settle(SETTLE);
        }
    }

    fn drain(&mut self) {
        self.settle(self.rows.count);
        self.rows.stop();
        self.entry2 = 0.0;
    }

    /// Plans all moves, ending at a stop, and takes out the first `n`.
    fn settle(&mut self, n: usize) {
        self.rows.prepare(&self.limits);
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
            let end = (1..pieces).fold(d, |d, _| turned(d, sin_cos));
            one.travel_round(&leg(d), sin_cos, pieces, end);
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
