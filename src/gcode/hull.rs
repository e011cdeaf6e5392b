//! The outline of many points, in constant memory.

/// Directions in which the hull is looked for: 32, by 16 pairs.
const AXES: usize = 16;

/// The farthest points in 32 directions: a hull that is exact for what has few corners and at most
/// half a percent too small for what is round.
#[derive(Clone, Debug)]
pub struct Hull {
    high: [f32; AXES],
    low: [f32; AXES],
    high_at: [[f32; 2]; AXES],
    low_at: [[f32; 2]; AXES],
    /// Points in here change nothing.
    pub inner: Inner,
    grown: bool,
}

const DIRECTIONS: ([f32; AXES], [f32; AXES]) = (
    [
        1.0,
        0.980_785_25,
        0.923_879_5,
        0.831_469_6,
        std::f32::consts::FRAC_1_SQRT_2,
        0.555_570_24,
        0.382_683_43,
        0.195_090_32,
        0.0,
        -0.195_090_32,
        -0.382_683_43,
        -0.555_570_24,
        -std::f32::consts::FRAC_1_SQRT_2,
        -0.831_469_6,
        -0.923_879_5,
        -0.980_785_25,
    ],
    [
        0.0,
        0.195_090_32,
        0.382_683_43,
        0.555_570_24,
        std::f32::consts::FRAC_1_SQRT_2,
        0.831_469_6,
        0.923_879_5,
        0.980_785_25,
        1.0,
        0.980_785_25,
        0.923_879_5,
        0.831_469_6,
        std::f32::consts::FRAC_1_SQRT_2,
        0.555_570_24,
        0.382_683_43,
        0.195_090_32,
    ],
);

/// An octagon: bounds of X, Y, X + Y and Y - X.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    low: [f32; 4],
    high: [f32; 4],
}

impl Inner {
    /// Holds nothing.
    pub const NOWHERE: Inner = Inner {
        low: [f32::MAX; 4],
        high: [f32::MIN; 4],
    };

    /// Whether all points of a box lie in it.
    #[inline]
    pub fn holds(&self, [x0, y0]: [f32; 2], [x1, y1]: [f32; 2]) -> bool {
        let (low, high) = ([x0, y0, x0 + y0, y0 - x1], [x1, y1, x1 + y1, y1 - x0]);
        let lows = self
            .low
            .iter()
            .zip(low)
            .fold(true, |all, (bound, v)| all & (v > *bound));
        let highs = self
            .high
            .iter()
            .zip(high)
            .fold(true, |all, (bound, v)| all & (v < *bound));
        lows & highs
    }

    fn corners(&self) -> [[f32; 2]; 8] {
        let ([x0, y0, s0, d0], [x1, y1, s1, d1]) = (self.low, self.high);
        let (s0, s1) = (s0.max(x0 + y0), s1.min(x1 + y1));
        let (d0, d1) = (d0.max(y0 - x1), d1.min(y1 - x0));
        [
            [x1, d0 + x1],
            [x1, s1 - x1],
            [s1 - y1, y1],
            [y1 - d1, y1],
            [x0, d1 + x0],
            [x0, s0 - x0],
            [s0 - y0, y0],
            [y0 - d0, y0],
        ]
    }
}

impl Default for Hull {
    fn default() -> Self {
        Hull {
            high: [f32::MIN; AXES],
            low: [f32::MAX; AXES],
            high_at: [[0.0; 2]; AXES],
            low_at: [[0.0; 2]; AXES],
            inner: Inner::NOWHERE,
            grown: false,
        }
    }
}

impl Hull {
    /// Takes in points.
    pub fn take(&mut self, points: &[[f32; 2]]) {
        for &[x, y] in points {
            let (mut along, mut out) = ([0.0f32; AXES], false);
            for (((along, c), s), (high, low)) in along
                .iter_mut()
                .zip(DIRECTIONS.0)
                .zip(DIRECTIONS.1)
                .zip(self.high.iter().zip(self.low))
            {
                *along = c * x + s * y;
                out |= (*along > *high) | (*along < low);
            }
            if out {
                self.update([x, y], &along);
            }
        }
        if self.grown {
            self.grown = false;
            self.fit_inner();
        }
    }

    #[cold]
    fn update(&mut self, point: [f32; 2], along: &[f32; AXES]) {
        let highs = self.high.iter_mut().zip(self.high_at.iter_mut());
        let lows = self.low.iter_mut().zip(self.low_at.iter_mut());
        for ((along, (high, high_at)), (low, low_at)) in along.iter().zip(highs).zip(lows) {
            if *along > *high {
                (*high, *high_at) = (*along, point);
            }
            if *along < *low {
                (*low, *low_at) = (*along, point);
            }
        }
        self.grown = true;
    }

    /// An octagon inside the polygon of the farthest points: shrunk from the whole until its corners fit.
    fn fit_inner(&mut self) {
        let corners = self.corners();
        let of = |row: &[f32; AXES], at: usize, scale: f32| row.get(at).copied().unwrap_or(0.0) * scale;
        // X, Y, X + Y, Y - X.
        const ROWS: [(usize, f32); 4] = [
            (0, 1.0),
            (8, 1.0),
            (4, std::f32::consts::SQRT_2),
            (12, std::f32::consts::SQRT_2),
        ];
        let low = ROWS.map(|(at, scale)| of(&self.low, at, scale));
        let high = ROWS.map(|(at, scale)| of(&self.high, at, scale));
        let ([x0, y0, ..], [x1, y1, ..]) = (low, high);
        let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let middle = [cx, cy, cx + cy, cy - cx];
        for share in [0.999f32, 0.95, 0.9, 0.8, 0.7, 0.55, 0.4, 0.2] {
            let mut inner = Inner { low, high };
            for ((low, high), middle) in inner.low.iter_mut().zip(&mut inner.high).zip(middle) {
                *low = middle + (*low - middle) * share;
                *high = middle + (*high - middle) * share;
            }
            if inner.corners().iter().all(|corner| inside(&corners, *corner)) {
                self.inner = inner;
                return;
            }
        }
    }

    /// The farthest points, counter-clockwise, as a convex polygon.
    pub fn corners(&self) -> Vec<[f32; 2]> {
        let mut points: Vec<[f32; 2]> = self.high_at.iter().chain(&self.low_at).copied().collect();
        convex(&mut points)
    }
}

/// Whether a point lies within a convex counter-clockwise polygon.
fn inside(polygon: &[[f32; 2]], point: [f32; 2]) -> bool {
    let next = polygon.iter().cycle().skip(1);
    polygon.len() > 2 && polygon.iter().zip(next).all(|(a, b)| cross(*a, *b, point) > 0.0)
}

fn cross(a: [f32; 2], b: [f32; 2], c: [f32; 2]) -> f32 {
    let ([ax, ay], [bx, by], [cx, cy]) = (a, b, c);
    (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
}

/// Convex hull, counter-clockwise (monotone chain).
fn convex(points: &mut Vec<[f32; 2]>) -> Vec<[f32; 2]> {
    let key = |p: &[f32; 2]| {
        let [x, y] = *p;
        (x, y)
    };
    points.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
    points.dedup();
    if points.len() < 3 {
        return points.clone();
    }
    let half = |points: &mut dyn Iterator<Item = &[f32; 2]>| {
        let mut chain: Vec<[f32; 2]> = Vec::new();
        for p in points {
            while let [.., a, b] = chain.as_slice()
                && cross(*a, *b, *p) <= 0.0
            {
                chain.pop();
            }
            chain.push(*p);
        }
        chain.pop();
        chain
    };
    let mut hull = half(&mut points.iter());
    hull.extend(half(&mut points.iter().rev()));
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_lies_in_the_inner_octagon_lies_in_the_hull(
            points in proptest::collection::vec((-100.0f32..100.0, -60.0f32..60.0), 3..60),
            x in -100.0f32..100.0, y in -60.0f32..60.0, width in 0.0f32..9.0, height in 0.0f32..9.0,
        ) {
            let mut hull = Hull::default();
            let points: Vec<_> = points.into_iter().map(|(x, y)| [x, y]).collect();
            hull.take(&points);
            if hull.inner.holds([x, y], [x + width, y + height]) {
                let corners = hull.corners();
                for point in [[x, y], [x + width, y], [x, y + height], [x + width, y + height]] {
                    proptest::prop_assert!(inside(&corners, point), "{point:?}");
                }
            }
        }
    }

    #[test]
    fn an_octagon_fills_most_of_a_circle() {
        let mut hull = Hull::default();
        let points: Vec<_> = (0..5000)
            .map(|i| (i as f32 * 0.001_256_637).sin_cos())
            .map(|(s, c)| [c, s])
            .collect();
        hull.take(&points);
        assert!(
            hull.inner.holds([0.86, 0.0], [0.88, 0.01]) && hull.inner.holds([-0.62, -0.62], [-0.6, -0.6])
        );
    }

    #[test]
    fn a_circle_is_at_most_half_a_percent_too_small() {
        let mut hull = Hull::default();
        let points: Vec<_> = (0..5000)
            .map(|i| (i as f32 * 0.001_256_637).sin_cos())
            .map(|(s, c)| [c, s])
            .collect();
        for _ in 0..3 {
            hull.take(&points);
        }
        let corners = hull.corners();
        let next = corners.iter().cycle().skip(1);
        for (a, b) in corners.iter().zip(next) {
            assert!(((a[0] + b[0]) / 2.0).hypot((a[1] + b[1]) / 2.0) > 0.994);
        }
    }
}
