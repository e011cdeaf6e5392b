//! Boxes around points, exact to a millionth of a millimetre.

use super::analysis::Box3;
use super::lex::Micro;
use super::modal::to_mm;

/// A box that grows; empty at first, axis by axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Lower corner.
    pub min: [Micro; 3],
    /// Upper corner.
    pub max: [Micro; 3],
}

impl Default for Area {
    fn default() -> Self {
        Area {
            min: [Micro::MAX; 3],
            max: [Micro::MIN; 3],
        }
    }
}

impl Area {
    /// Takes in a point; says whether the box grew.
    #[inline]
    pub fn grow(&mut self, point: [Micro; 3]) -> bool {
        let [x, y, z] = point;
        let ([x0, y0, z0], [x1, y1, z1]) = (self.min, self.max);
        if x >= x0 && x <= x1 && y >= y0 && y <= y1 && z >= z0 && z <= z1 {
            return false;
        }
        self.min = [x0.min(x), y0.min(y), z0.min(z)];
        self.max = [x1.max(x), y1.max(y), z1.max(z)];
        true
    }

    /// Takes in the axes of a point that these bits (1, 2, 4) name.
    pub fn grow_axes(&mut self, point: [Micro; 3], axes: u8) -> bool {
        let mut grew = false;
        let ends = self.min.iter_mut().zip(self.max.iter_mut());
        for (axis, (value, (min, max))) in point.into_iter().zip(ends).enumerate() {
            if axes & (1 << axis) != 0 {
                grew |= value < *min || value > *max;
                (*min, *max) = ((*min).min(value), (*max).max(value));
            }
        }
        grew
    }

    /// Whether it reaches at least so far on X and Y.
    #[inline]
    pub fn holds(&self, [x0, y0]: [Micro; 2], [x1, y1]: [Micro; 2]) -> bool {
        let ([x_min, y_min, _], [x_max, y_max, _]) = (self.min, self.max);
        (x0 >= x_min) & (x1 <= x_max) & (y0 >= y_min) & (y1 <= y_max)
    }

    /// What both boxes hold.
    pub fn common(&self, other: &Area) -> Area {
        let ([x0, y0, z0], [x1, y1, z1]) = (self.min, self.max);
        let ([u0, v0, w0], [u1, v1, w1]) = (other.min, other.max);
        Area {
            min: [x0.max(u0), y0.max(v0), z0.max(w0)],
            max: [x1.min(u1), y1.min(v1), z1.min(w1)],
        }
    }

    /// Takes in another box.
    pub fn join(&mut self, other: &Area) {
        for (a, b) in self.min.iter_mut().zip(other.min) {
            *a = (*a).min(b);
        }
        for (a, b) in self.max.iter_mut().zip(other.max) {
            *a = (*a).max(b);
        }
    }

    /// Whether nothing was taken in on X and Y.
    pub fn is_empty(&self) -> bool {
        let ([x0, y0, _], [x1, y1, _]) = (self.min, self.max);
        x0 > x1 || y0 > y1
    }

    /// As mm; `None` unless every axis holds something. An axis that no move placed counts as 0.
    pub fn to_box(&self) -> Option<Box3> {
        if self.min.iter().zip(self.max).all(|(a, b)| *a > b) {
            return None;
        }
        let mut out = Box3 {
            min: [0.0; 3],
            max: [0.0; 3],
        };
        let ends = out.min.iter_mut().zip(out.max.iter_mut());
        for ((a, b), (lo, hi)) in self.min.iter().zip(self.max).zip(ends) {
            if *a <= b {
                (*lo, *hi) = (to_mm(*a), to_mm(b));
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_grow_and_join() {
        let mut a = Area::default();
        assert!(a.is_empty() && a.to_box().is_none());
        assert!(
            a.grow([1_000_000, -2_000_000, 0]) && a.grow([3_000_000, 0, 0]) && !a.grow([2_000_000, -1, 0])
        );
        let mut b = Area::default();
        b.grow_axes([9_000_000, 5_000_000, 7], 2);
        assert!(a.common(&b).is_empty());
        a.join(&b);
        assert!(a.holds([1_000_000, 0], [2_000_000, 5_000_000]) && !a.holds([0, 0], [2_000_000, 0]));
        assert_eq!(
            a.to_box().map(|b| (b.min, b.max)),
            Some(([1.0, -2.0, 0.0], [3.0, 5.0, 0.0]))
        );
    }
}
