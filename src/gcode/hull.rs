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
    /// Half widths of a box about the middle that lies within the hull: points in it change nothing.
    pub inner: [f32; 4],
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

impl Default for Hull {
    fn default() -> Self {
        Hull {
            high: [f32::MIN; AXES],
            low: [f32::MAX; AXES],
            high_at: [[0.0; 2]; AXES],
            low_at: [[0.0; 2]; AXES],
            inner: [f32::MAX, f32::MIN, f32::MAX, f32::MIN],
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

    /// A box inside the polygon of the farthest points: shrunk from the whole until its corners fit.
    fn fit_inner(&mut self) {
        let corners = self.corners();
        let ([x1, .., _], [x0, .., _]) = (self.high, self.low);
        let (y1, y0) = (
            self.high.get(8).copied().unwrap_or(x1),
            self.low.get(8).copied().unwrap_or(x0),
        );
        let (cx, cy) = ((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        for share in [0.999f32, 0.95, 0.9, 0.8, 0.7, 0.55, 0.4, 0.2] {
            let (hx, hy) = ((x1 - x0) / 2.0 * share, (y1 - y0) / 2.0 * share);
            let fits = [(hx, hy), (-hx, hy), (hx, -hy), (-hx, -hy)]
                .iter()
                .all(|(dx, dy)| inside(&corners, [cx + dx, cy + dy]));
            if fits {
                self.inner = [cx - hx, cx + hx, cy - hy, cy + hy];
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
